//! Text completions over HTTP: scoring, prompts of ids, several prompts.

use adapterd::pb;
use adapterd::pb::inference_client::InferenceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{BASE, Daemon, chunks};

const COMPLETE: &str = "/v1/completions";

#[tokio::test(flavor = "multi_thread")]
async fn a_text_can_be_scored_without_generating() {
    let daemon = Daemon::start().await;
    let text = " The clerk is Ada.";
    let body = json!({"prompt": text, "max_tokens": 0, "echo": true, "logprobs": 2});
    let (status, body) = daemon.post(COMPLETE, body).await;
    assert_eq!(status, 200, "{body}");
    let choice = &body["choices"][0];
    assert_eq!(choice["text"], text);
    let numbers = choice["logprobs"]["token_logprobs"].as_array().unwrap();
    assert_eq!(
        numbers.len() as u64,
        body["usage"]["prompt_tokens"].as_u64().unwrap()
    );
    assert!(numbers[0].is_null() && numbers[1..].iter().all(|n| n.as_f64().unwrap() <= 0.0));
    assert_eq!(body["usage"]["completion_tokens"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_those_of_the_reference() {
    let daemon = Daemon::start().await;
    let path = crate::harness::golden("expected/models/llama.json");
    let expected: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let prompt = &expected["prompts"][0];
    let steps = 16;
    let body = json!({"prompt": prompt["ids"], "max_tokens": steps, "temperature": 0, "ignore_eos": true, "logprobs": 1,
        "return_token_ids": true});
    let (status, body) = daemon.post(COMPLETE, body).await;
    assert_eq!(status, 200, "{body}");
    let greedy = prompt["greedy"]["ids"].as_array().unwrap();
    assert_eq!(
        body["choices"][0]["token_ids"].as_array().unwrap()[..],
        greedy[..steps]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_prompts_are_answered_in_order_on_one_generation() {
    let daemon = Daemon::with_adapters().await;
    let alone = json!({"model": "legal", "prompt": "Ada", "max_tokens": 6, "temperature": 0, "return_token_ids": true});
    let (_, alone) = daemon.post(COMPLETE, alone).await;
    let ids = alone["choices"][0]["prompt_token_ids"].clone();
    let both = json!({"model": "legal", "prompt": ["The clerk", "Ada"], "max_tokens": 6, "temperature": 0, "n": 2});
    let (status, both) = daemon.post(COMPLETE, both).await;
    assert_eq!(status, 200, "{both}");
    let choices = both["choices"].as_array().unwrap();
    assert_eq!(
        choices
            .iter()
            .map(|c| c["index"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert_eq!(choices[2]["text"], alone["choices"][0]["text"]);
    let by_ids = json!({"model": "legal", "prompt": [ids], "max_tokens": 6, "temperature": 0});
    let (_, by_ids) = daemon.post(COMPLETE, by_ids).await;
    assert_eq!(by_ids["choices"][0]["text"], alone["choices"][0]["text"]);
    assert_eq!(by_ids["adapter_generation"], both["adapter_generation"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_echo_begins_with_the_prompt() {
    let daemon = Daemon::start().await;
    let body = json!({"model": BASE, "prompt": "The clerk", "max_tokens": 4, "temperature": 0, "echo": true, "logprobs": 0});
    let (_, whole) = daemon.post(COMPLETE, body.clone()).await;
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let response = daemon
        .client
        .post(format!("{}{COMPLETE}", daemon.http))
        .json(&streamed)
        .send()
        .await
        .unwrap();
    let (pieces, done) = chunks(&response.text().await.unwrap());
    assert!(done);
    let joined = |key: &str| -> Vec<Value> {
        let lists = pieces
            .iter()
            .filter_map(|piece| piece["choices"][0]["logprobs"][key].as_array());
        lists.flatten().cloned().collect()
    };
    let text: String = pieces
        .iter()
        .map(|piece| piece["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(text, whole["choices"][0]["text"].as_str().unwrap());
    for key in ["tokens", "token_logprobs", "text_offset"] {
        assert_eq!(
            Value::Array(joined(key)),
            whole["choices"][0]["logprobs"][key],
            "{key}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_beyond_the_vocabulary_are_refused() {
    let daemon = Daemon::start().await;
    for body in [
        json!({"prompt": [1, 100_000]}),
        json!({"prompt": "a", "logit_bias": {"100000": 1}}),
        json!({"prompt": "a", "stop_token_ids": [100_000]}),
    ] {
        let (status, answer) = daemon.post(COMPLETE, body.clone()).await;
        assert_eq!(status, 400, "{body}: {answer}");
        let param = answer["error"]["param"].as_str().unwrap();
        assert!(
            body.as_object()
                .unwrap()
                .keys()
                .any(|key| param.starts_with(key.as_str())),
            "{body}: {param}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_back_as_the_text_they_were() {
    let daemon = Daemon::start().await;
    let text = "Ada pays 7 euros.";
    let (_, tokens) = daemon
        .post(
            "/tokenize",
            json!({"prompt": text, "add_special_tokens": false}),
        )
        .await;
    assert_eq!(
        tokens["count"].as_u64().unwrap() as usize,
        tokens["tokens"].as_array().unwrap().len()
    );
    let (_, back) = daemon
        .post("/detokenize", json!({"tokens": tokens["tokens"]}))
        .await;
    assert_eq!(back["prompt"], text);
    let (status, _) = daemon
        .post(
            "/tokenize",
            json!({"messages": [{"role": "user", "content": text}]}),
        )
        .await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokenizing_a_conversation_takes_what_its_template_is_told() {
    let daemon = Daemon::start().await;
    let messages =
        json!([{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes."}]);
    let text = async |mut body: Value| {
        body["messages"] = messages.clone();
        let (status, tokens) = daemon.post("/tokenize", body).await;
        assert_eq!(status, 200, "{tokens}");
        let (_, back) = daemon
            .post("/detokenize", json!({"tokens": tokens["tokens"]}))
            .await;
        back["prompt"].as_str().unwrap().to_owned()
    };
    let asked = text(json!({})).await;
    assert_eq!(text(json!({"add_generation_prompt": true})).await, asked);
    let whole = text(json!({"add_generation_prompt": false})).await;
    assert!(asked.starts_with(&whole) && asked.len() > whole.len());
    for nothing in [
        json!({"tools": [], "chat_template_kwargs": {}}),
        json!({"tools": null, "chat_template_kwargs": null}),
        json!({"tools": [{"type": "function", "function": {"name": "f"}}], "chat_template_kwargs": {"enable_thinking": true}}),
    ] {
        assert_eq!(
            text(nothing).await,
            asked,
            "the template of this base reads none of them"
        );
    }
    let refused = json!({"messages": messages, "chat_template_kwargs": {"messages": []}});
    let (status, body) = daemon.post("/tokenize", refused).await;
    assert_eq!(
        (status, body["error"]["param"].as_str()),
        (400, Some("chat_template_kwargs.messages"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokenizing_checks_the_adapter_it_names_without_loading_it() {
    let daemon = Daemon::with_adapters().await;
    let (_, legal) = daemon.post("/v1/adapters/legal/unload", json!({})).await;
    assert_eq!(legal["tier"], "disk");
    let ask = |adapter: &str| json!({"prompt": "Ada", "adapter": adapter});
    assert_eq!(daemon.post("/tokenize", ask("legal")).await.0, 200);
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let mut call = async |adapter: &str| {
        let asked = pb::TokenizeRequest {
            adapter: adapter.into(),
            input: Some(pb::tokenize_request::Input::Prompt("Ada".into())),
            ..Default::default()
        };
        client.tokenize(asked).await.map_err(|status| status.code())
    };
    assert!(call("legal").await.is_ok());
    for unknown in ["nobody", "legal@00000000"] {
        assert_eq!(daemon.post("/tokenize", ask(unknown)).await.0, 404);
        assert_eq!(call(unknown).await.err(), Some(Code::NotFound));
    }
    let (_, legal) = daemon.get("/v1/adapters/legal").await;
    assert_eq!(legal["tier"], "disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_of_tokenizing_take_the_model_that_clients_send() {
    let daemon = Daemon::with_adapters().await;
    for (path, mut body) in [
        ("/tokenize", json!({"prompt": "Ada"})),
        (
            "/tokenize",
            json!({"messages": [{"role": "user", "content": "Ada"}], "add_generation_prompt": true}),
        ),
        ("/detokenize", json!({"tokens": [1, 2]})),
    ] {
        for (model, status) in [
            (json!(null), 200),
            (json!(BASE), 200),
            (json!("legal"), 200),
            (json!("nobody"), 404),
            (json!("legal@00000000"), 404),
            (json!(""), 404),
        ] {
            body["model"] = model.clone();
            let (told, answer) = daemon.post(path, body.clone()).await;
            assert_eq!(told, status, "{path} {model}: {answer}");
            if status == 404 {
                assert_eq!(answer["error"]["code"], "model_not_found", "{path} {model}");
            }
        }
        body["model"] = json!("legal");
        body["adapter"] = json!("medical");
        let (status, answer) = daemon.post(path, body).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("adapter_conflict")),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_fit_is_blamed_on_the_field_that_asks_for_it() {
    let daemon = Daemon::start().await;
    let messages = json!([{"role": "user", "content": "Ada"}]);
    for (path, body, param) in [
        (
            "/v1/completions",
            json!({"prompt": "Ada", "max_tokens": 100_000}),
            "max_tokens",
        ),
        (
            "/v1/chat/completions",
            json!({"messages": messages, "max_tokens": 100_000}),
            "max_tokens",
        ),
        (
            "/v1/chat/completions",
            json!({"messages": messages, "max_completion_tokens": 100_000}),
            "max_completion_tokens",
        ),
    ] {
        let (status, told) = daemon.post(path, body).await;
        assert_eq!(
            (status, &told["error"]["param"]),
            (400, &json!(param)),
            "{told}"
        );
        let message = told["error"]["message"].as_str().unwrap();
        let context = daemon.get("/v1/models").await.1["data"][0]["max_model_len"].to_string();
        assert!(
            message.contains("100000") && message.contains(&context),
            "{message}"
        );
    }
    // The whole context and a little less: the 16 tokens of the default were not asked for.
    let context = daemon.get("/v1/models").await.1["data"][0]["max_model_len"]
        .as_u64()
        .unwrap();
    for (short, wanted, param) in [
        (0, Some(1), "prompt"),
        (5, Some(6), "max_tokens"),
        (5, None, "prompt"),
    ] {
        let ids = vec![1; context as usize - short];
        let mut body = json!({"prompt": ids});
        if let Some(wanted) = wanted {
            body["max_tokens"] = json!(wanted);
        }
        let (status, told) = daemon.post("/v1/completions", body).await;
        assert_eq!(
            (status, &told["error"]["param"]),
            (400, &json!(param)),
            "{short} {wanted:?}: {told}"
        );
    }
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let ask = pb::GenerateRequest {
        input: Some(pb::generate_request::Input::Prompt("Ada".into())),
        sampling: Some(pb::Sampling {
            max_tokens: Some(100_000),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = client.generate(ask).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.metadata().get("error-param").unwrap(), "max_tokens");
}
