//! The engine with a real decoder: a request gets the same answer alone or in a batch.

use std::sync::Arc;

use super::super::admit::Draft;
use super::super::engine::Shape;
use super::super::forward::Forward;
use super::toy::*;
use crate::adapter::Routed;
use crate::device::{Array, Result};
use crate::domain::{Sampling, TokenInfo};
use crate::kernels::quant::Format;
use crate::model::arch::LLAMA;
use crate::model::spec::{Biases, Rope, Scaling, Spec};
use crate::model::testing::{Values, random_start};
use crate::model::{Batch, Cache, KvKind, Model};

#[derive(Clone)]
pub struct Real(pub Arc<Model>);

impl Forward for Real {
    type Cache = Cache;

    fn digest(&self) -> [u8; 32] {
        [0; 32]
    }

    fn key_class(&self, prompt: usize) -> usize {
        self.0.key_class(prompt)
    }

    fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Cache> {
        self.0.new_cache(blocks, block_size)
    }

    fn serve(&self, batch: &Batch, cache: &mut Cache, adapters: &Routed) -> Result<Array> {
        self.0.serve(batch, cache, adapters)
    }

    fn serve_with_states(
        &self,
        batch: &Batch,
        state_rows: &[usize],
        cache: &mut Cache,
        adapters: &Routed,
    ) -> Result<[Array; 2]> {
        self.0.serve_with_states(batch, state_rows, cache, adapters)
    }
}

/// A decoder with random weights, of the shapes that `lease` has adapters for.
pub fn model() -> Real {
    let spec = Spec {
        arch: &LLAMA,
        hidden: 16,
        layers: 1,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        intermediate: 24,
        vocab: VOCAB,
        norm_eps: 1e-5,
        rope: Rope {
            theta: 10_000.0,
            scaling: Scaling::None,
        },
        windows: vec![None],
        bias: Biases::default(),
        head_norm: false,
        tied: false,
        context: 256,
    };
    let learning = Model::learning(&spec, &mut random_start(0.8, 0)).unwrap();
    let mut source = Values::of(&learning, Format::F32);
    Real(Arc::new(
        Model::from_source(&mut source, KvKind::Auto).unwrap(),
    ))
}

/// Requests of every sort, numbered.
fn request(number: u64) -> Draft {
    let length = 1 + (number as usize * 11) % 37;
    let prompt: Vec<u32> = (0..length as u32)
        .map(|i| (i * 7 + number as u32 * 5) % 30)
        .collect();
    let sampling = Sampling {
        logprobs: Some(3),
        ..greedy((number as usize * 5) % 24)
    };
    Draft {
        n: 1 + (number % 3) as u32,
        prompt_logprobs: number.is_multiple_of(2),
        lease: (number % (ADAPTERS + 1)).checked_sub(1).map(lease),
        ..draft(&prompt, sampling)
    }
}

fn assert_same(number: u64, alone: &[TokenInfo], crowd: &[TokenInfo]) {
    assert_eq!(alone.len(), crowd.len(), "request {number}");
    for (a, b) in alone.iter().zip(crowd) {
        assert_eq!(a.id, b.id, "request {number}");
        let difference = a.logprob.unwrap_or(0.0) - b.logprob.unwrap_or(0.0);
        assert!(difference.abs() < 1e-4, "request {number}: {difference}");
        for (a, b) in a.top.iter().zip(&b.top) {
            assert!((a.logprob - b.logprob).abs() < 1e-4, "request {number}");
        }
    }
}

#[test]
fn a_decoder_says_in_a_mixed_batch_what_it_says_alone() {
    let model = model();
    let shapes = [
        AMPLE,
        // Small chunks, few blocks: prompts in pieces, answers preempted.
        Shape {
            rows: 5,
            step_tokens: 9,
            scored: 3,
            blocks: 20,
            block_size: 4,
        },
    ];
    for shape in shapes {
        let mut bench = Bench::of(model.clone(), shape);
        let mut readers: Vec<_> = (0..16).map(|number| bench.ask(request(number))).collect();
        bench.finish();
        for (number, reader) in (0..16).zip(&mut readers) {
            let alone = Bench::of(model.clone(), AMPLE).answer(request(number));
            let crowd = read(reader).afresh();
            assert_eq!(alone.usage, crowd.usage);
            assert_same(
                number,
                alone.prompt.as_deref().unwrap_or(&[]),
                crowd.prompt.as_deref().unwrap_or(&[]),
            );
            for (a, b) in alone.answers.iter().zip(&crowd.answers) {
                assert_same(number, &a.tokens, &b.tokens);
                assert_eq!((&a.text, a.finish), (&b.text, b.finish));
            }
        }
    }
}

#[test]
fn an_adapter_changes_what_is_said() {
    let model = model();
    let mut answer = |adapter: Option<u64>| {
        let asked = Draft {
            lease: adapter.map(lease),
            ..draft(&[1, 2, 3], greedy(20))
        };
        Bench::of(model.clone(), AMPLE).answer(asked).answers[0].ids()
    };
    let said: Vec<_> = [None, Some(0), Some(1)].map(&mut answer).into();
    assert!(said[0] != said[1] && said[1] != said[2] && said[0] != said[2]);
}
