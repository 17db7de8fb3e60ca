//! What events make of an answer, and that the steps put together are its blocks.

use serde_json::Value;

use super::*;
use crate::gateway::{Answer, Answers};

/// An answer or its stream as the official clients read it.
pub(in crate::api::http) fn sample(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub(in crate::api::http) fn token(id: u32) -> TokenInfo {
    TokenInfo {
        id,
        text: String::new(),
        bytes: Vec::new(),
        logprob: Some(-0.5),
        top: Vec::new(),
    }
}

pub(in crate::api::http) fn delta(text: &str, id: u32) -> Event {
    Event::Delta {
        choice: 0,
        text: text.into(),
        tokens: vec![token(id)],
    }
}

pub(in crate::api::http) fn call(name: &str, arguments: &[&str]) -> Vec<Event> {
    let begin = CallPiece::Begin {
        id: format!("call_{name}"),
        name: name.into(),
    };
    let rest = arguments
        .iter()
        .map(|text| CallPiece::Arguments((*text).into()));
    let event = |piece| Event::Call {
        choice: 0,
        index: 0,
        piece,
    };
    std::iter::once(begin).chain(rest).map(event).collect()
}

pub(in crate::api::http) fn finish(reason: FinishReason) -> Event {
    Event::Finish { choice: 0, reason }
}

pub(in crate::api::http) fn done() -> Event {
    Event::Done {
        usage: Usage {
            prompt: 3,
            cached: 1,
            generated: 7,
        },
    }
}

/// An answer that says something and calls `f`.
pub(in crate::api::http) fn speaking() -> Vec<Event> {
    let mut events = vec![delta("Hm", 1), delta(".", 2)];
    events.extend(call("f", &["{\"a\":", " 1}"]));
    events.extend([finish(FinishReason::ToolCalls), done()]);
    events
}

/// What views are made with.
pub(in crate::api::http) fn answers() -> Answers {
    let (_, events) = tokio::sync::mpsc::channel(1);
    Answers {
        id: "1".into(),
        created: 5,
        model: "legal".into(),
        generation: Some(crate::domain::Generation::new([1; 32])),
        each: vec![Answer {
            prompt: vec![7, 8, 9],
            events: events.into(),
        }],
    }
}

/// The blocks of these events.
pub(in crate::api::http) fn blocks(tells: bool, events: Vec<Event>) -> Blocks {
    let mut blocks = Blocks::new(tells);
    for event in events {
        blocks.hear(event);
    }
    blocks
}

fn text(text: &str, ids: &[u32]) -> Block {
    Block::Text {
        text: text.into(),
        tokens: ids.iter().copied().map(token).collect(),
    }
}

fn called(name: &str, arguments: &str) -> Block {
    Block::Call(Called {
        id: format!("call_{name}"),
        name: name.into(),
        arguments: arguments.into(),
    })
}

/// The blocks, and the same put together from the steps that were told.
fn heard(tells: bool, events: Vec<Event>) -> (Blocks, Vec<Block>) {
    let mut blocks = Blocks::new(tells);
    let (mut built, mut ended): (Vec<Block>, Vec<usize>) = (Vec::new(), Vec::new());
    for event in events {
        blocks.each(event, |number, step, _| {
            match step {
                Step::BeginText => built.push(text("", &[])),
                Step::BeginCall { name, .. } => built.push(called(name, "")),
                Step::End => ended.push(number),
                Step::Text {
                    text: more,
                    tokens: told,
                } => match built.last_mut() {
                    Some(Block::Text { text, tokens }) => {
                        text.push_str(more);
                        tokens.extend_from_slice(told);
                    }
                    other => panic!("text in {other:?}"),
                },
                Step::Arguments(more) => match built.last_mut() {
                    Some(Block::Call(call)) => call.arguments.push_str(more),
                    other => panic!("arguments in {other:?}"),
                },
            }
            assert_eq!(number, built.len() - 1);
        });
    }
    assert_eq!(
        ended,
        (0..built.len()).collect::<Vec<_>>(),
        "each ends once"
    );
    (blocks, built)
}

#[test]
fn text_and_calls_stand_in_the_order_in_which_they_came() {
    let mut events = vec![delta("Hm", 1), delta("", 2), delta(".", 3)];
    events.extend(call("f", &["{\"a\"", ":1}"]));
    events.extend(call("g", &["{}"]));
    events.extend([delta("Done", 9), finish(FinishReason::ToolCalls)]);
    let (blocks, built) = heard(false, events);
    let expected = [
        text("Hm.", &[]),
        called("f", "{\"a\":1}"),
        called("g", "{}"),
        text("Done", &[]),
    ];
    assert_eq!(blocks.blocks, expected);
    assert_eq!(built, expected);
    assert_eq!(blocks.finish, Some(FinishReason::ToolCalls));
}

#[test]
fn tokens_are_told_with_the_text_that_they_made_and_with_no_call() {
    let mut events = vec![delta("a", 1), delta("", 2), delta("bc", 3), delta("", 4)];
    events.extend(call("f", &["{}"]));
    events.push(delta("", 5));
    events.push(finish(FinishReason::Stop));
    let (blocks, built) = heard(true, events);
    assert_eq!(blocks.blocks, [text("abc", &[1, 2, 3]), called("f", "{}")]);
    assert_eq!(built, blocks.blocks);
}

#[test]
fn an_answer_that_is_nothing_is_one_empty_text() {
    let (blocks, built) = heard(true, vec![delta("", 2), finish(FinishReason::Stop)]);
    assert_eq!(blocks.blocks, [text("", &[])]);
    assert_eq!(built, blocks.blocks);
}

#[tokio::test]
async fn a_whole_answer_is_gathered_and_a_failure_ends_it() {
    let feed = |events: Vec<Event>| {
        let (out, coming) = tokio::sync::mpsc::channel(8);
        for event in events {
            out.try_send(event).unwrap();
        }
        vec![Events::from(coming)]
    };
    let usage = Usage {
        prompt: 3,
        cached: 1,
        generated: 2,
    };
    let stop = FinishReason::StopString(1);
    let events = vec![delta("a", 1), finish(stop), Event::Done { usage }];
    let whole = Blocks::new(false).gather(feed(events)).await.unwrap();
    assert_eq!((whole.finish, whole.usage), (Some(stop), usage));
    assert_eq!(whole.blocks, [text("a", &[])]);
    let failed = vec![delta("a", 1), Event::Failed(Reason::Draining)];
    let failed = Blocks::new(false).gather(feed(failed)).await;
    assert_eq!(failed.err(), Some(Reason::Draining));
}
