use std::fs;

use super::*;
use crate::device::Array;
use crate::kernels::tape::Parameter;
use crate::trainer::optimizer::{AdamW, Form, Piece, Settings};
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

const FORMS: [(Form, usize); 2] = [(Form::Full, 2), (Form::Blocks, 300)];

struct Saved {
    progress: Progress,
    values: [Array; 2],
    optimizer: AdamW,
}

fn state(step: u64) -> Saved {
    let values = [
        Array::row(vec![step as f32, 1.0 / 3.0]),
        Array::row((0..300).map(|at| at as f32 / 7.0).collect()),
    ];
    let parameters = values.clone().map(Parameter::new);
    let parameters: Vec<_> = parameters
        .iter()
        .map(|parameter| (parameter, 1.0))
        .collect();
    let gradients = [
        Array::row(vec![0.1, -3.5e-30]),
        Array::row((0..300).map(|at| (at as f32 * step as f32).sin()).collect()),
    ];
    let mut optimizer = AdamW::held(Settings::default(), &FORMS, None).unwrap();
    optimizer.step(0.1, &parameters, &gradients).unwrap();
    Saved {
        progress: Progress {
            step,
            updates: 1,
            train_loss: Some(1.0 / 3.0),
            ..Progress::default()
        },
        values,
        optimizer,
    }
}

fn names() -> Vec<String> {
    vec!["w".into(), "x".into()]
}

fn save(checkpoints: &Checkpoints, step: u64) -> Vec<u64> {
    let state = state(step);
    let tensors = Tensors {
        names: &names(),
        values: &state.values,
        optimizer: &state.optimizer,
    };
    checkpoints.save(&state.progress, &tensors).unwrap()
}

fn newest(checkpoints: &Checkpoints) -> (Option<Found>, Vec<String>) {
    let (names, of) = (&names()[..], &FORMS[..]);
    checkpoints.newest(Shapes { names, of }).unwrap()
}

#[test]
fn a_checkpoint_returns_bit_for_bit_and_two_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(folder.path(), "d");
    assert!(newest(&checkpoints).0.is_none());
    assert_eq!(save(&checkpoints, 1), [1]);
    save(&checkpoints, 2);
    assert_eq!(save(&checkpoints, 3), [3, 2]);
    let (found, damaged) = newest(&checkpoints);
    let (mut found, expected) = (found.unwrap(), state(3));
    assert_eq!(found.progress, expected.progress);
    for (name, values) in names().iter().zip(&expected.values) {
        assert_eq!(found.tensors.values(name), values.values());
    }
    let file = folder.path().join("moments");
    for path in [None, Some(&*file)] {
        let mut again = AdamW::held(Settings::default(), &FORMS, path).unwrap();
        found.tensors.restore(&mut again, &names(), 1).unwrap();
        assert_eq!(again.updates(), expected.optimizer.updates());
        for piece in Piece::all(&FORMS) {
            let [mut one, mut other] = [Vec::new(), Vec::new()];
            again.write(piece, &mut one).unwrap();
            expected.optimizer.write(piece, &mut other).unwrap();
            assert_eq!(one, other, "{piece:?}");
        }
    }
    assert!(damaged.is_empty());
}

#[test]
fn tensors_can_be_read_by_others_and_moments_of_another_form_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = checkpoints(folder.path(), "d");
    save(&checkpoints, 1);
    let bytes = fs::read(folder.path().join(folder_name(1)).join(TENSORS)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let codes = file.tensor("x.first_moment").unwrap();
    assert_eq!(
        (codes.dtype(), codes.shape()),
        (safetensors::Dtype::U8, &[300][..])
    );
    assert_eq!(file.tensor("x.second_moment_scales").unwrap().shape(), [2]);
    assert_eq!(file.names().len(), 8);
    let (names, of) = (&names()[..], &[(Form::Full, 2), (Form::Full, 300)][..]);
    let (found, damaged) = checkpoints.newest(Shapes { names, of }).unwrap();
    assert!(
        found.is_none() && damaged[0].contains("x.first_moment"),
        "{damaged:?}"
    );
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
        let (found, damaged) = newest(&checkpoints);
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
        let (names, of) = (&names()[..], &FORMS[..]);
        let refused = other.newest(Shapes { names, of }).err().unwrap();
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
    assert_eq!(newest(&checkpoints).0.unwrap().progress.step, 1);
    assert_eq!(save(&checkpoints, 2), [2, 1]);
}
