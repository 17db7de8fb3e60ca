//! Who may use what: every route and every call, without a key, with a key of each scope, and with one that has ended,
//! held against what is written here.

use std::collections::BTreeSet;

use adapterd::pb;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::harness::{Daemon, answer};

const SCOPES: [&str; 4] = ["infer", "train", "adapters", "admin"];

/// `open`, `any` (key), or the scope that is needed.
const ROUTES: &[(&str, &str)] = &[
    ("POST /v1/chat/completions", "infer"),
    ("POST /v1/completions", "infer"),
    ("POST /tokenize", "infer"),
    ("POST /detokenize", "infer"),
    ("POST /v1/responses", "infer"),
    ("POST /v1/messages", "infer"),
    ("POST /v1/messages/count_tokens", "infer"),
    ("POST /v1/embeddings", "infer"),
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
    ("POST /v1/adapters/{name}/canary", "adapters"),
    ("POST /v1/adapters/{name}/canary/promote", "adapters"),
    ("POST /v1/adapters/{name}/canary/abort", "adapters"),
    ("POST /v1/adapters/{name}/shadow", "adapters"),
    ("POST /v1/adapters/{name}/shadow/stop", "adapters"),
    ("POST /v1/load_lora_adapter", "adapters"),
    ("POST /v1/unload_lora_adapter", "adapters"),
    ("GET /v1/lora_adapters", "adapters"),
    ("GET /v1/keys", "admin"),
    ("POST /v1/keys", "admin"),
    ("DELETE /v1/keys/{id}", "admin"),
    ("POST /v1/keys/{id}/rotate", "admin"),
    ("GET /v1/audit", "admin"),
    ("GET /v1/audit/verify", "admin"),
    ("POST /v1/feedback", "infer"),
    ("GET /v1/feedback", "infer"),
    ("DELETE /v1/feedback", "infer"),
    ("GET /v1/feedback/export", "infer"),
    ("GET /v1/feedback/scores", "infer"),
    ("GET /v1/feedback/{id}", "infer"),
    ("DELETE /v1/feedback/{id}", "infer"),
    ("POST /v1/adapters/{name}/retrain", "train"),
    ("GET /livez", "open"),
    ("GET /readyz", "open"),
    ("GET /startupz", "open"),
    ("GET /health", "open"),
    ("GET /metrics", "admin"),
    ("GET /openapi.json", "any"),
    ("GET /docs", "any"),
    // Files that hold no secret; what the page does, it does by the routes above.
    ("GET /", "open"),
    ("GET /console/{name}", "open"),
];

const CALLS: &[(&str, &str)] = &[
    ("/adapterd.v1.Inference/Generate", "infer"),
    ("/adapterd.v1.Inference/Tokenize", "infer"),
    ("/adapterd.v1.Inference/Embed", "infer"),
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
    ("/adapterd.v1.Adapters/Canary", "adapters"),
    ("/adapterd.v1.Adapters/PromoteCanary", "adapters"),
    ("/adapterd.v1.Adapters/AbortCanary", "adapters"),
    ("/adapterd.v1.Adapters/Shadow", "adapters"),
    ("/adapterd.v1.Adapters/StopShadow", "adapters"),
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
    ("/adapterd.v1.Audit/List", "admin"),
    ("/adapterd.v1.Audit/Verify", "admin"),
    ("/adapterd.v1.Training/Retrain", "train"),
    ("/adapterd.v1.Feedback/Give", "infer"),
    ("/adapterd.v1.Feedback/List", "infer"),
    ("/adapterd.v1.Feedback/Get", "infer"),
    ("/adapterd.v1.Feedback/Delete", "infer"),
    ("/adapterd.v1.Feedback/Export", "infer"),
    ("/adapterd.v1.Feedback/Scores", "infer"),
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

/// Whether a refusal says how to make the key that opens what was asked, and nothing more than that.
fn advises(told: &str, needs: &str) -> bool {
    let scope = if needs == "any" { "infer" } else { needs };
    told.ends_with(&format!(
        "with `adapterd key create --name me --scopes {scope}`"
    ))
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
                assert!(advises(told, needs), "{name}: {route}: {told}");
            }
        }
    }
}

/// Sends a call one empty message and waits for what comes first.
async fn call(channel: Channel, path: &'static str, key: Option<&str>) -> (End, String) {
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
    let end = match status.as_ref().map(|status| status.code()) {
        Some(Code::Unauthenticated) => End::Unknown,
        Some(Code::PermissionDenied) => End::Forbidden,
        _ => End::LetIn,
    };
    let told = status.map(|status| status.message().to_owned());
    (end, told.unwrap_or_default())
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
            let (end, told) = call(channel.clone(), path, key.as_deref()).await;
            assert_eq!(end, written(needs, scope), "{name}: {path}");
            assert!(
                end == End::LetIn || advises(&told, needs),
                "{name}: {path}: {told}"
            );
        }
    }
}
