//! Going back, passing over, ending early, and whose weights are kept.

use std::path::PathBuf;

use super::*;
use crate::domain::{Keep, OnSpike, Schedule};

fn row_by_row() -> Wishes {
    Wishes {
        shuffle: Some(false),
        batch_size: Some(1),
        micro_batch: Some(1),
        save_every: Some(2),
        ..wishes()
    }
}

fn told(recorder: &Recorder, what: &str) -> bool {
    recorder.notes.iter().any(|note| note.contains(what))
}

#[test]
fn three_bad_steps_lead_back_once_with_half_the_rate() {
    let recipe = recipe(row_by_row());
    let mut train = examples(8);
    train[4..7].clone_from_slice(&poisoned(3, 1));
    let folder = tempfile::tempdir().unwrap();
    let saved = checkpoints(folder.path(), &recipe);
    let mut recorder = Recorder {
        goes_back: true,
        ..Recorder::default()
    };
    let fault = go(&recipe, &train, Some(&saved), &mut recorder).err();
    // The checkpoint of step 4 has the weights that failed.
    let back = "back to step 2, with half the learning rate";
    assert!(told(&recorder, back), "{:?}", recorder.notes);
    let Some(Fault::Diverged {
        step: 7,
        learning_rate,
        why,
    }) = fault
    else {
        panic!("{fault:?}")
    };
    assert_eq!(learning_rate, recipe.learning_rate / 2.0);
    assert!(
        why.contains("losses before: ") && why.contains("may help"),
        "{why}"
    );
}

#[test]
fn a_batch_whose_loss_leaps_is_passed_over_where_that_is_wanted() {
    let mut train: Vec<Example> = (0..48).map(|_| examples(2).remove(1)).collect();
    for example in &mut train {
        let sequence = &mut example.sequences[0];
        let last = sequence.tokens.len() - 1;
        sequence.spans = std::iter::once(last..last + 1).collect();
    }
    let odd = &mut train[40].sequences[0].tokens;
    let target = odd.len() - 1;
    odd[target] = (odd[target] + 5) % POISON;
    let wishes = |on_spike| Wishes {
        on_spike: Some(on_spike),
        steps: Some(48),
        learning_rate: Some(0.05),
        schedule: Some(Schedule::Constant),
        dropout: None,
        eval_every: None,
        ..row_by_row()
    };
    let run = |on_spike, stop_at| {
        let recipe = recipe(wishes(on_spike));
        let folder = tempfile::tempdir().unwrap();
        let saved = checkpoints(folder.path(), &recipe);
        let mut recorder = Recorder {
            goes_back: true,
            stop_at,
            ..Recorder::default()
        };
        let mut ending = go(&recipe, &train, Some(&saved), &mut recorder);
        if stop_at.is_some() {
            assert!(matches!(ending, Ok(Ending::Interrupted)));
            recorder.stop_at = None;
            ending = go(&recipe, &train, Some(&saved), &mut recorder);
        }
        (finished(ending), recorder)
    };
    let ((_, progress), recorder) = run(OnSpike::Note, None);
    assert!(told(&recorder, "step 41: loss "), "{:?}", recorder.notes);
    assert_eq!((progress.updates, progress.passed_over.len()), (48, 0));

    let (expected, recorder) = run(OnSpike::Rewind, None);
    assert!(told(&recorder, "back to step 40"), "{:?}", recorder.notes);
    let progress = &expected.1;
    assert_eq!((progress.step, progress.updates), (48, 47));
    assert_eq!(progress.passed_over, [40]);
    for stop in [30, recorder.asked - 8] {
        let (found, _) = run(OnSpike::Rewind, Some(stop));
        assert_eq!(found, expected, "interrupted at {stop}");
    }
}

/// Rows that teach the opposite of what is held out.
fn contrary() -> Vec<Example> {
    let mut train = examples(8);
    for example in &mut train {
        example.sequences[0].tokens.reverse();
    }
    train
}

fn evaluated_often() -> Wishes {
    Wishes {
        steps: Some(30),
        eval_every: Some(2),
        save_every: Some(7),
        schedule: Some(Schedule::Constant),
        dropout: None,
        ..wishes()
    }
}

fn best_of(recorder: &Recorder) -> (u64, Score) {
    let trained = recorder.scores.iter().filter(|(step, _)| *step > 0);
    let best = trained.min_by(|a, b| a.1.loss.total_cmp(&b.1.loss));
    *best.unwrap()
}

#[test]
fn the_best_evaluation_is_published_where_that_is_wanted() {
    let keeping = |keep, steps| {
        recipe(Wishes {
            keep: Some(keep),
            steps: Some(steps),
            ..evaluated_often()
        })
    };
    let train = contrary();
    let mut recorder = Recorder::default();
    let (last, _) = finished(go(&keeping(Keep::Last, 30), &train, None, &mut recorder));
    let (step, score) = best_of(&recorder);
    assert!(step < 30, "training on them makes the held-out rows worse");
    let best = go(
        &keeping(Keep::Last, step),
        &train,
        None,
        &mut Recorder::default(),
    );
    let (best, _) = finished(best);
    assert_ne!(best, last);

    let recipe = keeping(Keep::Best, 30);
    let folder = tempfile::tempdir().unwrap();
    let saved = checkpoints(folder.path(), &recipe);
    for saved in [None, Some(&saved)] {
        let mut recorder = Recorder::default();
        let (values, progress) = finished(go(&recipe, &train, saved, &mut recorder));
        assert!(values == best, "with checkpoints: {}", saved.is_some());
        assert_eq!(progress.held_out, Some(score));
        assert!(told(&recorder, &format!("step {step} had the lowest")));
    }
}

#[test]
fn a_job_ends_where_evaluations_stop_getting_better() {
    let recipe = recipe(Wishes {
        early_stopping: Some(3),
        ..evaluated_often()
    });
    assert_eq!(recipe.keep, Keep::Best);
    let folder = tempfile::tempdir().unwrap();
    let saved = checkpoints(folder.path(), &recipe);
    let mut recorder = Recorder::default();
    let (values, progress) = finished(go(&recipe, &contrary(), Some(&saved), &mut recorder));
    let (step, score) = best_of(&recorder);
    assert_eq!((progress.step, progress.held_out), (step + 6, Some(score)));
    assert!(told(&recorder, "stopping early: 3 evaluations"));
    // What was done and not yet published is not done again.
    let mut again = Recorder::default();
    let again = finished(go(&recipe, &contrary(), Some(&saved), &mut again));
    assert_eq!(again, (values, progress));
}

/// A disk that once gives less of a file than it holds, from the moment that something is told.
struct Faltering {
    recorder: Recorder,
    at: &'static str,
    file: PathBuf,
    /// Bytes at its end that it does not give.
    missing: usize,
    whole: Vec<u8>,
    waits: u32,
}

impl Watch for Faltering {
    fn wait(&mut self, _: Duration) -> bool {
        self.waits += 1;
        std::fs::write(&self.file, &self.whole).unwrap();
        true
    }

    fn stepped(&mut self, report: &StepReport) -> Result<(), Fault> {
        // Damage to a newer checkpoint is told just before an older one is taken up.
        let newer = self.file.parent().and_then(Path::parent).unwrap();
        let newer = newer.join("step-0000000004/state.json");
        if report.step == 5 && newer.exists() {
            std::fs::write(newer, b"{}").unwrap();
        }
        self.recorder.stepped(report)
    }

    fn note(&mut self, level: Level, message: String) -> Result<(), Fault> {
        if message.contains(self.at) && self.waits == 0 {
            self.whole = std::fs::read(&self.file).unwrap();
            let given = self.whole.len() - self.missing;
            std::fs::write(&self.file, &self.whole[..given]).unwrap();
        }
        self.recorder.note(level, message)
    }
}

impl Faltering {
    /// Of the tensors of step 2.
    fn of(folder: &Path, at: &'static str, missing: usize) -> Self {
        Self {
            recorder: Recorder::default(),
            at,
            file: folder.join("step-0000000002/tensors.safetensors"),
            missing,
            whole: Vec::new(),
            waits: 0,
        }
    }
}

/// Numbers of the optimizer are missing, or all of them and some of the values, which come first.
const MISSING: [usize; 2] = [4, 900];

#[test]
fn a_read_that_breaks_off_while_going_back_is_tried_again() {
    let recipe = recipe(row_by_row());
    let mut train = examples(8);
    train[4..7].clone_from_slice(&poisoned(3, 1));
    let mut ends = Vec::new();
    for missing in [0, MISSING[0], MISSING[1]] {
        let folder = tempfile::tempdir().unwrap();
        let saved = checkpoints(folder.path(), &recipe);
        let mut watch = Faltering::of(folder.path(), "is damaged", missing);
        watch.recorder.goes_back = true;
        let fault = go(&recipe, &train, Some(&saved), &mut watch).err().unwrap();
        assert!(matches!(fault, Fault::Diverged { step: 7, .. }), "{fault}");
        assert_eq!(watch.waits, u32::from(missing > 0));
        assert!(told(&watch.recorder, "back to step 2"));
        ends.push(watch.recorder.losses);
    }
    assert!(ends.iter().all(|losses| *losses == ends[0]));
}

#[test]
fn a_read_that_breaks_off_at_the_start_is_tried_again() {
    let (recipe, train) = (recipe(row_by_row()), examples(8));
    let expected = finished(go(&recipe, &train, None, &mut Recorder::default()));
    for missing in MISSING {
        let folder = tempfile::tempdir().unwrap();
        let saved = checkpoints(folder.path(), &recipe);
        let mut watch = Faltering::of(folder.path(), "continuing after step 2", missing);
        watch.recorder.die_after = Some(3);
        assert!(go(&recipe, &train, Some(&saved), &mut watch).is_err());
        watch.recorder.die_after = None;
        let found = finished(go(&recipe, &train, Some(&saved), &mut watch));
        assert_eq!((found, watch.waits), (expected.clone(), 1));
    }
}
