//! Held-out loss and accuracy of an adapter.

use candle_core::{D, Tensor};
use serde::{Deserialize, Deserializer, Serialize};

use super::data::{Example, forwards};
use super::fault::Fault;
use super::learner::Learner;
use crate::adapter::Adapt;
use crate::domain::Recipe;

/// Rows whose log-probabilities exist at a time: a vocabulary is large.
const AT_ONCE: usize = 64;

/// Means over all answer tokens of the held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// JSON has no number for what is not finite and writes null.
    #[serde(deserialize_with = "maybe_not_finite")]
    pub loss: f64,
    /// Share of tokens that were the most likely one.
    pub accuracy: f64,
}

/// How well `adapters` predicts the answers of `examples`; `None` when `go_on`, asked before each forward, said no.
///
/// `examples` is not empty.
pub fn evaluate(
    learner: &dyn Learner,
    recipe: &Recipe,
    adapters: &dyn Adapt,
    examples: &[&Example],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Score>, Fault> {
    let (mut loss, mut right, mut tokens) = (0.0, 0usize, 0usize);
    for batch in examples.chunks(recipe.batch_size) {
        for forward in forwards(batch, recipe) {
            if !go_on() {
                return Ok(None);
            }
            let hidden = learner.learn(&forward.pack, adapters)?;
            let rows = forward.rows.chunks(AT_ONCE);
            for (rows, targets) in rows.zip(forward.targets.chunks(AT_ONCE)) {
                let rows = Tensor::from_slice(rows, rows.len(), hidden.device())?;
                let (lost, hits) = judge(learner, &hidden.index_select(&rows, 0)?, targets)?;
                loss += lost;
                right += hits;
                tokens += targets.len();
            }
        }
    }
    let tokens = tokens.max(1) as f64;
    Ok(Some(Score {
        loss: loss / tokens,
        accuracy: right as f64 / tokens,
    }))
}

/// The summed loss of some hidden rows, and how many targets were the most likely token.
fn judge(
    learner: &dyn Learner,
    hidden: &Tensor,
    targets: &[u32],
) -> Result<(f64, usize), candle_core::Error> {
    let log_probs = learner.log_probs(hidden)?;
    let column = Tensor::from_slice(targets, (targets.len(), 1), log_probs.device())?;
    let wanted = log_probs
        .gather(&column, 1)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let likeliest = log_probs.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let hits = likeliest
        .iter()
        .zip(targets)
        .filter(|(found, wanted)| found == wanted)
        .count();
    Ok((-wanted.into_iter().map(f64::from).sum::<f64>(), hits))
}

fn maybe_not_finite<'de, D: Deserializer<'de>>(reader: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::adapter::Unadapted;
    use crate::model::Pack;
    use crate::trainer::data::Sequence;
    use crate::trainer::recipe::Wishes;
    use crate::trainer::testing::{Toy, recipe};

    /// Notes the most rows it was asked about at once.
    struct Counting(Toy, Cell<usize>);

    impl Learner for Counting {
        fn parameters(&self) -> u64 {
            self.0.parameters()
        }

        fn learn(&self, pack: &Pack, adapters: &dyn Adapt) -> candle_core::Result<Tensor> {
            self.0.learn(pack, adapters)
        }

        fn token_losses(&self, hidden: &Tensor, targets: &[u32]) -> candle_core::Result<Tensor> {
            self.0.token_losses(hidden, targets)
        }

        fn log_probs(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
            self.1.set(self.1.get().max(hidden.dim(0)?));
            self.0.log_probs(hidden)
        }
    }

    #[test]
    fn a_long_answer_is_judged_in_parts_and_scored_as_a_whole() {
        let tokens: Vec<u32> = (0..150).map(|at| at * 7 % 18).collect();
        let spans = vec![1..tokens.len()];
        let long = Example {
            line: 1,
            sequences: vec![Sequence {
                tokens: tokens.clone(),
                spans,
            }],
        };
        let learner = Counting(Toy::new(), Cell::new(0));
        let recipe = recipe(Wishes::default());
        let score = evaluate(&learner, &recipe, &Unadapted, &[&long], &mut || true)
            .unwrap()
            .unwrap();
        assert_eq!(learner.1.get(), AT_ONCE);
        let pack = Pack {
            ranges: std::iter::once(0..tokens.len()).collect(),
            tokens: tokens.clone(),
            lengths: vec![],
        };
        let hidden = learner.learn(&pack, &Unadapted).unwrap();
        let asked = hidden.narrow(0, 0, tokens.len() - 1).unwrap();
        let losses = learner.token_losses(&asked, &tokens[1..]).unwrap();
        let mean = losses.mean_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((score.loss - f64::from(mean)).abs() < 1e-5, "{score:?}");
    }

    #[test]
    fn a_score_that_is_not_finite_can_be_stored() {
        let score = Score {
            loss: f64::NAN,
            accuracy: 0.0,
        };
        let stored = serde_json::to_string(&score).unwrap();
        let found: Score = serde_json::from_str(&stored).unwrap();
        assert!(found.loss.is_nan() && found.accuracy == 0.0);
    }
}
