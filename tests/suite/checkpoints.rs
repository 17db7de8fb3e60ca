//! Checkpoints of jobs that answer requests: `name@step-N`.

use std::time::Instant;

use adapterd::pb;
use serde_json::{Value, json};
use tonic::Request;

use crate::calls::{generate, prompt};
use crate::harness::{Daemon, PATIENCE};
use crate::learning::{rows, upload};

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_a_running_job_answers_by_its_step() {
    let daemon = Daemon::start().await;
    let (_, file) = upload(&daemon, rows(12)).await;
    let body = json!({
        "model": "llama", "training_file": file["id"], "suffix": "clerk",
        "adapterd": {"steps": 1_000_000, "batch_size": 4, "rank": 4, "lr": 0.001, "save_every": 2},
    });
    let (status, job) = daemon.post("/v1/fine_tuning/jobs", body).await;
    assert_eq!(status, 200, "{job}");
    let id = job["id"].as_str().unwrap();
    let listed = format!("/v1/fine_tuning/jobs/{id}/checkpoints");
    let began = Instant::now();
    while daemon.get(&listed).await.1["data"] == json!([]) {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let pause = format!("/v1/fine_tuning/jobs/{id}/pause");
    let (status, paused) = daemon.post(&pause, json!({})).await;
    assert_eq!(status, 200, "{paused}");
    let (_, kept) = daemon.get(&listed).await;
    let name = kept["data"][0]["fine_tuned_model_checkpoint"]
        .as_str()
        .unwrap();
    let step = kept["data"][0]["step_number"].as_u64().unwrap();
    assert_eq!(name, format!("clerk@step-{step}"));

    let ask = |more: Value| {
        let mut body = json!({"prompt": "Copy the name.", "max_tokens": 4, "temperature": 0});
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        daemon.post("/v1/completions", body)
    };
    let mut generations = Vec::new();
    for way in [
        json!({"model": name}),
        json!({"model": "llama", "adapter": name}),
    ] {
        let (status, said) = ask(way).await;
        assert_eq!(status, 200, "{said}");
        generations.push(said["adapter_generation"].as_str().unwrap().to_owned());
    }
    assert_eq!(generations[0], generations[1]);
    let by_field = pb::GenerateRequest {
        adapter: name.to_owned(),
        ..prompt("Copy the name.")
    };
    let mut by_metadata = Request::new(prompt("Copy the name."));
    let metadata = by_metadata.metadata_mut();
    metadata.insert("adapter", name.parse().unwrap());
    for request in [Request::new(by_field), by_metadata] {
        let (.., finish) = generate(&daemon, request).await;
        assert_eq!(finish.adapter_generation, generations[0]);
    }
    for unknown in [
        json!({"model": "clerk@step-999999"}),
        json!({"model": "llama", "adapter": "clerk@step-999999"}),
    ] {
        let (status, refused) = ask(unknown).await;
        let told = refused["error"]["message"].as_str().unwrap();
        assert_eq!(
            (status, &refused["error"]["code"]),
            (404, &json!("adapter_not_found"))
        );
        assert!(told.contains(name), "{told}");
    }
    let (status, refused) = ask(json!({"model": "llama", "adapter": "clerk"})).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (404, &json!("adapter_not_found"))
    );
    let tokenize = json!({"prompt": "x", "adapter": name});
    assert_eq!(daemon.post("/tokenize", tokenize).await.0, 200);
    let (status, refused) = daemon
        .post(
            "/v1/fine_tuning/jobs",
            json!({"model": name, "training_file": file["id"]}),
        )
        .await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("model")));
    daemon.stop().await;
}
