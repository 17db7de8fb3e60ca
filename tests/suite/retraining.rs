//! Names that learn from feedback: asked to, and by rules.

use std::time::Duration;

use adapterd::domain::AdapterName;
use adapterd::gateway::{RetrainRule, Wishes};
use serde_json::{Value, json};

use crate::feedback::{asked, capturing, give};
use crate::harness::{Daemon, PATIENCE};
use crate::keys::ids;
use crate::learning::ended;

/// So many corrected answers of `legal`.
async fn correct(daemon: &Daemon, count: usize) {
    for n in 0..count {
        let (id, _) = asked(daemon, "legal", &format!("Name clerk {n}.")).await;
        let body = json!({"id": id, "score": -1, "correction": format!("Ada {n}")});
        let (status, given) = give(daemon, body).await;
        assert_eq!(status, 200, "{given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_learns_from_what_is_new_and_from_what_it_learned_before() {
    let daemon = Daemon::hearing(capturing(&[], &[]), false).await;
    let retrain = async |body: Value| daemon.post("/v1/adapters/legal/retrain", body).await;
    let steps = json!({"steps": 1, "batch_size": 4, "lr": 0.001});
    let (status, refused) = retrain(steps.clone()).await;
    assert_eq!(status, 409, "{refused}");
    // What no feedback could mend is told before there is any.
    for (body, param) in [
        (json!({"gate": "heldout"}), "gate"),
        (
            json!({"publish": "canary:10,max_heldout_loss_ratio=1.1"}),
            "publish",
        ),
    ] {
        let (status, refused) = retrain(body).await;
        let told = &refused["error"];
        assert_eq!((status, &told["param"]), (400, &json!(param)), "{refused}");
        assert!(told["message"].as_str().unwrap().contains("`eval_split`"));
    }
    correct(&daemon, 3).await;
    let (status, refused) = retrain(json!({"min_rows": 4})).await;
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(status == 409 && why.contains("3 new rows"), "{refused}");
    let (status, refused) = retrain(json!({"min_corrections": 4})).await;
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(
        status == 409 && why.contains("3 new corrections"),
        "{refused}"
    );
    for (body, param) in [
        (json!({"from": "medical"}), "from"),
        (json!({"lr": -1}), "lr"),
        (json!({"rang": 1}), "rang"),
    ] {
        let (status, refused) = retrain(body).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &json!(param)));
    }
    let (status, _) = daemon.post("/v1/adapters/nobody/retrain", json!({})).await;
    assert_eq!(status, 404);
    // What was refused left no file, and used nothing.
    let (_, files) = daemon.get("/v1/files").await;
    assert_eq!(ids(&files), Vec::<&str>::new());

    let (_, before) = daemon.get("/v1/adapters/legal").await;
    let (status, job) = retrain(steps.clone()).await;
    assert_eq!(status, 200, "{job}");
    let parent = format!("legal@{}", before["generation"].as_str().unwrap());
    assert!(job.to_string().contains(&parent), "{job}");
    assert_eq!(job["metadata"]["feedback_rows"], "3");
    let (status, again) = retrain(steps.clone()).await;
    assert_eq!(status, 409, "{again}");
    let id = job["id"].as_str().unwrap();
    let done = ended(&daemon, id).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    let (_, after) = daemon.get("/v1/adapters/legal").await;
    assert_eq!(after["previous_generation"], before["generation"]);
    let (_, listed) = daemon.get("/v1/feedback").await;
    let used = listed["data"].as_array().unwrap();
    assert!(used.iter().all(|entry| entry["used_by"] == id), "{listed}");
    assert_eq!(retrain(steps.clone()).await.0, 409, "nothing is new");

    correct(&daemon, 2).await;
    let (status, job) = retrain(steps).await;
    assert_eq!(status, 200, "{job}");
    assert_eq!(
        (
            &job["metadata"]["feedback_rows"],
            &job["metadata"]["replayed_rows"]
        ),
        (&json!("2"), &json!("3"))
    );
    let file = job["training_file"].as_str().unwrap();
    let url = format!("{}/v1/files/{file}/content", daemon.http);
    let rows = daemon.client.get(url).send().await.unwrap();
    let rows = rows.text().await.unwrap();
    let answers: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str::<Value>(row).unwrap()["messages"][1]["content"].clone())
        .collect();
    assert_eq!(answers, ["Ada 0", "Ada 1", "Ada 2", "Ada 0", "Ada 1"]);
    let done = ended(&daemon, job["id"].as_str().unwrap()).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_retrains_a_name_when_there_is_enough() {
    let daemon = Daemon::hearing(capturing(&[], &[]), false).await;
    let rule = RetrainRule {
        adapter: "legal".parse::<AdapterName>().unwrap(),
        min_rows: 2,
        min_corrections: 2,
        every: Duration::from_secs(3600),
        wishes: Wishes {
            steps: Some(1),
            batch_size: Some(2),
            ..Wishes::default()
        },
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let rules = daemon.gateway.clone().retrain_by(vec![rule], async {
        // Dropped at the end of the test.
        let _ = stopped.await;
    });
    let rules = tokio::spawn(rules);
    correct(&daemon, 1).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let (_, jobs) = daemon.get("/v1/fine_tuning/jobs").await;
    assert_eq!(ids(&jobs), Vec::<&str>::new(), "one row is not enough");
    correct(&daemon, 2).await;
    let made = async {
        loop {
            let (_, jobs) = daemon.get("/v1/fine_tuning/jobs").await;
            if let Some(id) = ids(&jobs).first() {
                return (*id).to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let id = tokio::time::timeout(PATIENCE, made).await.expect("a job");
    let done = ended(&daemon, &id).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    drop(stop);
    rules.await.unwrap();
    let (_, jobs) = daemon.get("/v1/fine_tuning/jobs").await;
    assert_eq!(ids(&jobs), [id.as_str()], "what was used starts no other");
    daemon.stop().await;
}
