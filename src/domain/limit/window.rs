//! What was counted in the last minute. Time is an argument: no clock is read here.

use std::collections::VecDeque;
use std::time::Duration;

/// How long something counts.
const MINUTE: Duration = Duration::from_secs(60);
/// What comes within so long is counted as one, as of the last of it: a window has a bounded number of entries, and what
/// counts may do so a little longer than a minute, never shorter.
const SLOT: Duration = Duration::from_millis(50);

/// Why something does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// It will after so long, if nothing else comes.
    Later(Duration),
    /// It is more than the limit.
    Never,
}

/// When something was counted; it finds what may be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Duration);

/// So much in any 60 seconds, and no burst on top: what was counted is forgotten a minute later, not bit by bit.
/// Times are since a beginning of the caller's own.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// In the order of time.
    entries: VecDeque<Entry>,
    used: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    first: Duration,
    last: Duration,
    amount: u64,
}

impl Window {
    /// What counts now.
    pub fn used(&mut self, now: Duration) -> u64 {
        while let Some(oldest) = self.entries.front()
            && oldest.last + MINUTE <= now
        {
            self.used -= oldest.amount;
            self.entries.pop_front();
        }
        self.used
    }

    /// Whether so much more may come under a limit of `most`.
    pub fn fits(&mut self, now: Duration, amount: u64, most: u64) -> Result<(), Full> {
        if amount > most {
            return Err(Full::Never);
        }
        let mut excess = self.used(now).saturating_add(amount).saturating_sub(most);
        if excess == 0 {
            return Ok(());
        }
        for entry in &self.entries {
            excess = excess.saturating_sub(entry.amount);
            if excess == 0 {
                return Err(Full::Later((entry.last + MINUTE).saturating_sub(now)));
            }
        }
        // Not reached: without any entry it would fit.
        Err(Full::Later(MINUTE))
    }

    /// Counts so much, whether it fits or not.
    pub fn add(&mut self, now: Duration, amount: u64) -> Stamp {
        self.used(now);
        let newest = self.entries.back_mut();
        let now = newest.as_ref().map_or(now, |newest| now.max(newest.last));
        self.used = self.used.saturating_add(amount);
        match newest {
            Some(newest) if now - newest.first < SLOT => {
                newest.last = now;
                newest.amount = newest.amount.saturating_add(amount);
            }
            _ => self.entries.push_back(Entry {
                first: now,
                last: now,
                amount,
            }),
        }
        Stamp(now)
    }

    /// Forgets so much of what was counted then. What is over anyway changes nothing.
    pub fn give_back(&mut self, stamp: Stamp, amount: u64) {
        let at = self.entries.partition_point(|entry| entry.last < stamp.0);
        if let Some(entry) = self.entries.get_mut(at)
            && entry.first <= stamp.0
        {
            let amount = amount.min(entry.amount);
            entry.amount -= amount;
            self.used -= amount;
        }
    }

    /// How long until nothing counts any more, if nothing else comes.
    pub fn empty_in(&mut self, now: Duration) -> Duration {
        self.used(now);
        let last = self.entries.iter().rev().find(|entry| entry.amount > 0);
        last.map_or(Duration::ZERO, |last| {
            (last.last + MINUTE).saturating_sub(now)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Everything that ever came, each with its own time.
    #[derive(Default)]
    struct Naive(Vec<(Duration, u64)>);

    impl Naive {
        /// What came after that.
        fn since(&self, start: Option<Duration>) -> u64 {
            let counts = |at: &Duration| start.is_none_or(|start| *at > start);
            let counted = self.0.iter().filter(|(at, _)| counts(at));
            counted.map(|(_, amount)| amount).sum()
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask {
            after: u64,
            amount: u64,
        },
        /// Of the request that came so long ago, counted in requests.
        GiveBack {
            back: usize,
            amount: u64,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let ask = (0..20_000u64, 0..9u64).prop_map(|(after, amount)| Step::Ask { after, amount });
        let close = (0..60u64, 0..9u64).prop_map(|(after, amount)| Step::Ask { after, amount });
        let back = (0..20usize, 0..9u64).prop_map(|(back, amount)| Step::GiveBack { back, amount });
        prop::collection::vec(prop_oneof![ask, close, back], 1..200)
    }

    proptest! {
        #[test]
        fn no_minute_holds_more_than_the_limit_and_what_clearly_fits_is_let_in(
            steps in steps(), most in 1..40u64,
        ) {
            let (mut window, mut naive) = (Window::default(), Naive::default());
            let mut stamps = Vec::new();
            let mut now = Duration::ZERO;
            for step in steps {
                match step {
                    Step::Ask { after, amount } => {
                        now += ms(after);
                        let fits = window.fits(now, amount, most);
                        let exact = naive.since(now.checked_sub(MINUTE)) + amount;
                        let slack = naive.since(now.checked_sub(MINUTE + SLOT)) + amount;
                        if fits.is_ok() {
                            prop_assert!(exact <= most, "{exact} of {most} at {now:?}");
                            stamps.push((window.add(now, amount), amount));
                            naive.0.push((now, amount));
                        } else {
                            prop_assert!(slack > most, "{slack} of {most} at {now:?}");
                        }
                        match fits {
                            Err(Full::Never) => prop_assert!(amount > most),
                            Err(Full::Later(wait)) => {
                                // It is let in then, and was not a moment before.
                                prop_assert!(wait > Duration::ZERO && wait <= MINUTE);
                                let mut later = window.clone();
                                let before = wait - Duration::from_nanos(1);
                                prop_assert!(later.fits(now + before, amount, most).is_err());
                                prop_assert_eq!(later.fits(now + wait, amount, most), Ok(()));
                            }
                            Ok(()) => {}
                        }
                    }
                    Step::GiveBack { back, amount } => {
                        let Some(at) = stamps.len().checked_sub(back + 1) else { continue };
                        let (stamp, left) = &mut stamps[at];
                        let amount = amount.min(*left);
                        *left -= amount;
                        window.give_back(*stamp, amount);
                        naive.0[at].1 -= amount;
                    }
                }
                let counted = window.used(now);
                prop_assert!(counted >= naive.since(now.checked_sub(MINUTE)));
                prop_assert!(counted <= naive.since(now.checked_sub(MINUTE + SLOT)));
                let mut later = window.clone();
                let empty = now + later.empty_in(now);
                prop_assert_eq!(later.used(empty), 0);
            }
        }
    }

    #[test]
    fn there_is_no_burst_on_top_of_the_limit() {
        let mut window = Window::default();
        let mut let_in = Vec::new();
        // A token bucket of ten a minute would let nearly twenty through in the first minute.
        for second in 0..180 {
            if window.fits(ms(second * 1000), 1, 10).is_ok() {
                window.add(ms(second * 1000), 1);
                let_in.push(second);
            }
        }
        let expected: Vec<u64> = (0..10).chain(60..70).chain(120..130).collect();
        assert_eq!(let_in, expected);
    }

    #[test]
    fn many_in_a_minute_take_a_bounded_number_of_entries() {
        let mut window = Window::default();
        for at in 0..600_000 {
            window.add(ms(at / 5), 1);
        }
        let most = (MINUTE.as_millis() / SLOT.as_millis()) as usize + 2;
        assert!(window.entries.len() <= most, "{}", window.entries.len());
    }

    #[test]
    fn what_is_given_back_is_free_at_once_and_only_once_forgotten() {
        let mut window = Window::default();
        let stamp = window.add(ms(0), 8);
        assert_eq!(window.fits(ms(1), 3, 10), Err(Full::Later(ms(59_999))));
        window.give_back(stamp, 5);
        assert_eq!(window.fits(ms(1), 7, 10), Ok(()));
        window.add(ms(1000), 2);
        // A minute later it counts no more, and giving it back takes nothing from what came since.
        assert_eq!(window.used(ms(60_000)), 2);
        window.give_back(stamp, 3);
        assert_eq!(window.used(ms(60_000)), 2);
    }
}
