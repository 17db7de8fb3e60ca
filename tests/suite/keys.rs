//! Keys over real sockets: what belongs to whom, how they are sent, and how they end.

use std::time::{Duration, Instant};

use adapterd::domain::{JobId, Reason, Scope};
use adapterd::gateway::Credentials;
use adapterd::pb;
use adapterd::pb::adapters_client::AdaptersClient;
use adapterd::pb::inference_client::InferenceClient;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tonic::{Code, Request};

use crate::harness::{Daemon, PATIENCE, adapter, answer, chunks};
use crate::learning::rows;

/// The answer to a request with this key and body.
pub async fn ask(daemon: &Daemon, key: &str, verb: &str, path: &str, body: Value) -> (u16, Value) {
    let request = daemon.request(key, verb, path);
    answer(match body {
        Value::Null => request,
        body => request.json(&body),
    })
    .await
}

pub async fn get(daemon: &Daemon, key: &str, path: &str) -> (u16, Value) {
    ask(daemon, key, "GET", path, Value::Null).await
}

async fn upload(daemon: &Daemon, key: &str) -> String {
    let part = Part::bytes(rows(8)).file_name("rows.jsonl");
    let form = Form::new().text("purpose", "fine-tune").part("file", part);
    let request = daemon.request(key, "POST", "/v1/files").multipart(form);
    let (status, file) = answer(request).await;
    assert_eq!(status, 200, "{file}");
    file["id"].as_str().unwrap().to_owned()
}

pub fn ids(list: &Value) -> Vec<&str> {
    let data = list["data"].as_array().unwrap();
    data.iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_jobs_exist_for_the_key_that_made_them_and_for_admins() {
    let daemon = Daemon::with_keys().await;
    let (owner, mine) = daemon.key("train", "*").await;
    let (_, other) = daemon.key("train", "*").await;
    let (_, admin) = daemon.key("admin", "*").await;
    let file = upload(&daemon, &mine).await;
    let job = json!({"model": "llama", "training_file": file, "suffix": "mine", "adapterd": {"steps": 1, "rank": 2}});
    let (status, refused) = ask(&daemon, &other, "POST", "/v1/fine_tuning/jobs", job.clone()).await;
    let nowhere = json!({"model": "llama", "training_file": "file-0", "suffix": "mine", "adapterd": {"steps": 1, "rank": 2}});
    let (_, missing) = ask(&daemon, &other, "POST", "/v1/fine_tuning/jobs", nowhere).await;
    let told = |body: &Value, id: &str| body.to_string().replace(id, "ID");
    assert_eq!(status, 400);
    assert_eq!(told(&refused, &file), told(&missing, "file-0"));
    let (status, made) = ask(&daemon, &mine, "POST", "/v1/fine_tuning/jobs", job).await;
    assert_eq!(status, 200, "{made}");
    let id = made["id"].as_str().unwrap();
    for (path, verb) in [
        (format!("/v1/files/{file}"), "GET"),
        (format!("/v1/files/{file}/content"), "GET"),
        (format!("/v1/files/{file}/report"), "GET"),
        (format!("/v1/files/{file}"), "DELETE"),
        (format!("/v1/fine_tuning/jobs/{id}"), "GET"),
        (format!("/v1/fine_tuning/jobs/{id}/events"), "GET"),
        (format!("/v1/fine_tuning/jobs/{id}/checkpoints"), "GET"),
        (format!("/v1/fine_tuning/jobs/{id}/cancel"), "POST"),
        (format!("/v1/fine_tuning/jobs/{id}/pause"), "POST"),
        (format!("/v1/fine_tuning/jobs/{id}/resume"), "POST"),
    ] {
        let absent = path.replace(&file, "file-0").replace(id, "ftjob-0");
        let (status, body) = ask(&daemon, &other, verb, &path, Value::Null).await;
        let (_, none) = ask(&daemon, &other, verb, &absent, Value::Null).await;
        assert_eq!(status, 404, "{verb} {path}: {body}");
        let body = told(&body, &file).replace(id, "ID");
        let none = told(&none, "file-0").replace("ftjob-0", "ID");
        assert_eq!(body, none, "{verb} {path}");
    }
    for (path, item, made_up) in [
        ("/v1/files", file.as_str(), "file-0"),
        ("/v1/fine_tuning/jobs", id, "ftjob-0"),
    ] {
        assert_eq!(ids(&get(&daemon, &other, path).await.1), [""; 0], "{path}");
        for sees in [&mine, &admin] {
            assert_eq!(ids(&get(&daemon, sees, path).await.1).len(), 1, "{path}");
        }
        let (status, body) = get(&daemon, &other, &format!("{path}?after={item}")).await;
        let (_, none) = get(&daemon, &other, &format!("{path}?after={made_up}")).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(told(&body, item), told(&none, made_up), "{path}");
    }
    for sees in [&mine, &admin] {
        let (status, job) = get(&daemon, sees, &format!("/v1/fine_tuning/jobs/{id}")).await;
        assert_eq!((status, &job["adapterd"]["owner"]), (200, &json!(owner)));
        let (_, file) = get(&daemon, sees, &format!("/v1/files/{file}")).await;
        assert_eq!(file["owner"], json!(owner));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gives_its_adapter_a_name_that_its_key_can_see() {
    let daemon = Daemon::with_keys().await;
    let (_, key) = daemon.key("train", "team-a-*").await;
    let file = upload(&daemon, &key).await;
    for suffix in [json!("legal"), json!("lugal"), Value::Null] {
        let job = json!({"model": "llama", "training_file": file, "suffix": suffix});
        let (status, body) = ask(&daemon, &key, "POST", "/v1/fine_tuning/jobs", job).await;
        assert_eq!(status, 403, "{body}");
        let why = body["error"]["message"].as_str().unwrap();
        assert!(why.contains("team-a-*"), "{why}");
    }
    let job = json!({"model": "llama", "training_file": file, "suffix": "team-a-1"});
    let (status, body) = ask(&daemon, &key, "POST", "/v1/fine_tuning/plan", job).await;
    assert_eq!(status, 200, "{body}");
}

/// The status of a request whose head has these lines.
async fn raw(daemon: &Daemon, version: &str, lines: &[String]) -> u16 {
    let at = daemon.http.trim_start_matches("http://");
    let mut socket = TcpStream::connect(at).await.unwrap();
    let head = format!(
        "GET /v1/models {version}\r\nconnection: close\r\n{}\r\n",
        lines
            .iter()
            .map(|line| format!("{line}\r\n"))
            .collect::<String>()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_read_from_either_header_and_two_that_differ_are_refused() {
    let daemon = Daemon::with_keys().await;
    let (_, one) = daemon.key("infer", "*").await;
    let (_, other) = daemon.key("infer", "*").await;
    let bearer = |key: &str| format!("Authorization: Bearer {key}");
    for (lines, status) in [
        (vec![bearer(&one)], 200),
        (vec![format!("AUTHORIZATION: bEARER   {one} ")], 200),
        (vec![format!("X-Api-Key: {one}")], 200),
        (
            vec![
                "authorization: Basic eDp5".into(),
                format!("x-api-key: {one}"),
            ],
            200,
        ),
        (vec![bearer(&one), bearer(&one)], 200),
        (vec![bearer(&one), "Host: y".into()], 400),
        (vec![bearer(&one), bearer(&other)], 400),
        (vec![bearer(&one), bearer("sk-adp-1-2")], 400),
        (vec![bearer("sk-adp-1-2"), bearer(&one)], 400),
        (
            vec![format!("x-api-key: {one}"), format!("x-api-key: {other}")],
            400,
        ),
        (vec![], 401),
        (vec![bearer("")], 401),
        (vec![format!("Authorization: {one}")], 401),
        (vec![format!("Authorization: Basic {one}")], 401),
        (vec![format!("Authorization: Bearer {one}x")], 401),
        (vec![format!("Authorization: Bearer {one} {one}")], 401),
        (vec![format!("Cookie: key={one}")], 401),
    ] {
        let lines = [vec!["host: x".into()], lines].concat();
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            assert_eq!(
                raw(&daemon, version, &lines).await,
                status,
                "{version} {lines:?}"
            );
        }
    }
    for (version, status) in [("HTTP/1.1", 400), ("HTTP/1.0", 200)] {
        let hostless = raw(&daemon, version, &[bearer(&one)]).await;
        assert_eq!(hostless, status, "{version}");
    }
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    for (name, value) in [
        ("authorization", format!("Bearer {one}")),
        ("x-api-key", one),
    ] {
        let mut request = Request::new(pb::TokenizeRequest {
            input: Some(pb::tokenize_request::Input::Prompt("a".into())),
            ..Default::default()
        });
        request.metadata_mut().insert(name, value.parse().unwrap());
        client.tokenize(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_watchers_of_a_revoked_key_end_within_a_second_with_the_reason() {
    let daemon = Daemon::with_keys().await;
    let (id, key) = daemon.key("infer,adapters", "*").await;
    let prompts = vec!["Ada"; 30];
    let long =
        json!({"prompt": prompts, "max_tokens": 480, "ignore_eos": true, "stream": true, "n": 8});
    let request = daemon.request(&key, "POST", "/v1/completions");
    let stream = request.json(&long).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut watcher = AdaptersClient::connect(daemon.grpc.clone()).await.unwrap();
    let mut request = Request::new(pb::WatchAdaptersRequest::default());
    let bearer = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let mut changes = watcher.watch(request).await.unwrap().into_inner();
    assert!(changes.message().await.unwrap().is_some());
    let revoked = Instant::now();
    daemon.keys.revoke(&id).await.unwrap();
    let watched = async {
        loop {
            match changes.message().await {
                Ok(Some(_)) => {}
                ended => return (ended, revoked.elapsed()),
            }
        }
    };
    let (text, (watched, took)) = tokio::join!(stream.text(), watched);
    let read = revoked.elapsed();
    let (events, done) = chunks(&text.unwrap());
    assert!(!done, "the answer came to its end");
    let last = events.last().unwrap();
    assert_eq!(last["error"]["code"], "invalid_api_key", "{last}");
    assert_eq!(watched.unwrap_err().code(), Code::Unauthenticated);
    // A second, and what this machine needs beside other tests.
    let soon = Duration::from_secs(4);
    assert!(took < soon && read < soon, "{took:?} {read:?}");
    let began = Instant::now();
    while daemon.gateway.load().running > 0 {
        assert!(began.elapsed() < PATIENCE, "the work goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a watcher that begins to read so late is still told, and why it is told no more.
async fn late<T>(mut watched: Receiver<Result<T, Reason>>) -> (usize, Option<Reason>) {
    for told in 0.. {
        match watched.recv().await {
            Some(Ok(_)) => {}
            ended => return (told, ended.and_then(Result::err)),
        }
    }
    unreachable!("a watcher is told without end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_reads_late_is_told_little_of_what_came_before_its_key_ended() {
    let daemon = Daemon::with_keys().await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        daemon.publish(name, adapter("plain")).await;
    }
    let (id, key) = daemon.key("train,adapters", "*").await;
    let file = upload(&daemon, &key).await;
    let job = json!({"model": "llama", "training_file": file, "suffix": "mine", "adapterd": {"steps": 8, "rank": 2}});
    let (status, made) = ask(&daemon, &key, "POST", "/v1/fine_tuning/jobs", job).await;
    assert_eq!(status, 200, "{made}");
    let job = JobId::from_text(made["id"].as_str().unwrap());
    let credentials = Credentials {
        key: Some(key),
        ..Credentials::default()
    };
    let caller = daemon.gateway.admit(credentials).await.unwrap();
    let began = Instant::now();
    while !caller.job(&job).await.unwrap().status.is_final() {
        assert!(began.elapsed() < PATIENCE, "the job does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let adapters = caller.watch_adapters(None).await.unwrap();
    let events = caller.watch_job(job, 0).await.unwrap();
    daemon.keys.revoke(&id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (adapters, events) = (late(adapters).await, late(events).await);
    for ((told, ended), scope) in [(adapters, Scope::Adapters), (events, Scope::Train)] {
        assert!(told <= 4, "{told}");
        assert_eq!(ended, Some(Reason::KeyEnded("was revoked", scope)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_computed_for_one_key_is_not_found_by_another() {
    let daemon = Daemon::with_keys().await;
    let (id, one) = daemon.key("infer", "*").await;
    let (_, other) = daemon.key("infer", "*").await;
    let body = json!({"prompt": "The clerk of the court is Ada. ".repeat(8), "max_tokens": 1});
    let cached = async |key: &str| {
        let (status, answer) = ask(&daemon, key, "POST", "/v1/completions", body.clone()).await;
        assert_eq!(status, 200, "{answer}");
        answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(cached(&one).await, 0);
    assert!(cached(&one).await > 0);
    assert_eq!(cached(&other).await, 0);
    let rotated = daemon.keys.rotate(&id, 0).await.unwrap();
    assert!(cached(&rotated.secret).await > 0, "it is the same key");
}
