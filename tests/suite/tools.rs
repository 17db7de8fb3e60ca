//! Functions in chats, from the request to the prompt and back, at both doors.

use std::path::Path;

use adapterd::pb;
use adapterd::pb::inference_client::InferenceClient;
use adapterd::pb::tokenize_request::Input;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Daemon, golden};

const CHAT: &str = "/v1/chat/completions";

/// Writes everything it is told.
const TEMPLATE: &str = "{{ bos_token }}{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}\
    {{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content }}\
    {% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}{{ '<|eot_id|>' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// The golden base with a template that knows tools.
async fn knowing() -> (Daemon, TempDir) {
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
            ask(json!({"tool_choice": "required"})),
            "tool_choice",
        ),
        (&knowing, ask(json!({"tool_choice": named})), "tool_choice"),
        (
            &knowing,
            ask(json!({"tools": [strict]})),
            "tools[0].function.strict",
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
