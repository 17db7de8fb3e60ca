//! How many tokens a step may have so that answers under way do not wait long for their next token.

/// Seconds a step gives to prompts for each that it takes to generate, however few wait and however short they did.
const AT_FIRST: f64 = 0.25;
/// How much this grows with each second that the first of them waits, up to 1: a short prompt is done before its cost
/// can be noticed, a long one is not held back for long.
const GROWTH: f64 = 0.5;
/// Seconds a step gives to prompts for each that it takes to generate, where as many prompts wait as answers generate. It
/// goes with the square of their ratio: answers that generate lose the time of all prompts in any case, so many prompts
/// are better done in a few long steps.
const CROWDED: f64 = 4.0;
/// Seconds between two tokens that no reader notices: so long a step may always last.
const UNNOTICED: f64 = 0.03;
/// Seconds a step should last at most, unless the model is so slow that even generating takes most of them.
const LONGEST: f64 = 0.2;
/// What is left for prompts on such a model, as a multiple of the step that only generates.
const LEAST_STRETCH: f64 = 1.5;
/// Fewer tokens of prompts tell little about what one costs: reading the weights dominates such a step.
const TELLING: usize = 8;

/// What shares the next step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crowd {
    /// Answers that generate.
    pub generating: usize,
    /// Requests whose prompt is being computed, or could be.
    pub opening: usize,
    /// Seconds that the first of these has waited.
    pub waited: f64,
}

/// What steps cost, as seen lately.
#[derive(Debug, Default)]
pub struct Pace {
    /// Seconds of a step that only generates; 0 while none is known.
    bare: f64,
    /// Seconds a prompt's token adds to a step; 0 while none is known.
    each: f64,
}

impl Pace {
    /// A step that computed so many tokens of prompts, beside those that answers generate, took so long.
    pub fn learn(&mut self, prompt: usize, seconds: f64) {
        if prompt == 0 {
            blend(&mut self.bare, seconds, 0.25);
        } else if prompt >= TELLING {
            let each = (seconds - self.bare).max(0.1 * seconds) / prompt as f64;
            // Tokens cost more the further they are into a prompt: a higher cost is taken over sooner than a lower one.
            let weight = if each > self.each { 0.5 } else { 0.25 };
            blend(&mut self.each, each, weight);
        }
    }

    /// Tokens of prompts the next step may compute beside those that answers generate, between `least` and `most`.
    ///
    /// A prompt that has waited for long gets as much time as all that generate; many prompts get more, and sooner.
    pub fn chunk(&self, crowd: Crowd, least: usize, most: usize) -> usize {
        if self.each == 0.0 || crowd.generating == 0 {
            return most;
        }
        let longest = LONGEST.max(LEAST_STRETCH * self.bare);
        let ratio = crowd.opening as f64 / crowd.generating as f64;
        let patience = (AT_FIRST + GROWTH * crowd.waited).min(1.0);
        let stretch = 1.0 + patience.max(CROWDED * ratio * ratio);
        let seconds = (stretch * self.bare).clamp(UNNOTICED, longest) - self.bare;
        ((seconds.max(0.0) / self.each) as usize).clamp(least.min(most), most)
    }
}

fn blend(known: &mut f64, seen: f64, weight: f64) {
    *known = match *known {
        0.0 => seen,
        before => (1.0 - weight) * before + weight * seen,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: f64 = 10.0;

    /// One prompt beside many streams, after so many seconds of waiting.
    fn settled(waited: f64, bare: f64, each: f64) -> (usize, f64) {
        settled_among(crowd(1, 8, waited), bare, each)
    }

    fn crowd(opening: usize, generating: usize, waited: f64) -> Crowd {
        Crowd {
            generating,
            opening,
            waited,
        }
    }

    /// A model whose steps cost `bare` seconds and `each` more for a prompt's token; returns the step it settles at.
    fn settled_among(crowd: Crowd, bare: f64, each: f64) -> (usize, f64) {
        let mut pace = Pace::default();
        pace.learn(256, bare + 256.0 * each);
        let mut chunk = 0;
        for _ in 0..50 {
            pace.learn(0, bare);
            chunk = pace.chunk(crowd, 8, 512);
            pace.learn(chunk, bare + chunk as f64 * each);
        }
        (chunk, bare + chunk as f64 * each)
    }

    #[test]
    fn a_prompt_that_has_just_come_is_hardly_noticed_and_one_that_waits_at_most_doubles_a_step() {
        let (chunk, seconds) = settled(0.0, 0.06, 0.0005);
        assert!((28..=30).contains(&chunk), "{chunk}");
        assert!(seconds <= 1.251 * 0.06, "{seconds}");
        let (_, soon) = settled(0.3, 0.06, 0.0005);
        assert!((1.38..1.41).contains(&(soon / 0.06)), "{soon}");
        let (chunk, seconds) = settled(LATE, 0.06, 0.001);
        assert!((50..=60).contains(&chunk), "{chunk}");
        assert!(seconds <= 2.0 * 0.06 + 1e-9);
    }

    #[test]
    fn the_more_of_a_crowd_wait_for_their_first_token_the_sooner_they_get_it() {
        for waited in [0.0, LATE] {
            for (opening, generating, expected) in [(4, 4, 0.1), (6, 2, 0.2), (64, 1, 0.2)] {
                let crowd = crowd(opening, generating, waited);
                let (_, seconds) = settled_among(crowd, 0.02, 0.001);
                assert!(
                    (expected - 0.002..=expected + 1e-9).contains(&seconds),
                    "{seconds}"
                );
            }
        }
        let (_, some) = settled_among(crowd(3, 5, 0.0), 0.02, 0.0001);
        assert!((0.0485..0.0489).contains(&some), "{some}");
        let (few, _) = settled_among(crowd(4, 8, LATE), 0.02, 0.001);
        assert_eq!(few, settled_among(crowd(1, 8, LATE), 0.02, 0.001).0);
        let all = settled_among(crowd(3, 0, 0.0), 0.02, 0.001);
        assert_eq!(all.0, 512, "none waits");
    }

    #[test]
    fn a_slow_model_still_computes_some_of_a_prompt_in_every_step() {
        let (chunk, seconds) = settled(LATE, 0.5, 0.005);
        assert!(chunk >= 16 && seconds < 0.76, "{chunk} {seconds}");
        assert_eq!(settled(LATE, 0.15, 0.1).0, 8, "the least");
    }

    #[test]
    fn a_fast_model_takes_what_is_not_noticed() {
        let (chunk, seconds) = settled(0.0, 0.001, 0.0001);
        assert!(chunk > 200 && seconds <= UNNOTICED + 1e-9, "{chunk}");
        assert_eq!(settled(0.0, 0.0001, 0.000_01).0, 512, "the most");
    }

    #[test]
    fn before_anything_is_known_a_step_is_as_long_as_may_be() {
        let crowd = crowd(1, 8, 0.0);
        let mut pace = Pace::default();
        assert_eq!(pace.chunk(crowd, 8, 512), 512);
        pace.learn(3, 1.0);
        assert_eq!(pace.chunk(crowd, 8, 512), 512, "so few tokens tell nothing");
    }
}
