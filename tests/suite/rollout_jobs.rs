//! Whether, and how, what a job makes is served.

use serde_json::{Value, json};

use crate::harness::{BASE, Daemon};
use crate::learning::{ended, rows, upload};

async fn job(daemon: &Daemon, name: &str, settings: Value) -> (u16, Value) {
    let (_, file) = upload(daemon, rows(16)).await;
    let mut all = json!({"rank": 4, "batch_size": 4, "seed": 3});
    for (field, value) in settings.as_object().unwrap() {
        all[field] = value.clone();
    }
    let body = json!({"model": BASE, "training_file": file["id"], "suffix": name, "adapterd": all});
    daemon.post("/v1/fine_tuning/jobs", body).await
}

async fn done(daemon: &Daemon, name: &str, settings: Value) -> Value {
    let (status, job) = job(daemon, name, settings).await;
    assert_eq!(status, 200, "{job}");
    let job = ended(daemon, job["id"].as_str().unwrap()).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    job
}

async fn events(daemon: &Daemon, job: &Value) -> String {
    let id = job["id"].as_str().unwrap();
    let path = format!("/v1/fine_tuning/jobs/{id}/events?limit=100");
    daemon.get(&path).await.1.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_worse_than_what_is_served_is_kept_and_not_served() {
    let daemon = Daemon::start().await;
    let good = json!({"steps": 30, "lr": 0.01, "eval_split": 4, "gate": "heldout"});
    let good = done(&daemon, "clerk", good).await;
    assert_eq!(good["adapterd"]["published"], true, "{good}");
    assert_eq!(good["fine_tuned_model"], "clerk");
    let worse =
        json!({"steps": 1, "lr": 1e-6, "eval_split": 4, "gate": "current", "gate_margin": 0.001});
    let worse = done(&daemon, "clerk", worse).await;
    assert_eq!(worse["adapterd"]["published"], false, "{worse}");
    let (_, view) = daemon.get("/v1/adapters/clerk").await;
    assert_eq!(view["generation"], good["adapterd"]["generation"]);
    let kept = worse["adapterd"]["generation"].as_str().unwrap();
    assert_eq!(view["generations"][0], kept);
    let told = events(&daemon, &worse).await;
    assert!(told.contains("not served: its held-out loss"), "{told}");
    assert!(told.contains("\"withheld\":\"its held-out loss"), "{told}");
    let model = &worse["fine_tuned_model"];
    assert_eq!(*model, format!("clerk@{kept}"));
    let ask = json!({"model": model, "prompt": "x", "max_tokens": 1});
    let (status, said) = daemon.post("/v1/completions", ask).await;
    assert_eq!((status, &said["adapter_generation"]), (200, &json!(kept)));
    // The same without a gate, as a canary with what it keeps to.
    let publish = "canary:10,sticky=caller,min_requests=7,promote_after=1h";
    let canary = json!({"steps": 2, "lr": 1e-4, "publish": publish});
    let canary = done(&daemon, "clerk", canary).await;
    assert_eq!(canary["adapterd"]["published"], true);
    let (_, view) = daemon.get("/v1/adapters/clerk").await;
    assert_eq!(view["generation"], good["adapterd"]["generation"]);
    let route = &view["route"]["canary"];
    assert_eq!(route["generation"], canary["adapterd"]["generation"]);
    assert_eq!(
        (&route["percent"], &route["sticky"]),
        (&json!(10.0), &json!("caller"))
    );
    let policy = json!({"min_requests": 7, "promote_after": 3600});
    assert_eq!(route["policy"], policy);
    // Beside that one there is no other.
    let other = json!({"steps": 2, "lr": 2e-4, "publish": "canary:20"});
    let other = done(&daemon, "clerk", other).await;
    assert_eq!(other["adapterd"]["published"], false);
    let told = events(&daemon, &other).await;
    assert!(told.contains("could not become a canary"), "{told}");
    assert!(told.contains("`clerk` has a canary now"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_better_than_the_base_gets_no_name_until_somebody_promotes_it() {
    let daemon = Daemon::start().await;
    let idle = json!({"steps": 1, "lr": 0.0, "eval_split": 4, "gate": "heldout"});
    let idle = done(&daemon, "idle", idle).await;
    assert_eq!(idle["adapterd"]["published"], false, "{idle}");
    assert_eq!(daemon.get("/v1/adapters/idle").await.0, 404);
    let ask = json!({"model": idle["fine_tuned_model"], "prompt": "x", "max_tokens": 1});
    assert_eq!(daemon.post("/v1/completions", ask).await.0, 200);
    let to = json!({"generation": idle["adapterd"]["generation"]});
    let (status, view) = daemon.post("/v1/adapters/idle/promote", to).await;
    assert_eq!(status, 200, "{view}");
    assert_eq!(view["generation"], idle["adapterd"]["generation"]);
    let kept = json!({"steps": 1, "lr": 0.01, "publish": "manual"});
    let kept = done(&daemon, "idle", kept).await;
    assert_eq!(kept["adapterd"]["published"], false);
    assert_eq!(
        daemon.get("/v1/adapters/idle").await.1["generation"],
        idle["adapterd"]["generation"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_and_ways_that_cannot_be_are_refused_when_the_job_is_created() {
    let daemon = Daemon::start().await;
    for (settings, param) in [
        (json!({"gate": "heldout"}), "gate"),
        (json!({"gate": "current"}), "gate"),
        (json!({"gate": "better"}), "gate"),
        (
            json!({"gate": "heldout", "eval_split": 4, "gate_margin": 0.1}),
            "gate_margin",
        ),
        (json!({"publish": "later"}), "publish"),
        (json!({"publish": "canary:0x1"}), "publish"),
        (json!({"publish": "canary:10"}), "publish"),
        (
            json!({"gate": "none", "publish": "canary:10,max_heldout_loss_ratio=1"}),
            "publish",
        ),
        (json!({"steps": 3, "warmup": 4}), "warmup"),
    ] {
        let (status, refused) = job(&daemon, "clerk", settings.clone()).await;
        assert_eq!(status, 400, "{settings}: {refused}");
        let named = refused["error"]["param"].as_str().unwrap();
        assert!(named.ends_with(param), "{settings}: {refused}");
    }
}
