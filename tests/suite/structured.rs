//! Answers with a form to keep, through every door, on the embedded base.

use adapterd::pb;
use adapterd::pb::constraint::Rule;
use adapterd::pb::inference_client::InferenceClient;
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::calls::generate;
use crate::harness::{Daemon, chunks};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

fn chat(form: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Who is the clerk?"}], "max_tokens": 120,
        "temperature": 0.7, "seed": 5});
    for (key, value) in form.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn of_schema(schema: &Value) -> Value {
    json!({"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}})
}

/// Whether a value is what was asked for.
type Holds = fn(&Value) -> bool;

/// Schemas whose answers are short, each with what holds for a value of it.
fn schemas() -> Vec<(Value, Holds)> {
    vec![
        (
            json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
                "required": ["name", "age"], "additionalProperties": false}),
            |value| value["name"].is_string() && value["age"].as_u64().is_some_and(|age| age < 100),
        ),
        (json!({"enum": ["red", "green", "blue"]}), |value| {
            ["red", "green", "blue"].contains(&value.as_str().unwrap())
        }),
        (
            json!({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}),
            |value| (1..=3).contains(&value.as_array().unwrap().len()),
        ),
        (
            json!({"$defs": {"item": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}]}},
                "type": "object", "properties": {"a": {"$ref": "#/$defs/item"}}, "required": ["a"], "additionalProperties": false}),
            |value| value["a"].is_null() || value["a"].is_u64(),
        ),
        (
            json!({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}),
            |value| value.as_str().unwrap().len() == 6,
        ),
    ]
}

fn content(body: &Value) -> &str {
    body["choices"][0]["message"]["content"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_follows_its_schema_whole_and_streamed() {
    let daemon = Daemon::embedded().await;
    for (schema, holds) in schemas() {
        let (status, body) = daemon.post(CHAT, chat(of_schema(&schema))).await;
        assert_eq!(status, 200, "{schema}: {body}");
        assert_eq!(
            body["choices"][0]["finish_reason"], "stop",
            "{schema}: {body}"
        );
        let value: Value = serde_json::from_str(content(&body)).unwrap();
        assert!(holds(&value), "{schema}: {value}");
        let mut streamed = chat(of_schema(&schema));
        streamed["stream"] = json!(true);
        let response = daemon
            .client
            .post(format!("{}{CHAT}", daemon.http))
            .json(&streamed);
        let text = response.send().await.unwrap().text().await.unwrap();
        let (pieces, done) = chunks(&text);
        assert!(done);
        let said = pieces
            .iter()
            .filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str());
        assert_eq!(said.collect::<String>(), content(&body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_ask_for_a_form_is_kept_beside_answers_of_any() {
    let daemon = Daemon::embedded().await;
    let free =
        chat(json!({"temperature": 0, "max_tokens": 24, "logprobs": true, "top_logprobs": 3}));
    let (_, alone) = daemon.post(CHAT, free.clone()).await;
    let schema = &schemas()[0].0;
    let forms = [
        json!({"guided_choice": ["yes", "no"]}),
        json!({"guided_regex": "[a-c]{2}[0-9]"}),
        json!({"guided_grammar": "start: \"a\" /[0-9]/ \"b\""}),
        json!({"guided_json": schema, "n": 2}),
        json!({"structured_outputs": {"choice": ["maybe"]}}),
        json!({"response_format": {"type": "json_object", "schema": schema}}),
    ];
    let formed = forms
        .iter()
        .map(|form| daemon.post(CHAT, chat(form.clone())));
    let beside = (0..3).map(|_| daemon.post(CHAT, free.clone()));
    let (formed, beside) = futures::future::join(
        futures::future::join_all(formed),
        futures::future::join_all(beside),
    )
    .await;
    for (_, told) in beside {
        assert_eq!(
            told["choices"], alone["choices"],
            "the same bits in a crowd"
        );
    }
    let text = |at: usize| content(&formed[at].1).to_owned();
    assert!(["yes", "no"].contains(&text(0).as_str()), "{}", text(0));
    assert!(
        regex::Regex::new("^[a-c]{2}[0-9]$")
            .unwrap()
            .is_match(&text(1)),
        "{}",
        text(1)
    );
    assert!(
        regex::Regex::new("^a[0-9]b$").unwrap().is_match(&text(2)),
        "{}",
        text(2)
    );
    assert_eq!(text(4), "maybe");
    for choice in formed[3].1["choices"].as_array().unwrap() {
        let value: Value =
            serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
        assert!(value["age"].is_u64(), "{value}");
    }
    assert!(serde_json::from_str::<Value>(&text(5)).unwrap()["name"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_of_one_request_keep_the_same_form() {
    let daemon = Daemon::embedded().await;
    let ask = json!({"prompt": ["The clerk", "A nurse"], "guided_choice": ["Ada", "Ben"], "max_tokens": 20, "temperature": 0});
    let (status, body) = daemon.post(TEXT, ask).await;
    assert_eq!(status, 200, "{body}");
    for choice in body["choices"].as_array().unwrap() {
        assert!(["Ada", "Ben"].contains(&choice["text"].as_str().unwrap()));
        assert_eq!(choice["finish_reason"], "stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_ask_for_the_same_forms() {
    let daemon = Daemon::embedded().await;
    let ask = |rule: Rule| pb::GenerateRequest {
        constraint: Some(pb::Constraint { rule: Some(rule) }),
        sampling: Some(pb::Sampling {
            temperature: Some(0.0),
            max_tokens: Some(300),
            ..Default::default()
        }),
        ..crate::calls::prompt("The clerk")
    };
    let schema = schemas()[0].0.to_string();
    let said = generate(&daemon, Request::new(ask(Rule::JsonSchema(schema)))).await;
    assert!(serde_json::from_str::<Value>(&said.0).unwrap()["age"].is_u64());
    assert_eq!(said.2.reason, "stop");
    let texts = vec!["Ada".to_owned(), "Ben".to_owned()];
    let choice = Rule::Choice(pb::Choices {
        texts: texts.clone(),
    });
    assert!(texts.contains(&generate(&daemon, Request::new(ask(choice))).await.0));
    let said = generate(&daemon, Request::new(ask(Rule::Regex("[0-9]{4}".into())))).await;
    assert!(said.0.parse::<u32>().is_ok() && said.0.len() == 4);
    let said = generate(
        &daemon,
        Request::new(ask(Rule::Grammar("start: \"a\"".into()))),
    )
    .await;
    assert_eq!(said.0, "a");
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    for (rule, field) in [
        (Rule::JsonSchema("{".into()), "constraint.json_schema"),
        (
            Rule::JsonSchema(r#"{"items": {"not": {}}}"#.into()),
            "constraint.json_schema.items.not",
        ),
        (Rule::Regex("(".into()), "constraint.regex"),
    ] {
        let refused = client.generate(ask(rule)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(
            refused.message().starts_with(field),
            "{}",
            refused.message()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_is_refused_with_its_place() {
    let daemon = Daemon::start().await;
    let nested = |levels: usize| {
        (0..levels).fold(
            json!({"type": "string"}),
            |inner, _| json!({"items": inner}),
        )
    };
    let values: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    for (form, code, param) in [
        (
            of_schema(&json!({"properties": {"a": {"not": {}}}})),
            "invalid_value",
            "response_format.json_schema.schema.properties.a.not",
        ),
        (
            of_schema(&json!({"properties": {"a": {"type": "string", "pattern": "("}}})),
            "invalid_value",
            "response_format.json_schema.schema.properties.a",
        ),
        (
            of_schema(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})),
            "invalid_value",
            "response_format.json_schema.schema.$defs.a.$ref",
        ),
        (
            of_schema(&nested(80)),
            "grammar_too_complex",
            "response_format.json_schema.schema.items",
        ),
        (
            of_schema(&json!({"enum": values})),
            "grammar_too_complex",
            "response_format.json_schema.schema.enum",
        ),
        (
            json!({"guided_choice": values}),
            "grammar_too_complex",
            "guided_choice",
        ),
        (
            json!({"guided_regex": "("}),
            "invalid_value",
            "guided_regex",
        ),
        (
            json!({"guided_grammar": "start: other"}),
            "invalid_value",
            "guided_grammar",
        ),
        (
            json!({"guided_regex": "a", "guided_choice": ["a"]}),
            "invalid_value",
            "guided_choice",
        ),
        (
            json!({"guided_regex": "a", "ignore_eos": true}),
            "invalid_value",
            "ignore_eos",
        ),
    ] {
        let started = std::time::Instant::now();
        let (status, body) = daemon.post(CHAT, chat(form)).await;
        assert!(started.elapsed() < std::time::Duration::from_secs(3));
        let error = &body["error"];
        assert_eq!(status, 400, "{body}");
        assert_eq!(error["code"], code, "{body}");
        assert!(
            error["param"].as_str().unwrap().starts_with(param),
            "{body}"
        );
    }
    // Deeper than any reader goes: the place is named where it became too deep.
    let deep = format!(
        "{{\"messages\":[],\"guided_json\":{}{}}}",
        "{\"items\":".repeat(10_000),
        "}".repeat(10_000)
    );
    let request = daemon
        .client
        .post(format!("{}{CHAT}", daemon.http))
        .body(deep);
    let response = request
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
    let body: Value = response.json().await.unwrap();
    assert!(
        body["error"]["param"]
            .as_str()
            .unwrap()
            .starts_with("guided_json.items.items"),
        "{body}"
    );
    let (status, _) = daemon.post(CHAT, chat(json!({"max_tokens": 3}))).await;
    assert_eq!(status, 200, "others are answered");
}
