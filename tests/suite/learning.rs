//! Files and fine-tuning jobs over HTTP, from an upload to an answer by the new adapter.

use std::time::{Duration, Instant};

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::{Daemon, PATIENCE, answer, chunks};

pub fn rows(count: usize) -> Vec<u8> {
    let row = |i| json!({"instruction": "Copy the name.", "input": format!("The clerk is Ada {i}."), "output": "Ada"});
    (0..count)
        .map(|i| format!("{}\n", row(i)))
        .collect::<String>()
        .into_bytes()
}

pub async fn upload(daemon: &Daemon, bytes: Vec<u8>) -> (u16, Value) {
    let form = Form::new()
        .text("purpose", "fine-tune")
        .part("file", Part::bytes(bytes).file_name("rows.jsonl"));
    answer(
        daemon
            .client
            .post(format!("{}/v1/files", daemon.http))
            .multipart(form),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_kept_as_it_was_sent() {
    let daemon = Daemon::start().await;
    let sent: Vec<u8> = (0..5usize << 18).map(|at| (at % 251) as u8).collect();
    let (status, file) = upload(&daemon, sent.clone()).await;
    assert_eq!(
        (status, file["bytes"].as_u64()),
        (200, Some(sent.len() as u64))
    );
    let id = file["id"].as_str().unwrap();
    let url = format!("{}/v1/files/{id}/content", daemon.http);
    let kept = daemon.client.get(url).send().await.unwrap();
    assert!(kept.bytes().await.unwrap() == sent);
    daemon.stop().await;
}

pub async fn ended(daemon: &Daemon, id: &str) -> Value {
    ended_within(daemon, id, PATIENCE).await
}

pub async fn ended_within(daemon: &Daemon, id: &str, patience: Duration) -> Value {
    let began = Instant::now();
    loop {
        let (_, job) = daemon.get(&format!("/v1/fine_tuning/jobs/{id}")).await;
        if ["succeeded", "failed", "cancelled"].contains(&job["status"].as_str().unwrap()) {
            return job;
        }
        assert!(began.elapsed() < patience, "{job}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_as_a_model_that_answers() {
    let daemon = Daemon::start().await;
    let (status, file) = upload(&daemon, rows(12)).await;
    assert_eq!(status, 200, "{file}");
    let body = json!({
        "model": "llama", "training_file": file["id"], "suffix": "clerk", "seed": 5,
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": 4}}},
        "adapterd": {"steps": 3, "rank": 4, "lr": 0.001, "save_every": 2},
        "metadata": {"why": "test"}, "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
    });
    let (status, job) = daemon.post("/v1/fine_tuning/jobs", body).await;
    assert_eq!(status, 200, "{job}");
    assert!(job["fine_tuned_model"].is_null() && job["metadata"]["why"] == "test");
    let id = job["id"].as_str().unwrap();
    let job = ended(&daemon, id).await;
    assert_eq!(
        (&job["status"], &job["fine_tuned_model"]),
        (&json!("succeeded"), &json!("clerk")),
        "{job}"
    );
    let (_, events) = daemon
        .get(&format!("/v1/fine_tuning/jobs/{id}/events?limit=100"))
        .await;
    let events = events["data"].as_array().unwrap();
    let steps: Vec<i64> = events
        .iter()
        .filter(|event| event["type"] == "metrics" && event["data"]["train_loss"].is_number())
        .map(|event| event["data"]["step"].as_i64().unwrap())
        .collect();
    assert_eq!(steps, [3, 2, 1], "newest first");
    assert!(events.iter().any(|event| event["level"] == "warn"
        && event["message"].as_str().unwrap().contains("integrations")));
    let (_, checkpoints) = daemon
        .get(&format!("/v1/fine_tuning/jobs/{id}/checkpoints"))
        .await;
    let kept = checkpoints["data"].as_array().unwrap();
    assert_eq!(kept.len(), 1, "{checkpoints}");
    assert_eq!(kept[0]["fine_tuned_model_checkpoint"], "clerk@step-3");
    let ask =
        json!({"model": "clerk", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2});
    let (status, said) = daemon.post("/v1/chat/completions", ask).await;
    assert_eq!(
        (status, &said["adapter_generation"]),
        (200, &job["adapterd"]["generation"]),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_learns_to_prefer_one_of_two_answers() {
    let daemon = Daemon::start().await;
    let row = |i: usize| {
        let (asked, say) = (
            format!("Say {i}."),
            |text| json!([{"role": "assistant", "content": text}]),
        );
        json!({"input": {"messages": [{"role": "user", "content": asked}]},
               "preferred_output": say("Ada"), "non_preferred_output": say("Bob")})
    };
    let rows: String = (0..8).map(|i| format!("{}\n", row(i))).collect();
    let (_, file) = upload(&daemon, rows.into_bytes()).await;
    let create = |method: Value, settings: Value| {
        let body = json!({"model": "llama", "training_file": file["id"], "suffix": "polite", "method": method, "adapterd": settings});
        daemon.post("/v1/fine_tuning/jobs", body)
    };
    let settings = json!({"steps": 6, "batch_size": 4, "lr": 0.01, "eval_split": 2});
    let (status, refused) = create(json!({"type": "supervised"}), settings.clone()).await;
    let told = refused["error"]["message"].as_str().unwrap();
    assert!(status == 400 && told.contains("`dpo`"), "{refused}");
    let (status, refused) = create(json!({"type": "supervised"}), json!({"beta": 0.3})).await;
    assert_eq!(
        (status, &refused["error"]["param"]),
        (400, &json!("adapterd.beta")),
        "{refused}"
    );

    let method =
        json!({"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": "auto"}}});
    let (status, job) = create(method, settings).await;
    assert_eq!(status, 200, "{job}");
    assert_eq!(
        job["method"]["dpo"]["hyperparameters"]["beta"], 0.3,
        "{job}"
    );
    let job = ended(&daemon, job["id"].as_str().unwrap()).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let id = job["id"].as_str().unwrap();
    let path = format!("/v1/fine_tuning/jobs/{id}/events?limit=100");
    let (_, events) = daemon.get(&path).await;
    let of_step = |step: u64| {
        let events = events["data"].as_array().unwrap().iter();
        let mut found =
            events.filter(|event| event["data"]["step"] == step && event["type"] == "metrics");
        found.next().unwrap()["data"]["rewards"].clone()
    };
    assert_eq!(
        of_step(1)["margin"],
        0.0,
        "the policy begins as its reference"
    );
    assert!(of_step(6)["margin"].as_f64() > Some(0.0), "{}", of_step(6));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_used_are_the_first_warnings_of_their_job() {
    let daemon = Daemon::start().await;
    let row = |i: usize| {
        json!({"conversations": [
            {"from": "human", "value": format!("Say {i}."), "ts": i}, {"from": "gpt", "value": "Ada"},
        ], "source": "web", "tools": [], "id": if i < 2 { json!(i) } else { json!(null) }})
    };
    let rows: String = (0..4).map(|i| format!("{}\n", row(i))).collect();
    let (_, file) = upload(&daemon, rows.into_bytes()).await;
    let body = json!({"model": "llama", "training_file": file["id"], "suffix": "told", "adapterd": {"steps": 1, "rank": 2}});
    let (status, job) = daemon.post("/v1/fine_tuning/jobs", body).await;
    assert_eq!(status, 200, "{job}");
    let id = job["id"].as_str().unwrap();
    let (_, events) = daemon
        .get(&format!("/v1/fine_tuning/jobs/{id}/events?limit=100"))
        .await;
    let mut told: Vec<_> = events["data"].as_array().unwrap().iter().rev().collect();
    told.retain(|event| event["level"] == "warn");
    let told: Vec<_> = told
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect();
    assert_eq!(
        told,
        [
            "`conversations[].ts` is not used (4 rows)",
            "`source` is not used (4 rows)",
            "`id` is not used (2 rows)",
        ]
    );
    assert_eq!(ended(&daemon, id).await["status"], "succeeded");
    daemon.stop().await;
}

/// The events of a job as they happen, to its end.
async fn stream(daemon: &Daemon, id: &str, after: &str) -> Vec<Value> {
    let at = &daemon.http;
    let url = format!("{at}/v1/fine_tuning/jobs/{id}/events?stream=true{after}");
    let response = daemon.client.get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (events, done) = chunks(&response.text().await.unwrap());
    assert!(done);
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_pages_and_as_they_happen_without_a_gap() {
    let daemon = Daemon::start().await;
    let (_, file) = upload(&daemon, rows(8)).await;
    let body = json!({"model": "llama", "training_file": file["id"], "suffix": "paged", "adapterd": {"steps": 4, "rank": 2}});
    let (_, job) = daemon.post("/v1/fine_tuning/jobs", body).await;
    let id = job["id"].as_str().unwrap();
    // Followed from before its end.
    let streamed = stream(&daemon, id, "").await;
    ended(&daemon, id).await;
    let (_, whole) = daemon
        .get(&format!("/v1/fine_tuning/jobs/{id}/events?limit=100"))
        .await;
    let whole = whole["data"].as_array().unwrap();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (_, page) = daemon
            .get(&format!("/v1/fine_tuning/jobs/{id}/events?limit=2{after}"))
            .await;
        let data = page["data"].as_array().unwrap();
        seen.extend(data.iter().map(|event| event["id"].clone()));
        if page["has_more"] == false {
            break;
        }
        after = format!("&after={}", data.last().unwrap()["id"].as_str().unwrap());
    }
    assert_eq!(
        seen,
        whole
            .iter()
            .map(|event| event["id"].clone())
            .collect::<Vec<_>>()
    );
    let oldest_first: Vec<_> = whole.iter().rev().cloned().collect();
    assert_eq!(streamed, oldest_first);
    let third = oldest_first[2]["id"].as_str().unwrap();
    let rest = stream(&daemon, id, &format!("&after={third}")).await;
    assert_eq!(rest, oldest_first[3..]);
    let url = format!(
        "{}/v1/fine_tuning/jobs/{id}/events?stream=true",
        daemon.http
    );
    let again = daemon.client.get(url).header("last-event-id", third);
    let again = again.send().await.unwrap().text().await.unwrap();
    assert_eq!(chunks(&again).0, oldest_first[3..]);
    let limited = format!("/v1/fine_tuning/jobs/{id}/events?stream=true&limit=2");
    assert_eq!(daemon.get(&limited).await.0, 400);
    let nobody = daemon
        .get("/v1/fine_tuning/jobs/ftjob-no/events?stream=true")
        .await;
    assert_eq!(nobody.0, 404);
    assert_eq!(
        daemon
            .get(&format!("/v1/fine_tuning/jobs/{id}/events?after=x"))
            .await
            .0,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_job_is_told_when_the_daemon_stops() {
    let daemon = Daemon::start().await;
    let (_, file) = upload(&daemon, rows(8)).await;
    let body = json!({"model": "llama", "training_file": file["id"], "suffix": "long", "adapterd": {"steps": 100_000, "rank": 2}});
    let (_, job) = daemon.post("/v1/fine_tuning/jobs", body).await;
    let id = job["id"].as_str().unwrap();
    let pause = format!("/v1/fine_tuning/jobs/{id}/pause");
    assert_eq!(daemon.post(&pause, json!({})).await.0, 200);
    let url = format!(
        "{}/v1/fine_tuning/jobs/{id}/events?stream=true",
        daemon.http
    );
    let following = daemon.client.get(url).send().await.unwrap();
    daemon.begin_stop();
    let (events, done) = chunks(&following.text().await.unwrap());
    assert!(!done);
    assert!(events.last().unwrap()["error"]["code"].is_string());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_told_by_line_before_anything_runs() {
    let daemon = Daemon::start().await;
    let mut data = rows(3);
    data.extend_from_slice(b"not json\n{\"instruction\": \"x\"}\n");
    let (_, file) = upload(&daemon, data).await;
    let body = json!({"model": "llama", "training_file": file["id"], "suffix": "x"});
    let (status, body) = daemon.post("/v1/fine_tuning/jobs", body).await;
    assert_eq!(
        (status, &body["error"]["param"]),
        (400, &json!("training_file")),
        "{body}"
    );
    let lines: Vec<i64> = body["error"]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["line"].as_i64().unwrap())
        .collect();
    assert_eq!(lines, [4, 5]);
    assert_eq!(
        daemon.get("/v1/fine_tuning/jobs").await.1["data"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_out_of_range_is_named_where_it_was_written() {
    let daemon = Daemon::start().await;
    let (_, file) = upload(&daemon, rows(4)).await;
    for (settings, param) in [
        (json!({"adapterd": {"rank": 0}}), "adapterd.rank"),
        (json!({"adapterd": {"rank": 100_000}}), "adapterd.rank"),
        (json!({"adapterd": {"lr": -1}}), "adapterd.lr"),
        (json!({"adapterd": {"method": "magic"}}), "adapterd.method"),
        (
            json!({"hyperparameters": {"n_epochs": 0}}),
            "hyperparameters.n_epochs",
        ),
        (json!({"adapterd": {"rnak": 4}}), "adapterd.rnak"),
        (json!({"suffix": "Not A Name"}), "suffix"),
        (json!({"suffix": "llama"}), "suffix"),
        (json!({"method": {"type": "reinforcement"}}), "method.type"),
    ] {
        let mut body = json!({"model": "llama", "training_file": file["id"]});
        body.as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        let (status, answer) = daemon.post("/v1/fine_tuning/jobs", body).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(param)),
            "{settings}: {answer}"
        );
    }
    let missing = json!({"model": "llama", "training_file": "file-none"});
    let (status, answer) = daemon.post("/v1/fine_tuning/jobs", missing).await;
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!("training_file"))
    );
    let unknown = json!({"model": "gpt-4o", "training_file": file["id"]});
    assert_eq!(
        daemon.post("/v1/fine_tuning/jobs", unknown).await.1["error"]["code"],
        "model_not_found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_kept_listed_and_deleted() {
    let daemon = Daemon::start().await;
    let mut ids = Vec::new();
    for count in 1..=3 {
        let (_, file) = upload(&daemon, rows(count)).await;
        assert_eq!(
            (&file["object"], &file["purpose"], &file["filename"]),
            (&json!("file"), &json!("fine-tune"), &json!("rows.jsonl"))
        );
        ids.push(file["id"].as_str().unwrap().to_owned());
    }
    let (_, page) = daemon.get("/v1/files?limit=2").await;
    assert_eq!(
        (page["data"][0]["id"].as_str(), &page["has_more"]),
        (Some(ids[2].as_str()), &json!(true))
    );
    let (_, page) = daemon
        .get(&format!("/v1/files?limit=2&after={}", ids[1]))
        .await;
    assert_eq!(
        (page["data"][0]["id"].as_str(), &page["has_more"]),
        (Some(ids[0].as_str()), &json!(false))
    );
    let content = daemon
        .client
        .get(format!("{}/v1/files/{}/content", daemon.http, ids[0]))
        .send()
        .await
        .unwrap();
    assert_eq!(content.bytes().await.unwrap(), rows(1));
    assert_eq!(
        daemon.delete(&format!("/v1/files/{}", ids[0])).await.1["deleted"],
        true
    );
    assert_eq!(daemon.get(&format!("/v1/files/{}", ids[0])).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_not_one_are_refused_by_field() {
    let daemon = Daemon::start().await;
    let url = format!("{}/v1/files", daemon.http);
    let file = || Part::bytes(rows(1)).file_name("rows.jsonl");
    for (form, param) in [
        (Form::new().part("file", file()), "purpose"),
        (Form::new().text("purpose", "fine-tune"), "file"),
        (
            Form::new().text("purpose", "batch").part("file", file()),
            "purpose",
        ),
        (
            Form::new()
                .text("purpose", "fine-tune")
                .text("file", "no filename"),
            "file",
        ),
        (
            Form::new()
                .text("purpose", "fine-tune")
                .part("file", file())
                .text("extra", "x"),
            "extra",
        ),
    ] {
        let (status, body) = answer(daemon.client.post(&url).multipart(form)).await;
        assert_eq!(
            (status, &body["error"]["param"]),
            (400, &json!(param)),
            "{body}"
        );
    }
    assert_eq!(daemon.post("/v1/files", json!({})).await.0, 400);
    let (status, body) = upload(&daemon, vec![b'x'; 2 << 20]).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (413, &json!("request_too_large"))
    );
}
