//! The record of changes: what becomes a row, who may read it, and that a change behind its back is found.

use adapterd::pb;
use adapterd::pb::audit_client::AuditClient;
use serde_json::{Value, json};
use sqlx::sqlite::SqlitePool;
use tonic::{Code, Request};

use crate::command_line::{outcome, program};
use crate::harness::{Daemon, adapter, answer, tarball};
use crate::keys::{ask, get};

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_with_who_made_them_and_by_which_request() {
    let daemon = Daemon::with_keys().await;
    let (admin_id, admin) = daemon.key("admin", "*").await;
    let (id, key) = daemon.key("adapters", "*").await;
    let archive = tarball(&adapter("plain"), "");
    let put = daemon.request(&key, "PUT", "/v1/adapters/fresh");
    let put = put.header("x-request-id", "put-1");
    let put = put.header("content-type", "application/x-tar");
    let (status, made) = answer(put.body(archive)).await;
    assert_eq!(status, 200, "{made}");
    let wish = json!({"name": "b", "scopes": ["infer"]});
    let (_, issued) = ask(&daemon, &admin, "POST", "/v1/keys", wish).await;
    let issued = issued["id"].as_str().unwrap();
    ask(
        &daemon,
        &admin,
        "DELETE",
        &format!("/v1/keys/{issued}"),
        Value::Null,
    )
    .await;
    // What is refused changes nothing.
    let refused = ask(
        &daemon,
        &key,
        "POST",
        "/v1/adapters/fresh/rollback",
        json!({}),
    )
    .await;
    assert_eq!(refused.0, 409);
    ask(&daemon, &key, "DELETE", "/v1/adapters/fresh", Value::Null).await;

    let (status, rows) = get(&daemon, &admin, "/v1/audit?object=fresh").await;
    assert_eq!(status, 200, "{rows}");
    let rows = rows["data"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let (removed, published) = (&rows[0], &rows[1]);
    assert_eq!(published["action"], "adapter.publish");
    assert_eq!(published["who"], json!(id));
    assert_eq!(published["request_id"], "put-1");
    assert_eq!(published["after"], made["generation"]);
    assert_eq!(
        (&published["before"], &published["outcome"]),
        (&Value::Null, &json!("done"))
    );
    assert_eq!(removed["action"], "adapter.remove");
    assert_eq!(removed["before"], made["generation"]);
    let (_, keys) = get(
        &daemon,
        &admin,
        &format!("/v1/audit?who={admin_id}&action=key"),
    )
    .await;
    let told: Vec<&str> = { keys["data"].as_array().unwrap().iter() }
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["key.revoke", "key.create"]);
    let (_, state) = get(&daemon, &admin, "/v1/audit/verify").await;
    assert_eq!(state["intact"], true, "{state}");

    let (_, first) = get(&daemon, &admin, "/v1/audit?limit=1").await;
    assert_eq!(
        (&first["has_more"], &first["data"][0]["digest"]),
        (&json!(true), &state["digest"])
    );
    let after = first["last_id"].as_str().unwrap();
    let (_, next) = get(&daemon, &admin, &format!("/v1/audit?limit=1&after={after}")).await;
    assert_ne!(next["data"][0]["id"], first["data"][0]["id"]);
    assert_eq!(get(&daemon, &admin, "/v1/audit?after=x").await.0, 400);
    assert_eq!(get(&daemon, &key, "/v1/audit").await.0, 403);

    let mut client = AuditClient::connect(daemon.grpc.clone()).await.unwrap();
    fn with<T>(key: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }
    let asked = pb::ListAuditRequest {
        object: "fresh".into(),
        ..Default::default()
    };
    let listed = client
        .list(with(&admin, asked.clone()))
        .await
        .unwrap()
        .into_inner();
    let actions: Vec<&str> = listed.rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["adapter.remove", "adapter.publish"]);
    let state = client
        .verify(with(&admin, pb::VerifyAuditRequest {}))
        .await
        .unwrap();
    assert!(state.into_inner().intact);
    let refused = client.list(with(&key, asked)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let server = ["--server", &daemon.http, "--api-key", &admin];
    let audit = async |args: &[&str]| outcome(program(&[&["audit"], args, &server].concat())).await;
    let (code, listed, why) = audit(&["list", "--object", "fresh"]).await;
    assert_eq!(code, 0, "{why}");
    assert!(
        listed.contains("adapter.publish") && listed.contains("put-1"),
        "{listed}"
    );
    assert_eq!(audit(&["verify"]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_changed_in_its_place_is_found_and_the_row_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let run =
        async |args: &[&str]| outcome(program(&[args, &["--data-dir", place]].concat())).await;
    for scopes in ["admin", "infer", "train"] {
        let made = run(&["key", "create", "--name", "me", "--scopes", scopes]).await;
        assert_eq!(made.0, 0, "{}", made.2);
    }
    let (code, listed, _) = run(&["audit", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, listed["data"].as_array().unwrap().len()), (0, 3));
    assert_eq!(listed["data"][0]["who"], "offline");
    let (code, told, _) = run(&["audit", "verify"]).await;
    let digest = listed["data"][0]["digest"].as_str().unwrap();
    assert!(code == 0 && told.contains(digest), "{told}");
    let url = format!("sqlite://{place}/adapterd.sqlite");
    let database = SqlitePool::connect(&url).await.unwrap();
    let tamper = "UPDATE audit SET detail = 'scopes=infer adapters=legal' WHERE number = 2";
    sqlx::query(tamper).execute(&database).await.unwrap();
    database.close().await;
    let (code, _, why) = run(&["audit", "verify"]).await;
    assert_eq!(code, 1, "{why}");
    assert!(why.contains("row 2"), "{why}");
    let (code, state, _) = run(&["audit", "verify", "--json"]).await;
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(
        (code, &state["intact"], &state["broken"]),
        (1, &json!(false), &json!("2"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_route_is_told_with_who_made_it() {
    let daemon = Daemon::with_keys().await;
    let (_, admin) = daemon.key("admin", "*").await;
    let (id, key) = daemon.key("adapters", "*").await;
    let put = daemon.request(&key, "PUT", "/v1/adapters/legal?publish=manual");
    let put = put.header("content-type", "application/x-tar");
    let (status, view) = answer(put.body(tarball(&adapter("layers"), ""))).await;
    assert_eq!(status, 200, "{view}");
    let new = &view["generations"][0];
    for (path, body) in [
        ("canary", json!({"generation": new, "percent": 10})),
        ("canary/abort", json!({})),
        ("shadow", json!({"generation": new, "percent": 10})),
        ("shadow/stop", json!({})),
        ("canary", json!({"generation": new, "percent": 10})),
        ("canary/promote", json!({})),
    ] {
        let path = format!("/v1/adapters/legal/{path}");
        let (status, view) = ask(&daemon, &key, "POST", &path, body).await;
        assert_eq!(status, 200, "{path}: {view}");
    }
    let (_, rows) = get(&daemon, &admin, &format!("/v1/audit?who={id}")).await;
    let rows = rows["data"].as_array().unwrap().iter().rev();
    let actions: Vec<&str> = rows.map(|row| row["action"].as_str().unwrap()).collect();
    let route = [
        "canary",
        "canary_abort",
        "shadow",
        "shadow_stop",
        "canary",
        "canary_promote",
    ];
    assert_eq!(actions[0], "adapter.keep");
    assert_eq!(
        actions[1..],
        route.map(|action| format!("adapter.{action}"))
    );
    daemon.stop().await;
}
