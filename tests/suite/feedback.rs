//! Feedback from an answer to a name that has learned from it: over HTTP, by calls and by the program.

use std::path::Path;

use adapterd::gateway::feedback::{Capture, Config};
use adapterd::pb;
use adapterd::pb::feedback_client::FeedbackClient;
use adapterd::pb::training_client::TrainingClient;
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::calls::{generate, prompt};
use crate::command_line::{outcome, program};
use crate::harness::{Daemon, answer};
use crate::keys::{ask, get, ids};
use crate::learning::ended;

/// What is not kept unless it may be.
const SECRET: &str = "quagga-4711";

pub fn capturing(adapters: &[&str], keys: &[&str]) -> Config {
    let owned = |list: &[&str]| -> Vec<String> { list.iter().map(|e| (*e).into()).collect() };
    Config {
        capture: Capture::new(true, &owned(adapters), &owned(keys)).unwrap(),
        ..Config::default()
    }
}

fn chat(adapter: &str, text: &str) -> Value {
    json!({
        "model": adapter, "max_tokens": 4, "temperature": 0, "ignore_eos": true,
        "messages": [{"role": "user", "content": text}],
    })
}

/// The answer's id and generation.
pub async fn asked(daemon: &Daemon, adapter: &str, text: &str) -> (String, Value) {
    let path = "/v1/chat/completions";
    let (status, said) = daemon.post(path, chat(adapter, text)).await;
    assert_eq!(status, 200, "{said}");
    let id = said["id"].as_str().unwrap().to_owned();
    (id, said["adapter_generation"].clone())
}

pub async fn give(daemon: &Daemon, body: Value) -> (u16, Value) {
    daemon.post("/v1/feedback", body).await
}

async fn export(daemon: &Daemon, query: &str) -> String {
    let url = format!("{}/v1/feedback/export?{query}", daemon.http);
    let response = daemon.client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/jsonl");
    response.text().await.unwrap()
}

/// Whether a text is in any file of a folder.
fn holds(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files = files.filter(|file| file.file_type().unwrap().is_file());
    files.any(|file| {
        let bytes = std::fs::read(file.path()).unwrap();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_no_content_is_kept_and_a_score_still_counts() {
    let daemon = Daemon::with_adapters().await;
    let (id, generation) = asked(&daemon, "legal", SECRET).await;
    let bare = id.strip_prefix("chatcmpl-").unwrap();
    let (status, given) = give(&daemon, json!({"id": bare, "score": 0.5, "label": "x"})).await;
    assert_eq!(status, 200, "{given}");
    assert_eq!(
        (
            &given["id"],
            &given["adapter"],
            &given["adapter_generation"]
        ),
        (&json!(bare), &json!("legal"), &generation)
    );
    assert_eq!(given["captured"], false);
    assert!(!holds(daemon.state(), SECRET));
    let (status, refused) = give(&daemon, json!({"id": id, "score": -1, "correction": "y"})).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("wrong_state"))
    );
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(why.contains("capture = true"), "{why}");
    // The second takes the place of the first.
    assert_eq!(give(&daemon, json!({"id": id, "score": -1})).await.0, 200);
    let (_, scores) = daemon.get("/v1/feedback/scores?adapter=legal").await;
    let score = &scores["data"][0];
    assert_eq!(
        (
            &score["adapter_generation"],
            &score["count"],
            &score["mean"]
        ),
        (&generation, &json!(1), &json!(-1.0))
    );
    assert_eq!(export(&daemon, "adapter=legal").await, "");
    for (body, param) in [
        (json!({"id": id, "score": 2}), "score"),
        (json!({"id": id}), "score"),
        (json!({"score": 1}), "id"),
        (
            json!({"id": id, "score": 1, "correction": ""}),
            "correction",
        ),
    ] {
        let (status, refused) = give(&daemon, body).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &json!(param)));
    }
    let (status, refused) = give(&daemon, json!({"id": "chatcmpl-0", "score": 1})).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (404, &json!("answer_not_found"))
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_lists_name_is_kept_also_of_streams_and_texts() {
    let daemon = Daemon::hearing(capturing(&["legal"], &[]), false).await;
    let mut streamed = chat("legal", "streamed zebra");
    streamed["stream"] = json!(true);
    let url = format!("{}/v1/chat/completions", daemon.http);
    let stream = daemon
        .client
        .post(url)
        .json(&streamed)
        .send()
        .await
        .unwrap();
    let (chunks, _) = crate::harness::chunks(&stream.text().await.unwrap());
    let text =
        json!({"model": "legal", "prompt": "text zebra", "max_tokens": 4, "ignore_eos": true});
    let (_, completed) = daemon.post("/v1/completions", text.clone()).await;
    let (other, _) = asked(&daemon, "medical", "other zebra").await;
    let mut two = text.clone();
    two["prompt"] = json!(["one zebra", "two zebra"]);
    let (_, two) = daemon.post("/v1/completions", two).await;
    for (id, is_kept) in [
        (chunks[0]["id"].as_str().unwrap(), true),
        (completed["id"].as_str().unwrap(), true),
        (&other, false),
        (two["id"].as_str().unwrap(), false),
    ] {
        let (status, given) = give(&daemon, json!({"id": id, "score": 1})).await;
        assert_eq!(
            (status, &given["captured"]),
            (200, &json!(is_kept)),
            "{given}"
        );
    }
    assert!(holds(daemon.state(), "streamed zebra") && holds(daemon.state(), "text zebra"));
    assert!(!holds(daemon.state(), "other zebra") && !holds(daemon.state(), "two zebra"));
    let path = format!("/v1/feedback/{}", completed["id"].as_str().unwrap());
    let (_, shown) = daemon.get(&path).await;
    assert_eq!(shown["input"], json!({"prompt": "text zebra"}));
    assert_eq!(shown["answer"], completed["choices"][0]["text"]);
    assert_eq!(daemon.delete(&path).await.0, 200);
    assert_eq!(daemon.get(&path).await.0, 404);
    assert!(!holds(daemon.state(), "text zebra"));
    let (status, gone) = daemon.delete("/v1/feedback?owner=none").await;
    assert_eq!((status, &gone["count"]), (200, &json!(4)));
    assert!(!holds(daemon.state(), "streamed zebra"));
    assert_eq!(daemon.delete("/v1/feedback").await.0, 400);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_is_its_keys_and_admins_see_all() {
    let daemon = Daemon::hearing(capturing(&[], &[]), true).await;
    let (owner, mine) = daemon.key("infer,train", "*").await;
    let (_, other) = daemon.key("infer,train", "*").await;
    let (_, admin) = daemon.key("admin", "*").await;
    let path = "/v1/chat/completions";
    let (_, said) = ask(&daemon, &mine, "POST", path, chat("legal", "Why?")).await;
    let score = json!({"id": said["id"], "score": 1});
    let (status, refused) = ask(&daemon, &other, "POST", "/v1/feedback", score.clone()).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (404, &json!("answer_not_found"))
    );
    let (status, given) = ask(&daemon, &mine, "POST", "/v1/feedback", score.clone()).await;
    assert_eq!((status, &given["owner"]), (200, &json!(owner)));
    let (status, theirs) = ask(&daemon, &admin, "POST", "/v1/feedback", score).await;
    assert_eq!(status, 200);
    let id = given["id"].as_str().unwrap();
    assert!(
        theirs["id"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{id}:"))
    );
    for (key, count) in [(&mine, 2), (&other, 0), (&admin, 2)] {
        let (_, listed) = get(&daemon, key, "/v1/feedback").await;
        assert_eq!(ids(&listed).len(), count, "{listed}");
        let (_, page) = get(&daemon, key, "/v1/feedback?limit=1").await;
        if let Some(last) = page["last_id"].as_str() {
            let (_, rest) = get(&daemon, key, &format!("/v1/feedback?after={last}")).await;
            assert_eq!(ids(&rest), [id], "{rest}");
        }
        let rows = daemon.request(key, "GET", "/v1/feedback/export?adapter=legal");
        let rows = rows.send().await.unwrap().text().await.unwrap();
        assert_eq!(rows.lines().count(), count, "{rows}");
    }
    let one = format!("/v1/feedback/{id}");
    for (verb, path) in [
        ("GET", one.clone()),
        ("DELETE", one),
        ("DELETE", format!("/v1/feedback?owner={owner}")),
    ] {
        let (status, refused) = ask(&daemon, &other, verb, &path, Value::Null).await;
        assert_eq!(status, 404, "{verb} {path}: {refused}");
    }
    let body = json!({"min_rows": 1});
    let path = "/v1/adapters/legal/retrain";
    let (status, refused) = ask(&daemon, &other, "POST", path, body).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (409, &json!("wrong_state")),
        "nothing of it is theirs"
    );
    let path = format!("/v1/feedback?owner={owner}");
    let (status, gone) = ask(&daemon, &mine, "DELETE", &path, Value::Null).await;
    assert_eq!((status, &gone["count"]), (200, &json!(1)), "{gone}");
    let (_, listed) = get(&daemon, &admin, "/v1/feedback").await;
    assert_eq!(ids(&listed), Vec::<&str>::new());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_gives_lists_exports_and_deletes_and_its_rows_pass_the_check() {
    let daemon = Daemon::hearing(capturing(&[], &[]), false).await;
    let run = async |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--server", &daemon.http]);
        outcome(program(&all)).await
    };
    let (bad, _) = asked(&daemon, "legal", "Who wrote it?").await;
    let correction = ["--score", "-1", "--correction", "Ada", "--label", "house"];
    let mut line = vec!["feedback", "give", &bad];
    line.extend(correction);
    let (code, text, error) = run(&line).await;
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("legal") && text.contains("house"), "{text}");
    let (code, text, _) = run(&["feedback", "list", "--json", "--max-score", "-0.5"]).await;
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &listed["data"][0]["label"]), (0, &json!("house")));
    let (code, text, _) = run(&["feedback", "show", &bad]).await;
    assert!(code == 0 && text.contains("user: Who wrote it?"), "{text}");
    let (code, text, _) = run(&["feedback", "scores", "legal"]).await;
    assert!(code == 0 && text.contains("-1.00"), "{text}");
    for format in ["sft", "dpo"] {
        let place = daemon.state().join(format!("{format}.jsonl"));
        let place = place.to_str().unwrap();
        let line = [
            "feedback",
            "export",
            "--adapter",
            "legal",
            "--format",
            format,
        ];
        let (code, rows, error) = run(&line).await;
        assert_eq!((code, rows.lines().count()), (0, 1), "{error}");
        let line = [&line[..], &["--out", place]].concat();
        assert_eq!(run(&line).await.0, 0);
        assert_eq!(std::fs::read_to_string(place).unwrap(), rows);
        let (code, report, error) = outcome(program(&["data", "check", place])).await;
        assert_eq!(code, 0, "{report}{error}");
    }
    let line = ["retrain", "legal", "--min-rows", "2", "--steps", "1"];
    let (code, _, error) = run(&line).await;
    assert!(code == 1 && error.contains("1 new rows"), "{error}");
    let line = ["retrain", "legal", "--gate", "current"];
    let (code, _, error) = run(&line).await;
    let tells = error.contains("gate") && error.contains("`eval_split`");
    assert!(code == 1 && tells, "{code}: {error}");
    let line = ["retrain", "legal", "--steps", "1", "--wait", "--json"];
    let (code, job, error) = run(&line).await;
    assert_eq!(code, 0, "{error}");
    let job: Value = serde_json::from_str(&job).unwrap();
    assert_eq!(job["status"], "succeeded", "{job}");
    assert_eq!(run(&["feedback", "delete", &bad]).await.0, 0);
    assert_eq!(run(&["feedback", "delete", &bad]).await.0, 1);
    let (code, text, _) = run(&["feedback", "delete", "--owner", "none"]).await;
    assert!(code == 0 && text.contains("1 answers"), "{text}");
    assert_eq!(run(&["feedback", "delete"]).await.0, 2);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_do_what_routes_do() {
    let daemon = Daemon::hearing(capturing(&[], &[]), false).await;
    let request = pb::GenerateRequest {
        adapter: "legal".into(),
        ..prompt("The clerk")
    };
    let (text, _, finish) = generate(&daemon, Request::new(request)).await;
    let mut client = FeedbackClient::connect(daemon.grpc.clone()).await.unwrap();
    let ask = pb::GiveFeedbackRequest {
        id: finish.id.clone(),
        score: -0.5,
        correction: " is Ada".into(),
        ..Default::default()
    };
    let given = client.give(ask.clone()).await.unwrap().into_inner();
    assert_eq!(
        (&given.adapter_generation, given.captured, &given.label),
        (&finish.adapter_generation, true, &String::new())
    );
    // The same answer, as a route names it.
    let path = format!("/v1/feedback/cmpl-{}", finish.id);
    let (_, shown) = answer(daemon.client.get(format!("{}{path}", daemon.http))).await;
    assert_eq!(
        (&shown["answer"], &shown["score"]),
        (&json!(text), &json!(-0.5))
    );
    let id = finish.id.clone();
    let got = client.get(pb::GetFeedbackRequest { id }).await.unwrap();
    assert_eq!(got.into_inner().input_json, r#"{"prompt":"The clerk"}"#);
    let listed = client.list(pb::ListFeedbackRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().entries.len(), 1);
    let ask = pb::ExportFeedbackRequest {
        adapter: "legal".into(),
        format: "dpo".into(),
        min_score: None,
    };
    let mut rows = client.export(ask).await.unwrap().into_inner();
    let row = rows.message().await.unwrap().unwrap().lines;
    let row: Value = serde_json::from_str(&row).unwrap();
    assert_eq!(
        (&row["chosen"], &row["rejected"]),
        (&json!(" is Ada"), &json!(text))
    );
    let scores = pb::FeedbackScoresRequest {
        adapter: "legal".into(),
    };
    let scores = client.scores(scores).await.unwrap().into_inner().scores;
    assert_eq!((scores[0].down, scores[0].corrections), (1, 1));
    let mut training = TrainingClient::connect(daemon.grpc.clone()).await.unwrap();
    let ask = pb::RetrainRequest {
        name: "legal".into(),
        min_rows: Some(1),
        min_corrections: None,
        recipe: Some(pb::Recipe {
            steps: Some(1),
            ..Default::default()
        }),
    };
    let mut gated = ask.clone();
    gated.recipe.as_mut().unwrap().gate = Some("current".into());
    let refused = training.retrain(gated).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.metadata().get("error-param").unwrap(), "gate");
    assert!(refused.message().contains("`eval_split`"), "{refused}");
    let job = training.retrain(ask).await.unwrap().into_inner();
    assert_eq!(ended(&daemon, &job.id).await["status"], "succeeded");
    let gone = pb::DeleteFeedbackRequest {
        id: finish.id,
        key: String::new(),
    };
    assert!(client.delete(gone.clone()).await.is_ok());
    let missing = client.delete(gone).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    daemon.stop().await;
}
