//! Runs that may take only so much memory.

use super::*;
use crate::device::{Budget, Part};
use crate::domain::{Checkpointing, Reason};
use crate::model::Outline;
use crate::trainer::account::{Account, Learned, Load};
use crate::trainer::methods;

fn outline() -> Outline {
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
        "vocab_size": 19, "max_position_embeddings": 64,
    });
    Outline::of_config(&config.to_string(), None).unwrap()
}

fn learned(recipe: &Recipe, toy: &Toy) -> Learned {
    let kind = methods::kind(recipe.method).unwrap();
    Learned::of(&*kind.settle(recipe, None, toy.fitting()).unwrap())
}

/// Without dropout, whose masks are drawn for each forward.
fn plain() -> Recipe {
    recipe(Wishes {
        dropout: Some(0.0),
        micro_batch: Some(4),
        ..wishes()
    })
}

/// What the largest step takes with so many rows in a forward, and what is held anyway.
fn needs(recipe: &Recipe, rows: usize, train: &[Example]) -> u64 {
    let recipe = crate::trainer::account::with_micro_batch(recipe, rows);
    let learned = learned(&recipe, &Toy::new());
    let outline = outline();
    let mut order = Order::new(&recipe, train.len());
    let steps = (0..12).map(|step| {
        let batch: Vec<&Example> = order.batch(step).iter().map(|row| &train[*row]).collect();
        let load = Load::of_batch(&batch, &recipe);
        let account = Account::of(outline.spec(), &learned, &recipe, load);
        let usage = account.of_a_step();
        let parts = [Part::Activations, Part::Gradients, Part::Scratch];
        parts.map(|part| usage.of(part)).iter().sum::<u64>()
    });
    steps.max().unwrap() + 3 * learned.values
}

fn go_within(
    limit: u64,
    recipe: &Recipe,
    train: &[Example],
    saved: Option<&Checkpoints>,
    recorder: &mut Recorder,
) -> (Result<Ending, Fault>, Budget) {
    go_with(limit, recipe, train, (saved, None), recorder)
}

fn go_with(
    limit: u64,
    recipe: &Recipe,
    train: &[Example],
    (saved, scratch): (Option<&Checkpoints>, Option<&Path>),
    recorder: &mut Recorder,
) -> (Result<Ending, Fault>, Budget) {
    let (toy, outline) = (Toy::new(), outline());
    let memory = Memory {
        budget: Budget::new(limit),
        spec: outline.spec(),
        learned: learned(recipe, &toy),
    };
    let held_out = examples(3);
    let spec = RunSpec {
        held_out: &held_out,
        checkpoints: saved,
        scratch,
        memory: Some(&memory),
        ..bare(&toy, recipe, &train, toy.fit())
    };
    let ending = run(&spec, toy.trainable(), recorder);
    (ending, memory.budget)
}

fn values(found: &[Vec<u32>]) -> Vec<f32> {
    let all = found.iter().flatten();
    all.map(|bits| f32::from_bits(*bits)).collect()
}

#[test]
fn a_step_that_does_not_fit_is_done_in_smaller_forwards_and_learns_the_same() {
    let (recipe, train) = (plain(), examples(10));
    let (roomy, _) = go_within(u64::MAX, &recipe, &train, None, &mut Recorder::default());
    let (undisturbed, _) = finished(roomy);
    for rows in [2, 1] {
        let limit = needs(&recipe, rows, &train);
        assert!(limit < needs(&recipe, 2 * rows, &train));
        let mut recorder = Recorder::default();
        let (ending, budget) = go_within(limit, &recipe, &train, None, &mut recorder);
        let (found, progress) = finished(ending);
        for (a, b) in values(&found).iter().zip(values(&undisturbed)) {
            assert!((a - b).abs() < 1e-4, "{a} and {b}");
        }
        let form = progress.form.unwrap();
        assert_eq!((form.micro_batch, form.recompute), (rows, recipe.recompute));
        let told = { recorder.notes.iter() }.filter(|note| note.contains(" in a forward, "));
        let told: Vec<&String> = told.collect();
        let last = if rows == 2 { "2 rows" } else { "1 row" };
        assert_eq!(told.len(), if rows == 2 { 1 } else { 2 }, "{told:?}");
        let last = format!("from here on {last} in a forward, ");
        assert!(told.last().unwrap().contains(&last), "{told:?}");
        assert_eq!(budget.left(), limit, "everything comes back");
    }
}

#[test]
fn an_interrupted_run_goes_on_in_the_form_it_had() {
    let (recipe, train) = (plain(), examples(10));
    let limit = needs(&recipe, 1, &train);
    let mut undisturbed = Recorder::default();
    let (ending, _) = go_within(limit, &recipe, &train, None, &mut undisturbed);
    let (whole, _) = finished(ending);
    for die_after in [1, 4, 8] {
        let folder = tempfile::tempdir().unwrap();
        let saved = checkpoints(folder.path(), &recipe);
        let mut recorder = Recorder {
            die_after: Some(die_after),
            ..Recorder::default()
        };
        let (died, _) = go_within(limit, &recipe, &train, Some(&saved), &mut recorder);
        assert!(died.is_err());
        recorder.die_after = None;
        let (ending, _) = go_within(limit, &recipe, &train, Some(&saved), &mut recorder);
        assert_eq!(finished(ending).0, whole, "died after {die_after}");
        assert_eq!(recorder.losses, undisturbed.losses);
    }
}

#[test]
fn at_last_moments_go_to_disk_and_the_same_bits_are_learned() {
    let (mut recipe, train) = (plain(), examples(10));
    (recipe.pack, recipe.recompute) = (false, Checkpointing::On);
    let values = learned(&recipe, &Toy::new()).values;
    // The first limit at which it is too much to hold the moments, which take twice the values.
    let limits = (1..8).map(|quarters| needs(&recipe, 1, &train) - quarters * values / 4);
    let fails = |limit: &u64| {
        let (ending, _) = go_within(*limit, &recipe, &train, None, &mut Recorder::default());
        ending.is_err()
    };
    let limit = { limits }.find(fails).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("scratch/optimizer.state");
    let one = crate::trainer::account::with_micro_batch(&recipe, 1);
    let mut undisturbed = Recorder::default();
    let (roomy, _) = go_within(u64::MAX, &one, &train, None, &mut undisturbed);
    let (expected, _) = finished(roomy);
    let (no_file, _) = go_within(limit, &recipe, &train, None, &mut Recorder::default());
    assert_eq!(no_file.err().unwrap().code(), "insufficient_memory");
    for die_after in [None, Some(1), Some(7)] {
        let saves = tempfile::tempdir().unwrap();
        let saved = checkpoints(saves.path(), &recipe);
        let mut recorder = Recorder {
            die_after,
            ..Recorder::default()
        };
        let within = (Some(&saved), Some(scratch.as_path()));
        let (mut ending, budget) = go_with(limit, &recipe, &train, within, &mut recorder);
        if die_after.is_some() {
            assert!(ending.is_err());
            recorder.die_after = None;
            ending = go_with(limit, &recipe, &train, within, &mut recorder).0;
        }
        let (found, progress) = finished(ending);
        assert!(progress.form.unwrap().offloaded);
        assert_eq!(found, expected, "{die_after:?}");
        assert!({ recorder.notes.iter() }.any(|note| note.contains("moments on disk")));
        assert_eq!(budget.left(), limit, "everything comes back");
    }
}

#[test]
fn what_fits_in_no_form_fails_and_says_what_is_missing() {
    let (recipe, train) = (plain(), examples(10));
    let of_values = 3 * learned(&recipe, &Toy::new()).values;
    for limit in [of_values - 1, of_values + 1] {
        let mut recorder = Recorder::default();
        let (ending, budget) = go_within(limit, &recipe, &train, None, &mut recorder);
        let fault = ending.err().unwrap();
        assert_eq!(fault.code(), "insufficient_memory");
        assert_eq!(fault.param().as_deref(), Some("memory_limit"));
        assert!(matches!(&fault, Fault::Refused(Reason::NotEnoughMemory(_))));
        let told = fault.to_string();
        assert!(told.contains("are left"), "{told}");
        assert_eq!(budget.left(), limit);
    }
}
