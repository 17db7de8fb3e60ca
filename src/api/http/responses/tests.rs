//! What is read of a request, and that answers look as in `tests/clients/samples`, which the official client reads.

use serde_json::{Map, Value, json};

use super::super::blocks::tests::{answers, blocks, delta, done, finish, sample, speaking};
use super::super::blocks::{Block, Blocks};
use super::super::documents;
use super::super::naming::Names;
use super::super::shape::tests::conforms;
use super::super::sse::Chunks;
use super::*;
use crate::api::fault::Fault;
use crate::domain::{Event, FinishReason, Input, Message, Reason, Role, Rule, ToolChoice};

fn with(name: &str, value: Value) -> Value {
    let mut body = json!({"input": "q"});
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
    conforms(&RESPONSE, |body| Asked::read(body).map(drop));
}

#[test]
fn input_is_a_text_or_what_was_said_called_and_returned() {
    let (messages, asked) = said(json!({"input": "q", "instructions": "Be brief."}));
    let turns: Vec<_> = messages
        .iter()
        .map(|m| (m.role, m.content.as_str()))
        .collect();
    assert_eq!(turns, [(Role::System, "Be brief."), (Role::User, "q")]);
    assert_eq!(asked.names.turns, ["instructions", "input"]);
    let (messages, asked) = said(json!({"input": [
        {"role": "developer", "content": "d"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": null},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "c", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{\"a\": 1}", "status": "completed"},
        {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "call_1", "output": "r"},
        {"type": "function_call", "call_id": "call_3", "name": "f", "arguments": "{}"},
    ]}));
    let turns: Vec<_> = messages
        .iter()
        .map(|m| (m.role, m.content.as_str()))
        .collect();
    let expected = [
        (Role::Developer, "d"),
        (Role::User, "a\nb"),
        (Role::Assistant, "c"),
        (Role::Tool, "r"),
        (Role::Assistant, ""),
    ];
    assert_eq!(turns, expected);
    let names: Vec<_> = messages[2]
        .tool_calls
        .iter()
        .map(|call| call.name.as_str())
        .collect();
    assert_eq!(names, ["f", "g"]);
    assert_eq!(messages[2].tool_calls[0].arguments["a"], 1);
    assert_eq!(messages[3].tool_call_id.as_deref(), Some("call_1"));
    assert_eq!(messages[4].tool_calls.len(), 1);
    let places = ["input[0]", "input[1]", "input[3]", "input[6]", "input[7]"];
    assert_eq!(asked.names.turns, places);
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let f = json!({"type": "function", "name": "f"});
    let item = |item: Value| with("input", json!([item]));
    let format = |format: Value| with("text", json!({"format": format}));
    for (body, field) in [
        (item(json!({"content": "a"})), "input[0].role"),
        (item(json!({"role": "user"})), "input[0].content"),
        (
            item(json!({"role": "tool", "content": "a"})),
            "input[0].role",
        ),
        (item(json!({"type": "web_search_call"})), "input[0].type"),
        (item(json!({"type": "reasoning"})), "input"),
        (
            item(json!({"role": "user", "content": [{"type": "input_image", "text": "a"}]})),
            "input[0].content[0].type",
        ),
        (
            item(json!({"type": "function_call", "name": "f", "arguments": "{}"})),
            "input[0].call_id",
        ),
        (
            item(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"})),
            "input[0].arguments",
        ),
        (
            item(json!({"type": "function_call_output", "call_id": "c"})),
            "input[0].output",
        ),
        (with("input", json!([])), "input"),
        (with("tools", json!([f, f])), "tools[1].name"),
        (
            with("tools", json!([{"type": "web_search"}])),
            "tools[0].type",
        ),
        (
            with(
                "tools",
                json!([{"type": "function", "name": "f", "parameters": {"type": "string"}}]),
            ),
            "tools[0].parameters.type",
        ),
        (with("tool_choice", json!("required")), "tool_choice"),
        (
            with("tool_choice", json!({"type": "function", "name": "g"})),
            "tool_choice",
        ),
        (
            format(json!({"type": "json_schema", "name": "n"})),
            "text.format.schema",
        ),
        (
            format(json!({"type": "json_object", "schema": {}})),
            "text.format.schema",
        ),
        (with("top_logprobs", json!(2)), "top_logprobs"),
        (with("max_output_tokens", json!(0)), "max_output_tokens"),
        (
            with("previous_response_id", json!("resp_1")),
            "previous_response_id",
        ),
        (with("conversation", json!("conv_1")), "conversation"),
        (with("background", json!(true)), "background"),
        (with("truncation", json!("auto")), "truncation"),
        (
            with("reasoning", json!({"summary": "detailed"})),
            "reasoning.summary",
        ),
        (with("n", json!(2)), "n"),
        (with("max_tokens", json!(2)), "max_tokens"),
    ] {
        assert_eq!(field_of(body), field);
    }
}

#[test]
fn functions_and_the_form_of_an_answer_are_those_of_chat_completions() {
    let schema = json!({"type": "object", "properties": {}});
    let body = json!({
        "input": "q", "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": true}],
    });
    let tools = Asked::read(body).unwrap().ask.tools;
    let told = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": true}});
    assert_eq!(tools.offered()[0].sent, told);
    assert_eq!(*tools.choice(), ToolChoice::Named("f".into()));
    assert!(!tools.parallel() && tools.offered()[0].strict);
    let format = |format: Value| {
        let asked = Asked::read(with(
            "text",
            json!({"format": format, "verbosity": "medium"}),
        ));
        let constraint = asked.unwrap().ask.constraint;
        constraint.map(|asked| (asked.field.clone(), asked.rule.clone()))
    };
    assert_eq!(format(json!({"type": "text"})), None);
    assert_eq!(
        format(json!({"type": "json_object"})),
        Some(("text.format".into(), Rule::JsonObject))
    );
    assert_eq!(
        format(json!({"type": "json_schema", "name": "n", "schema": schema, "strict": true})),
        Some((
            "text.format.schema".into(),
            Rule::JsonSchema(schema.clone())
        ))
    );
}

#[test]
fn sampling_arrives_as_sent() {
    let asked = Asked::read(json!({
        "input": "q", "temperature": 0.5, "top_p": 0.25, "max_output_tokens": 9, "seed": 3, "stop": ["END"],
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "top_logprobs": 2,
        "stream": true, "stream_options": {"include_obfuscation": false}, "store": true, "service_tier": "auto",
    }))
    .unwrap();
    let sampling = &asked.ask.sampling;
    assert_eq!((sampling.temperature, sampling.top_p), (0.5, 0.25));
    assert_eq!((sampling.max_tokens, sampling.seed), (Some(9), Some(3)));
    assert_eq!(
        (sampling.logprobs, asked.stream, asked.ask.n),
        (Some(2), true, 1)
    );
    assert_eq!(sampling.stop, ["END"]);
}

fn echo() -> Map<String, Value> {
    Asked::read(json!({
        "input": "q", "instructions": "Be brief.", "temperature": 0.5, "metadata": {"a": "b"}, "user": null,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false}],
    }))
    .unwrap()
    .echo
}

fn view() -> ResponseView {
    ResponseView::new(answers(), echo()).0
}

fn told(mut stream: impl Chunks, events: Vec<Event>) -> Vec<Value> {
    let mut told = stream.begin();
    for event in events {
        told.extend(stream.on(0, event));
    }
    told.extend(stream.end());
    told
}

/// The items that these events tell, put together as clients do.
fn assembled(events: &[Value]) -> Value {
    let mut items: Vec<Value> = Vec::new();
    for event in events {
        let at = event["output_index"].as_u64().unwrap_or(0) as usize;
        let add = |to: &mut Value| {
            *to = json!(to.as_str().unwrap().to_owned() + event["delta"].as_str().unwrap());
        };
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => items.push(event["item"].clone()),
            "response.content_part.added" => items[at]["content"] = json!([event["part"]]),
            "response.output_text.delta" => {
                add(&mut items[at]["content"][0]["text"]);
                let more = event["logprobs"].as_array().unwrap().clone();
                let all = items[at]["content"][0]["logprobs"].as_array_mut();
                all.unwrap().extend(more);
            }
            "response.function_call_arguments.delta" => add(&mut items[at]["arguments"]),
            "response.output_item.done" => {
                items[at]["status"] = event["item"]["status"].clone();
                assert_eq!(items[at], event["item"], "what was told piece by piece");
            }
            _ => {}
        }
    }
    json!(items)
}

#[test]
fn a_whole_answer_looks_as_the_official_client_reads_it() {
    let whole = view().whole(&blocks(false, speaking()));
    let sample = sample(include_str!(
        "../../../../tests/clients/samples/response.json"
    ));
    assert_eq!(whole, sample);
    documents::RESPONSE.settle(whole).unwrap();
}

#[test]
fn a_stream_tells_the_same_piece_by_piece() {
    for tells in [false, true] {
        let stream = view().stream(Blocks::new(tells), Names::default());
        let events = told(stream, speaking());
        let whole = view().whole(&blocks(tells, speaking()));
        assert_eq!(assembled(&events), whole["output"]);
        let last = events.last().unwrap();
        assert_eq!(
            (&last["type"], &last["response"]),
            (&json!("response.completed"), &whole)
        );
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number);
            documents::RESPONSE_EVENT.settle(event.clone()).unwrap();
        }
        if !tells {
            let sample = sample(include_str!(
                "../../../../tests/clients/samples/response_events.json"
            ));
            assert_eq!(json!(events), sample);
        }
    }
}

#[test]
fn an_answer_cut_short_is_incomplete_and_so_is_its_last_item() {
    let events = vec![delta("Hm", 1), finish(FinishReason::Length), done()];
    let whole = view().whole(&blocks(false, events.clone()));
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(
        whole["incomplete_details"],
        json!({"reason": "max_output_tokens"})
    );
    assert_eq!(whole["output"][0]["status"], "incomplete");
    let told = told(view().stream(Blocks::new(false), Names::default()), events);
    let last = told.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]),
        (&json!("response.incomplete"), &whole)
    );
    assert_eq!(assembled(&told), whole["output"]);
}

#[test]
fn an_answer_that_fails_midway_says_why_and_keeps_what_was_told() {
    let names = Names {
        schema: "parameters",
        ..Names::default()
    };
    let mut stream = view().stream(Blocks::new(false), names);
    stream.begin();
    stream.on(0, delta("Hm", 1));
    let stuck = Reason::GrammarStuck {
        field: "tools[0].function.parameters".into(),
        why: "nothing fits".into(),
    };
    let [event] = &stream.failed(&Fault::from(stuck))[..] else {
        panic!("one event")
    };
    assert_eq!(event["type"], "response.failed");
    let response = &event["response"];
    assert_eq!(
        (&response["status"], &response["usage"]),
        (&json!("failed"), &Value::Null)
    );
    assert_eq!(response["error"]["code"], "invalid_prompt");
    assert_eq!(response["error"]["param"], "tools[0].parameters");
    assert_eq!(response["output"][0]["content"][0]["text"], "Hm");
    documents::RESPONSE_EVENT.settle(event.clone()).unwrap();
    let failed = view().failed(&Blocks::default(), &Fault::from(Reason::Draining));
    assert_eq!(failed["error"]["code"], "server_error");
}

#[test]
fn tokens_are_told_with_their_log_probabilities() {
    let whole = blocks(true, vec![delta("Hm", 1), finish(FinishReason::Stop)]);
    let [block @ Block::Text { .. }] = &whole.blocks[..] else {
        panic!("one text")
    };
    assert_eq!(view::part(block)["logprobs"][0]["logprob"], -0.5);
}
