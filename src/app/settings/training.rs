//! How jobs wait, and what training may have while requests run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::device::Sharing;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Jobs that may wait.
    pub max_queued: usize,
    /// Jobs that train at the same time.
    pub parallel_jobs: usize,
    /// Milliseconds between two tokens of an answer that training may make of them; 0 keeps near what serving has alone.
    pub max_inter_token_ms: f64,
    /// Of the time, for training, under any load.
    pub min_share: f64,
    /// Of the time, for training, at most while requests run. When none does, training has all of it.
    pub max_share: f64,
}

/// More would only take turns.
const MOST_JOBS: usize = 16;
/// A pause that nobody who reads an answer would take for one.
const LONGEST_TARGET_MS: f64 = 10_000.0;

impl Default for Training {
    fn default() -> Self {
        let Sharing {
            min_share,
            max_share,
            ..
        } = Sharing::default();
        Self {
            max_queued: 100,
            parallel_jobs: 1,
            max_inter_token_ms: 0.0,
            min_share,
            max_share,
        }
    }
}

impl Training {
    pub fn sharing(&self) -> Sharing {
        let target = Some(self.max_inter_token_ms).filter(|ms| *ms > 0.0);
        Sharing {
            longest_gap: target.map(|ms| Duration::from_secs_f64(ms / 1e3)),
            min_share: self.min_share,
            max_share: self.max_share,
        }
    }

    /// `(key, why)`
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let jobs = self.parallel_jobs;
        if !(1..=MOST_JOBS).contains(&jobs) {
            let why = format!("{jobs} is not within 1 to {MOST_JOBS}");
            found.push(("training.parallel_jobs", why));
        }
        let target = self.max_inter_token_ms;
        if target != 0.0 && !(0.1..=LONGEST_TARGET_MS).contains(&target) {
            let why = format!("{target} is neither 0 nor within 0.1 to {LONGEST_TARGET_MS}");
            found.push(("training.max_inter_token_ms", why));
        }
        for (key, share) in [
            ("training.min_share", self.min_share),
            ("training.max_share", self.max_share),
        ] {
            if !(0.0..=0.95).contains(&share) {
                found.push((key, format!("{share} is not within 0 to 0.95")));
            }
        }
        if self.min_share > self.max_share {
            let why = format!("more than a max_share of {}", self.max_share);
            found.push(("training.min_share", why));
        }
        found
    }

    /// What training may do to the gaps between tokens, in words.
    pub fn promise(&self) -> String {
        let (least, most) = (100.0 * self.min_share, 100.0 * self.max_share);
        let gap = match self.max_inter_token_ms {
            0.0 => "near what serving has alone".to_owned(),
            target => format!("within {target} ms where serving alone is"),
        };
        format!(
            "all of an idle machine; {least:.0} to {most:.0} % beside requests, gaps between tokens {gap}, never a pause over {} ms for what is owed",
            Sharing::LONGEST_PAUSE.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_a_target_are_checked() {
        assert_eq!(Training::default().mistakes(), []);
        assert_eq!(Training::default().sharing(), Sharing::default());
        let wrong = Training {
            max_inter_token_ms: -1.0,
            min_share: 0.5,
            max_share: 0.25,
            ..Training::default()
        };
        let keys: Vec<_> = wrong.mistakes().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["training.max_inter_token_ms", "training.min_share"]);
        let jobs = |parallel_jobs| Training {
            parallel_jobs,
            ..Training::default()
        };
        assert_eq!(jobs(2).mistakes(), []);
        for wrong in [0, 17] {
            assert_eq!(jobs(wrong).mistakes()[0].0, "training.parallel_jobs");
        }
        let nan = Training {
            max_share: f64::NAN,
            ..Training::default()
        };
        assert_eq!(nan.mistakes()[0].0, "training.max_share");
        let target = Training {
            max_inter_token_ms: 30.0,
            ..Training::default()
        };
        assert_eq!(
            target.sharing().longest_gap,
            Some(Duration::from_millis(30))
        );
        assert!(target.promise().contains("within 30 ms"));
    }
}
