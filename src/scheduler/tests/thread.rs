//! The engine behind its thread and handle.

use std::sync::Arc;
use std::time::Duration;

use super::super::actor::Scheduler;
use super::super::admit::{Admitted, Draft, Terms};
use super::super::engine::{Engine, Shape, Shortcuts};
use super::super::observe::Unobserved;
use super::toy::*;
use crate::device::Turns;
use crate::domain::{Event, Reason};
use tokio::sync::mpsc::Receiver;

fn scheduler(shape: Shape, turns: &Turns, queue: usize) -> Scheduler {
    let engine = Engine::new(
        Toy,
        tokenizer(),
        shape,
        Shortcuts::default(),
        turns.clone(),
        Arc::new(Unobserved),
    )
    .unwrap();
    Scheduler::run(engine, shape, limits(shape), queue).unwrap()
}

fn submit(scheduler: &Scheduler, draft: Draft) -> Result<Receiver<Event>, Reason> {
    scheduler.submit(Admitted::check(draft, &scheduler.limits()).unwrap())
}

async fn all(mut reader: Receiver<Event>) -> Transcript {
    let mut transcript = Transcript::default();
    while let Some(event) = reader.recv().await {
        transcript.add(event);
    }
    transcript
}

/// Long enough that it does not end by itself while a test looks at it.
fn endless() -> Draft {
    draft(&[1, 2, 3], greedy(250))
}

/// One row, so that all but one request wait; and no blocks for a second.
const NARROW: Shape = Shape { rows: 1, ..AMPLE };

#[tokio::test]
async fn requests_from_many_tasks_are_answered_each_with_its_own() {
    let scheduler = scheduler(AMPLE, &Turns::default(), 64);
    let asked: Vec<_> = (0..24u32)
        .map(|i| {
            let prompt = vec![i % 26, i / 2 % 26, 3];
            let reader = submit(&scheduler, draft(&prompt, greedy(20))).unwrap();
            (prompt, tokio::spawn(all(reader)))
        })
        .collect();
    for (prompt, told) in asked {
        assert_eq!(
            told.await.unwrap().answers[0].ids(),
            continuation(&prompt, 20)
        );
    }
    scheduler.drain(Duration::from_secs(10)).await;
    let load = scheduler.load();
    assert_eq!((load.waiting, load.running), (0, 0));
    assert!(scheduler.heartbeat().is_some());
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let scheduler = scheduler(NARROW, &Turns::default(), 2);
    let mut readers = Vec::new();
    let refused = loop {
        match submit(&scheduler, endless()) {
            Ok(reader) => readers.push(reader),
            Err(reason) => break reason,
        }
    };
    assert!(
        matches!(
            refused,
            Reason::Overloaded {
                retry_after: 1..=60
            }
        ),
        "{refused:?}"
    );
    readers.clear();
    scheduler.drain(Duration::from_secs(10)).await;
    assert_eq!(scheduler.load().waiting, 0);
}

#[tokio::test]
async fn a_caller_who_floods_the_queue_does_not_keep_another_out() {
    let scheduler = scheduler(NARROW, &Turns::default(), 8);
    let ask = |tenant: u64, tokens| {
        let terms = Terms {
            tenant,
            ..Terms::default()
        };
        let draft = draft(&[1, 2, tenant as u32], greedy(tokens));
        submit(&scheduler, Draft { terms, ..draft })
    };
    drop(ask(2, 1).unwrap());
    let mut flood = Vec::new();
    for _ in 0..10 {
        let (taken, refused): (Vec<_>, Vec<_>) =
            (0..50).map(|_| ask(1, 40)).partition(Result::is_ok);
        assert!(!refused.is_empty(), "that was no flood");
        flood.extend(taken);
        let told = all(ask(2, 3).expect("a place in the queue")).await;
        assert_eq!(told.answers[0].tokens.len(), 3);
    }
    drop(flood);
    scheduler.drain(Duration::from_secs(10)).await;
    assert_eq!(scheduler.load().waiting, 0);
}

#[tokio::test]
async fn draining_lets_running_requests_end_and_takes_no_new_ones() {
    let scheduler = scheduler(AMPLE, &Turns::default(), 8);
    let reader = submit(&scheduler, endless()).unwrap();
    scheduler.drain(Duration::from_secs(30)).await;
    assert_eq!(submit(&scheduler, endless()).err(), Some(Reason::Draining));
    assert_eq!(all(reader).await.usage.unwrap().generated, 250);
}

#[tokio::test]
async fn what_still_runs_at_the_deadline_is_told_so() {
    let scheduler = scheduler(NARROW, &Turns::default(), 64);
    let readers: Vec<_> = (0..50)
        .map(|_| submit(&scheduler, endless()).unwrap())
        .collect();
    scheduler.drain(Duration::ZERO).await;
    let mut refused = 0;
    for reader in readers {
        let told = all(reader).await;
        assert!(told.failed.is_none() || told.failed == Some(Reason::Draining));
        refused += usize::from(told.failed.is_some());
    }
    assert!(refused > 0);
    assert_eq!(scheduler.load().running, 0);
}

#[tokio::test]
async fn the_device_is_free_for_training_once_nothing_runs() {
    let turns = Turns::default();
    let scheduler = scheduler(AMPLE, &turns, 8);
    all(submit(&scheduler, draft(&[1], greedy(50))).unwrap()).await;
    scheduler.drain(Duration::from_secs(10)).await;
    // Returns at once when no serving turn is held, and never otherwise.
    turns.give_way();
}

#[tokio::test]
async fn an_engine_whose_handles_are_gone_still_ends_what_it_began() {
    let scheduler = scheduler(AMPLE, &Turns::default(), 8);
    let reader = submit(&scheduler, draft(&[1, 2], greedy(30))).unwrap();
    drop(scheduler);
    assert_eq!(
        all(reader).await.answers[0].ids(),
        continuation(&[1, 2], 30)
    );
}
