//! Limits of keys and adapters over real sockets: what is refused, what answers tell, and what is given back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adapterd::domain::{KeyLimits, Rates};
use adapterd::gateway::AdapterRates;
use adapterd::pb;
use adapterd::pb::inference_client::InferenceClient;
use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::calls::prompt;
use crate::harness::{Daemon, PATIENCE, answer};
use crate::keys::ask;
use crate::learning::rows;

/// The status, headers and body of a completion.
async fn complete(daemon: &Daemon, key: &str, body: Value) -> (u16, HeaderMap, Value) {
    let request = daemon.request(key, "POST", "/v1/completions").json(&body);
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.json().await.unwrap())
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    let text = headers[name].to_str().unwrap();
    text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
}

fn short(max_tokens: usize) -> Value {
    json!({"prompt": [1, 2, 3], "max_tokens": max_tokens, "ignore_eos": true})
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_requests_a_minute_are_answered_and_the_next_is_told_when_to_come_back() {
    let daemon = Daemon::with_keys().await;
    let limits = KeyLimits {
        requests_per_minute: Some(3),
        ..KeyLimits::default()
    };
    let (id, key) = daemon.limited_key("infer", "*", limits).await;
    let (_, other) = daemon.key("infer", "*").await;
    for left in [2, 1] {
        let (status, headers, body) = complete(&daemon, &key, short(2)).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(number(&headers, "x-ratelimit-limit-requests"), 3);
        assert_eq!(number(&headers, "x-ratelimit-remaining-requests"), left);
        assert!(headers.contains_key("x-ratelimit-reset-requests"));
        assert!(!headers.contains_key("x-ratelimit-limit-tokens"));
    }
    // Many prompts are one request, and what is wrong by itself is none.
    let (status, headers, _) =
        complete(&daemon, &key, json!({"prompt": [], "max_tokens": 1})).await;
    assert_eq!(status, 400);
    assert_eq!(number(&headers, "x-ratelimit-remaining-requests"), 1);
    let three = json!({"prompt": ["a", "b", "c"], "max_tokens": 1});
    assert_eq!(complete(&daemon, &key, three).await.0, 200);
    let (status, headers, body) = complete(&daemon, &key, short(2)).await;
    assert_eq!(status, 429, "{body}");
    assert!((1..=60).contains(&number(&headers, "retry-after")));
    assert_eq!(number(&headers, "x-ratelimit-remaining-requests"), 0);
    let error = &body["error"];
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("rate_limit_exceeded"), &json!("requests"))
    );
    let told = error["message"].as_str().unwrap();
    let expected = format!(
        "Rate limit reached for key {id} on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in "
    );
    assert!(told.starts_with(&expected), "{told}");
    // A rotation is no way around it, and other keys are not concerned.
    let rotated = daemon.keys.rotate(&id, 0).await.unwrap();
    assert_eq!(complete(&daemon, &rotated.secret, short(2)).await.0, 429);
    let (status, headers, _) = complete(&daemon, &other, short(2)).await;
    assert_eq!(status, 200);
    assert!(!headers.contains_key("x-ratelimit-limit-requests"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_exactly_as_many_are_let_in_as_may() {
    let daemon = Daemon::with_keys().await;
    let limits = KeyLimits {
        requests_per_minute: Some(5),
        ..KeyLimits::default()
    };
    let (_, key) = daemon.limited_key("infer", "*", limits).await;
    let asked = (0..30).map(|_| complete(&daemon, &key, short(1)));
    let answers = futures::future::join_all(asked).await;
    let of = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!((of(200), of(429)), (5, 25));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_count_as_reserved_until_the_answer_ends_and_as_used_from_then_on() {
    let daemon = Daemon::with_keys().await;
    let limits = KeyLimits {
        tokens_per_minute: Some(100),
        ..KeyLimits::default()
    };
    let (_, key) = daemon.limited_key("infer", "*", limits).await;
    let remaining = |headers: &HeaderMap| number(headers, "x-ratelimit-remaining-tokens");
    // Of 95 that are reserved, most are not needed: a token that is surely said ends the answer.
    let first = complete(
        &daemon,
        &key,
        json!({"prompt": [1, 2, 3], "max_tokens": 1, "logprobs": 1}),
    );
    let (status, headers, body) = first.await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(remaining(&headers), 96);
    let ends: Vec<u32> = (0..300).collect();
    let early = json!({"prompt": [1, 2, 3], "max_tokens": 90, "stop_token_ids": &ends[..128]});
    let (status, headers, body) = complete(&daemon, &key, early).await;
    assert_eq!(status, 200, "{body}");
    let used = body["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!(remaining(&headers), 96 - used);
    let left = 96 - used;
    let (status, headers, body) = complete(&daemon, &key, short(left as usize)).await;
    assert_eq!((status, &body["error"]["type"]), (429, &json!("tokens")));
    assert!(headers.contains_key("retry-after"));
    // What can never fit is not worth coming back for.
    let (status, headers, body) = complete(&daemon, &key, short(98)).await;
    assert_eq!(status, 429, "{body}");
    assert!(!headers.contains_key("retry-after"));
    assert_eq!(headers["x-should-retry"], "false");
    let told = body["error"]["message"].as_str().unwrap();
    assert!(
        told.contains("max_tokens") && told.contains("Requested 101"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_given_back_when_a_reader_goes_away() {
    let daemon = Daemon::with_keys().await;
    let limits = KeyLimits {
        concurrent: Some(1),
        ..KeyLimits::default()
    };
    let (_, key) = daemon.limited_key("infer", "*", limits).await;
    let mut long = short(400);
    long["stream"] = json!(true);
    let began = Instant::now();
    // The long one may have ended on a fast machine: then once more.
    loop {
        let request = daemon.request(&key, "POST", "/v1/completions").json(&long);
        let stream = request.send().await.unwrap();
        if stream.status() != 200 {
            // The place of the one before is not free yet.
            assert!(began.elapsed() < PATIENCE, "a place is not given back");
            continue;
        }
        let (status, headers, body) = complete(&daemon, &key, short(1)).await;
        if status != 200 {
            let told = (status, number(&headers, "retry-after"));
            assert_eq!(told, (429, 1), "{body}");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "a second one is never refused");
    }
    let began = Instant::now();
    while complete(&daemon, &key, short(1)).await.0 != 200 {
        assert!(began.elapsed() < PATIENCE, "its place is not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_told_their_limits_as_metadata_and_when_to_come_back_as_retry_info() {
    let daemon = Daemon::with_keys().await;
    let limits = KeyLimits {
        requests_per_minute: Some(1),
        ..KeyLimits::default()
    };
    let (_, key) = daemon.limited_key("infer", "*", limits).await;
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let with = |message: pb::GenerateRequest| {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    };
    let response = client.generate(with(prompt("a"))).await.unwrap();
    let told = |metadata: &tonic::metadata::MetadataMap, name: &str| {
        let value = metadata
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_else(|| panic!("no {name} in {metadata:?}"))
    };
    let metadata = response.metadata();
    assert_eq!(told(metadata, "x-ratelimit-limit-requests"), "1");
    assert_eq!(told(metadata, "x-ratelimit-remaining-requests"), "0");
    let mut events = response.into_inner();
    while events.message().await.unwrap().is_some() {}
    let refused = client.generate(with(prompt("a"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(
        told(refused.metadata(), "error-code"),
        "rate_limit_exceeded"
    );
    assert_eq!(
        told(refused.metadata(), "x-ratelimit-remaining-requests"),
        "0"
    );
    let seconds: u64 = told(refused.metadata(), "retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds));
    let details = String::from_utf8_lossy(refused.details()).into_owned();
    assert!(details.contains("google.rpc.RetryInfo"), "{details}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_may_have_limits_whoever_asks_it() {
    let one = Rates {
        requests_per_minute: Some(1),
        ..Rates::default()
    };
    let rates = AdapterRates::read(&BTreeMap::from([("leg*".to_owned(), one)])).unwrap();
    let daemon = Daemon::with_limited_adapters(rates, false).await;
    let asked = async |adapter: &str| {
        let body = json!({"prompt": "a", "max_tokens": 1, "adapter": adapter});
        daemon.post("/v1/completions", body).await
    };
    assert_eq!(asked("legal").await.0, 200);
    let (status, body) = asked("legal").await;
    assert_eq!(status, 429, "{body}");
    let told = body["error"]["message"].as_str().unwrap();
    assert!(told.contains("for adapter legal on"), "{told}");
    for other in ["medical", "none", "medical"] {
        assert_eq!(asked(other).await.0, 200, "{other}");
    }
    let refusals = daemon.gateway.limit_refusals();
    assert!(
        refusals.contains(&("requests_per_minute", 1)),
        "{refusals:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_jobs_of_a_key_have_their_limits() {
    let daemon = Daemon::with_keys().await;
    let file = rows(8);
    let limits = KeyLimits {
        storage_bytes: Some(file.len() as u64 + 10),
        training_tokens_per_day: Some(100_000),
        queued_jobs: Some(1),
        ..KeyLimits::default()
    };
    let (_, key) = daemon.limited_key("train", "*", limits).await;
    let upload = async || {
        let part = Part::bytes(file.clone()).file_name("rows.jsonl");
        let form = Form::new().text("purpose", "fine-tune").part("file", part);
        answer(daemon.request(&key, "POST", "/v1/files").multipart(form)).await
    };
    let (status, kept) = upload().await;
    assert_eq!(status, 200, "{kept}");
    let (status, body) = upload().await;
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["type"]),
        (429, &json!("rate_limit_exceeded"), &json!("storage")),
        "{body}"
    );
    let id = kept["id"].as_str().unwrap();
    let path = "/v1/fine_tuning/jobs";
    let job = |steps: u64| json!({"model": "llama", "training_file": id, "suffix": "mine", "adapterd": {"steps": steps, "rank": 2}});
    let (status, body) = ask(&daemon, &key, "POST", path, job(1_000_000)).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (429, &json!("tokens")),
        "{body}"
    );
    let (status, made) = ask(&daemon, &key, "POST", path, job(200)).await;
    assert_eq!(status, 200, "{made}");
    let made = made["id"].as_str().unwrap();
    ask(
        &daemon,
        &key,
        "POST",
        &format!("{path}/{made}/pause"),
        Value::Null,
    )
    .await;
    let (status, body) = ask(&daemon, &key, "POST", path, job(1)).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (429, &json!("jobs")),
        "{body}"
    );
    ask(
        &daemon,
        &key,
        "POST",
        &format!("{path}/{made}/cancel"),
        Value::Null,
    )
    .await;
    let (status, body) = ask(&daemon, &key, "POST", path, job(1)).await;
    assert_eq!(status, 200, "{body}");
    let began = Instant::now();
    loop {
        // Its file is free once its jobs have ended, and with it its room.
        let path = format!("/v1/files/{id}");
        if ask(&daemon, &key, "DELETE", &path, Value::Null).await.0 == 200 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the job does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(upload().await.0, 200);
}
