//! What holds at every HTTP route: JSON errors, limits, ids, and what happens when clients leave or the daemon stops.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Daemon, PATIENCE, answer};

/// Every operation of the document, with made-up ids in its path.
async fn operations(daemon: &Daemon) -> Vec<(reqwest::Method, String)> {
    let (_, document) = daemon.get("/openapi.json").await;
    let mut found = Vec::new();
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for verb in verbs.as_object().unwrap().keys() {
            let path = path.replace("{id}", "nobody").replace("{name}", "nobody");
            found.push((verb.to_uppercase().parse().unwrap(), path));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_errors_as_json() {
    let daemon = Daemon::start().await;
    for (method, path) in operations(&daemon).await {
        let url = format!("{}{path}", daemon.http);
        // No route takes this body.
        let request = daemon
            .client
            .request(method.clone(), &url)
            .header("content-type", "application/json")
            .body("[");
        let (status, body) = answer(request).await;
        if status >= 400 {
            assert!(status < 500, "{method} {path}: {body}");
            assert!(
                body["error"]["message"].is_string() && body["error"]["code"].is_string(),
                "{method} {path}: {body}"
            );
        }
        let patch = daemon.client.patch(&url).send().await.unwrap();
        assert_eq!(patch.status(), 405, "PATCH {path}");
        assert!(patch.headers().contains_key("allow"), "PATCH {path}");
        let body: Value = patch.json().await.unwrap();
        assert_eq!(body["error"]["code"], "method_not_allowed", "PATCH {path}");
    }
    let (status, body) = daemon.get("/v1/nowhere").await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (404, &json!("unknown_url"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_echoed_or_made() {
    let daemon = Daemon::start().await;
    let url = format!("{}/livez", daemon.http);
    let given = daemon
        .client
        .get(&url)
        .header("x-request-id", "trace-1")
        .send()
        .await
        .unwrap();
    assert_eq!(given.headers()["x-request-id"], "trace-1");
    let made = daemon
        .client
        .get(format!("{}/nowhere", daemon.http))
        .send()
        .await
        .unwrap();
    assert!(!made.headers()["x-request-id"].is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_request_are_refused() {
    let daemon = Daemon::start().await;
    let url = format!("{}/v1/chat/completions", daemon.http);
    let json = |body: String| {
        let request = daemon.client.post(&url);
        answer(
            request
                .header("content-type", "application/json")
                .body(body),
        )
    };
    for body in ["", "{", "[]", "null", "\u{feff}{}", "{\"messages\":[]}{}"] {
        let (status, answer) = json(body.to_owned()).await;
        assert_eq!(status, 400, "{body}: {answer}");
    }
    let deep = format!(
        "{{\"messages\":{}{}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    assert_eq!(json(deep).await.0, 400);
    let large = format!("{{\"user\":\"{}\"}}", "x".repeat(1 << 20));
    let (status, body) = json(large).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (413, &json!("request_too_large"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_must_say_that_it_is() {
    let daemon = Daemon::with_adapters().await;
    let ask = json!({"prompt": "a", "max_tokens": 1}).to_string();
    for path in [
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/fine_tuning/jobs",
        "/v1/adapters/legal/pin",
        "/v1/adapters/legal/unload",
    ] {
        let request = || daemon.client.post(format!("{}{path}", daemon.http));
        for request in [
            request().header("content-type", "text/plain"),
            request().header("content-type", "application/x-www-form-urlencoded"),
            request(),
        ] {
            let (status, body) = answer(request.body(ask.clone())).await;
            assert_eq!(
                (status, &body["error"]["code"]),
                (415, &json!("unsupported_media_type")),
                "{path}: {body}"
            );
        }
    }
    let url = format!("{}/v1/completions", daemon.http);
    let kind = "application/json; charset=utf-8";
    let request = daemon.client.post(url).header("content-type", kind);
    assert_eq!(answer(request.body(ask)).await.0, 200);
    let url = format!("{}/v1/adapters/legal/pin", daemon.http);
    assert_eq!(answer(daemon.client.post(url)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_starts_after_something_that_exists() {
    let daemon = Daemon::start().await;
    for path in ["/v1/files", "/v1/fine_tuning/jobs"] {
        let (status, body) = daemon.get(&format!("{path}?after=nope")).await;
        assert_eq!(
            (status, &body["error"]["param"]),
            (400, &json!("after")),
            "{path}: {body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_end_the_connection() {
    let daemon = Daemon::start().await;
    let mut socket = TcpStream::connect(daemon.http.trim_start_matches("http://"))
        .await
        .unwrap();
    socket
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut rest)).await;
    assert!(
        ended.is_ok(),
        "still open: {}",
        String::from_utf8_lossy(&rest)
    );
}

/// Waits until the engine runs this many requests.
async fn running(daemon: &Daemon, wanted: usize) {
    let began = Instant::now();
    while daemon.gateway.load().running != wanted {
        assert!(began.elapsed() < PATIENCE, "{:?}", daemon.gateway.load());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A request that would take long.
fn long(stream: bool) -> Value {
    json!({"prompt": "Ada", "max_tokens": 480, "ignore_eos": true, "stream": stream, "n": 8})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_place() {
    let daemon = Daemon::start().await;
    for stream in [true, false] {
        let body = long(stream).to_string();
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(daemon.http.trim_start_matches("http://"))
            .await
            .unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        while daemon.gateway.load().running == 0 {
            tokio::task::yield_now().await;
        }
        drop(socket);
        running(&daemon, 0).await;
        assert_eq!(daemon.gateway.load().kv_used, 0, "stream: {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_running_answers_end_and_takes_no_new_ones() {
    let daemon = Daemon::start().await;
    let url = format!("{}/v1/completions", daemon.http);
    let response = daemon
        .client
        .post(&url)
        .json(&long(true))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    daemon.begin_stop();
    let whole = response.text().await.unwrap();
    assert!(
        whole.ends_with("data: [DONE]\n\n"),
        "the running answer was cut off"
    );
    assert!(daemon.gateway.health().ready.is_err());
    let (http, client) = (daemon.http.clone(), daemon.client.clone());
    daemon.stop().await;
    assert!(client.get(format!("{http}/livez")).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_say_whether_requests_are_taken() {
    let daemon = Daemon::start().await;
    for path in ["/livez", "/readyz", "/startupz", "/health"] {
        assert_eq!(daemon.get(path).await.0, 200, "{path}");
    }
    daemon.gateway.close();
    assert_eq!(daemon.get("/livez").await.0, 200);
    let response = daemon
        .client
        .get(format!("{}/readyz", daemon.http))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
}
