//! An adapter outside a key's list is, by every route and every call, as one that does not exist.

use adapterd::pb;
use adapterd::pb::adapters_client::AdaptersClient;
use adapterd::pb::inference_client::InferenceClient;
use adapterd::pb::training_client::TrainingClient;
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::harness::{Daemon, answer};

/// What is the same for a name that exists and one that does not, but for the name itself.
fn told(name: &str, (status, body): (u16, Value)) -> (u16, String) {
    (status, body.to_string().replace(name, "NAME"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_outside_a_keys_list_is_as_one_that_does_not_exist() {
    let daemon = Daemon::with_keys().await;
    let (_, key) = daemon.key("infer,train,adapters", "medical,team-*").await;
    let generation = "0123456789abcdef".repeat(4);
    let asks: &[(&str, &str, &str)] = &[
        ("GET", "/v1/models/NAME", ""),
        ("GET", "/v1/models/llama:NAME", ""),
        ("GET", "/v1/adapters/NAME", ""),
        ("GET", "/v1/adapters/NAME/content", ""),
        ("PUT", "/v1/adapters/NAME", r#"{"path": "nowhere"}"#),
        ("DELETE", "/v1/adapters/NAME", ""),
        ("DELETE", "/v1/adapters/NAME?expected_generation=none", ""),
        (
            "POST",
            "/v1/adapters/NAME/promote",
            r#"{"generation": "GENERATION"}"#,
        ),
        (
            "POST",
            "/v1/adapters/NAME/blend",
            r#"{"from": "medical=1"}"#,
        ),
        (
            "POST",
            "/v1/adapters/team-x/blend",
            r#"{"from": "medical=1,NAME=1"}"#,
        ),
        ("POST", "/v1/adapters/NAME/rollback", "{}"),
        ("POST", "/v1/adapters/NAME/pin", "{}"),
        ("POST", "/v1/adapters/NAME/unpin", "{}"),
        ("POST", "/v1/adapters/NAME/load", "{}"),
        (
            "POST",
            "/v1/adapters/NAME/unload",
            r#"{"expected_generation": "GENERATION"}"#,
        ),
        (
            "POST",
            "/v1/load_lora_adapter",
            r#"{"lora_name": "NAME", "lora_path": "x"}"#,
        ),
        (
            "POST",
            "/v1/unload_lora_adapter",
            r#"{"lora_name": "NAME"}"#,
        ),
        (
            "POST",
            "/v1/completions",
            r#"{"model": "NAME", "prompt": "a", "max_tokens": 1}"#,
        ),
        (
            "POST",
            "/v1/completions",
            r#"{"adapter": "NAME", "prompt": "a", "max_tokens": 1}"#,
        ),
        (
            "POST",
            "/v1/completions",
            r#"{"adapter": "NAME@01234567", "prompt": "a"}"#,
        ),
        (
            "POST",
            "/v1/completions",
            r#"{"adapter": "NAME@step-3", "prompt": "a"}"#,
        ),
        (
            "POST",
            "/v1/completions",
            r#"{"adapter": {"medical": 1, "NAME": 1}, "prompt": "a"}"#,
        ),
        (
            "POST",
            "/v1/completions",
            r#"{"model": "NAME", "adapter": "medical", "prompt": "a"}"#,
        ),
        ("POST", "/tokenize", r#"{"adapter": "NAME", "prompt": "a"}"#),
        (
            "POST",
            "/detokenize",
            r#"{"adapter": "NAME", "tokens": [1]}"#,
        ),
        (
            "POST",
            "/v1/fine_tuning/plan",
            r#"{"model": "NAME", "training_file": "file-1", "suffix": "team-x"}"#,
        ),
        (
            "POST",
            "/v1/fine_tuning/plan",
            r#"{"adapterd": {"from": "NAME"}, "training_file": "file-1", "suffix": "team-x"}"#,
        ),
        (
            "POST",
            "/v1/fine_tuning/jobs",
            r#"{"model": "llama", "training_file": "file-1", "suffix": "NAME"}"#,
        ),
    ];
    for (verb, path, body) in asks {
        let send = async |name: &str| {
            let path = path.replace("NAME", name);
            let body = body
                .replace("NAME", name)
                .replace("GENERATION", &generation);
            let mut request = daemon.request(&key, verb, &path);
            if !body.is_empty() {
                request = request
                    .header("content-type", "application/json")
                    .body(body);
            }
            told(name, answer(request).await)
        };
        let (exists, does_not) = (send("legal").await, send("lugal").await);
        assert_eq!(exists, does_not, "{verb} {path} {body}");
        assert!((400..500).contains(&exists.0), "{verb} {path}: {exists:?}");
        assert!(!exists.1.contains("team-") || exists.0 == 403 || body.contains("team-"));
    }
    // Every list.
    let ids = async |path: &str| {
        let (status, body) = answer(daemon.request(&key, "GET", path)).await;
        assert_eq!(status, 200, "{body}");
        assert!(!body.to_string().contains("legal"), "{path}: {body}");
        let data = body["data"].as_array().unwrap().clone();
        data.iter()
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("/v1/models").await, ["llama", "medical"]);
    assert_eq!(ids("/v1/adapters").await, ["medical"]);
    assert_eq!(ids("/v1/lora_adapters").await, ["medical"]);
    // And what is there, is there.
    let body = r#"{"model": "medical", "prompt": "a", "max_tokens": 1}"#;
    let request = daemon.request(&key, "POST", "/v1/completions");
    let request = request
        .header("content-type", "application/json")
        .body(body);
    assert_eq!(answer(request).await.0, 200);
}

/// What a call is told: its code, and the message without the name.
fn heard<T>(name: &str, outcome: Result<Response<T>, Status>) -> (Code, String) {
    match outcome {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), status.message().replace(name, "NAME")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_too_know_no_adapter_outside_a_keys_list() {
    let daemon = Daemon::with_keys().await;
    let (_, key) = daemon.key("infer,train,adapters", "medical").await;
    let channel = Channel::from_shared(daemon.grpc.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let with_key = move |mut request: Request<()>| {
        let value = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    };
    let mut adapters = AdaptersClient::with_interceptor(channel.clone(), with_key.clone());
    let mut inference = InferenceClient::with_interceptor(channel.clone(), with_key.clone());
    let mut training = TrainingClient::with_interceptor(channel, with_key);
    let mut told = Vec::new();
    for name in ["legal", "lugal"] {
        let (text, none) = (name.to_owned(), String::new);
        let get = pb::GetAdapterRequest { name: text.clone() };
        let promote = pb::PromoteAdapterRequest {
            name: text.clone(),
            generation: "01234567".into(),
            ..Default::default()
        };
        let rollback = pb::RollbackAdapterRequest {
            name: text.clone(),
            expected_generation: none(),
        };
        let pin = pb::PinAdapterRequest {
            name: text.clone(),
            ..Default::default()
        };
        let load = pb::LoadAdapterRequest {
            name: text.clone(),
            expected_generation: none(),
        };
        let unload = pb::UnloadAdapterRequest {
            name: text.clone(),
            expected_generation: none(),
        };
        let delete = pb::DeleteAdapterRequest {
            name: text.clone(),
            expected_generation: none(),
        };
        let blend = pb::BlendAdapterRequest {
            name: "medical".into(),
            from: [("medical".to_owned(), 1.0), (text.clone(), 1.0)].into(),
            ..Default::default()
        };
        let tokenize = pb::TokenizeRequest {
            adapter: text.clone(),
            input: Some(pb::tokenize_request::Input::Prompt("a".into())),
            ..Default::default()
        };
        let generate = pb::GenerateRequest {
            model: text.clone(),
            ..crate::calls::prompt("a")
        };
        let job = pb::CreateJobRequest {
            training_file: "file-1".into(),
            model: text.clone(),
            name: "medical".into(),
            ..Default::default()
        };
        told.push([
            heard(name, adapters.get(get).await),
            heard(name, adapters.promote(promote).await),
            heard(name, adapters.rollback(rollback).await),
            heard(name, adapters.pin(pin).await),
            heard(name, adapters.load(load).await),
            heard(name, adapters.unload(unload).await),
            heard(name, adapters.delete(delete).await),
            heard(name, adapters.blend(blend).await),
            heard(name, inference.tokenize(tokenize).await),
            heard(name, inference.generate(generate).await),
            heard(name, training.create_job(job).await),
        ]);
    }
    assert_eq!(told[0], told[1]);
    assert!(
        told[0].iter().all(|(code, _)| *code == Code::NotFound),
        "{told:?}"
    );
    let list = adapters.list(pb::ListAdaptersRequest {}).await.unwrap();
    let listed = list.into_inner().adapters;
    let ids: Vec<&str> = listed.iter().map(|adapter| adapter.id.as_str()).collect();
    assert_eq!(ids, ["medical"]);
    // Those that there are come first, so that a change of a foreign one would come before the next of one's own.
    let mut changes = { adapters.watch(pb::WatchAdaptersRequest::default()).await }
        .unwrap()
        .into_inner();
    let seen = async |changes: &mut tonic::Streaming<pb::AdapterChange>| {
        let change = changes.message().await.unwrap().unwrap();
        change.adapter.unwrap().id
    };
    assert_eq!(seen(&mut changes).await, "medical");
    daemon
        .registry
        .remove(&"legal".parse().unwrap(), None)
        .await
        .unwrap();
    daemon
        .registry
        .remove(&"medical".parse().unwrap(), None)
        .await
        .unwrap();
    assert_eq!(seen(&mut changes).await, "medical");
}
