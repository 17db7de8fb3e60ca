//! What a step must not do silently: lose a gradient, or give one to what is frozen.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::adapter::peft::{self, Lora, LoraSettings, Selection};
use crate::adapter::{Adapt, Fit, Precision, Routed, Unadapted};
use crate::domain::Targets;
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::Format;
use crate::model::{Base, KvKind, Origin, Pack, Quant};

fn base(quant: Quant) -> Base {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/llama");
    Base::open(&Origin::Folder(folder), Some(quant), KvKind::Auto).unwrap()
}

fn settings() -> LoraSettings {
    LoraSettings {
        rank: 4,
        alpha: 8.0,
        use_rslora: false,
        dropout: 0.0,
        selection: Selection::of(Targets::Pattern("all-linear".into())),
        rank_pattern: Vec::new(),
        alpha_pattern: Vec::new(),
    }
}

/// An adapter of every linear layer whose B is not zero: where B is zero, as in a fresh adapter, A has no gradient.
fn trainable(base: &Base) -> Trainable {
    let trainable = Trainable::fresh(&settings().sites(base.model.sites()).unwrap(), 1).unwrap();
    let mut values = trainable.values();
    values
        .iter_mut()
        .skip(1)
        .step_by(2)
        .flatten()
        .enumerate()
        .for_each(|(i, b)| *b = (i % 7) as f32 * 0.01 - 0.03);
    trainable.set(&values);
    trainable
}

fn pack() -> (Pack, Vec<u32>) {
    let tokens: Vec<u32> = (0..24).map(|i| 3 + i * 5 % 200).collect();
    let targets = tokens.iter().map(|id| id + 1).collect();
    (
        Pack {
            tokens,
            ranges: vec![0..10, 10..24],
            lengths: vec![],
        },
        targets,
    )
}

#[test]
fn every_trainable_tensor_gets_a_gradient_and_nothing_else_does() {
    for quant in [Quant::To(Format::F32), Quant::To(Format::Q8_0)] {
        let base = base(quant);
        let trainable = trainable(&base);
        let (pack, targets) = pack();
        for recomputes in [false, true] {
            let learning = trainable.learning(None);
            let tape = match recomputes {
                true => Tape::recomputing(&Device::Host),
                false => Tape::new(&Device::Host),
            };
            let run = tape.run();
            let hidden = base.model.learn(run, &pack, &learning).unwrap();
            let losses = base.model.token_losses(run, &hidden, &targets).unwrap();
            let seed = Array::new(vec![1.0; losses.len()], losses.dims()).unwrap();
            let mut gradients = HashMap::new();
            tape.backward(&losses, seed, &mut gradients).unwrap();
            for (name, parameter) in trainable.parameters() {
                let gradient = gradients
                    .remove(&parameter.id())
                    .unwrap_or_else(|| panic!("{name} has no gradient"));
                let values = gradient.values();
                assert!(
                    values.iter().all(|g| g.is_finite()) && values.iter().any(|g| *g != 0.0),
                    "{name}: {quant:?}"
                );
            }
            assert!(gradients.is_empty(), "{quant:?}");
        }
    }
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    let base = base(Quant::To(Format::F32));
    let settings = trainable(&base);
    let (pack, _) = pack();
    let plain = base.model.learn(Run::host(), &pack, &Unadapted).unwrap();
    let mut values = settings.values();
    values
        .iter_mut()
        .skip(1)
        .step_by(2)
        .for_each(|b| b.fill(0.0));
    settings.set(&values);
    let packed = settings.packed(Precision::Bf16).unwrap();
    let scored = base.model.learn(Run::host(), &pack, &packed).unwrap();
    assert_eq!(*plain, *scored);
}

#[test]
fn what_is_scored_is_what_will_be_served_bit_for_bit() {
    for (quant, precision) in [
        (Format::F32, Precision::Exact),
        (Format::Q8_0, Precision::Bf16),
        (Format::Q8_0, Precision::Exact),
    ] {
        let base = base(Quant::To(quant));
        let trainable = trainable(&base);
        let files = Lora {
            settings: &settings(),
            base_name: "base",
            weights: &trainable.weights(),
        }
        .files()
        .unwrap();
        let fit = Fit {
            sites: base.model.sites(),
            base_digest: base.digest,
            max_rank: 64,
            precision,
        };
        let served = Arc::new(peft::read(&files, &fit).unwrap());
        let (pack, _) = pack();
        let served = Routed {
            segments: vec![(0..pack.tokens.len(), served)],
        };
        let scored = trainable.packed(precision).unwrap();
        let bits = |hidden: Value| -> Vec<u32> {
            hidden.values().iter().copied().map(f32::to_bits).collect()
        };
        let plain = bits(base.model.learn(Run::host(), &pack, &Unadapted).unwrap());
        let [served, scored] = [&served as &dyn Adapt, &scored]
            .map(|a| bits(base.model.learn(Run::host(), &pack, a).unwrap()));
        assert!(scored == served, "{quant:?} {precision:?}");
        assert!(scored != plain, "{quant:?} {precision:?}");
    }
}
