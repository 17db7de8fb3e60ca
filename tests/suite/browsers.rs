//! What browsers are answered, and what pages of other origins may do.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::Daemon;

const PAGE: &str = "https://chat.example:8443";
const EVIL: &str = "https://evil.example";
const CHAT: &str = "/v1/chat/completions";

async fn send(
    daemon: &Daemon,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Response {
    let url = format!("{}{path}", daemon.http);
    let mut request = daemon.client.request(method, url);
    for (name, text) in headers {
        request = request.header(*name, *text);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.unwrap()
}

fn text<'r>(response: &'r Response, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

fn hello(stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "stream": stream})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_changes_nothing_unless_it_is_allowed() {
    let shut = Daemon::start().await;
    let open = Daemon::open_to(&[PAGE]).await;
    for daemon in [&shut, &open] {
        daemon
            .publish("legal", crate::harness::adapter("plain"))
            .await;
        for (method, path, body) in [
            (Method::POST, CHAT, Some(hello(false))),
            (
                Method::POST,
                "/v1/completions",
                Some(json!({"prompt": "a", "max_tokens": 1})),
            ),
            (Method::POST, "/tokenize", Some(json!({"prompt": "a"}))),
            (Method::POST, "/v1/adapters/legal/pin", None),
            (
                Method::PUT,
                "/v1/adapters/legal",
                Some(json!({"path": "a"})),
            ),
            (Method::DELETE, "/v1/adapters/legal", None),
            (
                Method::POST,
                "/v1/unload_lora_adapter",
                Some(json!({"lora_name": "legal"})),
            ),
            (Method::POST, "/v1/files", None),
        ] {
            for headers in [
                &[("origin", EVIL)][..],
                &[("origin", "null")],
                &[("origin", EVIL), ("sec-fetch-site", "cross-site")],
                &[("sec-fetch-site", "cross-site")],
            ] {
                let refused = send(daemon, method.clone(), path, headers, body.clone()).await;
                assert_eq!(refused.status(), 403, "{method} {path} {headers:?}");
                assert_eq!(text(&refused, "access-control-allow-origin"), "");
                assert!(!text(&refused, "x-request-id").is_empty());
                let error: Value = refused.json().await.unwrap();
                assert_eq!(error["error"]["code"], "permission_denied", "{error}");
                let message = error["error"]["message"].as_str().unwrap();
                assert!(message.contains("server.cors_origins"), "{message}");
            }
        }
        let (status, adapter) = daemon.get("/v1/adapters/legal").await;
        assert_eq!((status, &adapter["pinned"]), (200, &json!(false)));
    }
    let same = shut.http.clone();
    for headers in [
        &[][..],
        &[("origin", same.as_str())],
        &[("origin", same.as_str()), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
    ] {
        let answered = send(&shut, Method::POST, CHAT, headers, Some(hello(false))).await;
        assert_eq!(answered.status(), 200, "{headers:?}");
        assert_eq!(text(&answered, "access-control-allow-origin"), "");
        assert_eq!(text(&answered, "vary"), "");
    }
    let read = send(&shut, Method::GET, "/v1/models", &[("origin", EVIL)], None).await;
    assert_eq!(read.status(), 200);
    assert_eq!(text(&read, "access-control-allow-origin"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_allowed_reads_answers_errors_and_streams() {
    for origins in [&[PAGE, "http://localhost:3000"][..], &["*"]] {
        let daemon = Daemon::open_to(origins).await;
        let from = [("origin", PAGE), ("sec-fetch-site", "cross-site")];
        for (method, path, body, status) in [
            (Method::POST, CHAT, Some(hello(false)), 200),
            (Method::POST, CHAT, Some(hello(true)), 200),
            (Method::POST, CHAT, Some(json!({})), 400),
            (Method::GET, "/v1/models", None, 200),
            (Method::HEAD, "/v1/models", None, 200),
            (Method::GET, "/v1/adapters/none-such", None, 404),
            (Method::DELETE, "/v1/adapters/none-such", None, 404),
            (Method::GET, "/nowhere", None, 404),
            (Method::PATCH, "/v1/models", None, 405),
        ] {
            let answer = send(&daemon, method.clone(), path, &from, body).await;
            assert_eq!(answer.status(), status, "{method} {path}");
            assert_eq!(text(&answer, "access-control-allow-origin"), PAGE);
            assert!(text(&answer, "vary").to_lowercase().contains("origin"));
            let exposed = text(&answer, "access-control-expose-headers");
            for name in [
                "x-request-id",
                "adapter-generation",
                "retry-after",
                "x-ratelimit-remaining-tokens",
            ] {
                assert!(exposed.contains(name), "{exposed}");
            }
            assert_eq!(text(&answer, "access-control-allow-credentials"), "");
        }
        let foreign = send(
            &daemon,
            Method::POST,
            CHAT,
            &[("origin", EVIL)],
            Some(hello(false)),
        )
        .await;
        let expected = if origins == ["*"] { 200 } else { 403 };
        assert_eq!(foreign.status(), expected);
        assert!(text(&foreign, "vary").to_lowercase().contains("origin"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_asks_first_is_told() {
    let asks = |origin: &'static str| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type,x-stainless-os",
            ),
        ]
    };
    let open = Daemon::open_to(&[PAGE]).await;
    for path in [CHAT, "/v1/models", "/v1/adapters/legal", "/nowhere"] {
        let told = send(&open, Method::OPTIONS, path, &asks(PAGE), None).await;
        assert_eq!(told.status(), 204, "{path}");
        assert_eq!(text(&told, "access-control-allow-origin"), PAGE);
        assert_eq!(
            text(&told, "access-control-allow-headers"),
            "authorization,content-type,x-stainless-os"
        );
        for method in ["GET", "POST", "PUT", "DELETE"] {
            assert!(text(&told, "access-control-allow-methods").contains(method));
        }
        assert!(
            text(&told, "access-control-max-age")
                .parse::<u32>()
                .unwrap()
                > 0
        );
        let vary: Vec<_> = told.headers().get_all("vary").iter().collect();
        assert!(vary.iter().any(|name| *name == "origin"), "{vary:?}");
    }
    let shut = Daemon::start().await;
    for (daemon, origin) in [(&open, EVIL), (&open, "null"), (&shut, PAGE)] {
        let told = send(daemon, Method::OPTIONS, CHAT, &asks(origin), None).await;
        assert_eq!(told.status(), 403, "{origin}");
        assert!(
            told.headers()
                .keys()
                .all(|name| !name.as_str().starts_with("access-control-allow"))
        );
        let error: Value = told.json().await.unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains("server.cors_origins"), "{message}");
    }
    // What it is sent to has to be said, as of any request.
    let address = open.http.trim_start_matches("http://");
    for (hosts, code) in [(1, "204"), (0, "400"), (2, "400")] {
        let host = format!("host: {address}\r\n").repeat(hosts);
        let head = format!(
            "OPTIONS {CHAT} HTTP/1.1\r\n{host}origin: {PAGE}\r\naccess-control-request-method: POST\r\n\r\n"
        );
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[9..], *code.as_bytes(), "{hosts} hosts");
    }
    // Without a browser's question, the methods there are.
    let told = send(&shut, Method::OPTIONS, CHAT, &[], None).await;
    assert_eq!(told.status(), 204);
    assert!(
        text(&told, "allow").contains("POST"),
        "{:?}",
        told.headers()
    );
    let told = send(&shut, Method::OPTIONS, "/nowhere", &[], None).await;
    assert_eq!(told.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_get_answers_a_head_announces() {
    let daemon = Daemon::with_adapters().await;
    for path in [
        "/v1/models",
        "/health",
        "/livez",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/v1/adapters/legal",
    ] {
        let got = send(&daemon, Method::GET, path, &[], None).await;
        let head = send(&daemon, Method::HEAD, path, &[], None).await;
        assert_eq!(head.status(), got.status(), "{path}");
        assert_eq!(text(&head, "content-type"), text(&got, "content-type"));
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
    let none = send(&daemon, Method::HEAD, "/v1/adapters/none-such", &[], None).await;
    assert_eq!(none.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_is_refused_before_its_body_comes() {
    let daemon = Daemon::start().await;
    let address = daemon.http.trim_start_matches("http://");
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "PUT /v1/adapters/legal HTTP/1.1\r\nhost: {address}\r\norigin: {EVIL}\r\ncontent-type: application/x-tar\r\n{expect}content-length: 1000000\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        tokio::time::timeout(Duration::from_secs(10), socket.read_exact(&mut answer))
            .await
            .expect("an answer")
            .unwrap();
        assert_eq!(answer, b"HTTP/1.1 403");
    }
}
