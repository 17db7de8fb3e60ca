//! Held-out loss and accuracy of an adapter.

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use super::data::{Example, forwards};
use super::fault::Fault;
use super::learner::Learner;
use crate::adapter::Adapt;
use crate::domain::Recipe;

/// Means over all answer tokens of the held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
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
    examples: &[Example],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Score>, Fault> {
    let (mut loss, mut right, mut tokens) = (0.0, 0usize, 0usize);
    for batch in examples.chunks(recipe.batch_size) {
        let batch: Vec<&Example> = batch.iter().collect();
        for forward in forwards(&batch, recipe) {
            if !go_on() {
                return Ok(None);
            }
            let hidden = learner.learn(&forward.pack, adapters)?;
            let rows = Tensor::from_slice(&forward.rows, forward.rows.len(), hidden.device())?;
            let log_probs = learner.log_probs(&hidden.index_select(&rows, 0)?)?;
            let targets = Tensor::from_slice(
                &forward.targets,
                (forward.targets.len(), 1),
                log_probs.device(),
            )?;
            let wanted = log_probs
                .gather(&targets, 1)?
                .flatten_all()?
                .to_vec1::<f32>()?;
            loss -= wanted.into_iter().map(f64::from).sum::<f64>();
            let likeliest = log_probs.argmax(D::Minus1)?.to_vec1::<u32>()?;
            right += likeliest
                .iter()
                .zip(&forward.targets)
                .filter(|(found, wanted)| found == wanted)
                .count();
            tokens += forward.targets.len();
        }
    }
    let tokens = tokens.max(1) as f64;
    Ok(Some(Score {
        loss: loss / tokens,
        accuracy: right as f64 / tokens,
    }))
}
