//! Several adapters at once: in a request, and as an adapter of its own.

use adapterd::adapter::peft::{self, CONFIG_FILE, PROVENANCE_FILE, WEIGHTS_FILE};
use adapterd::pb;
use adapterd::pb::adapters_client::AdaptersClient;
use adapterd::pb::generate_event::Event;
use adapterd::pb::inference_client::InferenceClient;
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::calls::prompt;
use crate::harness::{Daemon, adapter, answer, tarball};

const TEXT: &str = "/v1/completions";

/// Scores a text, and greedily continues it.
fn ask(more: Value) -> Value {
    let mut body = json!({
        "prompt": "The clerk copies the name", "max_tokens": 8, "temperature": 0, "echo": true, "logprobs": 1,
        "ignore_eos": true, "return_token_ids": true,
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// Token ids and log-probabilities of an answer and its prompt.
fn told(body: &Value) -> (Vec<u64>, Vec<f64>) {
    let choice = &body["choices"][0];
    let ids = choice["token_ids"].as_array();
    let ids = ids.unwrap_or_else(|| panic!("{body}")).iter();
    let told = choice["logprobs"]["token_logprobs"].as_array().unwrap();
    (
        ids.map(|id| id.as_u64().unwrap()).collect(),
        told.iter().filter_map(Value::as_f64).collect(),
    )
}

async fn daemon() -> Daemon {
    let daemon = Daemon::with_adapters().await;
    daemon.publish("third", adapter("layers")).await;
    daemon.publish("scaled", adapter("ia3")).await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_blends_by_field_by_header_and_over_grpc() {
    let daemon = daemon().await;
    let blend = json!({"adapter": {"medical": 0.3, "legal": 0.7}});
    let (status, body) = daemon.post(TEXT, ask(blend)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["model"], "legal=0.7,medical=0.3");
    let digest = body["adapter_generation"].as_str().unwrap().to_owned();
    let (_, legal) = daemon.get("/v1/adapters/legal").await;
    assert!(digest.len() == 64 && legal["generation"] != digest.as_str());
    let request = daemon.client.post(format!("{}{TEXT}", daemon.http));
    let request = request.header("adapter", "legal=0.7,medical=0.3");
    let response = request.json(&ask(json!({}))).send().await.unwrap();
    assert_eq!(response.headers()["adapter-generation"], digest.as_str());
    let by_header: Value = response.json().await.unwrap();
    assert_eq!(told(&by_header), told(&body));
    let (_, other) = daemon
        .post(TEXT, ask(json!({"adapter": "legal=0.7,medical=0.4"})))
        .await;
    assert_ne!(other["adapter_generation"], body["adapter_generation"]);
    assert_ne!(told(&other).1, told(&body).1);

    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let by_map = pb::GenerateRequest {
        blend: [("legal".to_owned(), 0.7), ("medical".to_owned(), 0.3)].into(),
        ..prompt("The clerk copies the name")
    };
    let mut by_metadata = Request::new(prompt("The clerk copies the name"));
    let text = "legal=0.7,medical=0.3".parse().unwrap();
    by_metadata.metadata_mut().insert("adapter", text);
    for request in [Request::new(by_map), by_metadata] {
        let mut events = client.generate(request).await.unwrap().into_inner();
        let (mut ids, mut generation) = (Vec::new(), String::new());
        while let Some(event) = events.message().await.unwrap() {
            match event.event.unwrap() {
                Event::Token(token) => ids.extend(token.id.map(u64::from)),
                Event::Finish(finish) => generation = finish.adapter_generation,
                Event::Prompt(_) | Event::Called(_) => {}
            }
        }
        assert_eq!((ids, generation), (told(&body).0, digest.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blend_of_one_by_one_is_that_adapter_and_zeros_are_the_base() {
    let daemon = daemon().await;
    let (_, alone) = daemon.post(TEXT, ask(json!({"adapter": "legal"}))).await;
    let (_, blend) = daemon
        .post(
            TEXT,
            ask(json!({"adapter": {"legal": 1}, "cache_salt": "b"})),
        )
        .await;
    assert_eq!(told(&alone), told(&blend));
    assert_eq!(alone["adapter_generation"], blend["adapter_generation"]);
    let (_, beside) = daemon
        .post(
            TEXT,
            ask(json!({"adapter": {"legal": 1.0, "medical": 0.0}})),
        )
        .await;
    assert_eq!(told(&alone), told(&beside));
    let (_, base) = daemon.post(TEXT, ask(json!({}))).await;
    let (_, none) = daemon
        .post(TEXT, ask(json!({"adapter": {"legal": 0, "medical": 0}})))
        .await;
    assert_eq!(told(&base), told(&none));
    let (_, negative) = daemon
        .post(TEXT, ask(json!({"adapter": {"legal": -1.0}})))
        .await;
    assert_ne!(told(&negative).1, told(&base).1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blend_answers_the_same_alone_and_in_a_crowd() {
    let daemon = daemon().await;
    let choices = [
        json!({"adapter": {"legal": 0.7, "medical": 0.3}}),
        json!({"adapter": {"legal": 0.7, "medical": 0.3, "third": -0.5}}),
        json!({"adapter": "legal"}),
        json!({"adapter": "scaled"}),
        json!({}),
    ];
    let ask = |choice: &Value, salt: &str| {
        let mut body = ask(choice.clone());
        body["cache_salt"] = json!(salt);
        body
    };
    let mut alone = Vec::new();
    for choice in &choices {
        alone.push(told(&daemon.post(TEXT, ask(choice, "alone")).await.1));
    }
    let crowd = (0..15).map(|at| daemon.post(TEXT, ask(&choices[at % 5], &at.to_string())));
    let crowd = futures::future::join_all(crowd.collect::<Vec<_>>()).await;
    for (at, (status, body)) in crowd.into_iter().enumerate() {
        assert_eq!(status, 200, "{body}");
        assert_eq!(told(&body), alone[at % 5], "{}", choices[at % 5]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_blended_is_told_by_its_member() {
    let daemon = daemon().await;
    let nine: serde_json::Map<String, Value> =
        (0..9).map(|at| (format!("a{at}"), json!(1))).collect();
    for (adapter, status, param, code) in [
        (
            json!({"legal": 0.5, "nobody": 0.5}),
            404,
            "adapter",
            "adapter_not_found",
        ),
        (
            json!({"legal": 0.5, "scaled": 0.5}),
            400,
            "adapter.scaled",
            "invalid_value",
        ),
        (json!({"scaled": 1}), 400, "adapter.scaled", "invalid_value"),
        (
            json!({"legal": 1e9, "medical": 1}),
            400,
            "adapter.legal",
            "invalid_value",
        ),
        (
            json!({"legal": "half"}),
            400,
            "adapter.legal",
            "invalid_type",
        ),
        (json!({}), 400, "adapter", "invalid_value"),
        (Value::Object(nine), 400, "adapter", "invalid_value"),
        (json!("legal=0.5,medical"), 400, "adapter", "invalid_value"),
        (json!({"none": 0.5}), 400, "adapter.none", "invalid_value"),
    ] {
        let (got, body) = daemon.post(TEXT, ask(json!({"adapter": adapter}))).await;
        let error = &body["error"];
        assert_eq!(
            (got, &error["param"]),
            (status, &json!(param)),
            "{adapter}: {body}"
        );
        if status == 404 {
            assert_eq!(error["code"], code);
        }
    }
    let request = daemon.client.post(format!("{}{TEXT}", daemon.http));
    let request = request.json(&ask(json!({"adapter": {"legal": 0.7, "medical": 0.3}})));
    let (status, body) = answer(request.header("adapter", "legal")).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("adapter_conflict"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blend_becomes_an_adapter_that_answers_as_a_request_that_blends() {
    let daemon = daemon().await;
    let from = json!({"legal": 0.7, "medical": 0.3});
    let (status, view) = daemon
        .post("/v1/adapters/both/blend", json!({"from": from}))
        .await;
    assert_eq!(status, 200, "{view}");
    assert_eq!((&view["kind"], &view["rank"]), (&json!("lora"), &json!(13)));
    assert_eq!(view["source"], "blend:legal=0.7,medical=0.3");
    let (_, made) = daemon.post(TEXT, ask(json!({"adapter": "both"}))).await;
    let (_, asked) = daemon.post(TEXT, ask(json!({"adapter": from}))).await;
    let ((ids, made), (same, asked)) = (told(&made), told(&asked));
    assert_eq!(ids, same);
    for (made, asked) in made.iter().zip(&asked) {
        assert!((made - asked).abs() < 1e-4, "{made} {asked}");
    }
    // What it was made of goes with it.
    let url = format!("{}/v1/adapters/both/content", daemon.http);
    let content = daemon
        .client
        .get(url)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let mut archive = tar::Archive::new(&content[..]);
    let mut files = peft::Files::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        files.insert(name, bytes.into());
    }
    assert!(files.contains_key(CONFIG_FILE) && files.contains_key(WEIGHTS_FILE));
    let origin: Value = serde_json::from_slice(&files[PROVENANCE_FILE]).unwrap();
    let (_, legal) = daemon.get("/v1/adapters/legal").await;
    let first = &origin["blend"]["parents"][0];
    assert_eq!(first["generation"], legal["generation"]);
    assert_eq!(
        (&first["name"], &first["weight"]),
        (&json!("legal"), &json!(0.7))
    );
    assert_eq!(origin["blend"]["method"], "linear");
    let url = format!("{}/v1/adapters/copy", daemon.http);
    let request = daemon
        .client
        .put(url)
        .header("content-type", "application/x-tar");
    let (status, copy) = answer(request.body(tarball(&files, ""))).await;
    assert_eq!((status, &copy["generation"]), (200, &view["generation"]));

    // Reduced, it is another generation of the name; the same again is none.
    let reduced = json!({"from": "legal=0.7,medical=0.3", "rank": 4, "expected_generation": view["generation"]});
    let (status, smaller) = daemon
        .post("/v1/adapters/both/blend", reduced.clone())
        .await;
    assert_eq!((status, &smaller["rank"]), (200, &json!(4)), "{smaller}");
    assert_eq!(smaller["previous_generation"], view["generation"]);
    let (status, body) = daemon.post("/v1/adapters/both/blend", reduced).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (409, &json!("generation_mismatch"))
    );

    let mut client = AdaptersClient::connect(daemon.grpc.clone()).await.unwrap();
    let ask = pb::BlendAdapterRequest {
        name: "both".to_owned(),
        from: [("legal".to_owned(), 0.7), ("medical".to_owned(), 0.3)].into(),
        rank: Some(4),
        ..Default::default()
    };
    let again = client.blend(ask.clone()).await.unwrap().into_inner();
    assert_eq!(smaller["generation"], again.generation);
    let odd = pb::BlendAdapterRequest {
        method: "median".to_owned(),
        ..ask
    };
    let refused = client.blend(odd).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("median"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blend_that_cannot_be_made_names_what_is_wrong_and_changes_nothing() {
    let daemon = daemon().await;
    daemon.publish("large", adapter("layers")).await;
    for (body, status, param) in [
        (json!({"from": {"legal": 1, "nobody": 1}}), 404, "adapter"),
        (
            json!({"from": {"legal": 1, "scaled": 1}}),
            400,
            "from.scaled",
        ),
        (json!({"from": {"legal": 1e9}}), 400, "from.legal"),
        (json!({"from": {}}), 400, "from"),
        (json!({}), 400, "from"),
        (json!({"from": "legal"}), 400, "from"),
        (
            json!({"from": {"legal": 1}, "density": 0.5}),
            400,
            "density",
        ),
        (
            json!({"from": {"legal": 1}, "method": "ties", "density": 0}),
            400,
            "density",
        ),
        (
            json!({"from": {"legal": 1}, "method": "ties", "seed": 1}),
            400,
            "seed",
        ),
        (
            json!({"from": {"legal": 1}, "method": "mean"}),
            400,
            "method",
        ),
        (json!({"from": {"legal": 1}, "rank": 65}), 400, "rank"),
        // Joined, one layer would have rank 72.
        (json!({"from": {"legal": 1, "large": 1}}), 400, "rank"),
        (
            json!({"from": {"legal": 1}, "expected_generation": "1"}),
            400,
            "expected_generation",
        ),
    ] {
        let (got, answer) = daemon.post("/v1/adapters/new/blend", body.clone()).await;
        assert_eq!(
            (got, &answer["error"]["param"]),
            (status, &json!(param)),
            "{body}: {answer}"
        );
    }
    assert_eq!(daemon.get("/v1/adapters/new").await.0, 404);
    let (status, _) = daemon
        .post("/v1/adapters/llama/blend", json!({"from": {"legal": 1}}))
        .await;
    assert_eq!(status, 400, "the base's name");
}
