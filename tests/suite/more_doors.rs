//! The same answers in the forms of OpenAI's Responses and of Anthropic.

use serde_json::{Value, json};

use crate::harness::{BASE, Daemon, answer, chunks};
use crate::tools::knowing;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

fn with(mut body: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn response(more: Value) -> Value {
    with(
        json!({"input": "How warm is it?", "max_output_tokens": 8, "temperature": 0}),
        more,
    )
}

fn message(more: Value) -> Value {
    let turn = json!({"role": "user", "content": "How warm is it?"});
    with(
        json!({"messages": [turn], "max_tokens": 8, "temperature": 0}),
        more,
    )
}

fn schema() -> Value {
    json!({
        "type": "object", "properties": {"unit": {"enum": ["celsius", "kelvin"]}}, "required": ["unit"],
        "additionalProperties": false,
    })
}

fn follows(text: &str) {
    let given: Value = serde_json::from_str(text).unwrap();
    let unit = given["unit"].as_str().unwrap();
    assert!(["celsius", "kelvin"].contains(&unit), "{given}");
}

async fn said(daemon: &Daemon, path: &str, body: Value) -> Value {
    let (status, answer) = daemon.post(path, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The text that chat completions answer with.
async fn plain(daemon: &Daemon, adapter: Value) -> String {
    let body = json!({
        "messages": [{"role": "user", "content": "How warm is it?"}], "max_tokens": 8, "temperature": 0,
        "adapter": adapter,
    });
    let answer = said(daemon, CHAT, body).await;
    let text = answer["choices"][0]["message"]["content"].as_str();
    text.unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_forms_have_the_same_text_by_the_adapter_that_is_named() {
    let daemon = Daemon::with_adapters().await;
    for (adapter, model) in [(Value::Null, BASE), (json!("legal"), "legal")] {
        let text = plain(&daemon, adapter.clone()).await;
        let answer = said(&daemon, RESPONSES, response(json!({"adapter": adapter}))).await;
        assert_eq!(answer["output"][0]["content"][0]["text"], text, "{answer}");
        assert_eq!(answer["model"], model);
        assert_eq!(answer["adapter_generation"].is_null(), adapter.is_null());
        assert!(answer["id"].as_str().unwrap().starts_with("resp_"));
        let length = answer["usage"]["output_tokens"] == 8;
        let status = if length { "incomplete" } else { "completed" };
        assert_eq!(answer["status"], status, "{answer}");
        let answer = said(&daemon, MESSAGES, message(json!({"adapter": adapter}))).await;
        assert_eq!(answer["content"][0]["text"], text, "{answer}");
        assert_eq!(answer["model"], model);
        let why = if length { "max_tokens" } else { "end_turn" };
        assert_eq!(answer["stop_reason"], why, "{answer}");
    }
    let url = format!("{}{MESSAGES}", daemon.http);
    let request = daemon.client.post(url).header("adapter", "legal");
    let told = request.json(&message(json!({}))).send().await.unwrap();
    assert_ne!(told.headers()["adapter-generation"], "none");
    assert_eq!(told.headers()["request-id"], told.headers()["x-request-id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_what_the_whole_answer_says() {
    let daemon = Daemon::start().await;
    let whole = said(&daemon, RESPONSES, response(json!({}))).await;
    let stream = said(&daemon, RESPONSES, response(json!({"stream": true}))).await;
    let stream = stream.as_str().unwrap();
    let (events, done) = chunks(stream);
    assert!(!done, "no `[DONE]`");
    let names: Vec<&str> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    let types: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(names, types);
    assert_eq!(types[..2], ["response.created", "response.in_progress"]);
    let deltas = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta");
    let text: String = deltas
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(whole["output"][0]["content"][0]["text"], text);
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"], whole["output"][0]["content"]);
    assert_eq!(
        last["usage"]["total_tokens"],
        whole["usage"]["total_tokens"]
    );

    let whole = said(&daemon, MESSAGES, message(json!({}))).await;
    let stream = said(&daemon, MESSAGES, message(json!({"stream": true}))).await;
    let (events, done) = chunks(stream.as_str().unwrap());
    assert!(!done, "no `[DONE]`");
    let text: String = events
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str())
        .collect();
    assert_eq!(whole["content"][0]["text"], text);
    let [delta, stop] = &events[events.len() - 2..] else {
        panic!("{events:?}")
    };
    assert_eq!(delta["delta"]["stop_reason"], whole["stop_reason"]);
    assert_eq!(
        delta["usage"]["output_tokens"],
        whole["usage"]["output_tokens"]
    );
    assert_eq!(stop["type"], "message_stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_sequence_that_ended_an_answer_is_named() {
    let daemon = Daemon::start().await;
    let text = plain(&daemon, Value::Null).await;
    let stop: String = text.chars().skip(1).take(2).collect();
    let body = message(json!({"stop_sequences": ["never said at all", stop]}));
    let answer = said(&daemon, MESSAGES, body).await;
    assert_eq!(answer["stop_reason"], "stop_sequence", "{answer}");
    assert_eq!(answer["stop_sequence"], stop);
    let before = text.split(&stop).next().unwrap();
    assert_eq!(answer["content"][0]["text"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_what_a_request_reads() {
    let (daemon, _folder) = knowing().await;
    let tool = json!({"name": "weather", "description": "The weather.", "input_schema": schema()});
    let history = json!([
        {"role": "user", "content": [{"type": "text", "text": "How warm is it?"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"unit": "kelvin"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "276"}]},
    ]);
    for more in [
        json!({}),
        json!({"system": "Be brief."}),
        json!({"tools": [tool]}),
        json!({"tools": [tool], "messages": history}),
    ] {
        let asked = message(more);
        let usage = said(&daemon, MESSAGES, asked.clone()).await["usage"].clone();
        let read =
            ["input_tokens", "cache_read_input_tokens"].map(|name| usage[name].as_u64().unwrap());
        let mut counted = asked;
        for name in ["max_tokens", "temperature"] {
            counted.as_object_mut().unwrap().remove(name);
        }
        let counted = said(&daemon, COUNT, counted).await;
        assert_eq!(counted, json!({"input_tokens": read.iter().sum::<u64>()}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_must_be_made_is_made_in_either_form() {
    let (daemon, _folder) = knowing().await;
    let tool = json!({"type": "function", "name": "weather", "parameters": schema()});
    let named = json!({"type": "function", "name": "weather"});
    let body = response(json!({
        "tools": [tool], "tool_choice": named, "max_output_tokens": 200, "temperature": 1, "seed": 3,
    }));
    let answer = said(&daemon, RESPONSES, body.clone()).await;
    let [call] = &answer["output"].as_array().unwrap()[..] else {
        panic!("{answer}")
    };
    assert_eq!(
        (&call["type"], &call["name"]),
        (&json!("function_call"), &json!("weather"))
    );
    follows(call["arguments"].as_str().unwrap());
    let stream = said(&daemon, RESPONSES, with(body, json!({"stream": true}))).await;
    let (events, _) = chunks(stream.as_str().unwrap());
    let told = events
        .iter()
        .filter(|event| event["type"] == "response.function_call_arguments.delta");
    let told: String = told.map(|event| event["delta"].as_str().unwrap()).collect();
    assert_eq!(call["arguments"], told);
    let result =
        json!({"type": "function_call_output", "call_id": call["call_id"], "output": "276"});
    let turns = json!([{"role": "user", "content": "How warm is it?"}, call, result]);
    said(
        &daemon,
        RESPONSES,
        response(json!({"input": turns, "tools": [tool]})),
    )
    .await;

    let tool = json!({"name": "weather", "input_schema": schema()});
    let named = json!({"type": "tool", "name": "weather"});
    let body = message(json!({
        "tools": [tool], "tool_choice": named, "max_tokens": 200, "temperature": 1, "seed": 3,
    }));
    let answer = said(&daemon, MESSAGES, body.clone()).await;
    let [call] = &answer["content"].as_array().unwrap()[..] else {
        panic!("{answer}")
    };
    assert_eq!(
        (&call["type"], &answer["stop_reason"]),
        (&json!("tool_use"), &json!("tool_use"))
    );
    follows(&call["input"].to_string());
    let stream = said(&daemon, MESSAGES, with(body, json!({"stream": true}))).await;
    let (events, _) = chunks(stream.as_str().unwrap());
    let told: String = events
        .iter()
        .filter_map(|event| event["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(call["input"], serde_json::from_str::<Value>(&told).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_the_form_that_either_request_asks_for() {
    let daemon = Daemon::start().await;
    let format = json!({"format": {"type": "json_schema", "name": "unit", "schema": schema(), "strict": true}});
    let body = response(json!({"text": format, "max_output_tokens": 200}));
    let answer = said(&daemon, RESPONSES, body).await;
    follows(answer["output"][0]["content"][0]["text"].as_str().unwrap());
    let format = json!({"format": {"type": "json_schema", "schema": schema()}});
    let body = message(json!({"output_config": format, "max_tokens": 200}));
    let answer = said(&daemon, MESSAGES, body).await;
    follows(answer["content"][0]["text"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_requests_own_fields_in_its_own_form() {
    let daemon = Daemon::start().await;
    let bad = json!({"type": "object", "properties": {"a": {"type": "no such type"}}});
    let function = json!({"type": "function", "name": "f"});
    let long = "word ".repeat(20_000);
    for (body, status, param) in [
        (
            response(json!({"previous_response_id": "resp_1"})),
            400,
            "previous_response_id",
        ),
        (
            response(json!({"text": {"format": {"type": "json_schema", "schema": bad}}})),
            400,
            "text.format.schema",
        ),
        (response(json!({"tools": [function]})), 400, "tools"),
        (response(json!({"input": long})), 400, "input"),
        (
            response(json!({"max_output_tokens": 1 << 30})),
            400,
            "max_output_tokens",
        ),
        (response(json!({"model": "no-such-name"})), 404, "model"),
    ] {
        let (told, answer) = daemon.post(RESPONSES, body).await;
        assert_eq!(told, status, "{answer}");
        let found = answer["error"]["param"].as_str().unwrap();
        assert!(found.starts_with(param), "{param}: {answer}");
    }
    let image = json!([{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "a"}}]}]);
    let tool = json!({"name": "f", "input_schema": {"type": "object"}});
    let invalid = "invalid_request_error";
    for (body, status, kind, names) in [
        (
            message(json!({"messages": image})),
            400,
            invalid,
            "messages[0].content[0].source",
        ),
        (
            message(json!({"max_tokens": null})),
            400,
            invalid,
            "max_tokens",
        ),
        (message(json!({"tools": [tool]})), 400, invalid, "tools"),
        (
            message(json!({"output_config": {"format": {"type": "json_schema", "schema": bad}}})),
            400,
            invalid,
            "output_config.format.schema",
        ),
        (
            message(json!({"model": "no-such-name"})),
            404,
            "not_found_error",
            "no-such-name",
        ),
    ] {
        let (told, answer) = daemon.post(MESSAGES, body).await;
        assert_eq!(
            (told, &answer["type"]),
            (status, &json!("error")),
            "{answer}"
        );
        assert_eq!(answer["error"]["type"], kind, "{answer}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.contains(names), "{names}: {answer}");
        assert!(answer["request_id"].is_string(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_clients_are_known_by_their_header() {
    let daemon = Daemon::with_keys().await;
    let (_, key) = daemon.key("infer", "*").await;
    let url = format!("{}{MESSAGES}", daemon.http);
    for (key, status, kind) in [(key.as_str(), 200, "message"), ("sk-adp-1-2", 401, "error")] {
        let request = daemon.client.post(&url).header("x-api-key", key);
        let request = request.header("anthropic-version", "2023-06-01");
        let (told, answer) = answer(request.json(&message(json!({})))).await;
        assert_eq!((told, &answer["type"]), (status, &json!(kind)), "{answer}");
        if status == 401 {
            assert_eq!(answer["error"]["type"], "authentication_error");
        }
    }
}
