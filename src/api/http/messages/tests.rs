//! What is read of a request, and that answers look as in `tests/clients/samples`, which the official client reads.

use serde_json::{Value, json};

use super::super::blocks::tests::{answers, blocks, delta, done, finish, sample, speaking};
use super::super::documents;
use super::super::naming::Names;
use super::super::shape::tests::conforms;
use super::super::sse::Chunks;
use super::*;
use crate::api::fault::Fault;
use crate::domain::{Event, FinishReason, Input, Message, Reason, Role, Rule, ToolChoice};

fn with(name: &str, value: Value) -> Value {
    let mut body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"}]});
    body[name] = value;
    body
}

fn field_of(body: Value) -> String {
    match Asked::read(body.clone()) {
        Err(Reason::BadField { field, .. }) => field,
        other => panic!("{body}: {other:?}"),
    }
}

fn said(body: Value) -> (Vec<Message>, Asked) {
    let asked = Asked::read(body).unwrap();
    match &asked.ask.input {
        Input::Chat(messages) => (messages.clone(), asked),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_is_read_and_every_wrong_type_is_named() {
    conforms(&MESSAGES, |body| Asked::read(body).map(drop));
    conforms(&COUNTED, |body| Counted::read(body).map(drop));
}

#[test]
fn turns_are_texts_or_blocks_and_results_become_turns_of_their_own() {
    let cached = json!({"type": "ephemeral"});
    let mut body = with(
        "messages",
        json!([
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": cached}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "c", "citations": null},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "r"},
                {"type": "tool_result", "tool_use_id": "call_2", "is_error": true, "content": [{"type": "text", "text": "no"}]},
                {"type": "text", "text": "And?"},
            ]},
            {"role": "user", "content": []},
        ]),
    );
    body["system"] = json!([{"type": "text", "text": "Be", "cache_control": cached}, {"type": "text", "text": "brief."}]);
    let (messages, asked) = said(body);
    let turns: Vec<_> = messages
        .iter()
        .map(|m| (m.role, m.content.as_str()))
        .collect();
    let expected = [
        (Role::System, "Be\nbrief."),
        (Role::User, "a\nb"),
        (Role::Assistant, "c"),
        (Role::Tool, "r"),
        (Role::Tool, "no"),
        (Role::User, "And?"),
        (Role::User, ""),
    ];
    assert_eq!(turns, expected);
    let names: Vec<_> = messages[2]
        .tool_calls
        .iter()
        .map(|call| call.name.as_str())
        .collect();
    assert_eq!(names, ["f", "g"]);
    assert_eq!(messages[2].tool_calls[0].arguments["a"], 1);
    assert_eq!(messages[4].tool_call_id.as_deref(), Some("call_2"));
    let places = [
        "system",
        "messages[0]",
        "messages[1]",
        "messages[2].content[0]",
        "messages[2].content[1]",
        "messages[2]",
        "messages[3]",
    ];
    assert_eq!(asked.names.turns, places);
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let f = json!({"name": "f", "input_schema": {"type": "object"}});
    let block = |role: &str, block: Value| {
        let turn = json!({"role": role, "content": [block]});
        with("messages", json!([turn, {"role": "user", "content": "q"}]))
    };
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}});
    for (body, field) in [
        (
            json!({"messages": [{"role": "user", "content": "q"}]}),
            "max_tokens",
        ),
        (with("max_tokens", json!(0)), "max_tokens"),
        (with("messages", json!([])), "messages"),
        (
            with("messages", json!([{"role": "tool", "content": "q"}])),
            "messages[0].role",
        ),
        (
            with("messages", json!([{"role": "assistant", "content": "q"}])),
            "messages[0]",
        ),
        (block("user", image), "messages[0].content[0].source"),
        (
            block("user", json!({"type": "image"})),
            "messages[0].content[0].type",
        ),
        (
            block("user", json!({"type": "text"})),
            "messages[0].content[0].text",
        ),
        (
            block(
                "user",
                json!({"type": "tool_use", "id": "c", "name": "f", "input": {}}),
            ),
            "messages[0].content[0].type",
        ),
        (
            block(
                "assistant",
                json!({"type": "tool_result", "tool_use_id": "c"}),
            ),
            "messages[0].content[0].type",
        ),
        (
            block("user", json!({"type": "tool_result"})),
            "messages[0].content[0].tool_use_id",
        ),
        (
            block(
                "assistant",
                json!({"type": "tool_use", "id": "c", "name": "a b"}),
            ),
            "messages[0].content[0].name",
        ),
        (with("tools", json!([f, f])), "tools[1].name"),
        (
            with("tools", json!([{"name": "f"}])),
            "tools[0].input_schema",
        ),
        (
            with(
                "tools",
                json!([{"name": "f", "input_schema": {"type": "string"}}]),
            ),
            "tools[0].input_schema.type",
        ),
        (
            with("tools", json!([{"type": "bash_20250124", "name": "bash"}])),
            "tools[0].type",
        ),
        (with("tool_choice", json!({"type": "any"})), "tool_choice"),
        (
            with("tool_choice", json!({"type": "tool"})),
            "tool_choice.name",
        ),
        (
            with("tool_choice", json!({"type": "auto", "name": "f"})),
            "tool_choice.name",
        ),
        (
            with("tool_choice", json!({"type": "required"})),
            "tool_choice.type",
        ),
        (
            with(
                "thinking",
                json!({"type": "enabled", "budget_tokens": 1024}),
            ),
            "thinking",
        ),
        (with("stop_sequences", json!([""])), "stop_sequences[0]"),
        (
            with("output_config", json!({"format": {"type": "json_schema"}})),
            "output_config.format.schema",
        ),
        (with("stop", json!("a")), "stop"),
        (with("mcp_servers", json!([{"type": "url"}])), "mcp_servers"),
    ] {
        assert_eq!(field_of(body), field);
    }
}

#[test]
fn functions_and_sampling_are_those_of_chat_completions() {
    let schema = json!({"type": "object", "properties": {}});
    let mut body = with(
        "tools",
        json!([{"name": "f", "description": "d", "input_schema": schema, "type": "custom"}]),
    );
    for (name, value) in [
        ("temperature", json!(0.5)),
        ("top_k", json!(4)),
        ("stop_sequences", json!(["END"])),
        ("stream", json!(true)),
        ("thinking", json!({"type": "disabled"})),
        ("metadata", json!({"user_id": "u"})),
        ("service_tier", json!("auto")),
        (
            "output_config",
            json!({"format": {"type": "json_schema", "schema": schema}, "effort": "low"}),
        ),
        ("tool_choice", json!({"type": "none"})),
    ] {
        body[name] = value;
    }
    let asked = Asked::read(body.clone()).unwrap();
    let sampling = &asked.ask.sampling;
    assert_eq!((sampling.temperature, sampling.top_k), (0.5, 4));
    assert_eq!((sampling.max_tokens, sampling.logprobs), (Some(9), None));
    assert_eq!(
        (&sampling.stop[..], asked.stream),
        (&["END".to_owned()][..], true)
    );
    let constraint = asked.ask.constraint.unwrap();
    assert_eq!(constraint.field, "output_config.format.schema");
    assert_eq!(constraint.rule, Rule::JsonSchema(schema.clone()));
    let told = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}});
    for (choice, expected, parallel) in [
        (json!({"type": "auto"}), ToolChoice::Auto, true),
        (
            json!({"type": "any", "disable_parallel_tool_use": true}),
            ToolChoice::Required,
            false,
        ),
        (
            json!({"type": "tool", "name": "f"}),
            ToolChoice::Named("f".into()),
            true,
        ),
    ] {
        body["tool_choice"] = choice;
        let tools = Asked::read(body.clone()).unwrap().ask.tools;
        assert_eq!((tools.choice(), tools.parallel()), (&expected, parallel));
        assert_eq!(tools.offered()[0].sent, told);
    }
}

fn view() -> MessageView {
    MessageView::new(answers(), vec!["a".into(), "END".into()]).0
}

fn stream() -> MessageStream {
    MessageStream::new(view(), Blocks::default(), Names::default(), "req_1".into())
}

fn told(events: Vec<Event>) -> Vec<Value> {
    let mut stream = stream();
    let mut told = stream.begin();
    for event in events {
        told.extend(stream.on(0, event));
    }
    told.extend(stream.end());
    told
}

/// The message that these events tell, put together as clients do.
fn assembled(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut json = String::new();
    for event in events {
        let at = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                json.clear();
                let block = event["content_block"].clone();
                message["content"].as_array_mut().unwrap().push(block);
            }
            "content_block_delta" => match event["delta"]["type"].as_str().unwrap() {
                "text_delta" => {
                    let text = &mut message["content"][at]["text"];
                    let more = event["delta"]["text"].as_str().unwrap();
                    *text = json!(text.as_str().unwrap().to_owned() + more);
                }
                _ => json += event["delta"]["partial_json"].as_str().unwrap(),
            },
            "content_block_stop" if message["content"][at]["type"] == "tool_use" => {
                message["content"][at]["input"] = serde_json::from_str(&json).unwrap();
            }
            "message_delta" => {
                message["usage"] = event["usage"].clone();
                for (name, value) in event["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
            }
            _ => {}
        }
    }
    message
}

#[test]
fn a_whole_answer_looks_as_the_official_client_reads_it() {
    let whole = view().whole(&blocks(false, speaking()));
    assert_eq!(
        whole,
        sample(include_str!(
            "../../../../tests/clients/samples/message.json"
        ))
    );
    documents::MESSAGE.settle(whole).unwrap();
}

#[test]
fn a_stream_tells_the_same_piece_by_piece() {
    let events = told(speaking());
    assert_eq!(assembled(&events), view().whole(&blocks(false, speaking())));
    for event in &events {
        documents::MESSAGE_EVENT.settle(event.clone()).unwrap();
    }
    let sample = sample(include_str!(
        "../../../../tests/clients/samples/message_events.json"
    ));
    assert_eq!(json!(events), sample);
}

#[test]
fn why_an_answer_ended_is_told_with_the_stop_sequence() {
    for (finish_reason, why, stop) in [
        (FinishReason::Stop, "end_turn", Value::Null),
        (FinishReason::StopString(1), "stop_sequence", json!("END")),
        (FinishReason::Length, "max_tokens", Value::Null),
        (FinishReason::ToolCalls, "tool_use", Value::Null),
    ] {
        let events = vec![delta("Hm", 1), finish(finish_reason), done()];
        let whole = view().whole(&blocks(false, events.clone()));
        assert_eq!(
            (&whole["stop_reason"], &whole["stop_sequence"]),
            (&json!(why), &stop)
        );
        assert_eq!(assembled(&told(events)), whole);
    }
}

#[test]
fn what_was_found_in_the_cache_is_counted_apart() {
    let used = &view().whole(&blocks(false, speaking()))["usage"];
    let expected = json!({
        "input_tokens": 2, "cache_read_input_tokens": 1, "cache_creation_input_tokens": 0, "output_tokens": 7,
    });
    assert_eq!(used, &expected);
}

#[test]
fn a_failure_midway_is_an_error_event_and_silence_a_ping() {
    let mut stream = stream();
    let [error] = &stream.failed(&Fault::from(Reason::Draining))[..] else {
        panic!("one event")
    };
    assert_eq!(error["error"]["type"], "overloaded_error");
    assert_eq!(error["request_id"], "req_1");
    documents::MESSAGE_EVENT.settle(error.clone()).unwrap();
    assert_eq!(stream.silence(), Some(json!({"type": "ping"})));
}
