//! How keys are made and changed: by HTTP, by calls, and by the program with and without a daemon.

use adapterd::pb;
use adapterd::pb::inference_client::InferenceClient;
use adapterd::pb::keys_client::KeysClient;
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::calls::prompt;
use crate::command_line::{outcome, program};
use crate::harness::Daemon;
use crate::keys::{ask, get, ids};

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_makes_lists_rotates_and_revokes_keys() {
    let daemon = Daemon::with_keys().await;
    let (_, admin) = daemon.key("admin", "*").await;
    let wish = json!({"name": "team a", "scopes": ["infer"], "adapters": ["team-a-*"], "expires_in": 60, "weight": 2,
        "requests_per_minute": 100, "storage_bytes": 1000});
    let (status, made) = ask(&daemon, &admin, "POST", "/v1/keys", wish).await;
    assert_eq!(status, 200, "{made}");
    let (id, secret) = (
        made["id"].as_str().unwrap(),
        made["secret"].as_str().unwrap(),
    );
    assert!(secret.starts_with(&format!("sk-adp-{id}-")), "{secret}");
    assert_eq!(
        (&made["adapters"], &made["scopes"]),
        (&json!(["team-a-*"]), &json!(["infer"]))
    );
    assert_eq!(
        (
            &made["requests_per_minute"],
            &made["storage_bytes"],
            &made["concurrent"]
        ),
        (&json!(100), &json!(1000), &Value::Null)
    );
    assert_eq!(get(&daemon, secret, "/v1/models").await.0, 200);
    let path = format!("/v1/keys/{id}/rotate");
    let (_, rotated) = ask(&daemon, &admin, "POST", &path, json!({"overlap": 60})).await;
    let second = rotated["secret"].as_str().unwrap();
    assert_eq!(get(&daemon, secret, "/v1/models").await.0, 200);
    assert_eq!(get(&daemon, second, "/v1/models").await.0, 200);
    let (_, listed) = get(&daemon, &admin, "/v1/keys").await;
    let text = listed.to_string();
    assert!(
        text.contains(id) && !text.contains("secret") && !text.contains("sk-adp"),
        "{text}"
    );
    let (status, gone) = ask(
        &daemon,
        &admin,
        "DELETE",
        &format!("/v1/keys/{id}"),
        Value::Null,
    )
    .await;
    assert_eq!((status, gone["revoked_at"].is_u64()), (200, true));
    for ended in [secret, second] {
        let (status, body) = get(&daemon, ended, "/v1/models").await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (401, &json!("invalid_api_key"))
        );
    }
    for (wrong, param) in [
        (json!({"scopes": ["infer"]}), "name"),
        (json!({"name": "x", "scopes": []}), "scopes"),
        (json!({"name": "x", "scopes": ["root"]}), "scopes[0]"),
        (
            json!({"name": "x", "scopes": ["infer"], "adapters": ["Legal"]}),
            "adapters",
        ),
        (
            json!({"name": "x", "scopes": ["infer"], "weight": 0}),
            "weight",
        ),
        (
            json!({"name": "x", "scopes": ["infer"], "tokens_per_minute": 0}),
            "tokens_per_minute",
        ),
    ] {
        let (status, body) = ask(&daemon, &admin, "POST", "/v1/keys", wrong).await;
        assert_eq!(
            (status, &body["error"]["param"]),
            (400, &json!(param)),
            "{body}"
        );
    }
    let (status, body) = ask(&daemon, &admin, "DELETE", "/v1/keys/nobody", Value::Null).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (404, &json!("key_not_found"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_by_calls_as_well() {
    let daemon = Daemon::with_keys().await;
    let (_, admin) = daemon.key("admin", "*").await;
    let mut client = KeysClient::connect(daemon.grpc.clone()).await.unwrap();
    fn with<T>(key: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }
    let wish = pb::CreateKeyRequest {
        name: "b".into(),
        scopes: vec!["infer".into()],
        tokens_per_minute: Some(1000),
        ..Default::default()
    };
    let made = client
        .create(with(&admin, wish))
        .await
        .unwrap()
        .into_inner();
    let key = made.key.unwrap();
    assert_eq!(key.adapters, ["*"]);
    assert_eq!((key.tokens_per_minute, key.queued_jobs), (Some(1000), None));
    let mut inference = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    inference
        .generate(with(&made.secret, prompt("a")))
        .await
        .unwrap();
    let listed = client
        .list(with(&admin, pb::ListKeysRequest {}))
        .await
        .unwrap();
    assert_eq!(listed.into_inner().keys.len(), 2);
    let gone = pb::RevokeKeyRequest { id: key.id };
    client.revoke(with(&admin, gone)).await.unwrap();
    let refused = inference.generate(with(&made.secret, prompt("a"))).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(
        refused.metadata().get("error-code").unwrap(),
        "invalid_api_key"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_made_where_no_daemon_is() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let key = async |args: &[&str]| {
        outcome(program(&[&["key"], args, &["--data-dir", place]].concat())).await
    };
    let (code, secret, told) = key(&[
        "create",
        "--name",
        "me",
        "--scopes",
        "admin",
        "--expires",
        "30d",
        "--queued-jobs",
        "3",
        "--storage",
        "10G",
    ])
    .await;
    assert_eq!(code, 0, "{told}");
    assert!(
        secret.starts_with("sk-adp-") && secret.lines().count() == 1,
        "{secret}"
    );
    let (_, listed, _) = key(&["list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let id = ids(&listed)[0];
    assert!(secret.contains(id));
    let made = &listed["data"][0];
    assert_eq!(
        (
            &made["queued_jobs"],
            &made["storage_bytes"],
            &made["concurrent"]
        ),
        (&json!(3), &json!(10u64 << 30), &Value::Null)
    );
    let (_, shown, _) = key(&["list"]).await;
    assert!(
        shown.contains("3 queued jobs, 10.0 GiB of files"),
        "{shown}"
    );
    let (code, rotated, _) = key(&["rotate", id, "--json"]).await;
    let rotated: Value = serde_json::from_str(&rotated).unwrap();
    assert_eq!((code, rotated["id"].as_str()), (0, Some(id)));
    let (code, _, _) = key(&["revoke", id]).await;
    assert_eq!(code, 0);
    let (_, listed, _) = key(&["list", "--json"]).await;
    assert!(!listed.contains("\"revoked_at\": null"), "{listed}");
    let (code, _, why) = key(&["create", "--name", "me", "--scopes", "root"]).await;
    assert_eq!(code, 2, "{why}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = dir.path().join("adapterd.sqlite");
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can read it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_asked_with_the_key_of_an_admin() {
    let daemon = Daemon::with_keys().await;
    let (_, admin) = daemon.key("admin", "*").await;
    let create = [
        "key",
        "create",
        "--name",
        "b",
        "--scopes",
        "infer",
        "--server",
        &daemon.http,
    ];
    let (code, _, why) = outcome(program(&create)).await;
    assert_eq!(code, 1);
    assert!(
        why.contains("adapterd key create --name me --scopes admin"),
        "{why}"
    );
    let (code, secret, _) = outcome(program(&[&create[..], &["--api-key", &admin]].concat())).await;
    assert_eq!(code, 0);
    assert_eq!(get(&daemon, secret.trim(), "/v1/models").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_no_address_is_opened_that_others_can_reach() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let (code, _, why) = outcome(program(&[
        "serve",
        "--data-dir",
        place,
        "--http",
        "0.0.0.0:0",
    ]))
    .await;
    assert_eq!(code, 2, "{why}");
    assert!(
        why.contains("adapterd key create") && why.contains("insecure_bind"),
        "{why}"
    );
}
