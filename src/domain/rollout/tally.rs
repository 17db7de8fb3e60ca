//! What is counted of a generation's answers.

use serde::{Deserialize, Serialize};

use super::Histogram;
use crate::domain::Reason;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// For a fault of ours.
    Failed,
    /// Its reader went away, or something else than the adapter ended it.
    Left,
}

impl Outcome {
    pub const ALL: [Self; 3] = [Self::Answered, Self::Failed, Self::Left];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::Failed => "error",
            Self::Left => "left",
        }
    }

    /// Of an answer that failed: whether the generation may be to blame. What a caller asks wrongly, a slow reader, an end of
    /// the process or of a key and a full machine say nothing about it.
    pub fn of(reason: &Reason) -> Self {
        match reason {
            Reason::Internal(_)
            | Reason::Storage(_)
            | Reason::EngineDown(_)
            | Reason::AdapterInvalid { .. } => Self::Failed,
            _ => Self::Left,
        }
    }
}

/// Of one generation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Answers that ended by themselves or failed.
    pub requests: u64,
    pub errors: u64,
    pub first_token: Histogram,
    pub duration: Histogram,
    pub scores: u64,
    /// Each from 0 to 1.
    pub score_sum: f64,
}

/// A score from -1 to 1, from 0 to 1.
pub fn of_score(score: f64) -> f64 {
    (score.clamp(-1.0, 1.0) + 1.0) / 2.0
}

impl Tally {
    /// Both in seconds from the arrival of the request.
    pub fn ended(&mut self, outcome: Outcome, first_token: Option<f64>, duration: f64) {
        match outcome {
            Outcome::Left => return,
            Outcome::Failed => self.errors += 1,
            Outcome::Answered => {
                self.duration.add(duration);
                if let Some(seconds) = first_token {
                    self.first_token.add(seconds);
                }
            }
        }
        self.requests += 1;
    }

    pub fn scored(&mut self, score: f64) {
        self.scores += 1;
        self.score_sum += of_score(score);
    }

    /// Somebody thinks otherwise than before.
    pub fn rescored(&mut self, before: f64, score: f64) {
        match self.scores {
            // It was given before anything was counted.
            0 => self.scored(score),
            _ => self.score_sum += of_score(score) - of_score(before),
        }
    }

    pub fn error_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }

    /// From 0 to 1.
    pub fn mean_score(&self) -> Option<f64> {
        (self.scores > 0).then(|| self.score_sum / self.scores as f64)
    }

    pub fn view(&self, heldout_loss: Option<f64>) -> ArmView {
        ArmView {
            requests: self.requests,
            errors: self.errors,
            error_rate: self.error_rate(),
            first_token_p50: self.first_token.quantile(0.5),
            first_token_p95: self.first_token.quantile(0.95),
            duration_p50: self.duration.quantile(0.5),
            duration_p95: self.duration.quantile(0.95),
            feedback: self.scores,
            mean_score: self.mean_score().map(|mean| 2.0 * mean - 1.0),
            heldout_loss,
        }
    }
}

/// How an answer of a shadow compares with the one that was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    pub equal: bool,
    /// Tokens to change over the tokens of the longer one, 0 to 1.
    pub distance: f64,
    /// Mean log-probability of the sent answer's tokens under the shadow.
    pub logprob: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShadowTally {
    pub compared: u64,
    /// Not run, or given up, because others needed the machine.
    pub dropped: u64,
    pub failed: u64,
    pub equal: u64,
    pub distance_sum: f64,
    pub scored: u64,
    pub logprob_sum: f64,
}

impl ShadowTally {
    pub fn compared(&mut self, comparison: &Comparison) {
        self.compared += 1;
        self.equal += u64::from(comparison.equal);
        self.distance_sum += comparison.distance;
        if let Some(logprob) = comparison.logprob {
            self.scored += 1;
            self.logprob_sum += logprob;
        }
    }

    pub fn view(&self) -> ShadowCountsView {
        let mean = |sum: f64, of: u64| (of > 0).then(|| sum / of as f64);
        ShadowCountsView {
            compared: self.compared,
            dropped: self.dropped,
            failed: self.failed,
            equal_rate: mean(self.equal as f64, self.compared),
            mean_edit_distance: mean(self.distance_sum, self.compared),
            mean_logprob: mean(self.logprob_sum, self.scored),
        }
    }
}

/// All that is counted of a route, and for how long a canary has run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watched {
    pub stable: Tally,
    pub canary: Tally,
    pub shadow: ShadowTally,
    /// Seconds, those of a stopped process left out.
    pub elapsed: f64,
}

/// Of one generation, as callers see it. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmView {
    pub requests: u64,
    pub errors: u64,
    pub error_rate: Option<f64>,
    pub first_token_p50: Option<f64>,
    pub first_token_p95: Option<f64>,
    pub duration_p50: Option<f64>,
    pub duration_p95: Option<f64>,
    pub feedback: u64,
    /// From -1 to 1.
    pub mean_score: Option<f64>,
    pub heldout_loss: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowCountsView {
    pub compared: u64,
    pub dropped: u64,
    pub failed: u64,
    pub equal_rate: Option<f64>,
    pub mean_edit_distance: Option<f64>,
    pub mean_logprob: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountsView {
    pub stable: ArmView,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<ArmView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowCountsView>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Scope;

    #[test]
    fn only_what_a_generation_may_be_to_blame_for_counts_as_its_error() {
        let faults = [
            Reason::Internal("x".into()),
            Reason::Storage("x".into()),
            Reason::adapter("file", "is damaged"),
        ];
        assert!(
            faults
                .iter()
                .all(|fault| Outcome::of(fault) == Outcome::Failed)
        );
        let others = [
            Reason::field("prompt", "x"),
            Reason::DeadlineExceeded,
            Reason::Draining,
            Reason::SlowReader { events: 9 },
            Reason::KeyEnded("was revoked", Scope::Infer),
            Reason::Overloaded { retry_after: 1 },
        ];
        assert!(
            others
                .iter()
                .all(|other| Outcome::of(other) == Outcome::Left)
        );
    }

    #[test]
    fn answers_that_nobody_waited_for_are_not_counted() {
        let mut tally = Tally::default();
        tally.ended(Outcome::Left, Some(0.1), 9.0);
        assert_eq!(tally, Tally::default());
        tally.ended(Outcome::Answered, Some(0.1), 1.0);
        tally.ended(Outcome::Failed, None, 1.0);
        assert_eq!((tally.requests, tally.errors), (2, 1));
        assert_eq!((tally.duration.count(), tally.error_rate()), (1, Some(0.5)));
    }

    #[test]
    fn scores_are_shown_as_they_are_given() {
        let mut tally = Tally::default();
        for score in [1.0, -1.0, 0.5, 7.0] {
            tally.scored(score);
        }
        assert_eq!(tally.view(None).mean_score, Some(0.375));
    }

    #[test]
    fn what_an_earlier_release_stored_is_read() {
        let read: Watched = serde_json::from_str(r#"{"elapsed":3.5}"#).unwrap();
        assert_eq!((read.elapsed, read.canary.requests), (3.5, 0));
    }
}
