mod halves;
mod held;
mod memory;
mod preference;
mod recovery;

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::domain::{Level, Offload};
use crate::trainer::checkpoint::Identity;
use crate::trainer::data::Sequence;
use crate::trainer::optimizer::{AdamW, Settings};
use crate::trainer::recipe::Wishes;
use crate::trainer::testing::{POISON, Toy, bare, examples, recipe};

/// Writes down what happens, and interrupts or kills the job at a given point.
#[derive(Default)]
struct Recorder {
    /// Loss of each step; a step reported twice must be the same.
    losses: BTreeMap<u64, u64>,
    scores: Vec<(u64, Score)>,
    notes: Vec<String>,
    asked: u32,
    /// Say no from this question on.
    stop_at: Option<u32>,
    /// Fail after this step, as a crash would end it.
    die_after: Option<u64>,
    skipped: u64,
    /// The run may go back, and then do a step in another way.
    goes_back: bool,
}

impl Watch for Recorder {
    fn go_on(&mut self) -> bool {
        self.asked += 1;
        self.stop_at.is_none_or(|stop| self.asked < stop)
    }

    fn stepped(&mut self, report: &StepReport) -> Result<(), Fault> {
        let bits = report.stepped.loss.to_bits();
        if self.goes_back {
            self.losses.remove(&report.step);
        }
        assert_eq!(
            *self.losses.entry(report.step).or_insert(bits),
            bits,
            "step {} told twice differs",
            report.step
        );
        self.skipped += u64::from(!report.stepped.applied);
        match self.die_after {
            Some(step) if step == report.step => Err(std::io::Error::other("killed").into()),
            _ => Ok(()),
        }
    }

    fn evaluated(&mut self, step: u64, score: &Score) -> Result<(), Fault> {
        self.scores.push((step, *score));
        Ok(())
    }

    fn note(&mut self, _level: Level, message: String) -> Result<(), Fault> {
        self.notes.push(message);
        Ok(())
    }
}

fn wishes() -> Wishes {
    Wishes {
        steps: Some(12),
        batch_size: Some(4),
        micro_batch: Some(2),
        pack: Some(false),
        dropout: Some(0.2),
        learning_rate: Some(0.05),
        save_every: Some(3),
        eval_every: Some(5),
        ..Wishes::default()
    }
}

fn checkpoints(folder: &Path, recipe: &Recipe) -> Checkpoints {
    let text = || "x".to_owned();
    let identity = Identity {
        base_digest: text(),
        tokenizer_digest: text(),
        template_digest: text(),
        data_digest: text(),
        recipe: recipe.clone(),
    };
    Checkpoints {
        folder: folder.to_owned(),
        identity,
    }
}

fn go(
    recipe: &Recipe,
    train: &[Example],
    saved: Option<&Checkpoints>,
    watch: &mut dyn Watch,
) -> Result<Ending, Fault> {
    let toy = Toy::new();
    let held_out = examples(3);
    let spec = RunSpec {
        held_out: &held_out,
        checkpoints: saved,
        ..bare(&toy, recipe, &train, toy.fit())
    };
    run(&spec, toy.trainable(), watch)
}

fn finished(ending: Result<Ending, Fault>) -> (Vec<Vec<u32>>, Progress) {
    match ending {
        Ok(Ending::Finished(Finished {
            trainable,
            progress,
            ..
        })) => {
            let values = trainable.values();
            (
                values
                    .iter()
                    .map(|values| values.iter().map(|v| v.to_bits()).collect())
                    .collect(),
                *progress,
            )
        }
        Ok(Ending::Interrupted) => panic!("interrupted"),
        Err(fault) => panic!("{fault}"),
    }
}

#[test]
fn training_lowers_the_loss_and_scores_before_and_after() {
    let recipe = recipe(Wishes {
        steps: Some(60),
        dropout: None,
        ..wishes()
    });
    let mut recorder = Recorder::default();
    let (_, progress) = finished(go(&recipe, &examples(8), None, &mut recorder));
    assert_eq!(progress.step, 60);
    let loss = |step| f64::from_bits(recorder.losses[&step]);
    assert!(loss(60) < 0.7 * loss(1), "{} then {}", loss(1), loss(60));
    assert_eq!(
        recorder
            .scores
            .iter()
            .map(|(step, _)| *step)
            .collect::<Vec<_>>(),
        [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60]
    );
    assert!(progress.held_out.unwrap().loss < progress.base.unwrap().loss);
}

#[test]
fn an_interrupted_job_ends_as_an_undisturbed_one_bit_for_bit() {
    let (recipe, train) = (recipe(wishes()), examples(10));
    let mut undisturbed = Recorder::default();
    let expected = finished(go(&recipe, &train, None, &mut undisturbed));
    for stop in (1..undisturbed.asked).step_by(4) {
        let folder = tempfile::tempdir().unwrap();
        let saved = checkpoints(folder.path(), &recipe);
        let mut recorder = Recorder {
            stop_at: Some(stop),
            ..Recorder::default()
        };
        assert!(matches!(
            go(&recipe, &train, Some(&saved), &mut recorder),
            Ok(Ending::Interrupted)
        ));
        recorder.stop_at = None;
        assert_eq!(
            finished(go(&recipe, &train, Some(&saved), &mut recorder)),
            expected,
            "interrupted at {stop}"
        );
        assert_eq!(recorder.losses, undisturbed.losses);
    }
}

#[test]
fn a_killed_job_ends_as_an_undisturbed_one_bit_for_bit() {
    let (recipe, train) = (recipe(wishes()), examples(10));
    let mut undisturbed = Recorder::default();
    let expected = finished(go(&recipe, &train, None, &mut undisturbed));
    for step in [1, 3, 5, 8, 12] {
        let folder = tempfile::tempdir().unwrap();
        let saved = checkpoints(folder.path(), &recipe);
        let mut recorder = Recorder {
            die_after: Some(step),
            ..Recorder::default()
        };
        assert!(go(&recipe, &train, Some(&saved), &mut recorder).is_err());
        recorder.die_after = None;
        assert_eq!(
            finished(go(&recipe, &train, Some(&saved), &mut recorder)),
            expected,
            "killed after {step}"
        );
        assert_eq!(recorder.losses, undisturbed.losses);
    }
}

#[test]
fn a_damaged_checkpoint_costs_steps_and_nothing_else() {
    let (recipe, train) = (recipe(wishes()), examples(10));
    let expected = finished(go(&recipe, &train, None, &mut Recorder::default()));
    let folder = tempfile::tempdir().unwrap();
    let saved = checkpoints(folder.path(), &recipe);
    let mut recorder = Recorder {
        die_after: Some(11),
        ..Recorder::default()
    };
    assert!(go(&recipe, &train, Some(&saved), &mut recorder).is_err());
    std::fs::write(folder.path().join("step-0000000009/state.json"), b"{}").unwrap();
    recorder.die_after = None;
    assert_eq!(
        finished(go(&recipe, &train, Some(&saved), &mut recorder)),
        expected
    );
    assert!(
        recorder
            .notes
            .iter()
            .any(|note| note.contains("step 9 is damaged")),
        "{:?}",
        recorder.notes
    );
    assert!(
        recorder
            .notes
            .contains(&"continuing after step 6".to_owned()),
        "{:?}",
        recorder.notes
    );
}

#[test]
fn packing_and_accumulation_change_forwards_and_not_the_losses() {
    let losses = |pack, micro_batch| {
        let wishes = Wishes {
            dropout: None,
            pack: Some(pack),
            micro_batch: Some(micro_batch),
            ..wishes()
        };
        let mut recorder = Recorder::default();
        finished(go(&recipe(wishes), &examples(10), None, &mut recorder));
        recorder
            .losses
            .into_values()
            .map(f64::from_bits)
            .collect::<Vec<_>>()
    };
    let plain = losses(false, 4);
    for other in [losses(false, 1), losses(true, 4), losses(true, 1)] {
        for (a, b) in plain.iter().zip(&other) {
            assert!((a - b).abs() < 1e-5 * a, "{plain:?} {other:?}");
        }
    }
}

fn poisoned(rows: usize, every: usize) -> Vec<Example> {
    let mut train = examples(rows);
    let span = 2..3;
    for example in train.iter_mut().step_by(every) {
        example.sequences = vec![Sequence {
            tokens: vec![1, POISON, 3],
            spans: vec![span.clone()],
        }];
    }
    train
}

#[test]
fn a_step_that_is_not_finite_is_skipped_counted_and_told() {
    let recipe = recipe(Wishes {
        shuffle: Some(false),
        batch_size: Some(1),
        micro_batch: Some(1),
        ..wishes()
    });
    let mut recorder = Recorder::default();
    let (values, progress) = finished(go(&recipe, &poisoned(4, 4), None, &mut recorder));
    assert_eq!(
        (
            progress.skipped,
            progress.updates,
            progress.step,
            recorder.skipped
        ),
        (3, 9, 12, 3)
    );
    assert!(
        values
            .iter()
            .flatten()
            .all(|bits| f32::from_bits(*bits).is_finite())
    );
    assert!(
        recorder
            .notes
            .iter()
            .any(|note| note.contains("step 1 was skipped")),
        "{:?}",
        recorder.notes
    );
}

#[test]
fn three_such_steps_in_a_row_end_the_job_as_diverged() {
    let recipe = recipe(Wishes {
        shuffle: Some(false),
        batch_size: Some(1),
        micro_batch: Some(1),
        ..wishes()
    });
    let mut train = examples(8);
    train[4..7].clone_from_slice(&poisoned(3, 1));
    let fault = go(&recipe, &train, None, &mut Recorder::default())
        .err()
        .unwrap();
    assert!(
        matches!(&fault, Fault::Diverged { step: 7, why, .. } if why.contains("3 times in a row")),
        "{fault}"
    );
    assert_eq!(fault.code(), "diverged");
}

fn diverged(wishes: Wishes, train: &[Example]) -> String {
    let fault = go(&recipe(wishes), train, None, &mut Recorder::default())
        .err()
        .expect("it diverges");
    assert_eq!(fault.code(), "diverged", "{fault}");
    fault.to_string()
}

#[test]
fn a_job_too_short_for_three_skips_diverges_by_its_last_one() {
    let poison_at_the_end = |steps| Wishes {
        shuffle: Some(false),
        batch_size: Some(1),
        micro_batch: Some(1),
        steps: Some(steps),
        ..wishes()
    };
    let mut train = examples(3);
    train[2..].clone_from_slice(&poisoned(1, 1));
    let why = diverged(poison_at_the_end(3), &train);
    assert!(why.contains("last step"), "{why}");
    let why = diverged(poison_at_the_end(1), &poisoned(1, 1));
    assert!(why.contains("last step"), "{why}");
}

#[test]
fn a_learning_rate_that_blows_up_diverges() {
    let wishes = Wishes {
        learning_rate: Some(100.0),
        dropout: None,
        ..wishes()
    };
    diverged(wishes, &examples(10));
}

#[test]
fn an_adapter_that_ends_worse_than_it_began_diverges() {
    let (recipe, folder) = (recipe(wishes()), tempfile::tempdir().unwrap());
    let saved = checkpoints(folder.path(), &recipe);
    let trainable = Toy::new().trainable();
    let parameters = trainable.parameters().into_iter();
    let (names, values): (Vec<String>, Vec<Array>) = parameters
        .map(|(name, parameter)| (name, parameter.array()))
        .unzip();
    let optimizer = AdamW::new(Settings::default(), values.iter().map(Array::len));
    let tensors = Tensors {
        names: &names,
        values: &values,
        optimizer: &optimizer,
    };
    let at_the_end = |before| Progress {
        step: 12,
        updates: 12,
        before: Some(before),
        ..Progress::default()
    };
    let go_on = |before| {
        saved.save(&at_the_end(before), &tensors).unwrap();
        go(
            &recipe,
            &examples(10),
            Some(&saved),
            &mut Recorder::default(),
        )
    };
    assert!(go_on(3.0).is_ok(), "a loss of about ln 18");
    let fault = go_on(0.5).err().expect("it diverges");
    assert!(fault.to_string().contains("rose from 0.5000"), "{fault}");
}

#[test]
fn an_update_that_breaks_the_weights_diverges_at_its_step() {
    let why = diverged(
        Wishes {
            weight_decay: Some(1e300),
            ..wishes()
        },
        &examples(10),
    );
    assert!(
        why.contains("at step 1 ") && why.contains("weights"),
        "{why}"
    );
}
