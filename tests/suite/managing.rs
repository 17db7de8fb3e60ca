//! Managing adapters over HTTP.

use std::sync::Arc;

use adapterd::adapter::Precision;
use adapterd::kernels::quant::Format;
use adapterd::model::{Base, KvKind, Origin, Quant};
use adapterd::registry::{self, BaseIdentity, Registry};
use adapterd::store::Database;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{BASE, Daemon, adapter, answer, golden, tarball};

async fn put(daemon: &Daemon, path: &str, body: Vec<u8>) -> (u16, Value) {
    let url = format!("{}{path}", daemon.http);
    answer(
        daemon
            .client
            .put(url)
            .header("content-type", "application/x-tar")
            .body(body),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_arrives_by_archive_form_or_path_as_the_same_generation() {
    let daemon = Daemon::start().await;
    let files = adapter("plain");
    let (status, by_tar) = put(&daemon, "/v1/adapters/one", tarball(&files, "folder/")).await;
    assert_eq!(status, 200, "{by_tar}");
    let form = files.iter().fold(Form::new(), |form, (name, content)| {
        form.part(
            name.clone(),
            Part::bytes(content.to_vec()).file_name(name.clone()),
        )
    });
    let url = format!("{}/v1/adapters/two", daemon.http);
    let (status, by_form) = answer(daemon.client.put(url).multipart(form)).await;
    assert_eq!(status, 200, "{by_form}");
    let folder = daemon.root().join("three");
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in &files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let url = format!("{}/v1/adapters/three", daemon.http);
    let (status, by_path) = answer(daemon.client.put(url).json(&json!({"path": "three"}))).await;
    assert_eq!(status, 200, "{by_path}");
    assert_eq!(by_tar["generation"], by_form["generation"]);
    assert_eq!(by_tar["generation"], by_path["generation"]);
    let (_, models) = daemon.get("/v1/models").await;
    let ids: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["llama", "one", "three", "two"]);
    assert!(models["data"][1]["parent"] == "llama" && models["data"][0]["parent"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn content_comes_back_as_an_archive_that_registers_the_same() {
    let daemon = Daemon::with_adapters().await;
    let url = format!("{}/v1/adapters/legal/content", daemon.http);
    let response = daemon.client.get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-tar");
    let body = response.bytes().await.unwrap().to_vec();
    let (status, copy) = put(&daemon, "/v1/adapters/copy", body).await;
    assert_eq!(status, 200, "{copy}");
    assert_eq!(
        copy["generation"],
        daemon.get("/v1/adapters/legal").await.1["generation"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_condition_changes_nothing_and_must_not_be_retried() {
    let daemon = Daemon::with_adapters().await;
    let (_, before) = daemon.get("/v1/adapters/legal").await;
    let wrong = "0".repeat(64);
    let body = tarball(&adapter("layers"), "");
    let url = format!(
        "{}/v1/adapters/legal?expected_generation={wrong}",
        daemon.http
    );
    let request = daemon
        .client
        .put(url)
        .header("content-type", "application/x-tar")
        .body(body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 409);
    assert_eq!(response.headers()["x-should-retry"], "false");
    let exists = put(
        &daemon,
        "/v1/adapters/legal?expected_generation=none",
        tarball(&adapter("layers"), ""),
    );
    assert_eq!(exists.await.0, 409);
    for verb in ["rollback", "pin", "unpin", "load", "unload"] {
        let path = format!("/v1/adapters/legal/{verb}");
        let (status, body) = daemon
            .post(&path, json!({"expected_generation": wrong}))
            .await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (409, &json!("generation_mismatch")),
            "{verb}: {body}"
        );
    }
    assert_eq!(
        daemon
            .delete(&format!("/v1/adapters/legal?expected_generation={wrong}"))
            .await
            .0,
        409
    );
    assert_eq!(
        daemon.get("/v1/adapters/legal").await.1["generation"],
        before["generation"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_moves_forth_and_back() {
    let daemon = Daemon::with_adapters().await;
    let first = daemon.get("/v1/adapters/legal").await.1["generation"].clone();
    let (status, moved) = put(
        &daemon,
        "/v1/adapters/legal",
        tarball(&adapter("layers"), ""),
    )
    .await;
    assert_eq!(status, 200, "{moved}");
    assert_eq!(moved["previous_generation"], first);
    let (status, back) = daemon.post("/v1/adapters/legal/rollback", json!({})).await;
    assert_eq!((status, &back["generation"]), (200, &first), "{back}");
    let target = &moved["generation"].as_str().unwrap()[..12];
    let (status, promoted) = daemon
        .post("/v1/adapters/legal/promote", json!({"generation": target}))
        .await;
    assert_eq!(
        (status, &promoted["generation"]),
        (200, &moved["generation"]),
        "{promoted}"
    );
    let (status, _) = daemon
        .post(
            "/v1/adapters/legal/promote",
            json!({"generation": "00000000"}),
        )
        .await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn residence_and_pins_are_shown() {
    let daemon = Daemon::with_adapters().await;
    assert_eq!(
        daemon.post("/v1/adapters/legal/load", json!({})).await.1["tier"],
        "resident"
    );
    assert_eq!(
        daemon.post("/v1/adapters/legal/pin", json!({})).await.1["pinned"],
        true
    );
    assert_eq!(
        daemon.post("/v1/adapters/legal/unpin", json!({})).await.1["pinned"],
        false
    );
    assert_eq!(
        daemon.post("/v1/adapters/legal/unload", json!({})).await.1["tier"],
        "disk"
    );
    let (status, _) = daemon
        .post(
            "/v1/chat/completions",
            json!({"model": "legal", "max_tokens": 1,
        "messages": [{"role": "user", "content": "x"}]}),
        )
        .await;
    assert_eq!(status, 200, "an unloaded adapter loads on demand");
    assert_eq!(daemon.delete("/v1/adapters/legal").await.1["deleted"], true);
    assert_eq!(daemon.get("/v1/adapters/legal").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn vllms_clients_can_load_and_unload() {
    let daemon = Daemon::start().await;
    let folder = daemon.root().join("dir");
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in &adapter("plain") {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let load = json!({"lora_name": "legal", "lora_path": "dir"});
    let (status, said) = daemon.post("/v1/load_lora_adapter", load.clone()).await;
    assert_eq!(
        (status, said.as_str()),
        (
            200,
            Some("Success: LoRA adapter 'legal' added successfully.")
        )
    );
    assert_eq!(
        daemon.post("/v1/load_lora_adapter", load).await.0,
        400,
        "a second load needs load_inplace"
    );
    let again = json!({"lora_name": "legal", "lora_path": "dir", "load_inplace": true});
    assert_eq!(daemon.post("/v1/load_lora_adapter", again).await.0, 200);
    assert_eq!(
        daemon.get("/v1/lora_adapters").await.1["data"][0]["id"],
        "legal"
    );
    let (_, outside) = daemon
        .post(
            "/v1/load_lora_adapter",
            json!({"lora_name": "x", "lora_path": "../../etc"}),
        )
        .await;
    assert_eq!(outside["error"]["code"], "adapter_path_forbidden");
    let (_, missing) = daemon
        .post(
            "/v1/load_lora_adapter",
            json!({"lora_name": "x", "lora_path": "nowhere"}),
        )
        .await;
    assert_eq!(missing["error"]["code"], "adapter_path_not_found");
    assert_eq!(
        daemon
            .post("/v1/unload_lora_adapter", json!({"lora_name": "legal"}))
            .await
            .0,
        200
    );
    assert_eq!(
        daemon
            .post("/v1/unload_lora_adapter", json!({"lora_name": "legal"}))
            .await
            .0,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_adapter_is_refused_and_nothing_is_registered() {
    let daemon = Daemon::start().await;
    let mut damaged = adapter("plain");
    damaged
        .get_mut("adapter_model.safetensors")
        .unwrap()
        .truncate(200);
    let mut unknown = adapter("plain");
    let config = String::from_utf8(unknown["adapter_config.json"].to_vec()).unwrap();
    unknown.insert(
        "adapter_config.json".into(),
        config
            .replace("\"use_dora\": false", "\"use_dora\": true")
            .into(),
    );
    for files in [damaged, unknown] {
        let (status, body) = put(&daemon, "/v1/adapters/bad", tarball(&files, "")).await;
        assert!((400..500).contains(&status), "{body}");
        assert!(body["error"]["param"].is_string(), "{body}");
    }
    assert_eq!(
        put(&daemon, "/v1/adapters/bad", b"no archive".to_vec())
            .await
            .0,
        400
    );
    assert_eq!(
        put(&daemon, "/v1/adapters/Bad!", tarball(&adapter("plain"), ""))
            .await
            .0,
        400
    );
    assert_eq!(
        put(&daemon, "/v1/adapters/none", tarball(&adapter("plain"), ""))
            .await
            .0,
        400
    );
    assert_eq!(
        put(
            &daemon,
            "/v1/adapters/llama",
            tarball(&adapter("plain"), "")
        )
        .await
        .0,
        400
    );
    assert_eq!(
        put(&daemon, "/v1/adapters/big", vec![0; 2 << 20]).await.0,
        413
    );
    assert_eq!(daemon.get("/v1/adapters").await.1["data"], json!([]));
}

/// Registers golden adapters for a base of the same shape and other weights, as a daemon with that base would have.
async fn register_for_another_base(dir: &TempDir, name: &str) {
    let origin = Origin::Folder(golden("models/llama"));
    let base = Base::open(&origin, Some(Quant::To(Format::F32)), KvKind::F32).unwrap();
    let identity = BaseIdentity {
        name: "other".into(),
        digest: [9; 32],
        sites: base.model.sites().to_vec(),
        weights: Arc::new(adapterd::adapter::NoWeights),
    };
    let config = registry::Config {
        dir: dir.path().to_owned(),
        root: dir.path().join("incoming"),
        resident_bytes: 64 << 20,
        max_rank: 64,
        precision: Precision::Exact,
        max_file_bytes: 16 << 20,
        keep_versions: 8,
        room_wait: std::time::Duration::ZERO,
        turns: adapterd::device::Turns::default(),
    };
    let database = Database::open(&dir.path().join("state.db")).await.unwrap();
    let registry = Registry::open(
        database.clone(),
        identity,
        config,
        Arc::new(registry::Unobserved),
    )
    .await
    .unwrap();
    registry
        .publish(&name.parse().unwrap(), adapter("plain"), None, "upload")
        .await
        .unwrap();
    database.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_of_another_base_are_shown_as_such_and_are_no_models_of_this_one() {
    let dir = TempDir::new().unwrap();
    register_for_another_base(&dir, "foreign").await;
    let daemon = Daemon::start_in(dir).await;
    daemon.publish("legal", adapter("plain")).await;
    let (_, models) = daemon.get("/v1/models").await;
    let ids: Vec<&Value> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, [BASE, "legal"]);
    assert_eq!(daemon.get("/v1/models/foreign").await.0, 404);
    let (_, adapters) = daemon.get("/v1/adapters").await;
    let bases: Vec<_> = adapters["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|adapter| (adapter["id"].as_str().unwrap(), &adapter["base"]))
        .collect();
    assert_eq!(
        bases,
        [("foreign", &json!("other")), ("legal", &json!(BASE))]
    );
    let ask = json!({"model": "foreign", "prompt": "x", "max_tokens": 1});
    let (status, refused) = daemon.post("/v1/completions", ask).await;
    assert_eq!(status, 422, "{refused}");
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(why.contains("`other`"), "{why}");
}
