//! Functions in chats, from the request to the prompt and back, at both doors.

use std::path::Path;

use adapterd::pb;
use adapterd::pb::inference_client::InferenceClient;
use adapterd::pb::tokenize_request::Input;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Daemon, chunks, golden};

const CHAT: &str = "/v1/chat/completions";

/// Writes everything it is told.
const TEMPLATE: &str = "{{ bos_token }}{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}\
    {{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content }}\
    {% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}{{ '<|eot_id|>' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// The golden base with a template that knows tools.
pub async fn knowing() -> (Daemon, TempDir) {
    let folder = TempDir::new().unwrap();
    let from = golden("models/llama");
    for entry in std::fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let template = Path::new("chat_template.jinja");
    std::fs::write(folder.path().join(template), TEMPLATE).unwrap();
    let daemon = Daemon::on(folder.path()).await;
    (daemon, folder)
}

fn tool() -> Value {
    json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}})
}

fn ask(more: Value) -> Value {
    let mut body = json!({
        "messages": [{"role": "user", "content": "How warm is it?"}], "tools": [tool()], "max_tokens": 4,
        "temperature": 0, "return_token_ids": true,
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

async fn prompt(daemon: &Daemon, body: Value) -> String {
    let (status, answer) = daemon.post(CHAT, body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer["choices"][0]["message"]["content"].is_string(),
        "{answer}"
    );
    let tokens = json!({"tokens": answer["prompt_token_ids"]});
    let (_, text) = daemon.post("/detokenize", tokens).await;
    text["prompt"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_told_of_functions_calls_and_results() {
    let (daemon, _folder) = knowing().await;
    let told = prompt(&daemon, ask(json!({}))).await;
    assert!(
        told.contains(
            &json!([tool()])
                .to_string()
                .replace("\":", "\": ")
                .replace(",\"", ", \"")
        ),
        "{told}"
    );
    let none = prompt(&daemon, ask(json!({"tool_choice": "none"}))).await;
    assert!(!none.contains("weather"), "{none}");
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Oslo\"}"}});
    let history = json!({"messages": [
        {"role": "user", "content": "How warm is it?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "3 degrees"},
    ]});
    let told = prompt(&daemon, ask(history)).await;
    assert!(
        told.contains(
            r#"<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>"#
        ),
        "{told}"
    );
    assert!(
        told.contains("tool<|end_header_id|>\n\n3 degrees"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_must_be_made_is_made_and_follows_its_schema() {
    let (daemon, _folder) = knowing().await;
    let mut unit = tool();
    unit["function"]["parameters"] = json!({
        "type": "object", "properties": {"unit": {"enum": ["celsius", "kelvin"]}}, "required": ["unit"],
        "additionalProperties": false,
    });
    let named = json!({"type": "function", "function": {"name": "weather"}});
    for (choice, stream) in [
        (json!("required"), false),
        (named.clone(), false),
        (named, true),
    ] {
        let body = ask(json!({
            "tools": [unit], "tool_choice": choice, "parallel_tool_calls": false, "max_tokens": 200,
            "stream": stream, "seed": 3, "temperature": 1,
        }));
        let (status, answer) = daemon.post(CHAT, body).await;
        assert_eq!(status, 200, "{answer}");
        let (call, finish) = match stream {
            false => {
                let choice = &answer["choices"][0];
                assert_eq!(choice["message"]["content"], Value::Null, "{answer}");
                let call = choice["message"]["tool_calls"][0]["function"].clone();
                (call, choice["finish_reason"].clone())
            }
            true => assembled(answer.as_str().unwrap()),
        };
        assert_eq!(
            (&finish, &call["name"]),
            (&json!("tool_calls"), &json!("weather"))
        );
        let given: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        let unit = given["unit"].as_str().unwrap();
        assert!(["celsius", "kelvin"].contains(&unit), "{given}");
    }
}

/// The call of a stream, and its finish reason.
fn assembled(stream: &str) -> (Value, Value) {
    let (mut name, mut arguments, mut finish) = (String::new(), String::new(), Value::Null);
    for chunk in chunks(stream).0 {
        let choice = &chunk["choices"][0];
        let call = &choice["delta"]["tool_calls"][0]["function"];
        name += call["name"].as_str().unwrap_or_default();
        arguments += call["arguments"].as_str().unwrap_or_default();
        if !choice["finish_reason"].is_null() {
            finish = choice["finish_reason"].clone();
        }
    }
    (json!({"name": name, "arguments": arguments}), finish)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_or_told_is_refused_by_name() {
    let (knowing, _folder) = knowing().await;
    let deaf = Daemon::start().await;
    let named = json!({"type": "function", "function": {"name": "weather"}});
    let mut strict = tool();
    strict["function"]["strict"] = json!(true);
    let called = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [named]},
    ]);
    for (daemon, body, field) in [
        (
            &knowing,
            ask(json!({"tool_choice": named, "guided_regex": "("})),
            "guided_regex",
        ),
        (
            &knowing,
            ask(json!({"tools": [strict], "guided_regex": "("})),
            "guided_regex",
        ),
        (&deaf, ask(json!({})), "tools"),
        (
            &deaf,
            ask(json!({"tools": [], "messages": called})),
            "messages[1].tool_calls",
        ),
    ] {
        let (status, answer) = daemon.post(CHAT, body).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(field)),
            "{answer}"
        );
    }
    let (status, answer) = deaf.post(CHAT, ask(json!({"tool_choice": "none"}))).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_other_door_are_told_of_the_same() {
    let (daemon, _folder) = knowing().await;
    let (_, over_http) = daemon
        .post(
            "/tokenize",
            json!({"messages": [{"role": "user", "content": "q"}], "tools": [tool()]}),
        )
        .await;
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let chat = |tools: Vec<String>, choice: &str| pb::ChatMessages {
        messages: vec![pb::ChatMessage {
            role: "user".into(),
            content: "q".into(),
            ..pb::ChatMessage::default()
        }],
        tools,
        tool_choice: choice.into(),
        ..pb::ChatMessages::default()
    };
    let mut tokens = async |tools: Vec<String>, choice: &str| {
        let request = pb::TokenizeRequest {
            input: Some(Input::Messages(chat(tools, choice))),
            ..pb::TokenizeRequest::default()
        };
        client
            .tokenize(request)
            .await
            .map(|told| told.into_inner().tokens)
    };
    let told = tokens(vec![tool().to_string()], "").await.unwrap();
    assert_eq!(json!(told), over_http["tokens"]);
    assert!(
        tokens(vec![tool().to_string()], "none")
            .await
            .unwrap()
            .len()
            < told.len()
    );
    for (tools, choice, named) in [
        (vec!["{".into()], "", "tools[0]"),
        (vec!["{}".into()], "", "tools[0].function"),
        (vec![tool().to_string()], "function:other", "tool_choice"),
        (vec![], "sometimes", "tool_choice"),
    ] {
        let refused = tokens(tools, choice).await.unwrap_err();
        assert!(refused.message().contains(named), "{refused:?}");
    }
}
