//! A run of direct preference optimization by torch (`tests/golden/training/preference`), with the LoRA it begins with as its
//! reference.

use super::*;
use crate::domain::Objective;

#[derive(Deserialize)]
struct Compared {
    beta: f64,
    run: Preference,
}

#[derive(Deserialize)]
struct Preference {
    steps: u64,
    batch_size: usize,
    learning_rate: f64,
    max_grad_norm: f64,
    losses: Vec<f64>,
    grad_norms: Vec<f64>,
    chosen: Vec<f64>,
    rejected: Vec<f64>,
    margins: Vec<f64>,
    accuracies: Vec<f64>,
}

#[test]
fn every_step_of_a_preference_run_is_that_of_torch() {
    let path = golden("training/preference/expected.json");
    let Compared { beta, run } = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let base = base("llama");
    for pack in [false, true] {
        let wishes = Wishes {
            objective: Some(Objective::Dpo),
            dpo_beta: Some(beta),
            schedule: Some(Schedule::Constant),
            steps: Some(run.steps),
            batch_size: Some(run.batch_size),
            learning_rate: Some(run.learning_rate),
            max_grad_norm: Some(run.max_grad_norm),
            shuffle: Some(false),
            pack: Some(pack),
            from: Some("initial".into()),
            ..Wishes::default()
        };
        let parent = Parent {
            adapter: Arc::new(adapter(&base, &folder("training/initial"))),
            generation: None,
        };
        let recipe = settle(&wishes, Some(&parent.adapter), &base).unwrap();
        let (_, steps) = train_on("preference/rows.jsonl", &base, recipe, Some(parent));
        assert_eq!(steps.len(), run.losses.len());
        for (at, report) in steps.iter().enumerate() {
            let (stepped, told) = (&report.stepped, format!("pack {pack}, step {}", at + 1));
            assert!(
                near(stepped.loss, run.losses[at], 1e-3),
                "{told}: {stepped:?}"
            );
            assert!(
                near(stepped.grad_norm, run.grad_norms[at], 2e-3),
                "{told}: {stepped:?}"
            );
            let rewards = stepped.rewards.unwrap();
            for (found, wanted) in [
                (rewards.chosen, run.chosen[at]),
                (rewards.rejected, run.rejected[at]),
                (rewards.margin, run.margins[at]),
            ] {
                assert!(
                    (found - wanted).abs() < 1e-3 * wanted.abs() + 1e-4,
                    "{told}: {rewards:?}"
                );
            }
            // The first step compares what is equal but for rounding.
            if at > 0 {
                assert!(
                    near(rewards.accuracy, run.accuracies[at], 1e-9),
                    "{told}: {rewards:?}"
                );
            }
        }
    }
}
