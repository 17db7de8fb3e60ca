//! Canaries and shadows through a whole daemon, by HTTP, gRPC and the command line.

use std::time::{Duration, Instant};

use adapterd::domain::rollout::{Part, Percent, falls_in};
use adapterd::pb;
use adapterd::pb::adapters_client::AdaptersClient;
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::calls::{generate, prompt};
use crate::command_line::{outcome, program};
use crate::harness::{Daemon, PATIENCE, adapter, answer, tarball};

/// What `legal` points to, and another generation that it has.
pub struct Two {
    pub daemon: Daemon,
    pub stable: String,
    pub new: String,
}

async fn put(daemon: &Daemon, path: &str, name: &str) -> (u16, Value) {
    let request = daemon.client.put(format!("{}{path}", daemon.http));
    let request = request.header("content-type", "application/x-tar");
    answer(request.body(tarball(&adapter(name), ""))).await
}

impl Two {
    pub async fn start() -> Self {
        let daemon = Daemon::with_adapters().await;
        let (status, view) = put(&daemon, "/v1/adapters/legal?publish=manual", "layers").await;
        assert_eq!(status, 200, "{view}");
        let [new, stable] = [0, 1].map(|at| view["generations"][at].as_str().unwrap().to_owned());
        assert_eq!(view["generation"], json!(stable), "the name has not moved");
        Self {
            daemon,
            stable,
            new,
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let path = format!("/v1/adapters/legal/{path}");
        self.daemon.post(&path, body).await
    }

    pub async fn canary(&self, percent: f64, policy: Value) {
        let body = json!({"generation": self.new, "percent": percent, "policy": policy});
        let (status, view) = self.post("canary", body).await;
        assert_eq!(status, 200, "{view}");
        assert_eq!(view["route"]["canary"]["generation"], json!(self.new));
    }

    /// The generation that answered.
    pub async fn ask(&self, model: &str, id: &str) -> String {
        let ask = json!({"model": model, "prompt": "The clerk", "max_tokens": 2, "temperature": 0, "ignore_eos": true});
        let url = format!("{}/v1/completions", self.daemon.http);
        let request = self.daemon.client.post(url).json(&ask);
        let response = request.header("x-request-id", id).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let said = response.headers()["adapter-generation"].to_str().unwrap();
        let said = said.to_owned();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["adapter_generation"], json!(said));
        said
    }

    async fn route(&self) -> Value {
        let (status, view) = self.daemon.get("/v1/adapters/legal").await;
        assert_eq!(status, 200, "{view}");
        view["route"].clone()
    }

    /// The route, once it is as `wanted`.
    pub async fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let route = self.route().await;
            if wanted(&route) {
                return route;
            }
            assert!(began.elapsed() < PATIENCE, "{route}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_answers_the_requests_that_the_draw_gives_it() {
    let two = Two::start().await;
    two.canary(50.0, json!({})).await;
    let (name, new) = ("legal".parse().unwrap(), two.new.parse().unwrap());
    let half = Percent::new("percent", 50.0).unwrap();
    let mut by_canary = 0;
    for id in (0..24).map(|n| format!("trace-{n}")) {
        let takes = falls_in(Part::Canary, &name, new, &id, half);
        let expected = if takes { &two.new } else { &two.stable };
        for _ in 0..2 {
            assert_eq!(two.ask("legal", &id).await, *expected, "{id}");
        }
        by_canary += 2 * u64::from(takes);
        let pinned = two.ask(&format!("legal@{}", &two.stable[..8]), &id).await;
        assert_eq!(pinned, two.stable, "a pin overrides the route");
    }
    assert!((8..40).contains(&by_canary), "{by_canary} of 48");
    let count = |route: &Value, arm: &str| route["counts"][arm]["requests"].as_u64().unwrap();
    let all = |route: &Value| count(route, "canary") + count(route, "stable") == 48;
    let route = two.until(all).await;
    assert_eq!(count(&route, "canary"), by_canary);
    assert!(route["counts"]["canary"]["duration_p95"].as_f64().unwrap() > 0.0);
    assert_eq!(route["verdict"]["decision"], "keep");

    let wrong = json!({"expected_generation": two.new});
    assert_eq!(two.post("canary/promote", wrong).await.0, 409);
    let at = json!({"expected_generation": two.stable});
    let both = tokio::join!(
        two.post("canary/promote", at.clone()),
        two.post("canary/promote", at)
    );
    let mut statuses = [both.0.0, both.1.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let (_, view) = two.daemon.get("/v1/adapters/legal").await;
    assert_eq!(view["generation"], json!(two.new));
    assert_eq!(view["previous_generation"], json!(two.stable));
    assert!(view["route"]["canary"].is_null());
    assert_eq!(two.ask("legal", "any").await, two.new);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_canary_answers_nobody_and_bad_ones_are_refused_by_their_field() {
    let two = Two::start().await;
    two.canary(100.0, json!({})).await;
    assert_eq!(two.ask("legal", "a").await, two.new);
    let (status, view) = two.post("canary/abort", json!({})).await;
    assert_eq!((status, &view["generation"]), (200, &json!(two.stable)));
    assert_eq!(two.ask("legal", "a").await, two.stable);
    assert_eq!(two.post("canary/abort", json!({})).await.0, 409);
    for (body, param) in [
        (json!({"generation": two.new}), "percent"),
        (json!({"generation": two.new, "percent": 101}), "percent"),
        (json!({"generation": "12", "percent": 1}), "generation"),
        (
            json!({"generation": two.new, "percent": 1, "sticky": "day"}),
            "sticky",
        ),
        (
            json!({"generation": two.new, "percent": 1, "policy": {"max_error_rate": 2}}),
            "policy.max_error_rate",
        ),
        (
            json!({"generation": two.new, "percent": 1, "policy": {"speed": 2}}),
            "policy.speed",
        ),
    ] {
        let (status, refused) = two.post("canary", body.clone()).await;
        assert_eq!(
            (status, &refused["error"]["param"]),
            (400, &json!(param)),
            "{body}: {refused}"
        );
    }
    let at_it = json!({"generation": two.stable, "percent": 1});
    assert_eq!(two.post("canary", at_it).await.0, 409);
    let unknown = json!({"generation": "0123456789", "percent": 1});
    assert_eq!(two.post("canary", unknown).await.0, 404);
    assert!(two.route().await["canary"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_arrive_as_canaries_or_to_be_kept_only_where_something_is_served() {
    let daemon = Daemon::with_adapters().await;
    for way in ["manual", "canary:10", "later"] {
        let path = format!("/v1/adapters/new?publish={way}");
        let (status, refused) = put(&daemon, &path, "layers").await;
        assert_eq!(
            (status, &refused["error"]["param"]),
            (400, &json!("publish")),
            "{refused}"
        );
    }
    assert_eq!(daemon.get("/v1/adapters/new").await.0, 404);
    let (status, view) = put(&daemon, "/v1/adapters/legal?publish=canary:12.5", "layers").await;
    assert_eq!(
        (status, &view["route"]["canary"]["percent"]),
        (200, &json!(12.5)),
        "{view}"
    );
    let (status, view) = put(&daemon, "/v1/adapters/legal?publish=now", "layers").await;
    assert_eq!(status, 200, "{view}");
    assert!(view["route"]["canary"].is_null(), "the name is at it now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_is_given_up_by_its_policy_and_nobody_notices() {
    let two = Two::start().await;
    let policy = json!({"min_requests": 5, "max_error_rate": 0.2, "promote_after": 0});
    two.canary(100.0, policy).await;
    // Its files are damaged while it is not in memory.
    two.daemon
        .post("/v1/adapters/legal/unload", json!({}))
        .await;
    let stored = two.daemon.root().parent().unwrap().join("adapters");
    let weights = stored.join(&two.new).join("adapter_model.safetensors");
    std::fs::write(weights, b"damaged").unwrap();
    for id in 0..4 {
        let said = two.ask("legal", &id.to_string()).await;
        assert_eq!(said, two.stable, "stable answers for it");
    }
    let route = two.until(|route| route["canary"].is_null()).await;
    assert_eq!(route["stable"], json!(two.stable));
    assert_eq!(two.ask("legal", "after").await, two.stable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_keeps_to_its_policy_takes_over_by_itself() {
    let two = Two::start().await;
    let policy = json!({"min_requests": 3, "max_error_rate": 0.0, "promote_after": 0});
    two.canary(100.0, policy).await;
    for id in ["a", "b"] {
        assert_eq!(two.ask("legal", id).await, two.new);
    }
    let route = two
        .until(|route| route["counts"]["canary"]["requests"] == 2)
        .await;
    assert_eq!(route["verdict"]["why"], "2 of 3 answers are counted");
    two.ask("legal", "c").await;
    let route = two.until(|route| route["canary"].is_null()).await;
    assert_eq!(route["stable"], json!(two.new));
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_are_counted_for_the_generation_that_answered() {
    let two = Two::start().await;
    two.canary(10.0, json!({"min_feedback": 2, "min_score_ratio": 0.9}))
        .await;
    let name = "legal".parse().unwrap();
    let scored = |generation: &str, score| {
        let generation = generation.parse().unwrap();
        two.daemon.routes.scored(&name, generation, (None, score));
    };
    (0..2).for_each(|_| scored(&two.stable, 1.0));
    scored(&two.new, -0.5);
    scored(&"0".repeat(64), 1.0);
    let route = two.route().await;
    assert_eq!(route["counts"]["stable"]["feedback"], 2);
    assert_eq!(route["counts"]["canary"]["mean_score"], -0.5);
    scored(&two.new, -0.5);
    two.until(|route| route["canary"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_neither_the_route_nor_what_was_counted() {
    let two = Two::start().await;
    two.canary(100.0, json!({"min_requests": 1000, "promote_after": 3600}))
        .await;
    two.ask("legal", "a").await;
    two.until(|route| route["counts"]["canary"]["requests"] == 1)
        .await;
    let Two {
        daemon,
        new,
        stable,
    } = two;
    let daemon = Daemon::start_in(daemon.stop().await).await;
    let two = Two {
        daemon,
        stable,
        new,
    };
    let route = two.route().await;
    assert_eq!(route["canary"]["generation"], json!(two.new));
    assert_eq!(route["counts"]["canary"]["requests"], 1);
    assert_eq!(two.ask("legal", "b").await, two.new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_compared_and_never_heard() {
    let two = Two::start().await;
    let body = json!({"generation": two.new, "percent": 100});
    let (status, view) = two.post("shadow", body).await;
    assert_eq!(status, 200, "{view}");
    assert_eq!(two.ask("legal", "a").await, two.stable);
    let compared = |route: &Value| route["counts"]["shadow"]["compared"] == 1;
    let route = two.until(compared).await;
    let counts = &route["counts"]["shadow"];
    assert!(counts["mean_logprob"].as_f64().unwrap() < 0.0, "{counts}");
    let (equal, distance) = (&counts["equal_rate"], &counts["mean_edit_distance"]);
    assert_eq!(equal == 1.0, distance == 0.0, "{counts}");
    let (status, view) = two.post("shadow/stop", json!({})).await;
    assert_eq!(status, 200);
    assert!(view["route"]["shadow"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_do_the_same() {
    let two = Two::start().await;
    let mut client = AdaptersClient::connect(two.daemon.grpc.clone())
        .await
        .unwrap();
    let ask = |percent| pb::CanaryAdapterRequest {
        name: "legal".into(),
        generation: two.new[..12].to_owned(),
        percent,
        sticky: "caller".into(),
        policy: Some(pb::CanaryPolicy {
            min_requests: Some(1000),
            ..Default::default()
        }),
        expected_generation: two.stable.clone(),
    };
    let refused = client.canary(ask(-1.0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let view = client.canary(ask(100.0)).await.unwrap().into_inner();
    let canary = view.route.unwrap().canary.unwrap();
    assert_eq!(
        (canary.generation, canary.sticky.as_str()),
        (two.new.clone(), "caller")
    );
    let mut request = Request::new(prompt("The clerk"));
    request.get_mut().adapter = "legal".into();
    let (.., finish) = generate(&two.daemon, request).await;
    assert_eq!(finish.adapter_generation, two.new);
    let abort = pb::AbortCanaryRequest {
        name: "legal".into(),
        ..Default::default()
    };
    let view = client
        .abort_canary(abort.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(view.route.unwrap().canary.is_none());
    assert!(client.abort_canary(abort).await.is_err());
    client.canary(ask(1.0)).await.unwrap();
    let promote = pb::PromoteCanaryRequest {
        name: "legal".into(),
        ..Default::default()
    };
    let view = client.promote_canary(promote).await.unwrap().into_inner();
    assert_eq!(view.generation, two.new);
    let shadow = pb::ShadowAdapterRequest {
        name: "legal".into(),
        generation: two.stable.clone(),
        percent: 5.0,
        ..Default::default()
    };
    let view = client.shadow(shadow).await.unwrap().into_inner();
    assert_eq!(view.route.unwrap().shadow.unwrap().percent, 5.0);
    let stop = pb::StopShadowRequest {
        name: "legal".into(),
        ..Default::default()
    };
    let view = client.stop_shadow(stop).await.unwrap().into_inner();
    assert!(view.route.unwrap().shadow.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_does_the_same_and_tells_the_route() {
    let two = Two::start().await;
    let run = async |args: &[&str]| {
        let mut all = vec!["adapter"];
        all.extend(args);
        all.extend(["--server", two.daemon.http.as_str()]);
        let (code, out, err) = outcome(program(&all)).await;
        assert_eq!(code, 0, "{args:?}: {err}");
        out
    };
    let begun = run(&[
        "canary",
        "legal",
        "--generation",
        &two.new,
        "--percent",
        "10",
        "--sticky",
        "caller",
        "--min-requests",
        "5",
        "--promote-after",
        "1h",
    ])
    .await;
    for said in [
        "10.0 % of the requests",
        "by caller",
        "promote_after 3600",
        "0 of 5 answers",
    ] {
        assert!(begun.contains(said), "{said}: {begun}");
    }
    let shown = run(&["show", "legal"]).await;
    assert!(
        shown.contains("canary:") && shown.contains("verdict:"),
        "{shown}"
    );
    run(&["canary-abort", "legal"]).await;
    let shown = run(&[
        "shadow",
        "legal",
        "--generation",
        &two.new,
        "--percent",
        "5",
    ])
    .await;
    assert!(shown.contains("shadow"), "{shown}");
    let shown = run(&["shadow-stop", "legal"]).await;
    assert!(
        shown.contains("generation:") && !shown.contains("shadow"),
        "{shown}"
    );
    run(&[
        "canary",
        "legal",
        "--generation",
        &two.new,
        "--percent",
        "1",
    ])
    .await;
    run(&["canary-promote", "legal"]).await;
    assert_eq!(two.route().await["stable"], json!(two.new));
}
