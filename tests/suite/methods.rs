//! Every method of training over HTTP: from a job to an answer, beside the base, out as a folder and in again.

use adapterd::domain::{Method, Named};
use serde_json::{Value, json};

use crate::harness::{Daemon, answer};
use crate::learning::{ended, rows, upload};

/// What a job of this method must at least say.
fn settings(method: &str) -> Value {
    let mut settings = json!({"method": method, "steps": 2, "batch_size": 4, "lr": 0.01});
    match method {
        "modules" => settings["train_modules"] = json!("norms,down_proj"),
        "staged" => {
            settings["stages"] = json!([{"modules": "ffn", "layers": 0}, {"modules": "embeddings"}])
        }
        _ => {}
    }
    settings
}

async fn create(daemon: &Daemon, file: &Value, name: &str, settings: Value) -> (u16, Value) {
    let body = json!({"model": "llama", "training_file": file["id"], "suffix": name, "adapterd": settings});
    daemon.post("/v1/fine_tuning/jobs", body).await
}

async fn trained(daemon: &Daemon, file: &Value, name: &str, settings: Value) -> Value {
    let (status, job) = create(daemon, file, name, settings).await;
    assert_eq!(status, 200, "{job}");
    let job = ended(daemon, job["id"].as_str().unwrap()).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    job
}

/// The answer's text and the log-probabilities of the prompt, which tell more.
async fn said(daemon: &Daemon, adapter: &str) -> (Value, Value) {
    let ask = json!({
        "model": "llama", "adapter": adapter, "prompt": "The clerk is Ada 3.", "max_tokens": 3,
        "temperature": 0, "echo": true, "logprobs": 1,
    });
    let (status, answer) = daemon.post("/v1/completions", ask).await;
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    (
        choice["text"].clone(),
        choice["logprobs"]["token_logprobs"].clone(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_goes_from_a_job_to_an_answer_and_round_as_a_folder() {
    let daemon = Daemon::start().await;
    let (_, file) = upload(&daemon, rows(12)).await;
    let base = said(&daemon, "none").await;
    for method in Method::NAMES {
        let job = trained(&daemon, &file, method, settings(method)).await;
        let learn = &job["adapterd"]["parameters"];
        let (trainable, all) = (learn["trainable"].as_u64(), learn["all"].as_u64());
        assert!(trainable > Some(0) && trainable <= all, "{method}: {learn}");
        let own = said(&daemon, method).await;
        assert_ne!(own.1, base.1, "{method}");

        let url = format!("{}/v1/adapters/{method}/content", daemon.http);
        let folder = daemon.client.get(url).send().await.unwrap();
        let folder = folder.bytes().await.unwrap();
        let url = format!("{}/v1/adapters/{method}-again", daemon.http);
        let put = daemon
            .client
            .put(url)
            .header("content-type", "application/x-tar");
        let (status, again) = answer(put.body(folder)).await;
        assert_eq!(
            (status, &again["generation"]),
            (200, &job["adapterd"]["generation"]),
            "{again}"
        );
        assert_eq!(
            said(&daemon, &format!("{method}-again")).await,
            own,
            "{method}"
        );

        let mut further = match *method {
            "staged" => settings(method),
            _ => json!({"method": method, "steps": 1, "lr": 0.01}),
        };
        further["from"] = json!(method);
        trained(&daemon, &file, &format!("{method}-further"), further).await;
        assert_ne!(
            said(&daemon, &format!("{method}-further")).await.1,
            own.1,
            "{method}"
        );
    }
    assert_eq!(said(&daemon, "none").await, base);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_hold_are_refused_before_anything_runs() {
    let daemon = Daemon::start().await;
    let (_, file) = upload(&daemon, rows(4)).await;
    let refused = [
        (json!({"method": "full", "rank": 4}), "rank"),
        (
            json!({"method": "lora", "train_modules": "ffn"}),
            "train_modules",
        ),
        (json!({"method": "modules"}), "train_modules"),
        (
            json!({"method": "modules", "train_modules": "no_such_proj"}),
            "train_modules",
        ),
        (
            json!({"method": "modules", "train_modules": "ffn", "train_layers": "7"}),
            "train_layers",
        ),
        (json!({"method": "staged"}), "stages"),
        (json!({"method": "staged", "stages": []}), "stages"),
        (
            json!({"method": "staged", "stages": [{"modules": "ffn", "step": 3}]}),
            "stages",
        ),
        (
            json!({"method": "staged", "stages": [{"layers": "9-12"}]}),
            "stages",
        ),
        (json!({"method": "half"}), "method"),
    ];
    for (settings, field) in refused {
        let (status, refusal) = create(&daemon, &file, "never", settings.clone()).await;
        let told = refusal["error"]["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && told.contains(field),
            "{settings}: {refusal}"
        );
    }
    let (_, jobs) = daemon.get("/v1/fine_tuning/jobs").await;
    assert_eq!(jobs["data"], json!([]));
    let (_, adapters) = daemon.get("/v1/adapters").await;
    assert_eq!(adapters["data"], json!([]));
    daemon.stop().await;
}
