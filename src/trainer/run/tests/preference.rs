//! Learning to prefer one of two answers.

use super::*;
use crate::domain::Objective;

/// Answers of which the better ones end in one token, the others in another.
fn pairs(count: usize) -> Vec<Example> {
    let mut pairs = examples(count);
    for example in &mut pairs {
        let mut other = example.sequences[0].clone();
        for (sequence, end) in [(&mut example.sequences[0], 3), (&mut other, 7)] {
            let last = sequence.tokens.len() - 1;
            sequence.tokens[last] = end;
            sequence.spans = std::iter::once(last..last + 1).collect();
        }
        example.sequences.push(other);
        example.preferred = Some(1);
    }
    pairs
}

fn comparing() -> Recipe {
    recipe(Wishes {
        objective: Some(Objective::Dpo),
        dpo_beta: Some(0.5),
        steps: Some(40),
        learning_rate: Some(0.1),
        ..wishes()
    })
}

/// As `go`, with pairs held out as well.
fn compare(saved: Option<&Checkpoints>, recorder: &mut Recorder) -> Result<Ending, Fault> {
    let (toy, recipe) = (Toy::new(), comparing());
    let train = pairs(10);
    let spec = RunSpec {
        held_out: &pairs(3),
        checkpoints: saved,
        ..bare(&toy, &recipe, &train, toy.fit())
    };
    run(&spec, toy.trainable(), recorder)
}

#[test]
fn the_better_answers_come_to_be_preferred() {
    let mut recorder = Recorder::default();
    let (_, progress) = finished(compare(None, &mut recorder));
    let base = progress.base.unwrap();
    assert!(
        (base.loss - std::f64::consts::LN_2).abs() < 1e-6,
        "{base:?}"
    );
    assert_eq!(base.accuracy, 0.0);
    let after = progress.held_out.unwrap();
    assert!(
        after.loss < 0.5 * base.loss && after.accuracy == 1.0,
        "{after:?}"
    );
}

#[test]
fn an_interrupted_comparison_ends_as_an_undisturbed_one() {
    let mut undisturbed = Recorder::default();
    let expected = finished(compare(None, &mut undisturbed));
    for stop in (1..undisturbed.asked).step_by(37) {
        let folder = tempfile::tempdir().unwrap();
        let saved = checkpoints(folder.path(), &comparing());
        let mut recorder = Recorder {
            stop_at: Some(stop),
            ..Recorder::default()
        };
        assert!(matches!(
            compare(Some(&saved), &mut recorder),
            Ok(Ending::Interrupted)
        ));
        recorder.stop_at = None;
        assert_eq!(
            finished(compare(Some(&saved), &mut recorder)),
            expected,
            "{stop}"
        );
    }
}
