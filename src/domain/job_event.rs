//! The events of a job. An event's data is stored and sent as one JSON object.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::JobId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warn, Self::Error];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct JobEvent {
    /// Grows by one with every event of every job; the paging cursor.
    pub seq: i64,
    pub job: JobId,
    /// Unix seconds.
    pub created_at: i64,
    pub level: Level,
    pub message: String,
    pub data: EventData,
}

/// Told apart by their fields, so the order matters: each refuses what one below it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventData {
    /// The message says it all: a warning, a change of status, the end.
    Message(NoData),
    /// A checkpoint was written.
    Checkpoint(CheckpointWritten),
    /// Held-out rows were scored.
    Evaluation(Evaluation),
    /// What held-out rows say of all of it.
    Summary(Summary),
    /// A step was done. Fields that another version added are left out.
    Step(StepMetrics),
    /// What another version of this program wrote.
    Unknown(serde_json::Value),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoData {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointWritten {
    pub step: u64,
}

/// Numbers that are not finite are null.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// 0: before training.
    pub step: u64,
    pub valid_loss: Option<f64>,
    pub valid_mean_token_accuracy: Option<f64>,
}

/// Before training (the base, or the adapter that was continued) and after it (what is published).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub held_out_rows: u64,
    /// After which the held-out loss was lowest.
    pub best_step: Option<u64>,
    pub before: Option<HeldOut>,
    pub after: Option<HeldOut>,
    /// Some of the rows.
    pub examples: Vec<AnsweredRow>,
    /// Why the result is kept and not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// Numbers that are not finite are null.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    pub loss: Option<f64>,
    /// Share of the tokens that were the likeliest.
    pub accuracy: Option<f64>,
}

/// A held-out row and what was answered to it, greedily. Long texts are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnsweredRow {
    pub prompt: String,
    pub expected: String,
    pub before: String,
    pub after: String,
}

/// Numbers that are not finite are null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    pub step: u64,
    pub train_loss: Option<f64>,
    pub learning_rate: f64,
    /// Before clipping.
    pub grad_norm: Option<f64>,
    pub tokens: u64,
    pub tokens_per_second: f64,
    /// `None` where nothing scales the loss.
    pub loss_scale: Option<f64>,
    /// Rows from before this was recorded have it not.
    #[serde(default)]
    pub skipped: bool,
    /// Where answers are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewards: Option<Rewards>,
}

/// How much likelier answers have become than under the reference, times beta: means over the pairs of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rewards {
    pub chosen: f64,
    pub rejected: f64,
    /// The first less the second.
    pub margin: f64,
    /// Share of pairs with a margin above 0.
    pub accuracy: f64,
}

impl Rewards {
    pub fn is_finite(&self) -> bool {
        [self.chosen, self.rejected, self.margin, self.accuracy]
            .iter()
            .all(|number| number.is_finite())
    }

    pub fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.rejected += other.rejected;
        self.margin += other.margin;
        self.accuracy += other.accuracy;
    }

    pub fn times(self, share: f64) -> Self {
        Self {
            chosen: share * self.chosen,
            rejected: share * self.rejected,
            margin: share * self.margin,
            accuracy: share * self.accuracy,
        }
    }
}

impl EventData {
    pub const fn none() -> Self {
        Self::Message(NoData {})
    }

    /// As protocols name the sort of event.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Step(_) => "metrics",
            _ => "message",
        }
    }
}

/// The JSON.
impl fmt::Display for EventData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_the_json_that_rows_and_clients_have() {
        let step = StepMetrics {
            step: 4,
            train_loss: Some(0.1 + 0.2),
            learning_rate: 1e-3,
            grad_norm: None,
            tokens: 30,
            tokens_per_second: 100.0,
            loss_scale: None,
            skipped: true,
            rewards: None,
        };
        let compared = StepMetrics {
            rewards: Some(Rewards {
                chosen: 0.5,
                rejected: -0.25,
                margin: 0.75,
                accuracy: 1.0,
            }),
            ..step
        };
        let evaluation = Evaluation {
            step: 0,
            valid_loss: Some(1.5),
            valid_mean_token_accuracy: Some(1.0),
        };
        for (data, json) in [
            (EventData::none(), "{}"),
            (
                EventData::Checkpoint(CheckpointWritten { step: 7 }),
                r#"{"step":7}"#,
            ),
            (
                EventData::Evaluation(evaluation),
                r#"{"step":0,"valid_loss":1.5,"valid_mean_token_accuracy":1.0}"#,
            ),
            (
                EventData::Step(step),
                r#"{"step":4,"train_loss":0.30000000000000004,"learning_rate":0.001,"grad_norm":null,"tokens":30,"tokens_per_second":100.0,"loss_scale":null,"skipped":true}"#,
            ),
            (
                EventData::Step(compared),
                r#"{"step":4,"train_loss":0.30000000000000004,"learning_rate":0.001,"grad_norm":null,"tokens":30,"tokens_per_second":100.0,"loss_scale":null,"skipped":true,"rewards":{"chosen":0.5,"rejected":-0.25,"margin":0.75,"accuracy":1.0}}"#,
            ),
            (
                EventData::Summary(Summary {
                    held_out_rows: 2,
                    best_step: Some(7),
                    before: None,
                    after: Some(HeldOut {
                        loss: Some(0.5),
                        accuracy: None,
                    }),
                    examples: vec![AnsweredRow {
                        prompt: "1+1".into(),
                        expected: "2".into(),
                        before: "3".into(),
                        after: "2".into(),
                    }],
                    withheld: None,
                }),
                r#"{"held_out_rows":2,"best_step":7,"before":null,"after":{"loss":0.5,"accuracy":null},"examples":[{"prompt":"1+1","expected":"2","before":"3","after":"2"}]}"#,
            ),
            (
                EventData::Unknown(serde_json::json!({"later": 1, "step": 2})),
                r#"{"later":1,"step":2}"#,
            ),
        ] {
            assert_eq!(data.to_string(), json);
            assert_eq!(serde_json::from_str::<EventData>(json).unwrap(), data);
        }
    }

    #[test]
    fn a_step_of_a_later_version_is_read_as_one_without_its_new_fields() {
        let later = r#"{"step":4,"train_loss":2.0,"learning_rate":0.001,"grad_norm":0.5,"tokens":30,"tokens_per_second":9.0,"loss_scale":null,"skipped":false,"later":1}"#;
        let data: EventData = serde_json::from_str(later).unwrap();
        let EventData::Step(step) = data else {
            panic!("{data:?}")
        };
        assert_eq!((step.step, step.train_loss), (4, Some(2.0)));
    }

    #[test]
    fn a_step_of_the_first_release_is_read_as_one() {
        let old = r#"{"step":4,"train_loss":null,"learning_rate":0.001,"grad_norm":0.5,"tokens":30,"tokens_per_second":9.0,"loss_scale":1.0}"#;
        let data: EventData = serde_json::from_str(old).unwrap();
        assert_eq!(data.kind(), "metrics");
        let EventData::Step(step) = data else {
            panic!("{data:?}")
        };
        assert_eq!((step.train_loss, step.loss_scale), (None, Some(1.0)));
        assert!(!step.skipped);
    }
}
