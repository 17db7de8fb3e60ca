//! Jobs in 16 bits: they learn what jobs in 32 learn, and their loss is scaled.

use super::*;
use crate::adapter::Precision as Served;
use crate::device::Array;
use crate::domain::{LossScale, Precision, Schedule};
use crate::kernels::nonlinear::PlusScaled;
use crate::kernels::op::{Run as Forward, Value};
use crate::model::{Base, KvKind, Origin, Pack};
use crate::trainer::plan::{Data, Plan};

fn told(recorder: &Recorder, what: &str) -> usize {
    let notes = recorder.notes.iter();
    notes.filter(|note| note.contains(what)).count()
}

#[test]
fn losses_in_16_bits_stay_near_those_in_32_on_the_embedded_base() {
    let base = Base::open(&Origin::Embedded, None, KvKind::Auto).unwrap();
    let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("adapters/finance/train.jsonl");
    let rows = std::fs::read_to_string(rows).unwrap();
    let rows = rows.lines().take(40).collect::<Vec<_>>().join("\n");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, rows.as_bytes()).unwrap();
    let losses = |precision| -> Vec<f64> {
        let wishes = Wishes {
            precision: Some(precision),
            rank: Some(4),
            steps: Some(20),
            batch_size: Some(2),
            learning_rate: Some(3e-3),
            ..Wishes::default()
        };
        let recipe = crate::trainer::recipe::resolve(&wishes, None, 512).unwrap();
        let plan = Plan::new(&base, recipe, None, Data::of(file.path()), 0).unwrap();
        let fit = base.fit(64, Served::Exact);
        let spec = bare(&base.model, &plan.recipe, &plan.train, fit);
        let mut recorder = Recorder::default();
        let trainable = plan.method.start(&base.model).unwrap();
        finished(run(&spec, trainable, &mut recorder));
        assert_eq!(recorder.skipped, 0, "{precision:?}: {:?}", recorder.notes);
        recorder.losses.into_values().map(f64::from_bits).collect()
    };
    let exact = losses(Precision::F32);
    assert!(exact[19] < 0.8 * exact[0], "it learns: {exact:?}");
    for precision in [Precision::Bf16, Precision::F16] {
        let found = losses(precision);
        assert_ne!(found, exact);
        for (step, (found, exact)) in found.iter().zip(&exact).enumerate() {
            let off = (found - exact).abs() / exact;
            assert!(
                off < 0.02,
                "{precision:?}, step {step}: {found} and {exact}"
            );
        }
    }
}

/// Has gradients a hundred times as large as those of what it holds, on their way back.
struct Loud(Toy);

impl Learner for Loud {
    fn parameters(&self) -> u64 {
        self.0.parameters()
    }

    fn learn<'a>(
        &'a self,
        run: Forward<'_, 'a>,
        pack: &Pack,
        adapters: &'a dyn Adapt,
    ) -> Result<Value, crate::device::Error> {
        let x = self.0.learn(run, pack, adapters)?;
        run.op(PlusScaled(99.0), &[&x, &x])
    }

    fn token_losses(
        &self,
        run: Forward<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        adapters: &dyn Adapt,
    ) -> Result<Value, crate::device::Error> {
        self.0.token_losses(run, hidden, targets, adapters)
    }

    fn log_probs(
        &self,
        hidden: &Array,
        adapters: &dyn Adapt,
    ) -> Result<Array, crate::device::Error> {
        self.0.log_probs(hidden, adapters)
    }
}

fn scaled(loss_scale: Option<LossScale>) -> Recipe {
    recipe(Wishes {
        precision: Some(Precision::F16),
        loss_scale,
        steps: Some(12),
        schedule: Some(Schedule::Constant),
        learning_rate: Some(1e-5),
        eval_every: None,
        ..wishes()
    })
}

fn loud(
    recipe: &Recipe,
    train: &[Example],
    saved: Option<&Checkpoints>,
    recorder: &mut Recorder,
) -> Result<Ending, Fault> {
    let loud = Loud(Toy::new());
    let spec = RunSpec {
        checkpoints: saved,
        ..bare(&loud, recipe, &train, loud.0.fit())
    };
    run(&spec, loud.0.trainable(), recorder)
}

#[test]
fn gradients_that_overflow_lower_the_scale_and_end_nothing() {
    let (recipe, train) = (scaled(None), examples(10));
    let mut undisturbed = Recorder::default();
    let expected = finished(loud(&recipe, &train, None, &mut undisturbed));
    let progress = &expected.1;
    assert!(
        progress.overflows >= 3,
        "more than are forgiven in a row: {progress:?}"
    );
    assert_eq!(progress.skipped, progress.overflows);
    assert_eq!((progress.step, progress.halvings), (12, 0));
    let scale = progress.scale.unwrap();
    assert_eq!(scale.now, 65_536.0 * 0.5f64.powi(progress.overflows as i32));
    assert!(scale.steps > 0 && scale.steps <= 12 - progress.overflows);
    assert_eq!(
        told(&undisturbed, "gradients overflowed at loss scale 65536"),
        1
    );
    for killed in [1, 3, 8] {
        let folder = tempfile::tempdir().unwrap();
        let saved = checkpoints(folder.path(), &recipe);
        let mut recorder = Recorder {
            die_after: Some(killed),
            ..Recorder::default()
        };
        assert!(loud(&recipe, &train, Some(&saved), &mut recorder).is_err());
        recorder.die_after = None;
        let found = finished(loud(&recipe, &train, Some(&saved), &mut recorder));
        assert_eq!(found, expected, "killed after {killed}");
    }
}

#[test]
fn a_fixed_scale_does_not_give_way_and_a_loss_that_is_not_finite_is_no_overflow() {
    let fixed = scaled(Some(LossScale::Fixed(65_536.0)));
    let fault = loud(&fixed, &examples(10), None, &mut Recorder::default());
    let told = fault.err().unwrap().to_string();
    assert!(
        told.contains("3 times in a row") && told.contains("loss_scale"),
        "{told}"
    );
    let quiet = scaled(Some(LossScale::Fixed(1.0)));
    let (_, progress) = finished(loud(&quiet, &examples(10), None, &mut Recorder::default()));
    assert_eq!((progress.skipped, progress.scale), (0, None));
    let fault = go(
        &scaled(None),
        &poisoned(4, 1),
        None,
        &mut Recorder::default(),
    );
    let told = fault.err().unwrap().to_string();
    assert!(told.contains("3 times in a row"), "{told}");
}
