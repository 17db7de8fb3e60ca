//! Durations, counted in buckets whose bounds grow by a fourth root of 2 each: from a millisecond to a quarter of an hour
//! within a fifth of the truth, in a few hundred bytes.

use serde::{Deserialize, Serialize};

/// Upper bound of the first bucket, in seconds.
const FIRST: f64 = 0.001;
const BUCKETS: usize = 80;
/// Buckets in which a duration doubles.
const DOUBLES: f64 = 4.0;

/// Counts of buckets, as far as any are in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(Vec<u64>);

impl Histogram {
    pub fn add(&mut self, seconds: f64) {
        let at = bucket(seconds);
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] += 1;
    }

    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration that the share `q` of all stays below; `None` without any.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let wanted = q.clamp(0.0, 1.0) * all as f64;
        let mut below = 0.0;
        let mut last = 0;
        for (at, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if below + count >= wanted {
                let inside = ((wanted - below) / count).clamp(0.0, 1.0);
                return Some(bound(at as f64 - 1.0 + inside));
            }
            below += count;
            last = at;
        }
        Some(bound(last as f64))
    }
}

/// Of a place between buckets, in seconds.
fn bound(at: f64) -> f64 {
    FIRST * (at / DOUBLES).exp2()
}

fn bucket(seconds: f64) -> usize {
    if seconds <= FIRST || seconds.is_nan() {
        return 0;
    }
    // Saturates where it is beyond every bucket.
    let at = (DOUBLES * (seconds / FIRST).log2()).ceil() as usize;
    at.min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let mut all = Histogram::default();
        assert_eq!(all.quantile(0.5), None);
        (1..=1000).for_each(|ms| all.add(f64::from(ms) / 1000.0));
        for (q, truth) in [(0.5, 0.5), (0.95, 0.95), (0.1, 0.1)] {
            let found = all.quantile(q).unwrap();
            assert!((found / truth).log2().abs() < 0.25, "{q}: {found}");
        }
        assert_eq!(all.count(), 1000);
    }

    #[test]
    fn what_is_shorter_or_longer_than_every_bucket_is_counted_at_the_ends() {
        let mut ends = Histogram::default();
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            ends.add(seconds);
        }
        assert_eq!((ends.count(), ends.0.len()), (5, BUCKETS));
        assert!(ends.quantile(0.0).unwrap() <= FIRST);
        assert!(ends.quantile(1.0).unwrap() > 600.0);
    }
}
