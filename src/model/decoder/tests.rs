use std::collections::HashMap;

use super::*;
use crate::adapter::{Module, Site, Unadapted};
use crate::device::Device;
use crate::kernels::activation::Residual;
use crate::kernels::linear::Linear;
use crate::kernels::quant::Format;
use crate::kernels::quant::Layer;
use crate::kernels::tape::{ParameterId, Tape};
use crate::kernels::testing::noise;
use crate::model::Sequence;
use crate::model::arch::{CATALOGUE, Family, LLAMA, MISTRAL, QWEN2, QWEN3};
use crate::model::spec::{Biases, Rope, Scaling};
use crate::model::testing::{Values, random_start};

/// A small decoder of a family, with everything that family can have.
fn spec(arch: &'static Family) -> Spec {
    Spec {
        arch,
        hidden: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: if arch == &QWEN3 { 16 } else { 8 },
        intermediate: 64,
        vocab: 61,
        norm_eps: 1e-5,
        rope: Rope {
            theta: 10_000.0,
            scaling: Scaling::None,
        },
        windows: vec![if arch == &MISTRAL { Some(5) } else { None }; 2],
        bias: Biases {
            qkv: arch == &QWEN2,
            ..Biases::default()
        },
        head_norm: arch == &QWEN3,
        tied: arch != &LLAMA,
        context: 64,
    }
}

fn pair(arch: &'static Family, format: Format) -> (Model, Model) {
    let learning =
        Model::learning(&spec(arch), &mut random_start(0.3, 3)).expect("a model that learns");
    let mut values = Values::of(&learning, format);
    let frozen = Model::from_source(&mut values, KvKind::Auto).expect("a frozen model");
    (learning, frozen)
}

fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count)
        .map(|i| ((i * 17 + seed * 29 + i * i) % 61) as u32)
        .collect()
}

fn rows(array: &Array) -> Vec<Vec<f32>> {
    let rows = array.values().chunks_exact(array.width());
    rows.map(<[f32]>::to_vec).collect()
}

#[track_caller]
fn assert_rows(found: &[Vec<f32>], wanted: &[Vec<f32>], tolerance: f32, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (row, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        for (at, (f, w)) in found.iter().zip(wanted).enumerate() {
            assert!(
                (f - w).abs() <= tolerance,
                "{what}: row {row}, element {at}: {f}, not {w}"
            );
        }
    }
}

#[test]
fn serving_in_any_pieces_says_what_learning_says() -> Result<()> {
    for arch in CATALOGUE {
        let (_, model) = pair(arch, Format::F32);
        let prompts = [tokens(13, 1), tokens(22, 2)];
        let pack = Pack {
            tokens: prompts.concat(),
            ranges: vec![0..13, 13..35],
            lengths: vec![],
        };
        let run = Run::host();
        let hidden = model.learn(run, &pack, &Unadapted)?;
        let logits = model.head.project(run, &hidden, None)?;
        let wanted = rows(&logits);

        let mut cache = model.new_cache(16, 4)?;
        let tables = [vec![3, 1, 7, 0], vec![2, 9, 4, 5, 6, 8]];
        let mut done = [0, 0];
        // A prompt in one piece beside another in bits, then single tokens of both.
        for step in [[5, 7], [1, 1], [7, 1], [0, 13]] {
            let mut batch = Batch::default();
            let mut expected = Vec::new();
            for i in [1, 0] {
                let new = done[i]..done[i] + step[i];
                let from = batch.tokens.len();
                batch.tokens.extend(&prompts[i][new.clone()]);
                let range = from..batch.tokens.len();
                batch.logit_rows.extend(range.clone());
                batch.sequences.push(Sequence {
                    range,
                    start: done[i],
                    prompt: 0,
                    table: tables[i].clone(),
                });
                let offset = [0, 13][i];
                expected.extend(new.clone().map(|at| wanted[offset + at].clone()));
                done[i] = new.end;
            }
            let found = model.serve(&batch, &mut cache, &Unadapted)?;
            assert_rows(
                &rows(&found),
                &expected,
                1e-4,
                &format!("{arch:?}, pieces {step:?}"),
            );
        }
    }
    Ok(())
}

#[test]
fn only_wanted_logits_are_computed_in_their_order() -> Result<()> {
    let (_, model) = pair(&QWEN3, Format::F32);
    let mut cache = model.new_cache(4, 8)?;
    let mut batch = Batch {
        tokens: tokens(9, 4),
        sequences: vec![Sequence {
            range: 0..9,
            start: 0,
            prompt: 0,
            table: vec![1, 2],
        }],
        logit_rows: (0..9).collect(),
    };
    let all = rows(&model.serve(&batch, &mut cache, &Unadapted)?);
    batch.logit_rows = vec![8, 2];
    let some = rows(&model.serve(&batch, &mut cache, &Unadapted)?);
    assert_rows(
        &some,
        &[all[8].clone(), all[2].clone()],
        1e-5,
        "picked rows",
    );
    Ok(())
}

#[test]
fn a_frozen_model_computes_what_the_learning_one_does() -> Result<()> {
    for arch in CATALOGUE {
        let (learning, frozen) = pair(arch, Format::F32);
        let pack = Pack {
            tokens: tokens(20, 5),
            ranges: vec![0..8, 8..20],
            lengths: vec![],
        };
        let tape = Tape::new(&Device::Host);
        let (a, b) = (
            learning.learn(tape.run(), &pack, &Unadapted)?,
            frozen.learn(tape.run(), &pack, &Unadapted)?,
        );
        assert_rows(&rows(&b), &rows(&a), 1e-5, arch.name);
        assert!(
            a.is_recorded() && !b.is_recorded(),
            "only what learns is recorded"
        );
        assert_eq!(learning.parameters(), frozen.parameters());
        let counted: usize = learning
            .learning_parameters()
            .iter()
            .map(|(_, parameter)| parameter.array().len())
            .sum();
        assert_eq!(learning.parameters(), counted as u64);
    }
    Ok(())
}

#[test]
fn every_parameter_gets_the_gradient_that_differences_show() -> Result<()> {
    for arch in CATALOGUE {
        let (model, _) = pair(arch, Format::F32);
        let pack = Pack {
            tokens: tokens(11, 6),
            ranges: vec![0..4, 4..11],
            lengths: vec![],
        };
        let targets = tokens(11, 7);
        for recomputes in [false, true] {
            let grads = gradients(&model, &pack, &targets, &Unadapted, recomputes)?;
            check_against_differences(&model, &pack, &targets, grads)?;
        }
    }
    Ok(())
}

fn gradients(
    model: &Model,
    pack: &Pack,
    targets: &[u32],
    adapters: &dyn Adapt,
    recomputes: bool,
) -> Result<HashMap<ParameterId, Array>> {
    let tape = match recomputes {
        true => Tape::recomputing(&Device::Host),
        false => Tape::new(&Device::Host),
    };
    let hidden = model.learn(tape.run(), pack, adapters)?;
    let losses = model.token_losses(tape.run(), &hidden, targets, adapters)?;
    let seed = vec![1.0 / losses.len() as f32; losses.len()];
    let mut found = HashMap::new();
    tape.backward(&losses, Array::new(seed, losses.dims())?, &mut found)?;
    Ok(found)
}

fn check_against_differences(
    model: &Model,
    pack: &Pack,
    targets: &[u32],
    mut grads: HashMap<ParameterId, Array>,
) -> Result<()> {
    let loss = || -> Result<f32> {
        let hidden = model.learn(Run::host(), pack, &Unadapted)?;
        let losses = model.token_losses(Run::host(), &hidden, targets, &Unadapted)?;
        Ok(losses.values().iter().sum::<f32>() / losses.len() as f32)
    };
    let arch = model.spec().arch;
    for (name, parameter) in model.learning_parameters() {
        let direction = grads
            .remove(&parameter.id())
            .unwrap_or_else(|| panic!("{arch:?}: {name} has no gradient"));
        let square: f32 = direction.values().iter().map(|g| g * g).sum();
        let length = square.sqrt();
        assert!(length > 0.0, "{arch:?}: {name} has a zero gradient");
        // Along its own gradient, the loss changes by the gradient's length.
        let start = parameter.array();
        let step = 1e-2;
        let mut measured = 0.0;
        for sign in [1.0, -1.0] {
            parameter.update(|values| {
                let places = start.values().iter().zip(direction.values());
                for (value, (start, along)) in values.iter_mut().zip(places) {
                    *value = start + along * (sign * step / length);
                }
            });
            measured += sign * loss()?;
        }
        parameter.update(|values| values.copy_from_slice(start.values()));
        let measured = measured / (2.0 * step);
        assert!(
            (measured - length).abs() <= 0.03 * length + 2e-4,
            "{arch:?}: {name}: {length} against {measured}"
        );
    }
    assert!(grads.is_empty());
    Ok(())
}

/// Adds a learning low-rank term to one site.
struct OneSite {
    site: Site,
    a: Parameter,
    b: Parameter,
}

impl Adapt for OneSite {
    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        let y = layer.forward(run, x)?;
        if site != self.site {
            return Ok(y);
        }
        let low = run.op(Linear, &[x, &run.parameter(&self.a)])?;
        let more = run.op(Linear, &[&low, &run.parameter(&self.b)])?;
        run.op(Residual, &[&y, &more])
    }
}

#[test]
fn on_a_frozen_base_only_the_adapter_gets_gradients() -> Result<()> {
    let (_, model) = pair(&QWEN2, Format::Q8_0);
    let shape = model
        .sites()
        .iter()
        .find(|shape| shape.site.module == Module::Q)
        .copied()
        .expect("q_proj");
    let random = |dims, seed| Parameter::new(noise(dims, 0.1, seed));
    let adapter = OneSite {
        site: shape.site,
        a: random((2, shape.inputs), 1),
        b: random((shape.outputs, 2), 2),
    };
    let pack = Pack {
        tokens: tokens(9, 8),
        ranges: vec![0..9],
        lengths: vec![],
    };
    for recomputes in [false, true] {
        let grads = gradients(&model, &pack, &tokens(9, 9), &adapter, recomputes)?;
        assert_eq!(grads.len(), 2);
        for parameter in [&adapter.a, &adapter.b] {
            let grad = &grads[&parameter.id()];
            assert!(grad.values().iter().any(|g| *g != 0.0));
        }
    }
    Ok(())
}

#[test]
fn the_cache_follows_what_the_base_computes_in() -> Result<()> {
    let (_, single) = pair(&LLAMA, Format::F32);
    let (_, packed) = pair(&LLAMA, Format::Q8_0);
    // Two layers of two heads; of 8 numbers, which values fill up to 16.
    assert_eq!(single.block_bytes(16), (2 * 2 * 16 * (8 + 16) * 4) as u64);
    assert_eq!(packed.block_bytes(16), single.block_bytes(16) / 2);
    assert!(packed.weight_bytes() < single.weight_bytes());
    Ok(())
}

#[test]
fn log_probs_are_normalised() -> Result<()> {
    let (_, model) = pair(&MISTRAL, Format::F32);
    let pack = Pack {
        tokens: tokens(6, 1),
        ranges: vec![0..6],
        lengths: vec![],
    };
    let hidden = model.learn(Run::host(), &pack, &Unadapted)?;
    for row in rows(&model.log_probs(&hidden, &Unadapted)?) {
        let sum: f64 = row.iter().map(|logprob| f64::from(*logprob).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }
    Ok(())
}

#[test]
fn tokens_outside_the_vocabulary_are_an_error() -> Result<()> {
    let (learning, frozen) = pair(&LLAMA, Format::F32);
    let pack = Pack {
        tokens: vec![61],
        ranges: vec![0..1],
        lengths: vec![],
    };
    for model in [learning, frozen] {
        assert!(model.learn(Run::host(), &pack, &Unadapted).is_err());
    }
    Ok(())
}

#[test]
fn the_same_seed_starts_the_same_model() {
    let spec = spec(&LLAMA);
    let start = |seed| {
        let model = Model::initial(&spec, seed).expect("a model");
        model.learning_parameters()[1].1.array()
    };
    assert_eq!(start(1), start(1));
    assert_ne!(start(1), start(2));
}
