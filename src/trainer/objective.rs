//! objective: what the losses of tokens add up to, and how much each of them counts.

use super::data::{Example, Forward, forwards};
use super::fault::Fault;
use super::learner::Learner;
use crate::adapter::Adapt;
use crate::device::{Error, Half};
use crate::domain::{Objective, Recipe, Rewards};
use crate::kernels::op::{Run, Value};

/// What a forward adds to a step: the sum of its losses, and the gradient of that for each token's loss.
#[derive(Debug)]
pub struct Judged {
    pub loss: f64,
    pub gradients: Vec<f32>,
    /// Of objectives that compare answers: sums over pairs.
    pub rewards: Option<Rewards>,
}

/// Sums of token log-probabilities of both answers, by example of a batch; empty where nothing is compared.
pub type Reference = Vec<[f64; 2]>;

/// What a batch's losses are divided by: its trained tokens, or its pairs.
pub fn units(recipe: &Recipe, batch: &[&Example]) -> usize {
    match recipe.objective {
        Objective::Sft => batch.iter().map(|example| example.trained()).sum(),
        Objective::Dpo => batch.len(),
    }
}

/// What `adapters`, which do not learn, say of a batch whose answers are compared, in the numbers of `half`. `None` when
/// `go_on`, asked before each forward, said no.
pub fn refer(
    learner: &dyn Learner,
    recipe: &Recipe,
    (adapters, half): (&dyn Adapt, Option<Half>),
    batch: &[&Example],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Reference>, Fault> {
    if recipe.objective == Objective::Sft {
        return Ok(Some(Reference::new()));
    }
    let mut sums = vec![[0.0; 2]; batch.len()];
    for forward in forwards(batch, recipe, adapters.virtual_tokens()) {
        if !go_on() {
            return Ok(None);
        }
        let run = Run::host().rounding(half);
        let losses = token_losses(learner, run, &forward, adapters)?;
        for pair in &forward.pairs {
            let of =
                |range: &std::ops::Range<usize>| log_probability(&losses.values()[range.clone()]);
            sums[pair.example] = [of(&pair.chosen), of(&pair.rejected)];
        }
    }
    Ok(Some(sums))
}

/// Cross entropy (natural log) of each trained token of a forward: [R, 1].
pub fn token_losses<'a>(
    learner: &'a dyn Learner,
    run: Run<'_, 'a>,
    forward: &Forward,
    adapters: &'a dyn Adapt,
) -> Result<Value, Error> {
    let hidden = learner.learn(run, &forward.pack, adapters)?;
    let asked = run.op(
        crate::kernels::linear::Lookup(forward.rows.as_slice().into()),
        &[&hidden],
    )?;
    drop(hidden);
    learner.token_losses(run, &asked, &forward.targets, adapters)
}

/// Of a whole answer, from the losses of its tokens.
fn log_probability(losses: &[f32]) -> f64 {
    -losses.iter().copied().map(f64::from).sum::<f64>()
}

/// Judges the token losses of a forward.
pub fn judge(recipe: &Recipe, forward: &Forward, losses: &[f32], reference: &Reference) -> Judged {
    match recipe.objective {
        Objective::Sft => Judged {
            loss: losses.iter().copied().map(f64::from).sum(),
            gradients: vec![1.0; losses.len()],
            rewards: None,
        },
        Objective::Dpo => preferred(recipe.dpo_beta, forward, losses, reference),
    }
}

/// Direct preference optimization (Rafailov et al., 2023, arXiv:2305.18290, equation 7): -ln σ(β m) for the margin m, by
/// how much more the better answer has become likelier than the other, against the reference.
fn preferred(beta: f64, forward: &Forward, losses: &[f32], reference: &Reference) -> Judged {
    let (mut loss, mut rewards) = (0.0, Rewards::default());
    let mut gradients = vec![0.0; losses.len()];
    for pair in &forward.pairs {
        let [chosen, rejected] = reference[pair.example];
        let chosen = beta * (log_probability(&losses[pair.chosen.clone()]) - chosen);
        let rejected = beta * (log_probability(&losses[pair.rejected.clone()]) - rejected);
        let margin = chosen - rejected;
        // ln(1 + e^-m), without a large power.
        loss += (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
        let slope = (beta / (1.0 + margin.exp())) as f32;
        // A token's loss is the negative of its log-probability.
        gradients[pair.chosen.clone()].fill(slope);
        gradients[pair.rejected.clone()].fill(-slope);
        rewards.add(&Rewards {
            chosen,
            rejected,
            margin,
            accuracy: f64::from(u8::from(margin > 0.0)),
        });
    }
    Judged {
        loss,
        gradients,
        rewards: Some(rewards),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::data::Pair;
    use crate::trainer::recipe::Wishes;
    use crate::trainer::testing::recipe;

    fn forward() -> Forward {
        Forward {
            pairs: vec![
                Pair {
                    example: 1,
                    chosen: 0..2,
                    rejected: 2..5,
                },
                Pair {
                    example: 0,
                    chosen: 5..6,
                    rejected: 6..7,
                },
            ],
            ..Forward::default()
        }
    }

    #[test]
    fn gradients_of_preferences_follow_differences() {
        let recipe = recipe(Wishes {
            objective: Some(Objective::Dpo),
            dpo_beta: Some(0.4),
            ..Wishes::default()
        });
        let losses = [0.5, 1.5, 0.25, 2.0, 1.0, 0.75, 3.0f32];
        let reference = vec![[-1.0, -2.5], [-1.75, -3.5]];
        let loss = |losses: &[f32]| judge(&recipe, &forward(), losses, &reference).loss;
        let judged = judge(&recipe, &forward(), &losses, &reference);
        for at in 0..losses.len() {
            let moved = |by: f32| {
                let mut losses = losses;
                losses[at] += by;
                loss(&losses)
            };
            let slope = (moved(0.01) - moved(-0.01)) / 0.02;
            let found = f64::from(judged.gradients[at]);
            assert!((slope - found).abs() < 1e-4, "{at}: {slope} and {found}");
        }
        // -2 + 1.75 and -3.25 + 3.5 of the first, -0.75 + 1 and -3 + 2.5 of the second.
        let rewards = judged.rewards.unwrap();
        assert!((rewards.chosen - 0.4 * (-0.25 + 0.25)).abs() < 1e-6);
        assert!((rewards.rejected - 0.4 * (0.25 - 0.5)).abs() < 1e-6);
        assert_eq!(rewards.accuracy, 1.0);
    }

    #[test]
    fn a_policy_that_is_its_reference_loses_ln_2_a_pair_and_prefers_nothing() {
        let recipe = recipe(Wishes {
            objective: Some(Objective::Dpo),
            ..Wishes::default()
        });
        let losses = [0.5, 1.5, 0.25, 2.0, 1.0, 0.75, 3.0f32];
        let reference = vec![[-0.75, -3.0], [-2.0, -3.25]];
        let judged = judge(&recipe, &forward(), &losses, &reference);
        assert!((judged.loss - 2.0 * std::f64::consts::LN_2).abs() < 1e-12);
        let rewards = judged.rewards.unwrap();
        assert_eq!((rewards.margin, rewards.accuracy), (0.0, 0.0));
        assert_eq!(judged.gradients[..3], [0.05, 0.05, -0.05]);
    }
}
