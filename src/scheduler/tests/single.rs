//! What one request sees, and what is measured of it.

use std::sync::{Arc, Mutex};

use super::super::admit::Draft;
use super::super::engine::Shape;
use super::super::observe::Observe;
use super::toy::*;
use crate::domain::{Event, FinishReason, Reason, Sampling, Usage};

const PROMPT: [u32; 5] = [7, 4, 11, 11, 14];

fn text_of(ids: &[u32]) -> String {
    tokenizer().decode(ids, true).unwrap()
}

#[test]
fn an_answer_is_the_models_own_continuation() {
    let told = Bench::new(AMPLE).answer(draft(&PROMPT, greedy(12)));
    let expected = continuation(&PROMPT, 12);
    assert_eq!(told.answers[0].ids(), expected);
    assert_eq!(told.answers[0].text, text_of(&expected));
    assert_eq!(told.answers[0].finish, Some(FinishReason::Length));
    assert_eq!(
        told.usage,
        Some(Usage {
            prompt: 5,
            cached: 0,
            generated: 12
        })
    );
    assert!(told.prompt.is_none() && told.answers[0].tokens[0].logprob.is_none());
}

#[test]
fn the_end_token_is_counted_but_gives_no_text() {
    let expected = continuation(&PROMPT, 100);
    let end = expected
        .iter()
        .position(|&id| id == END)
        .expect("the toy ends some time");
    let ends = Sampling {
        ignore_eos: false,
        ..greedy(100)
    };
    let told = Bench::new(AMPLE).answer(draft(&PROMPT, ends));
    let answer = &told.answers[0];
    assert_eq!(answer.ids(), expected[..=end]);
    assert_eq!(answer.text, text_of(&expected[..end]));
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    assert_eq!(answer.tokens[end].text, "");
    assert_eq!(told.usage.unwrap().generated, end + 1);
}

#[test]
fn a_stop_token_ends_like_the_end_token_but_not_before_min_tokens() {
    let expected = continuation(&PROMPT, 30);
    let stop = expected[3];
    let stops = Sampling {
        stop_token_ids: vec![stop],
        ..greedy(30)
    };
    let told = Bench::new(AMPLE).answer(draft(&PROMPT, stops.clone()));
    assert_eq!(told.answers[0].ids(), expected[..=3]);
    assert_eq!(told.answers[0].finish, Some(FinishReason::Stop));

    let later = Sampling {
        min_tokens: 8,
        ..stops
    };
    let told = Bench::new(AMPLE).answer(draft(&PROMPT, later));
    let ids = told.answers[0].ids();
    assert!(ids.len() > 8 && !ids[..8].contains(&stop), "{ids:?}");
}

#[test]
fn a_stop_string_across_tokens_is_not_shown_and_ends_the_answer() {
    let expected = continuation(&PROMPT, 30);
    let plain = text_of(&expected);
    let from = plain.char_indices().nth(6).unwrap().0;
    let to = plain.char_indices().nth(9).unwrap().0;
    let stop = plain[from..to].to_owned();
    let told = Bench::new(AMPLE).answer(draft(
        &PROMPT,
        Sampling {
            stop: vec![stop.clone()],
            ..greedy(30)
        },
    ));
    assert_eq!(told.answers[0].text, plain[..plain.find(&stop).unwrap()]);
    assert_eq!(told.answers[0].finish, Some(FinishReason::StopString(0)));
    assert!(told.usage.unwrap().generated < 30);
}

#[test]
fn text_held_back_for_a_stop_string_comes_out_at_the_end() {
    let expected = continuation(&PROMPT, 10);
    let plain = text_of(&expected);
    let last = plain.chars().last().unwrap();
    let stops = Sampling {
        stop: vec![format!("{last}{last}{last}never")],
        ..greedy(10)
    };
    let told = Bench::new(AMPLE).answer(draft(&PROMPT, stops));
    assert_eq!(told.answers[0].text, plain);
    assert_eq!(told.answers[0].finish, Some(FinishReason::Length));
}

#[test]
fn prompt_scores_cover_every_position_in_whatever_chunks() {
    let mut scored = draft(
        &PROMPT,
        Sampling {
            logprobs: Some(2),
            ..greedy(3)
        },
    );
    scored.prompt_logprobs = true;
    let whole = Bench::new(AMPLE).answer(scored);
    let tokens = whole.prompt.as_ref().unwrap();
    assert_eq!(tokens.iter().map(|t| t.id).collect::<Vec<_>>(), PROMPT);
    assert!(tokens[0].logprob.is_none() && tokens[0].top.is_empty());
    for token in &tokens[1..] {
        assert!(token.logprob.unwrap() < 0.0);
        assert_eq!(token.top.len(), 2);
        assert!(token.top[0].logprob >= token.top[1].logprob);
    }
    assert!(
        whole.answers[0]
            .tokens
            .iter()
            .all(|t| t.logprob.is_some() && t.top.len() == 2)
    );

    for (step_tokens, rows) in [(2, 1), (3, 2), (512, 1)] {
        let shape = Shape {
            step_tokens,
            scored: rows,
            rows: 1,
            ..AMPLE
        };
        let mut scored = draft(
            &PROMPT,
            Sampling {
                logprobs: Some(2),
                ..greedy(3)
            },
        );
        scored.prompt_logprobs = true;
        assert_eq!(Bench::new(shape).answer(scored), whole);
    }
}

#[test]
fn max_tokens_zero_only_scores_the_prompt() {
    for prompt in [&PROMPT[..], &PROMPT[..1]] {
        let mut scored = draft(prompt, greedy(0));
        (scored.prompt_logprobs, scored.n) = (true, 2);
        let told = Bench::new(AMPLE).answer(scored);
        assert_eq!(told.prompt.unwrap().len(), prompt.len());
        assert_eq!(
            told.usage,
            Some(Usage {
                prompt: prompt.len(),
                cached: 0,
                generated: 0
            })
        );
        assert_eq!(told.answers.len(), 2);
        for answer in told.answers {
            assert_eq!(
                (answer.text.as_str(), answer.finish),
                ("", Some(FinishReason::Length))
            );
        }
    }
    let told = Bench::new(AMPLE).answer(draft(&PROMPT, greedy(0)));
    assert!(told.prompt.is_none() && told.usage.is_some());
}

#[test]
fn a_prompt_as_long_as_the_whole_cache_can_be_scored_and_lets_others_follow() {
    for rows in [1, 4] {
        let shape = Shape {
            rows,
            step_tokens: 32,
            blocks: 8,
            ..AMPLE
        };
        let mut bench = Bench::new(shape);
        let all = shape.blocks * shape.block_size;
        let mut scored = draft(&vec![3; all], greedy(0));
        scored.prompt_logprobs = true;
        let mut large = bench.ask(scored);
        let mut others: Vec<_> = (0..20)
            .map(|_| bench.ask(draft(&PROMPT, greedy(4))))
            .collect();
        bench.finish();
        assert_eq!(read(&mut large).prompt.unwrap().len(), all, "rows: {rows}");
        for other in &mut others {
            assert_eq!(read(other).answers[0].ids(), continuation(&PROMPT, 4));
        }
    }
}

#[test]
fn what_the_cache_can_never_hold_is_told_so_and_stops_no_other() {
    let shape = Shape { blocks: 8, ..AMPLE };
    let mut bench = Bench::new(shape);
    // Checked against limits that are not this cache's.
    bench.limits.kv_tokens = 1000;
    let mut never = bench.ask(draft(&[3; 64], greedy(8)));
    let mut other = bench.ask(draft(&PROMPT, greedy(4)));
    bench.finish();
    let told = read(&mut never).failed;
    assert!(
        matches!(told, Some(Reason::PromptTooLong { limit: 64, .. })),
        "{told:?}"
    );
    assert_eq!(read(&mut other).answers[0].ids(), continuation(&PROMPT, 4));
}

#[test]
fn a_turn_without_work_says_so() {
    let mut bench = Bench::new(AMPLE);
    assert!(!bench.engine.turn());
    let _reader = bench.ask(draft(&PROMPT, greedy(1)));
    assert!(bench.engine.turn());
    assert!(!bench.engine.turn());
}

#[test]
fn a_score_that_waits_for_another_holds_no_other_up() {
    let shape = Shape { scored: 1, ..AMPLE };
    let mut bench = Bench::new(shape);
    let scored = |ids: u32| Draft {
        prompt_logprobs: true,
        ..draft(&[ids; 60], greedy(0))
    };
    let _first = bench.ask(scored(1));
    bench.engine.turn();
    let mut second = bench.ask(scored(2));
    let mut chat = bench.ask(draft(&PROMPT, greedy(3)));
    for _ in 0..4 {
        bench.engine.turn();
    }
    assert_eq!(read(&mut chat).answers[0].ids(), continuation(&PROMPT, 3));
    bench.finish();
    assert_eq!(read(&mut second).prompt.unwrap().len(), 60);
}

#[test]
fn answers_of_one_request_share_the_blocks_of_their_prompt() {
    let prompt: Vec<u32> = (0..30).map(|i| i % 26).collect();
    let mut bench = Bench::new(Shape {
        rows: 4,
        blocks: 64,
        ..AMPLE
    });
    let mut many = draft(&prompt, greedy(20));
    many.n = 4;
    let mut reader = bench.ask(many);
    // The first answer computes the prompt, then the others follow.
    for _ in 0..2 {
        bench.engine.turn();
    }
    // Three full blocks shared, and one block of each answer's own.
    assert_eq!(
        bench.engine.pool().total() - bench.engine.pool().free(),
        3 + 4
    );
    bench.finish();
    let told = read(&mut reader);
    assert_eq!(told.answers.len(), 4);
    for answer in &told.answers {
        assert_eq!(answer.ids(), continuation(&prompt, 20));
    }
    assert_eq!(
        told.usage,
        Some(Usage {
            prompt: 30,
            cached: 0,
            generated: 80
        })
    );
}

#[test]
fn a_reader_that_leaves_frees_its_blocks_within_one_step() {
    let prompt: Vec<u32> = (0..40).map(|i| i % 26).collect();
    let shape = Shape {
        rows: 1,
        step_tokens: 16,
        ..AMPLE
    };
    // While its prompt is computed, while it answers, while it waits.
    for steps in [1, 10] {
        let mut bench = Bench::new(shape);
        let reader = bench.ask(draft(&prompt, greedy(100)));
        let waiting = bench.ask(draft(&prompt, greedy(100)));
        for _ in 0..steps {
            bench.engine.turn();
        }
        drop((reader, waiting));
        bench.engine.turn();
        assert!(bench.engine.is_idle());
        bench.check_returned();
    }
}

#[test]
fn a_reader_that_lags_too_far_is_told_so_and_dropped() {
    let mut bench = Bench::new(AMPLE);
    let mut slow = bench.ask_with(draft(&PROMPT, greedy(50)), 10);
    let mut quick = bench.ask(draft(&PROMPT, greedy(50)));
    bench.finish();
    let told = read(&mut slow);
    assert_eq!(told.failed, Some(Reason::SlowReader { events: 10 }));
    assert_eq!(told.answers[0].ids(), continuation(&PROMPT, 9));
    assert_eq!(read(&mut quick).answers[0].ids(), continuation(&PROMPT, 50));
}

#[test]
fn a_step_that_fails_ends_its_own_requests_and_no_other() {
    for fault in [ERROR, PANIC] {
        // Two rows: the third request waits outside the failing step.
        let mut bench = Bench::new(Shape { rows: 2, ..AMPLE });
        let mut beside = bench.ask(draft(&PROMPT, greedy(5)));
        let mut faulty = bench.ask(draft(&[fault, 1, 2], greedy(5)));
        let mut after = bench.ask(draft(&PROMPT, greedy(5)));
        bench.finish();
        assert!(matches!(
            read(&mut beside).failed,
            Some(Reason::Internal(_))
        ));
        assert!(matches!(
            read(&mut faulty).failed,
            Some(Reason::Internal(_))
        ));
        assert_eq!(read(&mut after).answers[0].ids(), continuation(&PROMPT, 5));
    }
}

#[test]
fn scores_that_are_not_finite_end_only_the_request_they_belong_to() {
    let mut bench = Bench::new(AMPLE);
    let mut beside = bench.ask(draft(&PROMPT, greedy(5)));
    let mut faulty = bench.ask(draft(&[NAN, 1, 2], greedy(5)));
    let mut scoring = draft(&[NAN, 1, 2], greedy(5));
    scoring.prompt_logprobs = true;
    let mut scoring = bench.ask(scoring);
    bench.finish();
    assert_eq!(read(&mut beside).answers[0].ids(), continuation(&PROMPT, 5));
    assert!(matches!(
        read(&mut faulty).failed,
        Some(Reason::Internal(_))
    ));
    assert!(matches!(
        read(&mut scoring).failed,
        Some(Reason::Internal(_))
    ));
}

#[test]
fn every_token_is_its_own_event_as_soon_as_it_is_known() {
    let mut bench = Bench::new(AMPLE);
    let mut reader = bench.ask(draft(&PROMPT, greedy(3)));
    for id in continuation(&PROMPT, 3) {
        bench.engine.turn();
        match reader.try_recv().unwrap() {
            Event::Delta {
                choice: 0, tokens, ..
            } => assert_eq!(tokens[0].id, id),
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn add(&self, note: String) {
        self.0.lock().unwrap().push(note);
    }
}

impl Observe for Notes {
    fn step(&self, _: f64, rows: usize, adapters: usize) {
        self.add(format!("{rows} rows, {adapters} adapters"));
    }
    fn first_token(&self, _: f64) {
        self.add("first".into());
    }
    fn inter_token(&self, _: f64) {
        self.add("next".into());
    }
    fn request(&self, _: f64, adapter: Option<&str>, usage: Usage) {
        let name = adapter.unwrap_or("base");
        self.add(format!("{name}: {} + {}", usage.prompt, usage.generated));
    }
}

#[test]
fn steps_tokens_and_requests_are_measured_however_they_end() {
    let notes = Arc::new(Notes::default());
    let mut bench = Bench::observed(Toy, AMPLE, notes.clone());
    let adapted = |number| Draft {
        lease: Some(lease(number)),
        ..draft(&PROMPT, greedy(2))
    };
    let leaves = bench.ask(adapted(1));
    let _stays = bench.ask(adapted(0));
    bench.engine.turn();
    drop(leaves);
    bench.finish();
    let notes = notes.0.lock().unwrap();
    let expected = [
        "first",
        "first",
        "2 rows, 2 adapters",
        "adapter-1: 5 + 1",
        "next",
        "adapter-0: 5 + 2",
        "1 rows, 1 adapters",
    ];
    assert_eq!(*notes, expected);
}

#[test]
fn of_a_prompt_only_what_was_computed_is_measured() {
    let notes = Arc::new(Notes::default());
    let shape = Shape {
        rows: 1,
        step_tokens: 2,
        ..AMPLE
    };
    let mut bench = Bench::observed(Toy, shape, notes.clone());
    let begins = bench.ask(draft(&PROMPT, greedy(2)));
    let waits = bench.ask(draft(&PROMPT, greedy(2)));
    bench.engine.turn();
    drop((begins, waits));
    bench.finish();
    let notes = notes.0.lock().unwrap();
    assert_eq!(*notes, ["1 rows, 0 adapters", "base: 2 + 0", "base: 0 + 0"]);
}
