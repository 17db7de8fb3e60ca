//! What whoever draws traces is told of requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapterd::api::{Ended, Parent, Status, Traces};
use adapterd::gateway::{Operation, Told};
use adapterd::pb;
use adapterd::pb::inference_client::InferenceClient;
use serde_json::json;
use tonic::Request;

use crate::harness::{Daemon, answer};

/// Keeps what it is told, in the order in which requests ended.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Seen>>);

#[derive(Debug, Clone)]
struct Seen {
    protocol: &'static str,
    id: String,
    parent: Option<Parent>,
    route: String,
    status: Status,
    told: Told,
    began: std::time::Instant,
    ended: std::time::Instant,
}

impl Traces for Kept {
    fn ended(&self, request: &Ended<'_>) {
        self.0.lock().unwrap().push(Seen {
            protocol: request.arrival.protocol,
            id: request.arrival.id.clone(),
            parent: request.arrival.parent.clone(),
            route: request.route.to_owned(),
            status: request.status,
            told: request.told.clone(),
            began: request.arrival.began,
            ended: request.at,
        });
    }

    fn lost(&self) -> u64 {
        0
    }
}

impl Kept {
    async fn after(&self, count: usize) -> Seen {
        for _ in 0..500 {
            if let Some(seen) = self.0.lock().unwrap().get(count - 1) {
                return seen.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {count} requests have ended");
    }
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_told_its_callers_span_and_when_each_part_was_done() {
    let kept = Arc::new(Kept::default());
    let traces = kept.clone();
    let daemon = Daemon::changed(true, |config| config.common.traces = Some(traces)).await;
    let (id, key) = daemon.key("infer", "*").await;
    let ask =
        json!({"prompt": "a secret text", "max_tokens": 3, "ignore_eos": true, "temperature": 0});
    let request = daemon.request(&key, "POST", "/v1/completions").json(&ask);
    let request = request.header("x-request-id", "trace-7");
    let request = request.header("traceparent", PARENT);
    assert_eq!(answer(request.header("tracestate", "a=1")).await.0, 200);

    let seen = kept.after(1).await;
    assert_eq!((seen.protocol, &*seen.id), ("http", "trace-7"));
    assert_eq!(
        (&*seen.route, seen.status),
        ("/v1/completions", Status::Http(200))
    );
    let parent = seen.parent.clone().unwrap();
    assert_eq!((parent.trace[0], parent.span[7]), (0x4b, 0xb7));
    assert!(parent.sampled && parent.state == "a=1");
    let told = &seen.told;
    assert_eq!(told.key.as_deref(), Some(&*id.to_string()));
    assert_eq!(told.generated_tokens, Some(3));
    assert_eq!(told.finished.len(), 1);
    let wish = told.wish.as_ref().unwrap();
    assert_eq!(wish.operation, Operation::Completion);
    assert_eq!(wish.sampling.as_ref().unwrap().temperature, 0.0);
    let times = [
        Some(seen.began),
        told.asked,
        told.tokenized.max(told.leased),
        told.submitted,
        told.begun,
        told.first_token,
        told.last_token,
        told.done,
        Some(seen.ended),
    ];
    assert!(
        times.iter().all(Option::is_some) && times.is_sorted(),
        "{times:?}"
    );
    assert!(!format!("{seen:?}").contains("secret text"));
    assert!(!format!("{seen:?}").contains(&key));

    // A model that does not exist is repeated nowhere.
    let ask = json!({"model": "secret-name", "prompt": "a"});
    let request = daemon.request(&key, "POST", "/v1/completions").json(&ask);
    let (status, _) = answer(request.header("traceparent", "00-broken")).await;
    assert_eq!(status, 404);
    let seen = kept.after(2).await;
    assert_eq!((seen.parent.clone(), seen.told.submitted), (None, None));
    assert!(!format!("{seen:?}").contains("secret-name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_vectors_have_traces_too() {
    let kept = Arc::new(Kept::default());
    let traces = kept.clone();
    let daemon = Daemon::changed(false, |config| config.common.traces = Some(traces)).await;
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let mut request = Request::new(pb::TokenizeRequest {
        input: Some(pb::tokenize_request::Input::Prompt("a".into())),
        ..Default::default()
    });
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", PARENT.parse().unwrap());
    client.tokenize(request).await.unwrap();
    let seen = kept.after(1).await;
    assert_eq!((seen.protocol, seen.status), ("grpc", Status::Grpc("OK")));
    assert!(seen.parent.is_some() && seen.told.wish.is_none());

    let ask = json!({"model": "llama", "input": ["one", "two"]});
    assert_eq!(daemon.post("/v1/embeddings", ask).await.0, 200);
    let told = kept.after(2).await.told;
    assert_eq!(told.wish.unwrap().operation, Operation::Embeddings);
    assert_eq!(
        (told.requested.as_deref(), told.model.as_deref()),
        (Some("llama"), Some("llama"))
    );
    assert!(told.prompt_tokens > Some(1) && told.begun <= told.done && told.done.is_some());
}
