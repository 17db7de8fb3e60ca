//! Random requests for property tests.

use proptest::prelude::*;

use super::super::admit::Draft;
use super::toy::*;
use crate::domain::Sampling;
use crate::registry::Lease;

/// A request, by values that can be printed and asked again.
#[derive(Debug, Clone)]
pub struct Ask {
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    pub n: u32,
    pub scored: bool,
    pub adapter: Option<u64>,
    /// The turn it arrives at.
    pub arrives: usize,
}

impl Ask {
    pub fn draft(&self) -> Draft {
        self.draft_with(lease)
    }

    pub fn draft_with(&self, lease: impl Fn(u64) -> Lease) -> Draft {
        Draft {
            n: self.n,
            prompt_logprobs: self.scored,
            lease: self.adapter.map(lease),
            ..draft(&self.prompt, self.sampling.clone())
        }
    }
}

/// With these prompts and this sampling, everything else at random.
pub fn asks(
    prompt: impl Strategy<Value = Vec<u32>>,
    sampling: impl Strategy<Value = Sampling>,
) -> impl Strategy<Value = Ask> {
    let n = prop_oneof![3 => Just(1u32), 1 => 2u32..5];
    let scored = prop::bool::weighted(0.4);
    let adapter = prop::option::of(0..ADAPTERS);
    let what = (prompt, sampling, n, scored, adapter);
    (what, 0usize..20).prop_map(|((prompt, sampling, n, scored, adapter), arrives)| Ask {
        prompt,
        sampling,
        n,
        scored,
        adapter,
        arrives,
    })
}

/// Every way to choose tokens and to end, with up to `most` tokens and one of these lists of stop strings.
pub fn sampling(most: usize, stop: &'static [&'static str]) -> impl Strategy<Value = Sampling> {
    let stop = prop_oneof![2 => Just(Vec::new()), 1 => Just(stop.iter().map(|s| (*s).to_owned()).collect())];
    (
        0..most,
        prop_oneof![1 => Just(0.0f32), 1 => Just(0.8)],
        any::<u64>(),
        stop,
        prop::option::of(0u8..3),
        any::<bool>(),
        prop_oneof![2 => Just(1.0f32), 1 => Just(1.2)],
    )
        .prop_map(
            |(max_tokens, temperature, seed, stop, logprobs, ignore_eos, repetition_penalty)| {
                Sampling {
                    temperature,
                    seed: Some(seed),
                    max_tokens: Some(max_tokens),
                    min_tokens: max_tokens / 4,
                    stop,
                    logprobs,
                    ignore_eos,
                    repetition_penalty,
                    ..Sampling::default()
                }
            },
        )
}

/// Prompts of two families that have long beginnings in common.
pub fn kindred() -> impl Strategy<Value = Vec<u32>> {
    let end = prop::collection::vec(0u32..30, 1..8);
    (0u32..2, 0usize..32, end).prop_map(|(family, length, end)| {
        let beginning = (0..length as u32).map(|at| (at * 7 + family) % 30);
        beginning.chain(end).collect()
    })
}
