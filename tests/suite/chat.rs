//! Chat completions over HTTP.

use serde_json::{Value, json};

use crate::harness::{BASE, Daemon, chunks};

fn ask(more: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Copy the name."}], "max_tokens": 12, "temperature": 0});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_openais_shape() {
    let daemon = Daemon::start().await;
    let (status, body) = daemon
        .post(
            CHAT,
            ask(json!({"logprobs": true, "top_logprobs": 2, "return_token_ids": true})),
        )
        .await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        (&body["object"], &body["model"]),
        (&json!("chat.completion"), &json!(BASE))
    );
    let choice = &body["choices"][0];
    let told = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(
        told.len() as u64,
        body["usage"]["completion_tokens"].as_u64().unwrap()
    );
    assert!(
        told.iter()
            .all(|token| token["top_logprobs"].as_array().unwrap().len() == 2)
    );
    assert_eq!(
        body["prompt_token_ids"].as_array().unwrap().len() as u64,
        body["usage"]["prompt_tokens"].as_u64().unwrap()
    );
    assert!(body["adapter_generation"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_what_the_whole_answer_says() {
    let daemon = Daemon::with_adapters().await;
    let (_, whole) = daemon.post(CHAT, ask(json!({"model": "legal"}))).await;
    // Of a salt of its own, so that it too finds nothing computed and counts the same.
    let body = ask(json!({
        "model": "legal", "stream": true, "stream_options": {"include_usage": true}, "cache_salt": "stream",
    }));
    let response = daemon
        .client
        .post(format!("{}{CHAT}", daemon.http))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(
        response.headers()["adapter-generation"],
        whole["adapter_generation"].as_str().unwrap()
    );
    let (pieces, done) = chunks(&response.text().await.unwrap());
    assert!(done);
    let text: String = pieces
        .iter()
        .filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(
        text,
        whole["choices"][0]["message"]["content"].as_str().unwrap()
    );
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(pieces.last().unwrap()["usage"], whole["usage"]);
    assert!(
        pieces
            .iter()
            .all(|piece| piece["adapter_generation"] == whole["adapter_generation"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_that_names_an_adapter_means_the_same() {
    let daemon = Daemon::with_adapters().await;
    let (_, adapter) = daemon.get("/v1/adapters/legal").await;
    let generation = adapter["generation"].as_str().unwrap();
    let url = format!("{}{CHAT}", daemon.http);
    let mut texts = Vec::new();
    for (more, header) in [
        (json!({"model": "legal"}), None),
        (json!({"model": format!("{BASE}:legal")}), None),
        (json!({"adapter": "legal"}), None),
        (json!({"model": BASE}), Some("legal".to_owned())),
        (
            json!({"model": format!("legal@{}", &generation[..8])}),
            Some("legal".to_owned()),
        ),
    ] {
        let mut request = daemon.client.post(&url).json(&ask(more.clone()));
        if let Some(header) = header {
            request = request.header("adapter", header);
        }
        let response = request.send().await.unwrap();
        assert_eq!(
            response.headers()["adapter-generation"],
            generation,
            "{more}"
        );
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["model"], "legal");
        texts.push(body["choices"][0]["message"]["content"].clone());
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_nothing_is_never_answered_by_the_base() {
    let daemon = Daemon::with_adapters().await;
    let pinned = format!("legal@{}", "0".repeat(12));
    for (more, status, code) in [
        (json!({"model": "gpt-4o"}), 404, "model_not_found"),
        (json!({"adapter": "unknown"}), 404, "adapter_not_found"),
        (json!({"adapter": pinned}), 404, "adapter_not_found"),
        (json!({"model": pinned}), 404, "model_not_found"),
        (
            json!({"model": "legal", "adapter": "medical"}),
            400,
            "adapter_conflict",
        ),
        (
            json!({"model": "legal", "adapter": "none"}),
            400,
            "adapter_conflict",
        ),
        (
            json!({"model": "gpt-4o", "adapter": "legal"}),
            404,
            "model_not_found",
        ),
    ] {
        let (got, body) = daemon.post(CHAT, ask(more.clone())).await;
        assert_eq!(
            (got, body["error"]["code"].as_str().unwrap()),
            (status, code),
            "{more}: {body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_answers_are_numbered_and_a_seed_repeats_them() {
    let daemon = Daemon::start().await;
    let body = ask(json!({"n": 3, "seed": 7, "temperature": 1.0}));
    let (status, first) = daemon.post(CHAT, body.clone()).await;
    assert_eq!(status, 200, "{first}");
    let (_, again) = daemon.post(CHAT, body).await;
    assert_eq!(first["choices"].as_array().unwrap().len(), 3);
    assert_eq!(first["choices"][2]["index"], 2);
    assert_eq!(first["choices"], again["choices"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_does_not_fit_is_refused_by_its_field() {
    let daemon = Daemon::start().await;
    // One that is counted, and one that is not worth counting.
    for times in [400, 20_000] {
        let content = "the clerk ".repeat(times);
        let long = ask(json!({"messages": [{"role": "user", "content": content}]}));
        let (status, body) = daemon.post(CHAT, long).await;
        assert_eq!(
            (status, &body["error"]["param"]),
            (400, &json!("messages")),
            "{body}"
        );
        assert_eq!(body["error"]["code"], "context_length_exceeded");
        let text = json!({"prompt": content, "max_tokens": 1});
        let (status, body) = daemon.post("/v1/completions", text).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (400, &json!("context_length_exceeded")),
            "{body}"
        );
        // A call that only counts may send more than fits a prompt.
        let (status, _) = daemon.post("/tokenize", json!({"prompt": content})).await;
        assert_eq!(status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_reuses_its_history_but_not_that_of_another_salt() {
    let daemon = Daemon::with_adapters().await;
    let question =
        json!({"role": "user", "content": "Copy the names, all of them, one after the other."});
    let (_, first) = daemon
        .post(CHAT, ask(json!({"messages": [question]})))
        .await;
    let usage = |body: &Value, field: &str| {
        let usage = &body["usage"];
        let found = usage.pointer(field).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("{field} in {body}"))
    };
    let cached = |body: &Value| usage(body, "/prompt_tokens_details/cached_tokens");
    assert_eq!(cached(&first), 0);
    let said = &first["choices"][0]["message"];
    let more = json!([question, said, {"role": "user", "content": "Again."}]);
    let (_, again) = daemon.post(CHAT, ask(json!({"messages": more}))).await;
    assert!(
        cached(&again) >= usage(&first, "/prompt_tokens") / 16 * 16,
        "{again}"
    );
    for apart in [
        json!({"cache_salt": "another"}),
        json!({"adapter": "legal"}),
    ] {
        let mut body = ask(json!({"messages": more}));
        body.as_object_mut()
            .unwrap()
            .extend(apart.as_object().unwrap().clone());
        let (status, told) = daemon.post(CHAT, body).await;
        assert_eq!((status, cached(&told)), (200, 0), "{apart}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn urgency_is_read_and_a_deadline_without_a_token_is_an_error() {
    let daemon = Daemon::start().await;
    let in_time = ask(json!({"timeout": 60, "priority": -3}));
    assert_eq!(daemon.post(CHAT, in_time).await.0, 200);
    let late = ask(json!({"timeout": 1e-6}));
    let (status, told) = daemon.post(CHAT, late).await;
    assert_eq!(
        (status, &told["error"]["code"]),
        (504, &json!("deadline_exceeded"))
    );
    for (field, value) in [
        ("timeout", json!(0)),
        ("timeout", json!(-1)),
        ("timeout", json!(1e9)),
        ("priority", json!(101)),
        ("priority", json!(0.5)),
    ] {
        let (status, told) = daemon.post(CHAT, ask(json!({field: value}))).await;
        assert_eq!((status, &told["error"]["param"]), (400, &json!(field)));
    }
}
