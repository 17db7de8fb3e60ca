//! What clients that are slow, large or many can do to the others: nothing.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{CONNECTIONS, Daemon, PATIENCE, answer};

/// A connection that has sent this much.
async fn sent(daemon: &Daemon, bytes: &str) -> TcpStream {
    let at = daemon.http.trim_start_matches("http://");
    let mut socket = TcpStream::connect(at).await.unwrap();
    socket.write_all(bytes.as_bytes()).await.unwrap();
    socket
}

/// What comes back first.
async fn first(socket: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, socket.read(&mut bytes)).await;
    let read = read.expect("an answer").unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

fn upload(length: usize) -> String {
    format!(
        "PUT /v1/adapters/slow HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-tar\r\n\
         content-length: {length}\r\n\r\nx"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_do_not_end_hold_up_no_other() {
    let daemon = Daemon::start().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(sent(&daemon, &upload(1 << 20)).await);
    }
    let file = reqwest::multipart::Part::bytes(b"{}".to_vec()).file_name("../rows.jsonl");
    let form = reqwest::multipart::Form::new()
        .text("purpose", "fine-tune")
        .part("file", file);
    let url = format!("{}/v1/files", daemon.http);
    let (status, body) = answer(daemon.client.post(url).multipart(form)).await;
    assert_eq!((status, &body["filename"]), (200, &json!("rows.jsonl")));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_when_every_connection_is_taken() {
    let daemon = Daemon::start().await;
    let held = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100000\r\n\r\n{";
    let mut holding = Vec::new();
    for _ in 0..CONNECTIONS {
        holding.push(sent(&daemon, held).await);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut probe = sent(&daemon, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let told = first(&mut probe).await;
        assert!(told.starts_with("HTTP/1.1 200"), "{path}: {told}");
    }
    let mut other = sent(&daemon, "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let told = first(&mut other).await;
    assert!(told.starts_with("HTTP/1.1 429"), "{told}");
    assert!(
        told.contains("retry-after") && told.contains("overloaded"),
        "{told}"
    );
    drop(holding);
    loop {
        let mut again = sent(&daemon, "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await;
        if first(&mut again).await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_by_its_own_account_is_refused_before_it_comes() {
    let daemon = Daemon::start().await;
    for (path, kind, more) in [
        ("/v1/completions", "application/json", ""),
        (
            "/v1/completions",
            "application/json",
            "expect: 100-continue\r\n",
        ),
        ("/v1/files", "multipart/form-data; boundary=x", ""),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n{more}\
             content-length: 99999999999\r\n\r\n"
        );
        let mut socket = sent(&daemon, &head).await;
        let told = tokio::time::timeout(Duration::from_secs(3), first(&mut socket)).await;
        let told = told.unwrap_or_else(|_| panic!("{path} {more} waits for the body"));
        assert!(told.starts_with("HTTP/1.1 413"), "{path} {more}: {told}");
    }
}
