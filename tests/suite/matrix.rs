//! Who may use what: every route and every call, without a key, with a key of each scope, and with one that has ended,
//! held against what is written here.

use std::collections::BTreeSet;

use adapterd::pb;
use adapterd::pb::adapters_client::AdaptersClient;
use adapterd::pb::inference_client::InferenceClient;
use adapterd::pb::training_client::TrainingClient;
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::harness::{Daemon, answer};

const SCOPES: [&str; 4] = ["infer", "train", "adapters", "admin"];

/// `open`, `any` (key), or the scope that is needed.
const ROUTES: &[(&str, &str)] = &[
    ("POST /v1/chat/completions", "infer"),
    ("POST /v1/completions", "infer"),
    ("POST /tokenize", "infer"),
    ("POST /detokenize", "infer"),
    ("GET /v1/models", "any"),
    ("GET /v1/models/{id}", "any"),
    ("POST /v1/files", "train"),
    ("GET /v1/files", "train"),
    ("GET /v1/files/{id}", "train"),
    ("GET /v1/files/{id}/content", "train"),
    ("GET /v1/files/{id}/report", "train"),
    ("DELETE /v1/files/{id}", "train"),
    ("POST /v1/fine_tuning/jobs", "train"),
    ("POST /v1/fine_tuning/plan", "train"),
    ("GET /v1/fine_tuning/jobs", "train"),
    ("GET /v1/fine_tuning/jobs/{id}", "train"),
    ("POST /v1/fine_tuning/jobs/{id}/cancel", "train"),
    ("POST /v1/fine_tuning/jobs/{id}/pause", "train"),
    ("POST /v1/fine_tuning/jobs/{id}/resume", "train"),
    ("GET /v1/fine_tuning/jobs/{id}/events", "train"),
    ("GET /v1/fine_tuning/jobs/{id}/checkpoints", "train"),
    ("GET /v1/adapters", "adapters"),
    ("GET /v1/adapters/{name}", "adapters"),
    ("GET /v1/adapters/{name}/content", "adapters"),
    ("PUT /v1/adapters/{name}", "adapters"),
    ("DELETE /v1/adapters/{name}", "adapters"),
    ("POST /v1/adapters/{name}/promote", "adapters"),
    ("POST /v1/adapters/{name}/blend", "adapters"),
    ("POST /v1/adapters/{name}/rollback", "adapters"),
    ("POST /v1/adapters/{name}/pin", "adapters"),
    ("POST /v1/adapters/{name}/unpin", "adapters"),
    ("POST /v1/adapters/{name}/load", "adapters"),
    ("POST /v1/adapters/{name}/unload", "adapters"),
    ("POST /v1/load_lora_adapter", "adapters"),
    ("POST /v1/unload_lora_adapter", "adapters"),
    ("GET /v1/lora_adapters", "adapters"),
    ("GET /v1/keys", "admin"),
    ("POST /v1/keys", "admin"),
    ("DELETE /v1/keys/{id}", "admin"),
    ("POST /v1/keys/{id}/rotate", "admin"),
    ("GET /livez", "open"),
    ("GET /readyz", "open"),
    ("GET /startupz", "open"),
    ("GET /health", "open"),
    ("GET /metrics", "admin"),
    ("GET /openapi.json", "any"),
    ("GET /docs", "any"),
];

const CALLS: &[(&str, &str)] = &[
    ("/adapterd.v1.Inference/Generate", "infer"),
    ("/adapterd.v1.Inference/Tokenize", "infer"),
    ("/adapterd.v1.Adapters/List", "adapters"),
    ("/adapterd.v1.Adapters/Get", "adapters"),
    ("/adapterd.v1.Adapters/Register", "adapters"),
    ("/adapterd.v1.Adapters/Blend", "adapters"),
    ("/adapterd.v1.Adapters/Promote", "adapters"),
    ("/adapterd.v1.Adapters/Rollback", "adapters"),
    ("/adapterd.v1.Adapters/Pin", "adapters"),
    ("/adapterd.v1.Adapters/Load", "adapters"),
    ("/adapterd.v1.Adapters/Unload", "adapters"),
    ("/adapterd.v1.Adapters/Delete", "adapters"),
    ("/adapterd.v1.Adapters/Watch", "adapters"),
    ("/adapterd.v1.Training/SubmitData", "train"),
    ("/adapterd.v1.Training/CreateJob", "train"),
    ("/adapterd.v1.Training/PlanJob", "train"),
    ("/adapterd.v1.Training/ListJobs", "train"),
    ("/adapterd.v1.Training/GetJob", "train"),
    ("/adapterd.v1.Training/CancelJob", "train"),
    ("/adapterd.v1.Training/PauseJob", "train"),
    ("/adapterd.v1.Training/ResumeJob", "train"),
    ("/adapterd.v1.Training/WatchJob", "train"),
    ("/adapterd.v1.Keys/List", "admin"),
    ("/adapterd.v1.Keys/Create", "admin"),
    ("/adapterd.v1.Keys/Revoke", "admin"),
    ("/adapterd.v1.Keys/Rotate", "admin"),
];
/// Calls of services that are not ours; nothing lists them.
const OTHERS: &[(&str, &str)] = &[
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "any",
    ),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "any",
    ),
    ("/grpc.health.v1.Health/Check", "open"),
];

#[derive(Debug, PartialEq)]
enum End {
    LetIn,
    /// Who it is is not known.
    Unknown,
    Forbidden,
}

/// What is written for a caller with the key of this scope, or without a key.
fn written(needs: &str, scope: Option<&str>) -> End {
    match (needs, scope) {
        ("open", _) => End::LetIn,
        (_, None) => End::Unknown,
        ("any", Some(_)) | (_, Some("admin")) => End::LetIn,
        (needs, Some(scope)) if needs == scope => End::LetIn,
        _ => End::Forbidden,
    }
}

/// Callers: how they are called, their key, and the scope they have. The last ones have none any more.
async fn callers(daemon: &Daemon) -> Vec<(String, Option<String>, Option<&'static str>)> {
    let mut callers = vec![("nobody".to_owned(), None, None)];
    for scope in SCOPES {
        let (_, key) = daemon.key(scope, "*").await;
        callers.push((scope.to_owned(), Some(key), Some(scope)));
    }
    let (id, key) = daemon.key("admin", "*").await;
    daemon.keys.revoke(&id).await.unwrap();
    callers.push(("revoked".to_owned(), Some(key), None));
    let (_, key) = daemon.key("admin", "*").await;
    let (front, last) = key.split_at(key.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    callers.push(("wrong".to_owned(), Some(format!("{front}{other}")), None));
    callers.push(("made up".to_owned(), Some("sk-adp-1-2".into()), None));
    callers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_whom_it_is_written_to_let_in() {
    let daemon = Daemon::with_keys().await;
    let (_, admin) = daemon.key("admin", "*").await;
    let (_, document) = answer(daemon.request(&admin, "GET", "/openapi.json")).await;
    let mut found = BTreeSet::new();
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for verb in verbs.as_object().unwrap().keys() {
            found.insert(format!("{} {path}", verb.to_uppercase()));
        }
    }
    let all: BTreeSet<String> = ROUTES.iter().map(|(row, _)| (*row).to_owned()).collect();
    assert_eq!(found, all, "a route without a line here, or the reverse");
    for (name, key, scope) in callers(&daemon).await {
        for (route, needs) in ROUTES {
            let (verb, path) = route.split_once(' ').unwrap();
            let path = path.replace("{id}", "nobody").replace("{name}", "nobody");
            let url = format!("{}{path}", daemon.http);
            let mut request = daemon.client.request(verb.parse().unwrap(), url);
            if let Some(key) = &key {
                request = request.bearer_auth(key);
            }
            // No route takes this body, so nothing is changed.
            let request = request.header("content-type", "application/json").body("[");
            let (status, body) = answer(request).await;
            let end = match (status, body["error"]["code"].as_str()) {
                (401, Some("invalid_api_key")) => End::Unknown,
                (403, Some("permission_denied")) => End::Forbidden,
                (401 | 403, _) => panic!("{name}: {route}: {body}"),
                _ => End::LetIn,
            };
            assert_eq!(end, written(needs, scope), "{name}: {route}: {body}");
            if end != End::LetIn {
                let told = body["error"]["message"].as_str().unwrap();
                assert!(told.contains("adapterd key create"), "{told}");
            }
        }
    }
}

/// Sends a call one empty message and waits for what comes first.
async fn call(channel: Channel, path: &'static str, key: Option<&str>) -> End {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let mut request = Request::new(());
    if let Some(key) = key {
        let value = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let codec = ProstCodec::<(), ()>::default();
    let path = path.parse().unwrap();
    let status = match client.server_streaming(request, path, codec).await {
        Ok(response) => response.into_inner().message().await.err(),
        Err(status) => Some(status),
    };
    match status.map(|status| status.code()) {
        Some(Code::Unauthenticated) => End::Unknown,
        Some(Code::PermissionDenied) => End::Forbidden,
        _ => End::LetIn,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_lets_in_whom_it_is_written_to_let_in() {
    let files = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap().file;
    let services = files.iter().flat_map(|file| &file.service);
    let found: BTreeSet<String> = services
        .flat_map(|service| {
            let path = |method: &str| format!("/adapterd.v1.{}/{method}", service.name());
            let methods = service.method.iter();
            methods
                .map(move |method| path(method.name()))
                .collect::<Vec<_>>()
        })
        .collect();
    let all: BTreeSet<String> = CALLS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(found, all, "a call without a line here, or the reverse");
    let daemon = Daemon::with_keys().await;
    let channel = Channel::from_shared(daemon.grpc.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    for (name, key, scope) in callers(&daemon).await {
        for (path, needs) in CALLS.iter().chain(OTHERS) {
            let end = call(channel.clone(), path, key.as_deref()).await;
            assert_eq!(end, written(needs, scope), "{name}: {path}");
        }
    }
}

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
