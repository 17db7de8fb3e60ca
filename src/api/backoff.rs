//! Addresses that send wrong keys again and again are told to wait, longer each time. Good keys are let in whatever else
//! their address sends: behind one proxy there are many callers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::door::block;
use crate::domain::Reason;

/// Wrong keys that are answered as such: a secret cannot be guessed, and a client that walks all routes with an old key is no
/// attack.
const FREE: u32 = 200;
/// Seconds of the longest wait.
const LONGEST: u64 = 60;
/// An address that has sent none for so long is like any other, at the latest after twice that.
const FORGET: Duration = Duration::from_secs(600);
/// Addresses remembered.
const MOST: usize = 8192;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Backoff(Arc<Mutex<Seen>>);

/// What was counted lately, in two generations: forgetting one costs no search.
#[derive(Debug)]
struct Seen {
    current: HashMap<IpAddr, u32>,
    before: HashMap<IpAddr, u32>,
    since: Instant,
}

impl Default for Backoff {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Seen {
            current: HashMap::new(),
            before: HashMap::new(),
            since: Instant::now(),
        })))
    }
}

/// Seconds to wait after so many wrong keys; `None`: it is told no more than that the key is wrong.
fn wait(wrong: u32) -> Option<u64> {
    let over = wrong.checked_sub(FREE + 1)?;
    Some(1u64.checked_shl(over).unwrap_or(LONGEST).min(LONGEST))
}

impl Seen {
    fn count(&mut self, address: IpAddr, now: Instant) -> u32 {
        if now.duration_since(self.since) >= FORGET || self.current.len() >= MOST / 2 {
            self.before = std::mem::take(&mut self.current);
            self.since = now;
        }
        let so_far = self.current.get(&address).or(self.before.get(&address));
        let wrong = so_far.copied().unwrap_or(0).saturating_add(1);
        self.current.insert(address, wrong);
        wrong
    }
}

impl Backoff {
    /// What somebody who was refused is told.
    pub(super) fn judge(&self, address: IpAddr, reason: Reason) -> Reason {
        // Who sends a key that has ended has guessed nothing.
        let is_wrong_key = matches!(
            reason,
            Reason::UnknownKey(_) | Reason::UnknownCertificate(..)
        );
        if !is_wrong_key {
            return reason;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match wait(seen.count(block(address), Instant::now())) {
            Some(retry_after) => Reason::TooManyWrongKeys { retry_after },
            None => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Scope;

    #[test]
    fn waits_grow_to_a_minute_and_the_first_mistakes_cost_none() {
        let waits: Vec<_> = (FREE..FREE + 9).map(wait).collect();
        let grown = [1, 2, 4, 8, 16, 32, 60, 60].map(Some);
        assert_eq!((waits[0], &waits[1..]), (None, &grown[..]));
        assert_eq!(wait(u32::MAX), Some(LONGEST));
    }

    #[test]
    fn wrong_keys_of_one_address_are_told_to_wait_and_other_refusals_are_not() {
        let backoff = Backoff::default();
        let at: IpAddr = "192.0.2.7".parse().unwrap();
        for _ in 0..FREE {
            assert_eq!(
                backoff.judge(at, Reason::UnknownKey(Scope::Infer)),
                Reason::UnknownKey(Scope::Infer)
            );
        }
        let told = backoff.judge(at, Reason::UnknownKey(Scope::Infer));
        assert_eq!(told, Reason::TooManyWrongKeys { retry_after: 1 });
        assert_eq!(
            backoff.judge(at, Reason::NoKey(Scope::Infer)),
            Reason::NoKey(Scope::Infer)
        );
        let other = "192.0.2.8".parse().unwrap();
        assert_eq!(
            backoff.judge(other, Reason::UnknownKey(Scope::Infer)),
            Reason::UnknownKey(Scope::Infer)
        );
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let mut seen = Seen {
            current: HashMap::new(),
            before: HashMap::new(),
            since: Instant::now(),
        };
        let began = seen.since;
        let one: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!((seen.count(one, began), seen.count(one, began)), (1, 2));
        assert_eq!(seen.count(one, began + FORGET), 3, "one generation back");
        for number in 0..3 * MOST as u32 {
            seen.count(IpAddr::V4(number.into()), began + FORGET);
            assert!(seen.current.len() + seen.before.len() <= MOST);
        }
        assert_eq!(seen.count(one, began + FORGET), 1);
    }
}
