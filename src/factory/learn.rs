//! Batches through the model that is being learned.

use std::collections::HashMap;
use std::ops::Range;

use crate::adapter::Unadapted;
use crate::device::{Array, Device, Result};
use crate::kernels::linear::Lookup;
use crate::kernels::op::Run;
use crate::kernels::tape::{ParameterId, Tape};
use crate::model::{Model, Pack};

/// Records end to end, and the tokens to be predicted.
#[derive(Debug, Clone, Default)]
pub struct TrainingBatch {
    pub tokens: Vec<u32>,
    pub records: Vec<Range<usize>>,
    /// Flat rows from which the next token of the same record is to be predicted.
    pub rows: Vec<usize>,
}

impl TrainingBatch {
    fn pack(&self) -> Pack {
        Pack {
            tokens: self.tokens.clone(),
            ranges: self.records.clone(),
            lengths: Vec::new(),
        }
    }

    /// The tokens to be predicted at `rows`.
    fn targets(&self) -> Vec<u32> {
        self.rows.iter().map(|row| self.tokens[row + 1]).collect()
    }
}

/// Mean loss over the predicted tokens, and its gradients.
pub fn learn(model: &Model, batch: &TrainingBatch) -> Result<(f32, HashMap<ParameterId, Array>)> {
    let tape = Tape::new(&Device::Host);
    let run = tape.run();
    let hidden = model.learn(run, &batch.pack(), &Unadapted)?;
    let rows = batch.rows.iter().map(|row| *row as u32).collect();
    let asked = run.op(Lookup(rows), &[&hidden])?;
    let losses = model.token_losses(run, &asked, &batch.targets(), &Unadapted)?;
    let share = 1.0 / losses.len().max(1) as f32;
    let sum: f64 = losses.values().iter().copied().map(f64::from).sum();
    let mut gradients = HashMap::new();
    let seed = Array::new(vec![share; losses.len()], losses.dims())?;
    tape.backward(&losses, seed, &mut gradients)?;
    Ok((sum as f32 * share, gradients))
}

/// Whether the likeliest token is the right one, for each predicted token.
pub fn right(model: &Model, batch: &TrainingBatch) -> Result<Vec<bool>> {
    let hidden = model.learn(Run::host(), &batch.pack(), &Unadapted)?;
    let scores = model.log_probs(&hidden.select_rows(&batch.rows)?, &Unadapted)?;
    let rows = scores.values().chunks_exact(scores.width().max(1));
    let right = rows.zip(batch.targets()).map(|(row, target)| {
        let target = target as usize;
        let others = row.iter().enumerate().filter(|(at, _)| *at != target);
        { others }.all(|(_, score)| *score < row[target])
    });
    Ok(right.collect())
}
