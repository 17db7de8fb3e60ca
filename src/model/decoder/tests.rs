use candle_core::{DType, Device};

use super::*;
use crate::adapter::{Module, Site, Unadapted};
use crate::kernels::quant::{Format, Matrix};
use crate::model::Sequence;
use crate::model::arch::{CATALOGUE, Family, LLAMA, MISTRAL, QWEN2, QWEN3};
use crate::model::spec::{Biases, Rope, Scaling};

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

/// Starting values that leave nothing at its neutral value, so that a forgotten norm or bias shows.
fn lively(seed: u64) -> impl FnMut(&str, &[usize]) -> Result<Tensor> {
    let mut draws = 0;
    move |path, shape| {
        draws += 1;
        let noise = crate::kernels::testing::noise(shape, 0.3, seed + draws);
        if path.ends_with("norm.weight") {
            noise + 1.0
        } else {
            Ok(noise)
        }
    }
}

/// A base made of variables' values.
struct Values {
    spec: Spec,
    tensors: Vec<(String, Tensor)>,
    format: Format,
}

impl Values {
    fn find(&self, path: &str) -> std::result::Result<&Tensor, WeightError> {
        let found = self.tensors.iter().find(|(name, _)| name == path);
        found
            .map(|(_, tensor)| tensor)
            .ok_or_else(|| WeightError::new(path, "missing"))
    }
}

impl Source for Values {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn matrix(&mut self, path: &str) -> std::result::Result<Matrix, WeightError> {
        let tensor = self.find(path)?;
        Matrix::quantize(tensor, self.format).map_err(|e| WeightError::new(path, e.to_string()))
    }

    fn vector(&mut self, path: &str) -> std::result::Result<Tensor, WeightError> {
        self.find(path).cloned()
    }

    fn has(&self, path: &str) -> bool {
        self.find(path).is_ok()
    }
}

fn pair(arch: &'static Family, format: Format) -> (Model, Model) {
    let spec = spec(arch);
    let learning = Model::learning(&spec, &mut lively(3)).expect("a model that learns");
    let tensors = learning
        .variables()
        .iter()
        .map(|(name, var)| (name.clone(), var.as_detached_tensor()))
        .collect();
    let mut values = Values {
        spec,
        tensors,
        format,
    };
    let frozen = Model::from_source(&mut values, KvKind::Auto).expect("a frozen model");
    (learning, frozen)
}

fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count)
        .map(|i| ((i * 17 + seed * 29 + i * i) % 61) as u32)
        .collect()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_vec2().expect("a matrix")
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
        let logits = model
            .head
            .project(&model.learn(&pack, &Unadapted)?, None, false)?;
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
        let (a, b) = (
            learning.learn(&pack, &Unadapted)?,
            frozen.learn(&pack, &Unadapted)?,
        );
        assert_rows(&rows(&b), &rows(&a.detach()), 1e-5, arch.name);
        assert!(a.track_op() && !b.track_op(), "only what learns is tracked");
        assert_eq!(learning.parameters(), frozen.parameters());
        let counted: usize = learning
            .variables()
            .iter()
            .map(|(_, var)| var.elem_count())
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
        let loss = || -> Result<Tensor> {
            model
                .token_losses(&model.learn(&pack, &Unadapted)?, &targets)?
                .mean_all()
        };
        let grads = loss()?.backward()?;
        for (name, var) in model.variables() {
            let grad = grads
                .get(var)
                .unwrap_or_else(|| panic!("{arch:?}: {name} has no gradient"));
            let direction = grad.detach();
            let length = direction.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
            assert!(length > 0.0, "{arch:?}: {name} has a zero gradient");
            // Along its own gradient, the loss changes by the gradient's length.
            let start = var.as_tensor().copy()?;
            let step = 1e-2;
            let mut measured = 0.0;
            for sign in [1.0, -1.0] {
                var.set(&(&start + (&direction * f64::from(sign * step / length))?)?)?;
                measured += sign * loss()?.to_scalar::<f32>()?;
            }
            var.set(&start)?;
            let measured = measured / (2.0 * step);
            assert!(
                (measured - length).abs() <= 0.03 * length + 2e-4,
                "{arch:?}: {name}: {length} against {measured}"
            );
        }
    }
    Ok(())
}

/// Adds a learning low-rank term to one site.
struct OneSite {
    site: Site,
    a: Var,
    b: Var,
}

impl Adapt for OneSite {
    fn apply(&self, site: Site, x: &Tensor, y: Tensor) -> Result<Tensor> {
        if site != self.site {
            return Ok(y);
        }
        y + x.matmul(&self.a.t()?)?.matmul(&self.b.t()?)?
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
    let random = |rows: usize, columns: usize, seed| {
        Var::from_tensor(&crate::kernels::testing::noise(&[rows, columns], 0.1, seed))
    };
    let adapter = OneSite {
        site: shape.site,
        a: random(2, shape.inputs, 1)?,
        b: random(shape.outputs, 2, 2)?,
    };
    let pack = Pack {
        tokens: tokens(9, 8),
        ranges: vec![0..9],
        lengths: vec![],
    };
    let loss = model
        .token_losses(&model.learn(&pack, &adapter)?, &tokens(9, 9))?
        .mean_all()?;
    let grads = loss.backward()?;
    for var in [&adapter.a, &adapter.b] {
        let size = grads
            .get(var)
            .expect("a gradient")
            .abs()?
            .sum_all()?
            .to_scalar::<f32>()?;
        assert!(size > 0.0);
    }
    let leaves = grads
        .get_ids()
        .filter(|id| **id == adapter.a.id() || **id == adapter.b.id())
        .count();
    assert_eq!(leaves, 2);
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
    let sums = model
        .log_probs(&model.learn(&pack, &Unadapted)?)?
        .exp()?
        .sum(1)?
        .to_dtype(DType::F64)?;
    let off = (sums - 1.0)?
        .abs()?
        .max(0)?
        .to_device(&Device::Cpu)?
        .to_scalar::<f64>()?;
    assert!(off < 1e-5);
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
    assert!(learning.learn(&pack, &Unadapted).is_err() && frozen.learn(&pack, &Unadapted).is_err());
    Ok(())
}

#[test]
fn the_same_seed_starts_the_same_model() -> Result<()> {
    let spec = spec(&LLAMA);
    let start = |seed| {
        Model::initial(&spec, seed).expect("a model").variables()[1]
            .1
            .sum_all()?
            .to_scalar::<f32>()
    };
    assert_eq!(start(1)?, start(1)?);
    assert_ne!(start(1)?, start(2)?);
    Ok(())
}
