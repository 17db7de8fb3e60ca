//! Prompt-lookup speculation: what an answer may say next, read from where its last tokens stood before. Guesses cost
//! nothing until a step verifies them, so an answer's guesses are compared with its tokens even while none is verified.

use std::ops::Range;

/// Tokens of an answer's past that are searched: it bounds the time of a search.
const REACH: usize = 16 << 10;
/// Tokens that stood before are compared this far back; more agreement says no more.
const MOST_AGREEMENT: usize = 8;
/// How fast the rate that an answer has shown replaces the usual one.
const LEARNING: f32 = 0.2;
/// How often a guess is right, by how many of the last tokens agree (1, 2, 3–4, more), before an answer has shown it.
/// Where names are copied, long agreement also means that the name is about to end.
const USUAL: [f32; 4] = [0.2, 0.5, 0.5, 0.5];

/// The past of one answer, and its guess at what follows.
pub struct Drafter {
    /// Prompt and answer.
    past: Vec<u32>,
    guess: Option<Guess>,
    /// How often a guess was right lately, by agreement as in `USUAL`.
    odds: [f32; 4],
}

/// The next token is the one at `at`, for as many tokens before it as `agreement` says are the newest ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guess {
    at: usize,
    agreement: usize,
}

impl Drafter {
    pub fn new(prompt: &[u32]) -> Self {
        let mut drafter = Self {
            past: prompt.to_vec(),
            guess: None,
            odds: USUAL,
        };
        drafter.guess = drafter.search();
        drafter
    }

    /// The answer's next token, guessed or not.
    pub fn hear(&mut self, id: u32) {
        let right = self.guess.map(|guess| (guess, self.past[guess.at] == id));
        self.past.push(id);
        let Some((guess, right)) = right else {
            self.guess = self.search();
            return;
        };
        let odds = &mut self.odds[class(guess.agreement)];
        *odds += LEARNING * (f32::from(u8::from(right)) - *odds);
        self.guess = match right {
            true => Some(Guess {
                at: guess.at + 1,
                agreement: guess.agreement + 1,
            }),
            false => self.search(),
        };
    }

    /// How likely the first one, two, … guessed tokens are all right, up to `most`.
    pub fn odds(&self, most: usize) -> impl Iterator<Item = f32> {
        let agreement = self.guess.map(|guess| guess.agreement);
        agreement
            .into_iter()
            .flat_map(move |from| from..from + most)
            .scan(1.0, |all, agreement| {
                *all *= self.odds[class(agreement)];
                Some(*all)
            })
    }

    /// The first `count` guessed tokens.
    pub fn draft(&self, count: usize) -> Vec<u32> {
        let Some(Guess { at, .. }) = self.guess else {
            return Vec::new();
        };
        // What goes beyond the newest token repeats what has been guessed, as a loop would.
        let known = &self.past[at..];
        known.iter().cycle().take(count).copied().collect()
    }

    /// The newest place where most of the last tokens stood before.
    fn search(&self) -> Option<Guess> {
        let end = self.past.len();
        let last = *self.past.last()?;
        let reach: Range<usize> = end.saturating_sub(REACH)..end - 1;
        let mut best: Option<Guess> = None;
        for at in reach.rev().filter(|&at| self.past[at] == last) {
            let before = self.past[..at].iter().rev();
            let newest = self.past[..end - 1].iter().rev();
            let more = before.zip(newest).take(MOST_AGREEMENT - 1);
            let agreement = 1 + more.take_while(|(a, b)| a == b).count();
            if best.is_none_or(|best| agreement > best.agreement) {
                best = Some(Guess {
                    at: at + 1,
                    agreement,
                });
            }
            if agreement == MOST_AGREEMENT {
                break;
            }
        }
        best
    }
}

fn class(agreement: usize) -> usize {
    match agreement {
        0 | 1 => 0,
        2 => 1,
        3 | 4 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_after_the_same_words_is_guessed() {
        let drafter = Drafter::new(&[1, 2, 3, 4, 5, 9, 2, 3]);
        assert_eq!(drafter.draft(3), [4, 5, 9]);
        assert!(Drafter::new(&[1, 2, 3]).draft(3).is_empty());
        assert!(Drafter::new(&[]).draft(3).is_empty());
    }

    #[test]
    fn longer_agreement_wins_and_then_the_newest() {
        let two = Drafter::new(&[1, 2, 7, 5, 2, 8, 1, 2]);
        assert_eq!(two.draft(1), [7]);
        let newest = Drafter::new(&[1, 2, 7, 1, 2, 8, 1, 2]);
        assert_eq!(newest.draft(1), [8]);
    }

    #[test]
    fn a_loop_is_drafted_round_and_round() {
        let drafter = Drafter::new(&[6, 1, 2, 3, 1, 2, 3]);
        assert_eq!(drafter.draft(7), [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn guesses_are_judged_while_none_is_verified() {
        let text = |at: u32| (at * at) % 37;
        let copied: Vec<u32> = (0..60).map(text).collect();
        let mut copies = Drafter::new(&copied);
        let mut wanders = Drafter::new(&copied);
        for at in 0..40 {
            copies.hear(text(at));
            wanders.hear(100 + at % 7 * at);
        }
        let odds = |drafter: &Drafter| drafter.odds(4).last().unwrap_or(0.0);
        assert!(odds(&copies) > 0.95, "{}", odds(&copies));
        assert!(odds(&wanders) < 0.01, "{}", odds(&wanders));
    }

    #[test]
    fn a_guess_goes_on_where_it_was_right_and_starts_anew_where_not() {
        let mut drafter = Drafter::new(&[1, 2, 3, 4, 5, 6, 2]);
        drafter.hear(3);
        assert_eq!(
            drafter.guess,
            Some(Guess {
                at: 3,
                agreement: 2
            })
        );
        drafter.hear(1);
        assert_eq!(
            drafter.guess,
            Some(Guess {
                at: 1,
                agreement: 1
            })
        );
        drafter.hear(77);
        assert_eq!(drafter.guess, None);
        assert_eq!(drafter.odds(3).count(), 0);
    }
}
