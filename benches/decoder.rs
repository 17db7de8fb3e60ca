//! Speed of the decoder at the size of the embedded base: full-parameter training steps, and decoding of one and many
//! streams. `cargo bench --bench decoder`.

use std::collections::HashMap;
use std::time::Instant;

use adapterd::adapter::Unadapted;
use adapterd::device::{Array, Device, Error, Result};
use adapterd::kernels::quant::{Format, Matrix};
use adapterd::kernels::tape::Tape;
use adapterd::model::arch::LLAMA;
use adapterd::model::spec::{Biases, Rope, Scaling, Spec};
use adapterd::model::weights::{Source, WeightError};
use adapterd::model::{Batch, KvKind, Model, Pack, Sequence};

fn spec() -> Spec {
    Spec {
        arch: &LLAMA,
        hidden: 256,
        layers: 5,
        heads: 8,
        kv_heads: 4,
        head_dim: 32,
        intermediate: 640,
        vocab: 2048,
        norm_eps: 1e-5,
        rope: Rope {
            theta: 10_000.0,
            scaling: Scaling::None,
        },
        windows: vec![None; 5],
        bias: Biases::default(),
        head_norm: false,
        tied: true,
        context: 1024,
    }
}

/// A base with the weights of a model that learns.
struct Rounded<'a> {
    model: &'a Model,
    format: Format,
}

impl Rounded<'_> {
    fn find(&self, path: &str) -> std::result::Result<Array, WeightError> {
        let mut all = self.model.learning_parameters().iter();
        all.find(|(name, _)| name == path)
            .map(|(_, parameter)| parameter.array())
            .ok_or_else(|| WeightError::new(path, "missing"))
    }
}

impl Source for Rounded<'_> {
    fn spec(&self) -> &Spec {
        self.model.spec()
    }

    fn matrix(&mut self, path: &str) -> std::result::Result<Matrix, WeightError> {
        Matrix::quantize(&self.find(path)?, self.format)
            .map_err(|e| WeightError::new(path, e.to_string()))
    }

    fn vector(&mut self, path: &str) -> std::result::Result<Vec<f32>, WeightError> {
        Ok(self.find(path)?.into_values())
    }

    fn has(&self, path: &str) -> bool {
        self.find(path).is_ok()
    }
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32)
        .map(|i| (i * 2_654_435_761) >> 21)
        .collect()
}

fn rate(what: &str, count: usize, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    step()?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < 2.0 {
        let from = Instant::now();
        step()?;
        times.push(from.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[times.len() / 2]);
    println!(
        "{what:<34} {:>9.0} tokens/s median, {:>9.0} best",
        count as f64 / median,
        count as f64 / best
    );
    Ok(())
}

fn train(model: &Model, rows: usize, length: usize) -> Result<()> {
    let count = rows * length;
    let ranges = (0..rows)
        .map(|row| row * length..(row + 1) * length)
        .collect();
    let pack = Pack {
        tokens: tokens(count),
        ranges,
        lengths: vec![],
    };
    rate(&format!("train {rows} records of {length}"), count, || {
        let tape = Tape::new(&Device::Host);
        let hidden = model.learn(tape.run(), &pack, &Unadapted)?;
        let losses = model.token_losses(tape.run(), &hidden, &pack.tokens, &Unadapted)?;
        let seed = vec![1.0 / count as f32; count];
        tape.backward(
            &losses,
            Array::new(seed, losses.dims())?,
            &mut HashMap::new(),
        )
    })
}

fn decode(model: &Model, what: &str, streams: usize) -> Result<()> {
    const PROMPT: usize = 64;
    let (size, blocks) = (16, 16);
    let mut cache = model.new_cache(streams * blocks, size)?;
    let tables: Vec<Vec<u32>> = (0..streams)
        .map(|s| {
            (0..blocks as u32)
                .map(|b| b * streams as u32 + s as u32)
                .collect()
        })
        .collect();
    let batch = |start: usize, length: usize| Batch {
        tokens: tokens(streams * length),
        sequences: tables
            .iter()
            .enumerate()
            .map(|(s, table)| Sequence {
                range: s * length..(s + 1) * length,
                start,
                prompt: PROMPT,
                table: table.clone(),
            })
            .collect(),
        logit_rows: (0..streams).map(|s| (s + 1) * length - 1).collect(),
    };
    let prompt = batch(0, PROMPT);
    rate(
        &format!("{what}: prompt of {PROMPT}, {streams} streams"),
        streams * PROMPT,
        || model.serve(&prompt, &mut cache, &Unadapted).map(|_| ()),
    )?;
    let mut position = PROMPT;
    rate(
        &format!("{what}: decode, {streams} streams"),
        streams,
        || {
            position = if position + 1 < size * blocks {
                position + 1
            } else {
                PROMPT
            };
            model
                .serve(&batch(position, 1), &mut cache, &Unadapted)
                .map(|_| ())
        },
    )
}

fn main() -> Result<()> {
    adapterd::kernels::claim_threads();
    let model = Model::initial(&spec(), 1).map_err(Error::of)?;
    println!(
        "{} parameters, {}",
        model.parameters(),
        adapterd::kernels::simd::tier().name()
    );
    train(&model, 16, 128)?;
    train(&model, 4, 512)?;
    for format in [Format::F32, Format::Q8_0] {
        let mut source = Rounded {
            model: &model,
            format,
        };
        let base = Model::from_source(&mut source, KvKind::Auto).map_err(Error::of)?;
        for streams in [1, 16] {
            decode(&base, format.name(), streams)?;
        }
        train(&base, 16, 128)?;
    }
    Ok(())
}
