//! Chat answers whole and in chunks.

use tokio::sync::mpsc;

use super::*;
use crate::domain::{FinishReason, TopToken};

fn view(logprobs: bool, usage: bool, token_ids: bool) -> ChatView {
    let (_, events) = mpsc::channel(1);
    let answers = Answers {
        id: "1".into(),
        created: 5,
        model: "legal".into(),
        generation: Some(Generation::new([1; 32])),
        each: vec![crate::gateway::Answer {
            prompt: vec![8, 9],
            events: events.into(),
        }],
    };
    ChatView::new(
        answers,
        "fp_1",
        logprobs,
        Delivery {
            stream: true,
            usage,
            token_ids,
        },
    )
    .0
}

fn told(id: u32, text: &str) -> TokenInfo {
    let top = vec![TopToken {
        id,
        text: text.into(),
        bytes: text.as_bytes().to_vec(),
        logprob: -0.5,
    }];
    TokenInfo {
        id,
        text: text.into(),
        bytes: text.as_bytes().to_vec(),
        logprob: Some(-0.5),
        top,
    }
}

fn delta(text: &str) -> Event {
    Event::Delta {
        choice: 0,
        text: text.into(),
        tokens: vec![told(3, text)],
    }
}

#[test]
fn a_stream_opens_with_the_role_and_closes_with_the_reason() {
    let mut stream = view(false, true, false).stream(1);
    let mut chunks = stream.on(0, delta("hi"));
    chunks.extend(stream.on(
        0,
        Event::Finish {
            choice: 0,
            reason: FinishReason::Stop,
        },
    ));
    chunks.extend(stream.on(
        0,
        Event::Done {
            usage: Usage {
                prompt: 2,
                cached: 0,
                generated: 1,
            },
        },
    ));
    chunks.extend(stream.end());
    let deltas: Vec<&Value> = chunks[..3]
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(
        deltas,
        [
            &json!({"role": "assistant", "content": ""}),
            &json!({"content": "hi"}),
            &json!({})
        ]
    );
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    assert!(
        chunks[..3]
            .iter()
            .all(|chunk| chunk["usage"].is_null() && chunk["adapter_generation"].is_string())
    );
    assert_eq!(chunks[3]["choices"], json!([]));
    assert_eq!(chunks[3]["usage"]["total_tokens"], 3);
}

#[test]
fn held_back_text_makes_no_empty_chunks_unless_the_token_is_told() {
    let mut stream = view(false, false, false).stream(1);
    assert_eq!(stream.on(0, delta("")).len(), 1, "the opening alone");
    assert!(stream.on(0, delta("")).is_empty());
    let mut telling = view(true, false, true).stream(1);
    let chunks = telling.on(0, delta(""));
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks[0]["prompt_token_ids"], json!([8, 9]));
    assert_eq!(chunks[1]["choices"][0]["token_ids"], json!([3]));
    assert_eq!(
        chunks[1]["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"],
        -0.5
    );
}

fn calling() -> [Event; 2] {
    let begin = CallPiece::Begin {
        id: "call_1".into(),
        name: "f".into(),
    };
    [begin, CallPiece::Arguments("{}".into())].map(|piece| Event::Call {
        choice: 0,
        index: 0,
        piece,
    })
}

#[test]
fn a_stream_that_calls_opens_with_null_and_tells_the_name_before_the_arguments() {
    let mut stream = ChatView {
        may_call: true,
        ..view(false, false, false)
    }
    .stream(1);
    assert!(
        stream.on(0, delta("")).is_empty(),
        "text or a call may come"
    );
    let mut chunks: Vec<Value> = { calling().into_iter() }
        .flat_map(|event| stream.on(0, event))
        .collect();
    chunks.extend(stream.on(
        0,
        Event::Finish {
            choice: 0,
            reason: FinishReason::ToolCalls,
        },
    ));
    let deltas: Vec<&Value> = { chunks.iter() }
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(
        deltas,
        [
            &json!({"role": "assistant", "content": null}),
            &json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
            &json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            &json!({}),
        ]
    );
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn a_whole_answer_that_only_calls_has_no_content() {
    let call = |text: &str| Choice {
        text: text.into(),
        calls: vec![Called {
            id: "call_1".into(),
            name: "f".into(),
            arguments: "{}".into(),
        }],
        finish: Some(FinishReason::ToolCalls),
        ..Choice::default()
    };
    let view = view(false, false, false);
    let message = |choice| view.choice(0, &choice)["message"].clone();
    let calls =
        json!([{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    assert_eq!(
        message(call("")),
        json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": calls})
    );
    assert_eq!(message(call("Hm."))["content"], "Hm.");
}

#[test]
fn a_whole_answer_has_every_choice_and_the_usage() {
    let choice = || Choice {
        text: "hi".into(),
        calls: Vec::new(),
        tokens: vec![told(3, "hi")],
        finish: Some(FinishReason::Length),
    };
    let answered = crate::api::http::gather::Answered {
        prompt: Vec::new(),
        choices: vec![choice(), choice()],
    };
    let whole = Whole {
        prompts: vec![answered],
        usage: Usage {
            prompt: 2,
            cached: 1,
            generated: 2,
        },
    };
    let value = view(true, false, true).whole(whole);
    assert_eq!(value["object"], "chat.completion");
    assert_eq!(value["choices"][1]["index"], 1);
    assert_eq!(value["choices"][1]["finish_reason"], "length");
    assert_eq!(
        value["choices"][0]["logprobs"]["content"][0]["bytes"],
        json!([104, 105])
    );
    assert_eq!(value["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
    assert_eq!(value["prompt_token_ids"], json!([8, 9]));
}
