//! Held-out loss and accuracy of an adapter.

use serde::{Deserialize, Deserializer, Serialize};

use super::data::{Example, Sample, forwards};
use super::fault::Fault;
use super::learner::Learner;
use super::objective::{self, refer, token_losses};
use crate::adapter::Adapt;
use crate::device::{Array, Error};
use crate::domain::{Objective, Recipe};
use crate::kernels::op::Run;

/// Rows whose log-probabilities exist at a time: a vocabulary is large.
const AT_ONCE: usize = 64;

/// Means over all answer tokens of the held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// JSON has no number for what is not finite and writes null.
    #[serde(deserialize_with = "maybe_not_finite")]
    pub loss: f64,
    /// Share of tokens that were the most likely one; where answers are compared, of pairs whose better one is preferred.
    pub accuracy: f64,
}

/// How well `adapters` prefers the better answers of `examples`, against `reference`: the mean loss of a pair, and the share
/// of pairs with a margin; `None` as in [`evaluate`].
fn compare(
    learner: &dyn Learner,
    recipe: &Recipe,
    (adapters, reference): (&dyn Adapt, &dyn Adapt),
    examples: Sample<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Score>, Fault> {
    let (mut loss, mut right) = (0.0, 0.0);
    for batch in examples.batches(recipe.batch_size) {
        let batch = batch?;
        let batch: &[&Example] = &batch.iter().map(|row| &**row).collect::<Vec<_>>();
        let Some(reference) = refer(learner, recipe, (reference, None), batch, go_on)? else {
            return Ok(None);
        };
        for forward in forwards(batch, recipe, adapters.virtual_tokens()) {
            if !go_on() {
                return Ok(None);
            }
            let losses = token_losses(learner, Run::host(), &forward, adapters)?;
            let judged = objective::judge(recipe, &forward, losses.values(), &reference);
            loss += judged.loss;
            right += judged.rewards.map_or(0.0, |rewards| rewards.accuracy);
        }
    }
    let pairs = examples.count().max(1) as f64;
    Ok(Some(Score {
        loss: loss / pairs,
        accuracy: right / pairs,
    }))
}

/// How well `adapters` predicts the answers of `examples`, or which it prefers to what `reference` says; `None` when `go_on`, asked before each forward, said no.
///
/// `examples` is not empty.
pub fn evaluate(
    learner: &dyn Learner,
    recipe: &Recipe,
    (adapters, reference): (&dyn Adapt, &dyn Adapt),
    examples: Sample<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Score>, Fault> {
    if recipe.objective == Objective::Dpo {
        return compare(learner, recipe, (adapters, reference), examples, go_on);
    }
    let (mut loss, mut right, mut tokens) = (0.0, 0usize, 0usize);
    for batch in examples.batches(recipe.batch_size) {
        let batch = batch?;
        let batch: &[&Example] = &batch.iter().map(|row| &**row).collect::<Vec<_>>();
        for forward in forwards(batch, recipe, adapters.virtual_tokens()) {
            if !go_on() {
                return Ok(None);
            }
            let hidden = learner.learn(Run::host(), &forward.pack, adapters)?;
            let rows = forward.rows.chunks(AT_ONCE);
            for (rows, targets) in rows.zip(forward.targets.chunks(AT_ONCE)) {
                let rows: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
                let (lost, hits) = judge(learner, adapters, &hidden.select_rows(&rows)?, targets)?;
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
    adapters: &dyn Adapt,
    hidden: &Array,
    targets: &[u32],
) -> Result<(f64, usize), Error> {
    let log_probs = learner.log_probs(hidden, adapters)?;
    let (mut loss, mut hits) = (0.0, 0);
    let rows = log_probs.values().chunks_exact(log_probs.width().max(1));
    for (row, target) in rows.zip(targets) {
        let target = *target as usize;
        loss -= f64::from(row[target]);
        // Of equals the first is the likeliest, as when tokens are chosen.
        let is_first = row[..target].iter().all(|other| *other < row[target]);
        hits += usize::from(is_first && row[target..].iter().all(|other| *other <= row[target]));
    }
    Ok((loss, hits))
}

fn maybe_not_finite<'de, D: Deserializer<'de>>(reader: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::adapter::Unadapted;
    use crate::kernels::op::Value;
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

        fn learn<'a>(
            &'a self,
            run: Run<'_, 'a>,
            pack: &Pack,
            adapters: &'a dyn Adapt,
        ) -> Result<Value, Error> {
            self.0.learn(run, pack, adapters)
        }

        fn token_losses(
            &self,
            run: Run<'_, '_>,
            hidden: &Value,
            targets: &[u32],
            adapters: &dyn Adapt,
        ) -> Result<Value, Error> {
            self.0.token_losses(run, hidden, targets, adapters)
        }

        fn log_probs(&self, hidden: &Array, adapters: &dyn Adapt) -> Result<Array, Error> {
            self.1.set(self.1.get().max(hidden.rows()));
            self.0.log_probs(hidden, adapters)
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
            preferred: None,
        };
        let learner = Counting(Toy::new(), Cell::new(0));
        let recipe = recipe(Wishes::default());
        let score = evaluate(
            &learner,
            &recipe,
            (&Unadapted, &Unadapted),
            Sample {
                of: &[long],
                every: 1,
            },
            &mut || true,
        )
        .unwrap()
        .unwrap();
        assert_eq!(learner.1.get(), AT_ONCE);
        let pack = Pack {
            ranges: std::iter::once(0..tokens.len()).collect(),
            tokens: tokens.clone(),
            lengths: vec![],
        };
        let hidden = learner.learn(Run::host(), &pack, &Unadapted).unwrap();
        let asked: Vec<usize> = (0..tokens.len() - 1).collect();
        let asked = hidden.select_rows(&asked).unwrap().into();
        let losses = learner
            .token_losses(Run::host(), &asked, &tokens[1..], &Unadapted)
            .unwrap();
        let mean = losses.values().iter().sum::<f32>() / losses.len() as f32;
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
