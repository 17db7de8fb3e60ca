//! What holds when there is too much: of connections, of memory, of headers, of wrong keys. And what is told of requests,
//! and where.

use adapterd::api::{AccessLog, LogPlace, http};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Daemon, PATIENCE, answer};

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_no_more() {
    let daemon = Daemon::changed(false, |config| config.limits.connections_per_address = 2).await;
    let at = daemon.http.trim_start_matches("http://").to_owned();
    let ask = async |socket: &mut TcpStream| {
        let request = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
        let sent = socket.write_all(request).await;
        let mut begun = [0; 12];
        sent.is_ok() && socket.read_exact(&mut begun).await.is_ok()
    };
    let mut held = [
        TcpStream::connect(&at).await.unwrap(),
        TcpStream::connect(&at).await.unwrap(),
    ];
    for socket in &mut held {
        assert!(ask(socket).await);
    }
    let mut more = TcpStream::connect(&at).await.unwrap();
    assert!(!ask(&mut more).await, "closed without an answer");
    drop(held);
    for _ in 0..200 {
        let mut again = TcpStream::connect(&at).await.unwrap();
        if ask(&mut again).await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("places are given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_the_limit_are_refused() {
    let daemon = Daemon::changed(false, |config| config.limits.max_header_bytes = 8 << 10).await;
    let status = async |bytes: usize| {
        let request = daemon.client.get(format!("{}/livez", daemon.http));
        let response = request.header("x-long", "x".repeat(bytes)).send().await;
        response.unwrap().status().as_u16()
    };
    assert_eq!(status(4 << 10).await, 200);
    assert_eq!(status(16 << 10).await, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_memory_is_short_work_is_refused_and_probes_answer() {
    let daemon = Daemon::with_adapters().await;
    let pressure = daemon.gateway.pressure();
    let ask = |priority: i32| {
        daemon.post(
            "/v1/completions",
            json!({"prompt": "a", "max_tokens": 1, "priority": priority}),
        )
    };
    let blend = || {
        daemon.post(
            "/v1/adapters/both/blend",
            json!({"from": {"legal": 0.5, "medical": 0.5}}),
        )
    };
    pressure.tell(945, 1000);
    assert_eq!(ask(0).await.0, 200);
    let (status, body) = ask(1).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (503, &json!("overloaded"))
    );
    assert_eq!(blend().await.0, 503);
    pressure.tell(965, 1000);
    let request = daemon
        .client
        .post(format!("{}/v1/completions", daemon.http));
    let refused = request.json(&json!({"prompt": "a"})).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    pressure.tell(999, 1000);
    for path in ["/livez", "/readyz", "/health"] {
        let fresh = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(crate::harness::trust(None, None))
            .build()
            .unwrap();
        let (status, _) = answer(fresh.get(format!("{}{path}", daemon.http))).await;
        assert_eq!(status, 200, "{path}");
    }
    pressure.tell(1, 1000);
    assert_eq!(ask(1).await.0, 200);
    let counts = pressure.shed().map(|(_, count)| count);
    assert_eq!(counts, [1, 0, 1, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_told_to_wait_and_good_ones_are_let_in() {
    let daemon = Daemon::with_keys().await;
    let (_, good) = daemon.key("infer", "*").await;
    let mut seen = Vec::new();
    for _ in 0..202 {
        let (status, _) = answer(daemon.request("sk-adp-0-0", "GET", "/v1/models")).await;
        seen.push(status);
    }
    assert_eq!(
        (seen[0], seen[199], seen[200], seen[201]),
        (401, 401, 429, 429)
    );
    assert_eq!(
        answer(daemon.request(&good, "GET", "/v1/models")).await.0,
        200
    );
    let (status, body) = answer(daemon.request(&good, "GET", "/v1/models?api_key=x")).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("key_in_url"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_admin_address_the_public_one_operates_nothing() {
    let public = Daemon::changed(false, |config| config.part = http::Part::Public).await;
    for (path, expected) in [
        ("/v1/models", 200),
        ("/livez", 200),
        ("/v1/adapters", 404),
        ("/v1/keys", 404),
        ("/metrics", 404),
    ] {
        let (status, body) = public.get(path).await;
        assert_eq!(status, expected, "{path}");
        if expected == 404 {
            let told = body["error"]["message"].as_str().unwrap();
            assert!(told.contains("server.admin"), "{told}");
        }
    }
    let admin = Daemon::changed(false, |config| config.part = http::Part::Admin).await;
    for path in [
        "/v1/adapters",
        "/v1/keys",
        "/metrics",
        "/v1/models",
        "/readyz",
    ] {
        assert_eq!(admin.get(path).await.0, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_says_what_a_request_cost_and_nothing_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = AccessLog::open(LogPlace::File(path.clone())).unwrap();
    let daemon = Daemon::changed(true, |config| config.common.log = Some(log)).await;
    let (id, key) = daemon.key("infer", "*").await;
    let ask = json!({"prompt": "a secret text", "max_tokens": 3, "ignore_eos": true});
    let request = daemon.request(&key, "POST", "/v1/completions").json(&ask);
    let (status, _) = answer(request.header("x-request-id", "trace-7")).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer(daemon.request("sk-wrong", "GET", "/v1/models"))
            .await
            .0,
        401
    );
    let mut text = String::new();
    for _ in 0..500 {
        text = std::fs::read_to_string(&path).unwrap();
        if text.lines().count() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let line = &lines[0];
    assert_eq!(line["request_id"], "trace-7");
    assert_eq!(line["key"], id.to_string());
    assert_eq!(
        (&line["route"], &line["status"]),
        (&json!("/v1/completions"), &json!(200))
    );
    assert_eq!(line["generated_tokens"], 3);
    assert!(line["prompt_tokens"].as_u64() > Some(0) && line["bytes"].as_u64() > Some(0));
    let ms = |field: &str| line[field].as_u64().unwrap();
    assert!(ms("queue_ms") <= ms("first_token_ms") && ms("first_token_ms") <= ms("total_ms"));
    assert_eq!(
        (&lines[1]["status"], &lines[1]["key"]),
        (&json!(401), &Value::Null)
    );
    for hidden in ["secret text", &key, "sk-wrong"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_reader_left_before_its_answer_is_logged_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = AccessLog::open(LogPlace::File(path.clone())).unwrap();
    let daemon = Daemon::changed(true, |config| config.common.log = Some(log)).await;
    let (id, key) = daemon.key("infer", "*").await;
    let ask = json!({"prompt": "Ada", "max_tokens": 480, "ignore_eos": true, "n": 8});
    let request = daemon.request(&key, "POST", "/v1/completions").json(&ask);
    let reader = tokio::spawn(request.send());
    let began = std::time::Instant::now();
    while daemon.gateway.load().running == 0 {
        assert!(began.elapsed() < PATIENCE, "{:?}", daemon.gateway.load());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    reader.abort();
    let line = loop {
        let text = std::fs::read_to_string(&path).unwrap();
        if let Some(line) = text.lines().next() {
            break serde_json::from_str::<Value>(line).unwrap();
        }
        assert!(began.elapsed() < PATIENCE, "nothing is logged");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(
        (&line["status"], &line["key"]),
        (&json!(499), &json!(id.to_string())),
        "{line}"
    );
    daemon.stop().await;
}
