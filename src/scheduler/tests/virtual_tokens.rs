//! Virtual tokens take positions before the prompt, and nobody is shown them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::admit::{Admitted, Draft};
use super::super::engine::{Shape, Shortcuts, Speculation};
use super::super::observe::Observe;
use super::real::model;
use super::toy::*;
use crate::adapter::peft::{self, PromptResume, prompt_files};
use crate::adapter::testing::{self, VIRTUAL};
use crate::adapter::{BaseTensor, BaseWeights, Fit};
use crate::domain::{Reason, Sampling};
use crate::registry::Lease;

fn prompt(length: u32) -> Vec<u32> {
    (0..length).map(|at| (at * 11 + 3) % 30).collect()
}

fn ask(prompt: &[u32], adapter: u64, max_tokens: usize) -> Draft {
    Draft {
        lease: Some(lease(adapter)),
        ..draft(prompt, greedy(max_tokens))
    }
}

#[test]
fn usage_scores_and_penalties_speak_of_the_prompt_alone() {
    for adapter in WITH_VIRTUAL..ADAPTERS {
        let sampling = Sampling {
            logprobs: Some(2),
            repetition_penalty: 1.3,
            ..greedy(6)
        };
        let asked = || Draft {
            prompt_logprobs: true,
            n: 2,
            sampling: sampling.clone(),
            ..ask(&prompt(21), adapter, 6)
        };
        let told = Bench::new(AMPLE).answer(asked());
        let usage = told.usage.unwrap();
        assert_eq!((usage.prompt, usage.generated), (21, 12));
        let scored = told.prompt.as_ref().unwrap();
        let ids: Vec<u32> = scored.iter().map(|token| token.id).collect();
        assert_eq!(ids, prompt(21));
        let known = scored.iter().map(|token| token.logprob.is_some());
        assert_eq!(known.filter(|known| *known).count(), 20);
        // In pieces, one row's score a step.
        let small = Shape {
            rows: 2,
            step_tokens: 3,
            scored: 1,
            ..AMPLE
        };
        assert_eq!(Bench::new(small).answer(asked()).afresh(), told.afresh());
    }
}

#[test]
fn the_cache_finds_virtual_tokens_of_the_same_adapter_and_counts_none_of_them() {
    for adapter in WITH_VIRTUAL..ADAPTERS {
        let mut bench = Bench::new(AMPLE);
        let cached = |bench: &mut Bench, prompt: &[u32], adapter| {
            let told = bench.answer(ask(prompt, adapter, 3));
            let cached = told.usage.unwrap().cached;
            let alone = Bench::new(AMPLE).answer(ask(prompt, adapter, 3));
            assert_eq!(told.afresh(), alone);
            cached
        };
        let long = prompt(45);
        assert_eq!(cached(&mut bench, &long, adapter), 0);
        // Of 48 positions in blocks of 8, the last is computed again; the first three are no tokens of the prompt.
        assert_eq!(cached(&mut bench, &long, adapter), 40 - VIRTUAL);
        let other = 7 - adapter;
        assert_eq!(cached(&mut bench, &long, other), 0);
        assert_eq!(cached(&mut bench, &long[..6], adapter), 5);
    }
}

#[test]
fn the_context_holds_virtual_tokens_too() {
    let mut limits = limits(AMPLE);
    limits.context = 40;
    for adapter in WITH_VIRTUAL..ADAPTERS {
        let check = |length, wanted| {
            let asked = ask(&prompt(length), adapter, wanted);
            Admitted::check(asked, &limits).map(drop)
        };
        let most = 40 - VIRTUAL;
        assert_eq!(check(30, most - 30), Ok(()));
        let refused = check(30, most - 29).unwrap_err();
        assert_eq!(
            refused,
            Reason::AnswerTooLong {
                tokens: 30,
                wanted: most - 29,
                limit: 40,
                virtual_tokens: VIRTUAL,
            }
        );
        let told = refused.to_string();
        assert!(told.contains("virtual tokens take 3"), "{told}");
        assert!(told.ends_with("which leaves 7"), "{told}");
        let refused = check(most as u32, 1).unwrap_err();
        assert!(matches!(refused, Reason::PromptTooLong { tokens: 37, .. }));
        assert_eq!(check(most as u32, 0), Ok(()), "it can be scored");
    }
}

#[derive(Default)]
struct Drafted(AtomicUsize);

impl Observe for Drafted {
    fn speculated(&self, drafted: usize, _: usize) {
        self.0.fetch_add(drafted, Ordering::Relaxed);
    }
}

#[test]
fn embeddings_of_tokens_are_a_prompt_of_these_tokens() {
    let model = model();
    let embedding = match model.0.tensors().into_iter().next() {
        Some((_, BaseTensor::Matrix(matrix))) => matrix,
        other => panic!("{other:?} is no embedding"),
    };
    let (before, asked) = (prompt(5), [7, 8, 9, 7, 8]);
    let learned = PromptResume {
        embeddings: embedding.gather(&before).unwrap(),
        text: None,
    };
    let files = prompt_files("tiny", model.0.shape(), &learned).unwrap();
    let fit = Fit {
        weights: &*model.0,
        ..testing::fit(model.0.sites())
    };
    let adapter = peft::read(&files, &fit).unwrap();
    let lease = Lease::apart("learned".parse().unwrap(), adapter);
    let sampling = Sampling {
        logprobs: Some(3),
        ..greedy(20)
    };
    let draft = |prompt: &[u32], lease| Draft {
        lease,
        prompt_logprobs: true,
        ..draft(prompt, sampling.clone())
    };
    let found = Bench::of(model.clone(), AMPLE).answer(draft(&asked, Some(lease)));
    let whole = [&before[..], &asked].concat();
    let wanted = Bench::of(model.clone(), AMPLE).answer(draft(&whole, None));
    assert_eq!(found.answers, wanted.answers);
    let (found, wanted) = (found.prompt.unwrap(), wanted.prompt.unwrap());
    assert_eq!(found[1..], wanted[before.len() + 1..]);
}

#[test]
fn guesses_look_at_what_was_said_and_never_at_virtual_tokens() {
    let shortcuts = Shortcuts {
        prefix_cache: true,
        speculation: Speculation::Always,
    };
    for adapter in WITH_VIRTUAL..ADAPTERS {
        let drafted = Arc::new(Drafted::default());
        let mut bench = Bench::with(Toy, AMPLE, shortcuts, drafted.clone());
        let asked = || ask(&[1, 2, 3, 1, 2, 3, 1, 2], adapter, 40);
        let told = bench.answer(asked());
        assert!(drafted.0.load(Ordering::Relaxed) > 0);
        assert_eq!(told.afresh(), Bench::new(AMPLE).answer(asked()));
    }
}
