//! Requests whose time is up, and what they leave.

use std::time::{Duration, Instant};

use super::super::admit::{Draft, Terms};
use super::super::engine::Shape;
use super::toy::*;
use crate::domain::{FinishReason, Reason, Sampling};

/// Over before anything is done.
fn over() -> Terms {
    Terms {
        deadline: Some(Instant::now()),
        ..Terms::default()
    }
}

fn within(time: Duration) -> Terms {
    Terms {
        deadline: Some(Instant::now() + time),
        ..Terms::default()
    }
}

#[test]
fn without_a_token_a_request_fails_when_its_time_is_up() {
    let mut bench = Bench::new(AMPLE);
    let mut late = bench.ask(Draft {
        terms: over(),
        ..draft(&[1, 2, 3], greedy(10))
    });
    let mut other = bench.ask(draft(&[1, 2, 3], greedy(10)));
    bench.finish();
    assert_eq!(read(&mut late).failed, Some(Reason::DeadlineExceeded));
    assert_eq!(read(&mut other).answers[0].tokens.len(), 10);
}

#[test]
fn answers_under_way_end_where_they_are_and_say_what_they_held_back() {
    // Its first characters might still become the stop string, so all of it is held back.
    let text = tokenizer().decode(&continuation(&[1, 2, 3], 4), true);
    let stop = format!("{}never", text.unwrap());
    let mut bench = Bench::new(Shape { rows: 1, ..AMPLE });
    let time = Duration::from_millis(200);
    let asked = Instant::now();
    let mut reader = bench.ask(Draft {
        n: 2,
        terms: within(time),
        ..draft(
            &[1, 2, 3],
            Sampling {
                stop: vec![stop],
                ..greedy(100)
            },
        )
    });
    (0..3).for_each(|_| assert!(bench.engine.turn()));
    while asked.elapsed() <= time {
        std::thread::yield_now();
    }
    bench.finish();
    let told = read(&mut reader);
    assert_eq!(told.answers[0].ids(), continuation(&[1, 2, 3], 3));
    let said = tokenizer().decode(&continuation(&[1, 2, 3], 3), true);
    assert_eq!(told.answers[0].text, said.unwrap());
    assert!(told.answers[1].tokens.is_empty(), "it had no row yet");
    for answer in &told.answers {
        assert_eq!(answer.finish, Some(FinishReason::Length));
    }
    assert_eq!(told.usage.unwrap().generated, 3);
}

#[test]
fn one_that_waits_for_a_row_fails_in_time() {
    let mut bench = Bench::new(Shape { rows: 1, ..AMPLE });
    let running = bench.ask(draft(&[1], greedy(100)));
    bench.engine.turn();
    let mut waits = bench.ask(Draft {
        terms: over(),
        ..draft(&[2], greedy(10))
    });
    bench.engine.turn();
    assert_eq!(read(&mut waits).failed, Some(Reason::DeadlineExceeded));
    drop(running);
    bench.finish();
}
