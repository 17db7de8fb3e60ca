//! Moments in 8 bits, and in a file.

use super::*;
use crate::adapter::Precision;
use crate::domain::{Method, Optimizer};
use crate::kernels::quant::Format;
use crate::model::{Base, KvKind, Origin, Quant};
use crate::trainer::methods::{self, Fitting};

fn base() -> Base {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/llama");
    let quant = Quant::To(Format::F32);
    Base::open(&Origin::Folder(folder), Some(quant), KvKind::Auto).unwrap()
}

fn recipe_of(optimizer: Optimizer, offload: Offload) -> Recipe {
    recipe(Wishes {
        method: Some(Method::Full),
        optimizer: Some(optimizer),
        offload_optimizer: Some(offload),
        steps: Some(5),
        dropout: None,
        learning_rate: Some(1e-3),
        save_every: Some(2),
        eval_every: None,
        ..wishes()
    })
}

/// Every weight of a small base learns; what is saved and what is scratch lies in `folder`.
fn train(
    base: &Base,
    recipe: &Recipe,
    folder: &Path,
    recorder: &mut Recorder,
) -> Result<Ending, Fault> {
    let kind = methods::kind(recipe.method).unwrap();
    let method = kind.settle(recipe, None, Fitting::of(base)).unwrap();
    let train = examples(6);
    let fit = base.fit(64, Precision::Exact);
    let spec = RunSpec {
        checkpoints: Some(&checkpoints(&folder.join("checkpoints"), recipe)),
        scratch: Some(&folder.join("moments")),
        ..bare(&base.model, recipe, &train, fit)
    };
    run(&spec, method.start(&base.model).unwrap(), recorder)
}

#[test]
fn moments_in_a_file_change_nothing_and_a_killed_job_ends_alike() {
    let base = base();
    let mut ends = Vec::new();
    for optimizer in [Optimizer::AdamW, Optimizer::AdamW8bit] {
        let mut undisturbed = Recorder::default();
        let folder = tempfile::tempdir().unwrap();
        let in_memory = recipe_of(optimizer, Offload::None);
        let (expected, _) = finished(train(&base, &in_memory, folder.path(), &mut undisturbed));
        for (offload, killed) in [
            (Offload::None, 3),
            (Offload::Disk, 1),
            (Offload::Disk, 3),
            (Offload::Disk, 4),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let recipe = recipe_of(optimizer, offload);
            let mut recorder = Recorder {
                die_after: Some(killed),
                ..Recorder::default()
            };
            assert!(train(&base, &recipe, folder.path(), &mut recorder).is_err());
            // What a kill leaves behind is not read.
            std::fs::write(folder.path().join("moments"), b"half").unwrap();
            recorder.die_after = None;
            let (found, _) = finished(train(&base, &recipe, folder.path(), &mut recorder));
            assert!(
                found == expected,
                "{optimizer:?} {offload:?} after {killed}"
            );
            assert_eq!(recorder.losses, undisturbed.losses);
            let is_left = folder.path().join("moments").exists();
            assert_eq!(is_left, offload == Offload::None, "only the test's own");
        }
        ends.push((expected, undisturbed.losses));
    }
    let [(full, losses), (blocks, other)] = &ends[..] else {
        panic!("two optimizers")
    };
    assert!(full != blocks, "8 bits were used");
    for (one, other) in losses.values().zip(other.values()) {
        let [one, other] = [*one, *other].map(f64::from_bits);
        assert!((one - other).abs() < 0.02 * one, "{one} and {other}");
    }
}

#[test]
fn a_disk_that_takes_no_moments_ends_a_job_with_a_disks_fault() {
    let (base, folder) = (base(), tempfile::tempdir().unwrap());
    let recipe = recipe_of(Optimizer::AdamW, Offload::Disk);
    // A folder in the place of the file.
    std::fs::create_dir(folder.path().join("moments")).unwrap();
    let mut recorder = Impatient(Recorder::default());
    let kind = methods::kind(recipe.method).unwrap();
    let method = kind.settle(&recipe, None, Fitting::of(&base)).unwrap();
    let (trainable, toy) = (method.start(&base.model).unwrap(), Toy::new());
    let train = examples(6);
    let spec = RunSpec {
        scratch: Some(&folder.path().join("moments")),
        ..bare(&base.model, &recipe, &train, toy.fit())
    };
    let fault = run(&spec, trainable, &mut recorder).err().unwrap();
    assert_eq!(fault.code(), "storage_failed", "{fault}");
}

/// Waits for no disk.
struct Impatient(Recorder);

impl Watch for Impatient {
    fn wait(&mut self, _: Duration) -> bool {
        false
    }

    fn note(&mut self, level: Level, message: String) -> Result<(), Fault> {
        self.0.note(level, message)
    }
}

#[test]
fn a_job_is_told_that_its_moments_are_on_the_host_already() {
    let (base, folder) = (base(), tempfile::tempdir().unwrap());
    let recipe = recipe_of(Optimizer::AdamW, Offload::Host);
    let mut recorder = Recorder {
        die_after: Some(3),
        ..Recorder::default()
    };
    assert!(train(&base, &recipe, folder.path(), &mut recorder).is_err());
    recorder.die_after = None;
    finished(train(&base, &recipe, folder.path(), &mut recorder));
    let told = recorder
        .notes
        .iter()
        .filter(|note| note.contains("offload_optimizer host"));
    assert_eq!(told.count(), 1, "{:?}", recorder.notes);
}
