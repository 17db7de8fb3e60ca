//! Compressed bodies and archives.

use std::io::Write;

use adapterd::pb;
use adapterd::pb::inference_client::InferenceClient;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;

use crate::calls::prompt;
use crate::harness::{Daemon, adapter, answer, tarball};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
    out.write_all(plain).unwrap();
    out.finish().unwrap()
}

async fn send(
    daemon: &Daemon,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, Value) {
    let url = format!("{}{path}", daemon.http);
    let mut request = daemon.client.request(method, url);
    for (name, text) in headers {
        request = request.header(*name, *text);
    }
    answer(request.body(body)).await
}

async fn complete(daemon: &Daemon, coding: &str, body: Vec<u8>) -> (u16, Value) {
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", coding),
    ];
    send(daemon, Method::POST, "/v1/completions", &headers, body).await
}

fn ask(user: &str) -> Vec<u8> {
    json!({"prompt": "Ada", "max_tokens": 3, "temperature": 0, "user": user})
        .to_string()
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_is_read_as_the_plain_one() {
    let daemon = Daemon::start().await;
    let (status, plain) = complete(&daemon, "identity", ask("")).await;
    assert_eq!(status, 200, "{plain}");
    let large = "x".repeat(200 << 10);
    for (coding, body) in [
        ("gzip", gzip(&ask(""))),
        ("x-gzip", gzip(&ask(""))),
        ("GZIP", gzip(&ask(&large))),
        ("deflate", zlib(&ask(""))),
        ("deflate", zlib(&ask(&large))),
    ] {
        let (status, told) = complete(&daemon, coding, body).await;
        assert_eq!(status, 200, "{coding}: {told}");
        assert_eq!(told["choices"], plain["choices"], "{coding}");
    }
    // A verb whose body may be left out.
    daemon.publish("legal", adapter("plain")).await;
    let packed = [("content-encoding", "gzip")];
    let (status, told) = send(
        &daemon,
        Method::POST,
        "/v1/adapters/legal/pin",
        &packed,
        Vec::new(),
    )
    .await;
    assert_eq!(status, 200, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_packed_body_is_told_so() {
    let daemon = Daemon::start().await;
    let whole = gzip(&ask("someone"));
    let mut damaged = whole.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    for (body, why) in [
        (whole[..whole.len() - 3].to_vec(), "cut off"),
        (whole[..whole.len() / 2].to_vec(), "cut off"),
        (whole[..3].to_vec(), "cut off"),
        (damaged, "damaged"),
        (ask(""), "not"),
        ([&b"\x1f\x8b\x08"[..], &[0; 17]].concat(), "gzip"),
        ([whole.clone(), ask("")].concat(), "damaged"),
    ] {
        let (status, told) = complete(&daemon, "gzip", body).await;
        assert_eq!(
            (status, &told["error"]["code"]),
            (400, &json!("invalid_body")),
            "{told}"
        );
        let message = told["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(why) && message.contains("gzip"),
            "{message}"
        );
    }
    for coding in ["br", "zstd", "compress", "gzip, br", "gzip, gzip"] {
        let (status, told) = complete(&daemon, coding, ask("")).await;
        assert_eq!(
            (status, &told["error"]["param"]),
            (415, &json!("content-encoding")),
            "{coding}: {told}"
        );
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains("gzip"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_unpacks_to_too_much_ends_at_the_limit() {
    let daemon = Daemon::start().await;
    // A thousandth of what it unpacks to, which is far above every limit.
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 200 << 10);
    for (method, path, headers) in [
        (
            Method::POST,
            "/v1/completions",
            &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ][..],
        ),
        (
            Method::PUT,
            "/v1/adapters/legal",
            &[
                ("content-type", "application/x-tar"),
                ("content-encoding", "gzip"),
            ],
        ),
        (
            Method::PUT,
            "/v1/adapters/legal",
            &[("content-type", "application/gzip")],
        ),
        (
            Method::PUT,
            "/v1/adapters/legal",
            &[("content-type", "application/x-tar")],
        ),
    ] {
        let (status, told) = send(&daemon, method, path, headers, bomb.clone()).await;
        assert_eq!(
            (status, &told["error"]["code"]),
            (413, &json!("request_too_large")),
            "{headers:?}: {told}"
        );
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains("unpacks"), "{message}");
    }
    // What they held is given back.
    assert_eq!(complete(&daemon, "gzip", gzip(&ask(""))).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_archive_is_read_whatever_it_is_called() {
    let daemon = Daemon::start().await;
    let tar = tarball(&adapter("plain"), "");
    let plain = [("content-type", "application/x-tar")];
    let (status, first) = send(
        &daemon,
        Method::PUT,
        "/v1/adapters/plain",
        &plain,
        tar.clone(),
    )
    .await;
    assert_eq!(status, 200, "{first}");
    for (at, kind) in [
        "application/x-tar",
        "application/gzip",
        "application/x-gzip",
        "application/x-compressed-tar",
        "application/x-tgz",
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/v1/adapters/packed-{at}");
        let headers = [("content-type", kind)];
        let (status, told) = send(&daemon, Method::PUT, &path, &headers, gzip(&tar)).await;
        assert_eq!(status, 200, "{kind}: {told}");
        assert_eq!(told["generation"], first["generation"], "{kind}");
        // What says it is compressed need not be.
        let (status, told) = send(&daemon, Method::PUT, &path, &headers, tar.clone()).await;
        assert_eq!(
            (status, &told["generation"]),
            (200, &first["generation"]),
            "{kind}: {told}"
        );
    }
    let twice = [
        ("content-type", "application/gzip"),
        ("content-encoding", "gzip"),
    ];
    let (status, told) = send(
        &daemon,
        Method::PUT,
        "/v1/adapters/twice",
        &twice,
        gzip(&gzip(&tar)),
    )
    .await;
    assert_eq!(
        (status, &told["generation"]),
        (200, &first["generation"]),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_cannot_be_read_is_named_for_what_it_is() {
    let daemon = Daemon::start().await;
    let tar = tarball(&adapter("plain"), "");
    let packed = gzip(&tar);
    let small = tarball(
        &[("adapter_config.json".to_owned(), "{}".into())].into(),
        "",
    );
    for (body, why) in [
        (b"BZh91AY&SY".to_vec(), "bzip2"),
        (b"\xfd7zXZ\0\0\x04".to_vec(), "xz"),
        (b"\x28\xb5\x2f\xfd\x24\0".to_vec(), "zstd"),
        (b"PK\x03\x04\x14\0\0\0".to_vec(), "zip"),
        (packed[..packed.len() / 2].to_vec(), "cut off"),
        (gzip(b"no archive"), "tar"),
        (gzip(&small), "adapter_model.safetensors"),
        (b"\x1f".to_vec(), "tar"),
        (Vec::new(), "no files"),
    ] {
        let headers = [("content-type", "application/x-tar")];
        let (status, told) = send(&daemon, Method::PUT, "/v1/adapters/a", &headers, body).await;
        let message = told["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(status, 400, "{why}: {told}");
        assert!(message.contains(why), "{why}: {message}");
    }
    assert_eq!(daemon.get("/v1/adapters/a").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_may_be_packed_as_a_whole() {
    let daemon = Daemon::start().await;
    let rows = "{\"prompt\": \"a\", \"completion\": \"b\"}\n".repeat(2000);
    let boundary = "----packed";
    let form = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n\
         --{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{rows}\r\n--{boundary}--\r\n"
    );
    let kind = format!("multipart/form-data; boundary={boundary}");
    let headers = [
        ("content-type", kind.as_str()),
        ("content-encoding", "gzip"),
    ];
    let (status, told) = send(
        &daemon,
        Method::POST,
        "/v1/files",
        &headers,
        gzip(form.as_bytes()),
    )
    .await;
    assert_eq!(
        (status, &told["bytes"]),
        (200, &json!(rows.len())),
        "{told}"
    );
    let packed = gzip(form.as_bytes());
    let cut = packed[..packed.len() / 2].to_vec();
    let (status, told) = send(&daemon, Method::POST, "/v1/files", &headers, cut).await;
    assert_eq!(status, 400, "{told}");
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cut off"),
        "{told}"
    );
    let bomb = gzip(form.replace(&rows, &" ".repeat(8 << 20)).as_bytes());
    let (status, told) = send(&daemon, Method::POST, "/v1/files", &headers, bomb).await;
    assert_eq!(status, 413, "{told}");
    // The plain one, as clients send it.
    let part = Part::bytes(rows.clone().into_bytes()).file_name("a.jsonl");
    let form = Form::new().text("purpose", "fine-tune").part("file", part);
    let url = format!("{}/v1/files", daemon.http);
    assert_eq!(answer(daemon.client.post(url).multipart(form)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_message_is_read_over_grpc_and_ends_at_the_limit() {
    let daemon = Daemon::start().await;
    let channel = tonic::transport::Endpoint::new(daemon.grpc.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client = InferenceClient::new(channel).send_compressed(CompressionEncoding::Gzip);
    let tokens = |text: String| pb::TokenizeRequest {
        input: Some(pb::tokenize_request::Input::Prompt(text)),
        ..Default::default()
    };
    let told = client
        .tokenize(tokens("The clerk ".repeat(100)))
        .await
        .unwrap();
    assert!(told.into_inner().count > 100);
    let refused = client
        .tokenize(tokens(" ".repeat(8 << 20)))
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        tonic::Code::ResourceExhausted,
        "{refused:?}"
    );
    let mut events = client.generate(prompt("Ada")).await.unwrap().into_inner();
    assert!(events.message().await.unwrap().is_some());
}
