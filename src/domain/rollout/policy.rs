//! What a canary must keep to.

use serde::{Deserialize, Serialize};

use crate::domain::{LONGEST_SPAN, Range, Reason};

/// Answers before which nothing is decided, where a policy does not say.
pub const MIN_REQUESTS: u64 = 100;
/// The same of scores.
pub const MIN_FEEDBACK: u64 = 20;

/// What is absent is not asked for. An empty one lets a canary run until somebody decides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Answers of the canary before anything is decided by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
    /// Share of answers that may fail for a fault of ours, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<f64>,
    /// 95th percentiles of the time to the first token and of whole answers, over those of stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency_ratio: Option<f64>,
    /// Loss on held-out rows, as the evaluations say, over that of stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_heldout_loss_ratio: Option<f64>,
    /// Scores of the canary before anything is decided by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_feedback: Option<u64>,
    /// Mean score over that of stable, where -1 counts as 0 and 1 as 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_score_ratio: Option<f64>,
    /// Seconds of running after which a canary that has kept to all of this takes over; never where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promote_after: Option<u64>,
}

impl Policy {
    pub const SHARE: Range = Range::between(0.0, 1.0);
    pub const RATIO: Range = Range::above(0.0).at_most(1_000.0);
    /// Answers, or scores.
    pub const MOST: u64 = 1_000_000_000;

    /// # Errors
    /// `BadField` that names the value out of range.
    pub fn check(&self) -> Result<(), Reason> {
        let numbers = [
            ("max_error_rate", self.max_error_rate, Self::SHARE),
            ("max_latency_ratio", self.max_latency_ratio, Self::RATIO),
            (
                "max_heldout_loss_ratio",
                self.max_heldout_loss_ratio,
                Self::RATIO,
            ),
            ("min_score_ratio", self.min_score_ratio, Self::RATIO),
        ];
        for (field, number, range) in numbers {
            if let Some(number) = number {
                let checked = range.check(number);
                checked.map_err(|why| Reason::field(format!("policy.{field}"), why))?;
            }
        }
        let counts = [
            ("min_requests", self.min_requests, Self::MOST),
            ("min_feedback", self.min_feedback, Self::MOST),
            ("promote_after", self.promote_after, LONGEST_SPAN),
        ];
        for (field, count, most) in counts {
            if count.is_some_and(|count| count > most) {
                let why = format!("is above {most}");
                return Err(Reason::field(format!("policy.{field}"), why));
            }
        }
        Ok(())
    }

    pub fn requests(&self) -> u64 {
        self.min_requests.unwrap_or(MIN_REQUESTS).max(1)
    }

    pub fn feedback(&self) -> u64 {
        self.min_feedback.unwrap_or(MIN_FEEDBACK).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        let ratio = |number| Policy {
            max_latency_ratio: Some(number),
            ..Policy::default()
        };
        assert_eq!(ratio(1.5).check(), Ok(()));
        for (policy, named) in [
            (ratio(0.0), "policy.max_latency_ratio"),
            (ratio(f64::NAN), "policy.max_latency_ratio"),
            (
                Policy {
                    max_error_rate: Some(1.5),
                    ..Policy::default()
                },
                "policy.max_error_rate",
            ),
            (
                Policy {
                    promote_after: Some(u64::MAX),
                    ..Policy::default()
                },
                "policy.promote_after",
            ),
        ] {
            let refused = policy.check().unwrap_err();
            assert!(matches!(refused, Reason::BadField { field, .. } if field == named));
        }
    }
}
