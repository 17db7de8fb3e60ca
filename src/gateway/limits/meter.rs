//! The counts of one key or one adapter.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::{Full, Left, Limit, LimitReached, Rates, Stamp, Standing, Window};

/// When a caller may look again whether fewer requests are answered at once.
const COME_BACK: Duration = Duration::from_secs(1);

/// What was asked lately, and what is being answered.
pub struct Meter {
    /// Times are since then.
    began: Instant,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: Window,
    tokens: Window,
    running: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            counts: Mutex::default(),
        }
    }
}

impl Meter {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request with so many tokens, or says which limit it met, without whose that is.
    pub fn take(
        self: &Arc<Self>,
        rates: &Rates,
        tokens: u64,
        now: Instant,
    ) -> Result<Taken, LimitReached> {
        let now = now.saturating_duration_since(self.began);
        let mut counts = self.counts();
        counts.check(rates, tokens, now)?;
        // What has no limit is not counted.
        let requests = rates
            .requests_per_minute
            .map(|_| counts.requests.add(now, 1));
        let stamp = rates
            .tokens_per_minute
            .map(|_| counts.tokens.add(now, tokens));
        counts.running += 1;
        drop(counts);
        Ok(Taken {
            meter: self.clone(),
            requests,
            tokens: stamp.map(|stamp| (stamp, tokens)),
            begun: AtomicBool::new(false),
        })
    }

    /// Whether it would count a request that has no tokens.
    pub fn check(&self, rates: &Rates, now: Instant) -> Result<(), LimitReached> {
        let now = now.saturating_duration_since(self.began);
        self.counts().check(rates, 0, now)
    }

    pub fn standing(&self, rates: &Rates, now: Instant) -> Standing {
        let now = now.saturating_duration_since(self.began);
        let mut counts = self.counts();
        Standing {
            requests: rates
                .requests_per_minute
                .map(|most| left(&mut counts.requests, most, now)),
            tokens: rates
                .tokens_per_minute
                .map(|most| left(&mut counts.tokens, most, now)),
        }
    }

    /// Whether nothing counts any more.
    pub fn is_idle(&self) -> bool {
        let now = self.began.elapsed();
        let mut counts = self.counts();
        counts.running + counts.requests.used(now) + counts.tokens.used(now) == 0
    }
}

fn left(window: &mut Window, most: u64, now: Duration) -> Left {
    Left {
        most,
        remaining: most.saturating_sub(window.used(now)),
        resets: window.empty_in(now),
    }
}

impl Counts {
    /// Of several limits that are met the one that is told is the one that is met longest.
    fn check(&mut self, rates: &Rates, tokens: u64, now: Duration) -> Result<(), LimitReached> {
        let mut met: Option<LimitReached> = None;
        let mut meet = |limit, most, used, asked, resets: Option<Duration>| {
            // Waiting for ever is longest.
            let longer = |met: &LimitReached| match (met.resets, resets) {
                (Some(before), Some(now)) => now > before,
                (before, _) => before.is_some(),
            };
            if met.as_ref().is_none_or(longer) {
                met = Some(LimitReached {
                    limit,
                    of: String::new(),
                    most,
                    used,
                    asked,
                    resets,
                });
            }
        };
        for (limit, most, asked, window) in [
            (
                Limit::Requests,
                rates.requests_per_minute,
                1,
                &mut self.requests,
            ),
            (
                Limit::Tokens,
                rates.tokens_per_minute,
                tokens,
                &mut self.tokens,
            ),
        ] {
            let Some(most) = most else { continue };
            if let Err(full) = window.fits(now, asked, most) {
                let resets = match full {
                    Full::Later(wait) => Some(wait),
                    Full::Never => None,
                };
                meet(limit, most, window.used(now), asked, resets);
            }
        }
        if let Some(most) = rates.concurrent
            && self.running >= most
        {
            meet(Limit::Concurrent, most, self.running, 1, Some(COME_BACK));
        }
        met.map_or(Ok(()), Err)
    }
}

/// A request that is counted. What it holds it gives back when dropped: its place among those answered at once, and all
/// of it where it was never begun.
pub struct Taken {
    meter: Arc<Meter>,
    requests: Option<Stamp>,
    tokens: Option<(Stamp, u64)>,
    begun: AtomicBool,
}

impl Taken {
    /// From now on it counts, whatever becomes of it.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    /// Gives back what it did not need of its tokens. What was never begun gives back all of them anyway.
    pub fn settle(&self, used: u64) {
        if let Some((stamp, reserved)) = self.tokens
            && self.begun.load(Ordering::Acquire)
        {
            let unused = reserved.saturating_sub(used);
            self.meter.counts().tokens.give_back(stamp, unused);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut counts = self.meter.counts();
        counts.running -= 1;
        if self.begun.load(Ordering::Acquire) {
            return;
        }
        if let Some(stamp) = self.requests {
            counts.requests.give_back(stamp, 1);
        }
        if let Some((stamp, reserved)) = self.tokens {
            counts.tokens.give_back(stamp, reserved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(requests: u64, tokens: u64, concurrent: u64) -> Rates {
        Rates {
            requests_per_minute: Some(requests),
            tokens_per_minute: Some(tokens),
            concurrent: Some(concurrent),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_fifty_that_race_exactly_as_many_are_let_in_as_may() {
        for limits in [
            rates(7, 1000, 1000),
            rates(1000, 79, 1000),
            rates(1000, 1000, 7),
        ] {
            let meter = Arc::new(Meter::default());
            let racers = (0..50).map(|_| {
                let meter = meter.clone();
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    let taken = meter.take(&limits, 10, Instant::now());
                    taken.inspect(Taken::begin)
                })
            });
            let racers: Vec<_> = racers.collect();
            // Held to the end of the race, or else a place would become free.
            let mut taken = Vec::new();
            for racer in racers {
                taken.extend(racer.await.unwrap());
            }
            assert_eq!(taken.len(), 7, "{limits:?}");
        }
    }

    #[test]
    fn what_is_not_used_is_given_back_and_a_place_with_the_end() {
        let (meter, limits, now) = (Arc::new(Meter::default()), rates(9, 100, 1), Instant::now());
        let first = meter.take(&limits, 90, now).unwrap();
        first.begin();
        let met = meter.take(&limits, 20, now).map(drop).unwrap_err();
        assert_eq!((met.limit, met.used, met.asked), (Limit::Tokens, 90, 20));
        first.settle(30);
        let met = meter.take(&limits, 20, now).map(drop).unwrap_err();
        assert_eq!(
            (met.limit, met.resets),
            (Limit::Concurrent, Some(COME_BACK))
        );
        drop(first);
        let left = meter.standing(&limits, now).tokens.unwrap();
        assert_eq!((left.most, left.remaining), (100, 70));
        drop(meter.take(&limits, 70, now).unwrap());
        let left = meter.standing(&limits, now);
        assert_eq!(left.tokens.unwrap().remaining, 70, "it was never begun");
        assert_eq!(left.requests.unwrap().remaining, 8);
        let met = meter.take(&limits, 101, now).map(drop).unwrap_err();
        assert_eq!((met.limit, met.resets), (Limit::Tokens, None));
    }

    #[test]
    fn a_request_is_admitted_in_microseconds_beside_ten_thousand_keys() {
        let limits = rates(1 << 40, 1 << 40, 1 << 40);
        let meters: Vec<Arc<Meter>> = (0..10_000).map(|_| Arc::default()).collect();
        let began = Instant::now();
        for _ in 0..5 {
            for meter in &meters {
                let taken = meter.take(&limits, 100, Instant::now()).unwrap();
                taken.begin();
                taken.settle(50);
            }
        }
        // Far more than it takes, as machines are busy.
        let each = began.elapsed() / 50_000;
        assert!(each < Duration::from_micros(50), "{each:?}");
    }
}
