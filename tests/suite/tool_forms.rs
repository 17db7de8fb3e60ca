//! A form of the answer beside functions: calls come in its place, at every door.

use adapterd::pb;
use adapterd::pb::generate_event::Event;
use adapterd::pb::inference_client::InferenceClient;
use serde_json::{Value, json};

use crate::harness::Daemon;
use crate::tools::knowing;

const CHAT: &str = "/v1/chat/completions";

fn given() -> Value {
    json!({"type": "object", "properties": {"unit": {"enum": ["celsius", "kelvin"]}}, "required": ["unit"], "additionalProperties": false})
}

fn form() -> Value {
    json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false})
}

fn of_form(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
    assert!(
        value["ok"].is_boolean() && value.as_object().unwrap().len() == 1,
        "{text}"
    );
}

fn of_call(arguments: &str) {
    let value: Value = serde_json::from_str(arguments).unwrap_or_else(|_| panic!("{arguments}"));
    assert!(
        ["celsius", "kelvin"].contains(&value["unit"].as_str().unwrap()),
        "{arguments}"
    );
}

fn asked(more: Value) -> Value {
    let tool = json!({"type": "function", "function": {"name": "weather", "strict": true, "parameters": given()}});
    let mut body = json!({
        "messages": [{"role": "user", "content": "How warm is it?"}], "tools": [tool], "max_tokens": 200, "temperature": 1,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": form()}},
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

async fn said(daemon: &Daemon, path: &str, body: Value) -> Value {
    let (status, answer) = daemon.post(path, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_calls_or_has_its_form() {
    let (daemon, _folder) = knowing().await;
    for seed in 0..8 {
        let answer = said(&daemon, CHAT, asked(json!({"seed": seed, "n": 2}))).await;
        for choice in answer["choices"].as_array().unwrap() {
            let (message, finish) = (
                &choice["message"],
                choice["finish_reason"].as_str().unwrap(),
            );
            match (message["content"].as_str(), finish) {
                (Some(text), "stop") => {
                    assert!(message.get("tool_calls").is_none(), "{choice}");
                    of_form(text);
                }
                (None, "tool_calls") => {
                    let calls = message["tool_calls"].as_array().unwrap();
                    { calls.iter() }
                        .for_each(|call| of_call(call["function"]["arguments"].as_str().unwrap()));
                }
                (_, "length") => {}
                _ => panic!("{choice}"),
            }
        }
    }
    // A bias towards what begins the one or the other decides which it is.
    let token = async |text: &str| {
        let body = json!({"prompt": text, "add_special_tokens": false});
        said(&daemon, "/tokenize", body).await["tokens"][0].to_string()
    };
    let (calls, object) = (token("<tool_call>").await, token("{").await);
    let biased = |id: &str| asked(json!({"logit_bias": {id: 100}, "temperature": 0}));
    let told = said(
        &daemon,
        CHAT,
        asked(json!({"tool_choice": "none", "temperature": 0})),
    )
    .await;
    of_form(told["choices"][0]["message"]["content"].as_str().unwrap());
    let told = said(&daemon, CHAT, biased(&object)).await;
    assert!(
        told["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .starts_with('{'),
        "{told}"
    );
    let mut told = biased(&calls);
    told["parallel_tool_calls"] = json!(false);
    let told = said(&daemon, CHAT, told).await;
    let begun = &told["choices"][0]["message"];
    assert!(
        !begun["content"]
            .as_str()
            .unwrap_or_default()
            .starts_with('{'),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_must_be_made_is_made_whatever_the_form() {
    let (daemon, _folder) = knowing().await;
    let one = json!({"parallel_tool_calls": false, "seed": 3});
    for choice in [
        json!("required"),
        json!({"type": "function", "function": {"name": "weather"}}),
    ] {
        let mut body = asked(one.clone());
        body["tool_choice"] = choice;
        let answer = said(&daemon, CHAT, body).await;
        let message = &answer["choices"][0]["message"];
        assert_eq!(message["content"], Value::Null, "{answer}");
        of_call(
            message["tool_calls"][0]["function"]["arguments"]
                .as_str()
                .unwrap(),
        );
    }
    let wrong = json!({"tool_choice": "required", "response_format": null, "guided_regex": "("});
    let (status, told) = daemon.post(CHAT, asked(wrong)).await;
    assert_eq!(
        (status, &told["error"]["param"]),
        (400, &json!("guided_regex")),
        "{told}"
    );
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}});
    let wrong = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let (status, told) = daemon.post(CHAT, asked(wrong)).await;
    let param = told["error"]["param"].as_str().unwrap();
    assert!(
        status == 400 && param.starts_with("response_format.json_schema.schema.properties.a"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_doors_take_both_too() {
    let (daemon, _folder) = knowing().await;
    for forced in [false, true] {
        let choice = |name: &str| {
            if forced {
                json!({"type": name, "name": "weather"})
            } else {
                Value::Null
            }
        };
        let tool =
            json!({"type": "function", "name": "weather", "parameters": given(), "strict": true});
        let answer = said(&daemon, "/v1/responses", json!({
            "input": "How warm is it?", "tools": [tool], "tool_choice": choice("function"), "max_output_tokens": 200, "seed": 3,
            "parallel_tool_calls": false,
            "text": {"format": {"type": "json_schema", "name": "answer", "schema": form()}},
        }))
        .await;
        let [item] = &answer["output"].as_array().unwrap()[..] else {
            panic!("{answer}")
        };
        match item["type"].as_str().unwrap() {
            "function_call" => of_call(item["arguments"].as_str().unwrap()),
            _ => of_form(item["content"][0]["text"].as_str().unwrap()),
        }
        assert!(!forced || item["type"] == "function_call", "{answer}");

        let tool = json!({"name": "weather", "input_schema": given()});
        let mut body = json!({
            "messages": [{"role": "user", "content": "How warm is it?"}], "tools": [tool], "max_tokens": 200, "seed": 3,
            "output_config": {"format": {"type": "json_schema", "schema": form()}},
        });
        if forced {
            body["tool_choice"] =
                json!({"type": "tool", "name": "weather", "disable_parallel_tool_use": true});
        }
        let answer = said(&daemon, "/v1/messages", body).await;
        for block in answer["content"].as_array().unwrap() {
            match block["type"].as_str().unwrap() {
                "tool_use" => of_call(&block["input"].to_string()),
                _ => of_form(block["text"].as_str().unwrap()),
            }
        }
        let stopped = answer["stop_reason"].as_str().unwrap();
        assert!(!forced || stopped == "tool_use", "{answer}");

        let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
        let message = pb::ChatMessage {
            role: "user".into(),
            content: "q".into(),
            ..Default::default()
        };
        let tool = json!({"type": "function", "function": {"name": "weather", "strict": true, "parameters": given()}});
        let chat = pb::ChatMessages {
            messages: vec![message],
            tools: vec![tool.to_string()],
            tool_choice: if forced {
                "function:weather".into()
            } else {
                String::new()
            },
            parallel_tool_calls: Some(false),
        };
        let request = pb::GenerateRequest {
            input: Some(pb::generate_request::Input::Messages(chat)),
            sampling: Some(pb::Sampling {
                max_tokens: Some(200),
                seed: Some(3),
                ..Default::default()
            }),
            constraint: Some(pb::Constraint {
                rule: Some(pb::constraint::Rule::JsonSchema(form().to_string())),
            }),
            ..Default::default()
        };
        let mut events = client.generate(request).await.unwrap().into_inner();
        let (mut text, mut calls) = (String::new(), 0);
        while let Some(event) = events.message().await.unwrap() {
            match event.event.unwrap() {
                Event::Token(token) => text.push_str(&token.text),
                Event::Called(called) => {
                    of_call(&called.call.unwrap().arguments);
                    calls += 1;
                }
                Event::Finish(_) | Event::Prompt(_) => {}
            }
        }
        match calls {
            0 => of_form(&text),
            calls => assert!(calls == 1 && text.is_empty(), "{text}"),
        }
        assert!(!forced || calls == 1);
    }
}
