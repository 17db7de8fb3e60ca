//! Answers with a form to keep: in a crowd, beside speculation, preempted, several to one prompt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use regex::Regex;

use super::super::admit::{Admitted, Draft};
use super::super::engine::{Shape, Shortcuts, Speculation};
use super::super::forward::Forward;
use super::super::observe::{Observe, Unobserved};
use super::toy::*;
use crate::adapter::Routed;
use crate::device::{Array, Result};
use crate::domain::{Constraint, FinishReason, Reason, Rule, Sampling};
use crate::model::Batch;
use crate::text::grammar::{self, Grammars};

/// Forms that answers of the toy can have, each as an expression.
const FORMS: &[&str] = &[
    "[a-f]{3,9} [0-4]{2}",
    "(ab|cde|f)+!",
    "a[b-z ]{0,30}z",
    "é{1,3}[0-5]*",
    "(abc){1,8}",
];

fn form(expression: &str, answers: u32) -> Vec<grammar::Guide> {
    let grammars = Grammars::new(tokenizer(), VOCAB, Arc::new(grammar::Unobserved));
    let rule = Rule::Regex(expression.to_owned());
    let constraint = Constraint::new("guided_regex", rule);
    grammars
        .guides(
            &constraint,
            0,
            answers as usize,
            &grammar::Effort::default(),
        )
        .unwrap()
}

fn sampled(seed: u64, max_tokens: usize) -> Sampling {
    Sampling {
        temperature: if seed.is_multiple_of(3) { 0.0 } else { 0.9 },
        seed: Some(seed),
        max_tokens: Some(max_tokens),
        logprobs: Some(2),
        ..Sampling::default()
    }
}

/// Some with a form, some of any, of different adapters.
fn request(number: u64) -> Draft {
    let length = 1 + (number as usize * 11) % 37;
    let prompt: Vec<u32> = (0..length as u32)
        .map(|i| (i * 7 + number as u32 * 5) % 30)
        .collect();
    let n = 1 + (number % 3) as u32;
    let guides = match number % 4 {
        0 => Vec::new(),
        _ => form(FORMS[number as usize % FORMS.len()], n),
    };
    Draft {
        n,
        lease: (number % (ADAPTERS + 1)).checked_sub(1).map(lease),
        guides,
        ..draft(&prompt, sampled(number, 40))
    }
}

fn keeps(text: &str, expression: &str) -> bool {
    Regex::new(&format!("^(?:{expression})$"))
        .unwrap()
        .is_match(text)
}

#[test]
fn an_answer_that_ends_has_the_form() {
    let mut ended = 0;
    for (at, expression) in FORMS.iter().enumerate() {
        for seed in 0..6 {
            let asked = Draft {
                guides: form(expression, 1),
                ..draft(&[at as u32, 3, 4], sampled(seed, 60))
            };
            let told = Bench::new(AMPLE).answer(asked);
            assert_eq!(told.failed, None);
            let answer = &told.answers[0];
            if answer.finish == Some(FinishReason::Stop) {
                ended += 1;
                assert!(
                    keeps(&answer.text, expression),
                    "{expression}: {}",
                    answer.text
                );
            }
        }
    }
    assert!(ended > 20, "{ended}");
}

#[test]
fn an_answer_ends_with_what_completes_it() {
    let asked = |max_tokens| Draft {
        guides: form("abc", 1),
        ..draft(&[1, 2], sampled(0, max_tokens))
    };
    let whole = Bench::new(AMPLE).answer(asked(9));
    assert_eq!(whole.answers[0].text, "abc");
    assert_eq!(whole.answers[0].ids(), [0, 1, 2], "no token for the end");
    assert_eq!(whole.answers[0].finish, Some(FinishReason::Stop));
    assert_eq!(whole.usage.unwrap().generated, 3);
    let exact = Bench::new(AMPLE).answer(asked(3));
    assert_eq!(exact.answers[0].finish, Some(FinishReason::Stop));
    let cut = Bench::new(AMPLE).answer(asked(2));
    assert_eq!(cut.answers[0].text, "ab");
    assert_eq!(cut.answers[0].finish, Some(FinishReason::Length));
}

#[test]
fn a_crowd_changes_no_answer_with_a_form_or_without() {
    let shapes = [
        AMPLE,
        // Few blocks: answers are preempted and computed again.
        Shape {
            rows: 6,
            step_tokens: 11,
            scored: 4,
            blocks: 26,
            block_size: 4,
        },
    ];
    for shape in shapes {
        let mut bench = Bench::new(shape);
        let mut readers: Vec<_> = (0..16).map(|number| bench.ask(request(number))).collect();
        bench.finish();
        for (number, reader) in (0..16).zip(&mut readers) {
            let alone = Bench::new(AMPLE).answer(request(number)).afresh();
            assert_eq!(read(reader).afresh(), alone, "request {number}");
        }
    }
}

/// Says its prompt over and over: guesses are often right, and often not what the form allows.
struct Parrot;

impl Forward for Parrot {
    type Cache = Slots;

    fn digest(&self) -> [u8; 32] {
        Toy.digest()
    }

    fn new_cache(&self, blocks: usize, block_size: usize) -> Result<Slots> {
        Toy.new_cache(blocks, block_size)
    }

    fn serve(&self, batch: &Batch, cache: &mut Slots, adapters: &Routed) -> Result<Array> {
        let mut scores: Vec<f32> = Toy.serve(batch, cache, adapters)?.into_values();
        for (&row, scores) in batch.logit_rows.iter().zip(scores.chunks_exact_mut(VOCAB)) {
            scores[(batch.tokens[row] as usize + 1) % 6] += 4.5;
        }
        Array::new(scores, (batch.logit_rows.len(), VOCAB))
    }
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    masks: AtomicUsize,
}

impl Observe for Counts {
    fn speculated(&self, _: usize, accepted: usize) {
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
    }

    fn masked(&self, seconds: f64) {
        assert!(seconds > 0.0);
        self.masks.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn speculation_changes_no_token_of_a_form() {
    let expressions = [
        "[a-f]{20,40}",
        "(abcdef|ba){4,9}",
        "([a-c]+[d-z ]){2,6}",
        "[a-z]+!",
    ];
    let counted = Arc::new(Counts::default());
    for (at, expression) in expressions.iter().enumerate() {
        for seed in 0..5 {
            let asked = |answers| Draft {
                n: answers,
                guides: form(expression, answers),
                ..draft(&[0, 1, 2, 3, 4, 5, 0, 1, at as u32], sampled(seed, 50))
            };
            let tight = Shape {
                rows: 4,
                step_tokens: 24,
                scored: 4,
                blocks: 40,
                block_size: 3,
            };
            let always = Shortcuts {
                prefix_cache: true,
                speculation: Speculation::Always,
            };
            let mut faster = Bench::with(Parrot, tight, always, counted.clone());
            let mut plain = Bench::with(Parrot, AMPLE, PLAIN, Arc::new(Unobserved));
            let told = faster.answer(asked(2)).afresh();
            assert_eq!(told, plain.answer(asked(2)).afresh(), "{expression}");
        }
    }
    let [accepted, masks] =
        [&counted.accepted, &counted.masks].map(|count| count.load(Ordering::Relaxed));
    assert!(accepted > 50, "{accepted} guesses were taken");
    assert!(masks > 50, "{masks}");
}

#[test]
fn log_probabilities_are_the_models_own() {
    let prompt = [3, 1, 4];
    let free = Bench::new(AMPLE).answer(draft(&prompt, sampled(0, 1)));
    let asked = Draft {
        guides: form("[0-2]", 1),
        ..draft(&prompt, sampled(0, 1))
    };
    let formed = Bench::new(AMPLE).answer(asked);
    let (free, formed) = (&free.answers[0].tokens[0], &formed.answers[0].tokens[0]);
    assert_eq!(free.top, formed.top, "of all tokens, allowed or not");
    assert!(
        formed.logprob < free.logprob,
        "another would have been likelier"
    );
}

#[test]
fn min_tokens_holds_back_an_end_that_may_come_later_and_none_that_must() {
    let asked = |expression: &str| Draft {
        guides: form(expression, 1),
        ..draft(
            &[2, 2],
            Sampling {
                min_tokens: 6,
                ..sampled(1, 30)
            },
        )
    };
    let longer = Bench::new(AMPLE).answer(asked("[a-z]+"));
    assert!(longer.answers[0].tokens.len() >= 6);
    let complete = Bench::new(AMPLE).answer(asked("abc"));
    assert_eq!(complete.answers[0].text, "abc");
    assert_eq!(complete.answers[0].finish, Some(FinishReason::Stop));
}

#[test]
fn an_answer_that_cannot_go_on_ends_alone() {
    let mut bench = Bench::new(AMPLE);
    // `a` ends an answer, but not yet; and nothing else is allowed.
    let stuck = Draft {
        guides: form("a{3}", 1),
        ..draft(
            &[5],
            Sampling {
                stop_token_ids: vec![0],
                min_tokens: 2,
                ..sampled(0, 9)
            },
        )
    };
    let mut stuck = bench.ask(stuck);
    let mut other = bench.ask(request(5));
    bench.finish();
    let told = read(&mut stuck).failed;
    assert!(
        matches!(&told, Some(Reason::GrammarStuck { field, .. }) if field == "guided_regex"),
        "{told:?}"
    );
    let alone = Bench::new(AMPLE).answer(request(5)).afresh();
    assert_eq!(read(&mut other).afresh(), alone);
}

#[test]
fn a_stop_string_ends_an_answer_before_its_form_does() {
    let asked = Draft {
        guides: form("abcdef", 1),
        ..draft(
            &[1],
            Sampling {
                stop: vec!["cd".into()],
                ..sampled(0, 9)
            },
        )
    };
    let told = Bench::new(AMPLE).answer(asked);
    assert_eq!(told.answers[0].text, "ab");
    assert_eq!(told.answers[0].finish, Some(FinishReason::StopString(0)));
}

#[test]
fn an_end_cannot_be_ignored_and_asked_for() {
    let asked = Draft {
        guides: form("a", 1),
        ..draft(&[1], greedy(3))
    };
    let told = Admitted::check(asked, &limits(AMPLE)).err();
    assert!(
        matches!(&told, Some(Reason::BadField { field, .. }) if field == "ignore_eos"),
        "{told:?}"
    );
}
