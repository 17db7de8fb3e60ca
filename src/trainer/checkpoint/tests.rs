use std::fs;

use super::*;
use crate::trainer::recipe::{Wishes, resolve};

fn checkpoints(folder: &std::path::Path, data: &str) -> Checkpoints {
    of(folder, data, "c")
}

fn of(folder: &std::path::Path, data: &str, template: &str) -> Checkpoints {
    let identity = Identity {
        base_digest: "b".into(),
        tokenizer_digest: "t".into(),
        template_digest: template.into(),
        data_digest: data.into(),
        recipe: resolve(
            &Wishes {
                learning_rate: Some(0.1 + 0.2),
                ..Wishes::default()
            },
            None,
            512,
        )
        .unwrap(),
    };
    Checkpoints {
        folder: folder.to_owned(),
        identity,
    }
}

fn state(step: u64) -> (Progress, Tensors) {
    let moments = Moments {
        first: vec![0.1, -3.5e-30],
        second: vec![0.0, f32::MIN_POSITIVE],
    };
    let tensors = Tensors {
        values: vec![vec![step as f32, 1.0 / 3.0]],
        moments: vec![moments],
    };
    (
        Progress {
            step,
            train_loss: Some(1.0 / 3.0),
            ..Progress::default()
        },
        tensors,
    )
}

const NAMES: fn() -> Vec<String> = || vec!["w".into()];

fn save(checkpoints: &Checkpoints, step: u64) -> Vec<u64> {
    let (progress, tensors) = state(step);
    checkpoints.save(&progress, &NAMES(), &tensors).unwrap()
}

#[test]
fn a_checkpoint_returns_bit_for_bit_and_two_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(folder.path(), "d");
    assert!(checkpoints.newest(&NAMES(), &[2]).unwrap().0.is_none());
    assert_eq!(save(&checkpoints, 1), [1]);
    save(&checkpoints, 2);
    assert_eq!(save(&checkpoints, 3), [3, 2]);
    let (found, damaged) = checkpoints.newest(&NAMES(), &[2]).unwrap();
    let found = found.unwrap();
    assert_eq!((found.progress, found.tensors), state(3));
    assert!(damaged.is_empty());
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    for (file, cut) in [
        (TENSORS, false),
        (STATE, false),
        (TENSORS, true),
        (DIGESTS, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = checkpoints(folder.path(), "d");
        save(&checkpoints, 1);
        save(&checkpoints, 2);
        let path = folder.path().join(folder_name(2)).join(file);
        let mut bytes = fs::read(&path).unwrap();
        if cut {
            bytes.truncate(bytes.len() / 2);
        } else {
            *bytes.last_mut().unwrap() ^= 1;
        }
        fs::write(&path, bytes).unwrap();
        let (found, damaged) = checkpoints.newest(&NAMES(), &[2]).unwrap();
        assert_eq!(found.unwrap().progress.step, 1);
        assert_eq!(damaged.len(), 1);
    }
}

#[test]
fn a_checkpoint_of_other_data_or_another_template_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    save(&checkpoints(folder.path(), "d"), 1);
    for (other, part) in [
        (of(folder.path(), "other", "c"), "training data"),
        (of(folder.path(), "d", "other"), "chat template"),
    ] {
        let refused = other.newest(&NAMES(), &[2]).err().unwrap();
        assert!(
            matches!(&refused, Fault::Foreign { step: 1, why } if why.contains(part)),
            "{refused}"
        );
    }
}

#[test]
fn what_a_crash_left_half_written_is_not_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(folder.path(), "d");
    save(&checkpoints, 1);
    let half = folder.path().join(format!(".{}.part", folder_name(2)));
    fs::create_dir(&half).unwrap();
    fs::write(half.join(TENSORS), b"half").unwrap();
    assert_eq!(
        checkpoints
            .newest(&NAMES(), &[2])
            .unwrap()
            .0
            .unwrap()
            .progress
            .step,
        1
    );
    assert_eq!(save(&checkpoints, 2), [2, 1]);
}
