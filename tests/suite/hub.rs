//! Adapters that the daemon fetches itself, from a stand-in of a hub on this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use adapterd::pb;
use adapterd::pb::adapters_client::AdaptersClient;
use adapterd::pb::register_adapter_request::Part;
use serde_json::{Value, json};
use tonic::Code;

use crate::command_line::{outcome, program};
use crate::harness::{Daemon, adapter, answer};

const SHA: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A hub with the golden adapter `plain` as `owner/name`, at `main` and `v1`, and a pickled one as `owner/old`.
fn hub() -> String {
    let mut answers = BTreeMap::new();
    let listing = |files: &[&str]| {
        let files = files.iter().map(|name| json!({"rfilename": name}));
        let all = json!({"sha": SHA, "siblings": files.collect::<Vec<_>>()});
        all.to_string().into_bytes()
    };
    for (name, bytes) in adapter("plain") {
        answers.insert(format!("/owner/name/resolve/{SHA}/{name}"), bytes.to_vec());
    }
    let names = ["adapter_config.json", "adapter_model.safetensors"];
    for revision in ["main", "v1"] {
        let path = format!("/api/models/owner/name/revision/{revision}");
        answers.insert(path, listing(&names));
    }
    let old = "/api/models/owner/old/revision/main".to_owned();
    answers.insert(old, listing(&["adapter_config.json", "adapter_model.bin"]));
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}", door.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut caller in door.incoming().map_while(Result::ok) {
            let lines = BufReader::new(caller.try_clone().unwrap()).lines();
            let mut lines = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty());
            let first = lines.next().unwrap_or_default();
            lines.for_each(drop);
            let found = first.split(' ').nth(1).and_then(|path| answers.get(path));
            let (status, body) = found.map_or((404, &[][..]), |bytes| (200, bytes.as_slice()));
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
            );
            let _ = caller.write_all(&[head.as_bytes(), body].concat());
        }
    });
    at
}

async fn put(daemon: &Daemon, name: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/v1/adapters/{name}", daemon.http);
    answer(daemon.client.put(url).json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_of_the_hub_is_served_like_one_that_was_sent() {
    let daemon = Daemon::with_hub(&hub()).await;
    let sent = daemon.publish("sent", adapter("plain")).await;
    let (status, body) = put(&daemon, "mine", json!({"hub": "owner/name"})).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["generation"], sent.as_str());
    assert_eq!(body["source"], format!("hf:owner/name@{SHA}"));
    let ask = json!({"model": "mine", "prompt": "Ada", "max_tokens": 4});
    let (status, body) = daemon.post("/v1/completions", ask).await;
    assert_eq!((status, &body["adapter_generation"]), (200, &json!(sent)));
    let condition = json!({"hub": "owner/name", "revision": "v1"});
    let (status, body) = put(&daemon, "mine?expected_generation=none", condition).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (409, &json!("adapter_exists"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hub_cannot_give_is_refused_and_nothing_is_registered() {
    let daemon = Daemon::with_hub(&hub()).await;
    for (body, status, param) in [
        (json!({"hub": "owner/none"}), 400, "hub"),
        (json!({"hub": "owner/name", "revision": "v2"}), 400, "hub"),
        (json!({"hub": "http://127.0.0.1/x"}), 400, "hub"),
        (
            json!({"hub": "owner/name", "revision": "../../x"}),
            400,
            "revision",
        ),
        (json!({"hub": "owner/name", "path": "x"}), 400, "hub"),
        (json!({"hub": "owner/old"}), 422, "adapter_model.bin"),
    ] {
        let (told, answer) = put(&daemon, "mine", body.clone()).await;
        assert_eq!(told, status, "{body}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{body}: {answer}");
    }
    let (_, adapters) = daemon.get("/v1/adapters").await;
    assert_eq!(adapters["data"], json!([]));
    let without = Daemon::start().await;
    let (status, body) = put(&without, "mine", json!({"hub": "owner/name"})).await;
    assert_eq!(
        (status, &body["error"]["param"]),
        (400, &json!("hub")),
        "{body}"
    );
    let gone = Daemon::with_hub("http://127.0.0.1:1").await;
    let (status, body) = put(&gone, "mine", json!({"hub": "owner/name"})).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (502, &json!("hub_failed")),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_the_command_line_name_the_hub_too() {
    let daemon = Daemon::with_hub(&hub()).await;
    let mut client = AdaptersClient::connect(daemon.grpc.clone()).await.unwrap();
    let header = |hub: &str, revision: &str| pb::RegisterAdapterRequest {
        part: Some(Part::Header(pb::RegisterHeader {
            name: "mine".into(),
            hub: hub.into(),
            revision: revision.into(),
            ..pb::RegisterHeader::default()
        })),
    };
    let mut register = async |parts: Vec<pb::RegisterAdapterRequest>| {
        client.register(futures::stream::iter(parts)).await
    };
    let told = register(vec![header("owner/name", "v1")]).await.unwrap();
    assert_eq!(told.into_inner().source, format!("hf:owner/name@{SHA}"));
    let file = pb::RegisterAdapterRequest {
        part: Some(Part::File(pb::FilePiece::default())),
    };
    for parts in [
        vec![header("owner/name", ""), file],
        vec![header("owner", "")],
        vec![header("", "v1")],
    ] {
        let refused = register(parts).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let at = ["--server", &daemon.http, "--json", "adapter", "register"];
    let named = ["hf:owner/name@v1", "--name", "other"];
    let (code, out, err) = outcome(program(&[&at[..], &named].concat())).await;
    assert_eq!(code, 0, "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["source"], format!("hf:owner/name@{SHA}"));
    let wrong = ["hf:owner/../x", "--name", "other"];
    let (code, _, err) = outcome(program(&[&at[..], &wrong].concat())).await;
    assert_eq!(code, 2, "{err}");
}
