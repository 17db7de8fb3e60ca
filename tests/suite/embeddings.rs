//! Vectors of texts: what transformers and PEFT make of them, in every form, by HTTP, gRPC and the command line.

use adapterd::pb;
use adapterd::pb::embed_request::Input;
use adapterd::pb::inference_client::InferenceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::command_line::{outcome, program};
use crate::harness::{BASE, Daemon, adapter, golden};

const EMBED: &str = "/v1/embeddings";

fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn vectors(body: &Value) -> Vec<Vec<f32>> {
    let data = body["data"].as_array().unwrap_or_else(|| panic!("{body}"));
    data.iter()
        .map(|item| numbers(&item["embedding"]))
        .collect()
}

fn assert_near(found: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() < 1e-3, "{what}: {a} and {b}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_those_of_transformers_and_of_peft() {
    let daemon = Daemon::start().await;
    for name in ["plain", "dora"] {
        daemon
            .publish(&format!("llama-{name}"), adapter(name))
            .await;
    }
    let expected = std::fs::read(golden("expected/embeddings.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let of_base = expected["vectors"].as_array().unwrap().iter();
    let mut compared = 0;
    for case in of_base.filter(|case| case["base"] == BASE) {
        for pooling in ["last", "mean"] {
            for input in [&case["text"], &case["ids"]] {
                let ask = json!({"input": input, "pooling": pooling, "adapter": case["adapter"]});
                let (status, body) = daemon.post(EMBED, ask).await;
                assert_eq!(status, 200, "{body}");
                let what = format!("{pooling} of {} with {}", case["text"], case["adapter"]);
                assert_near(&vectors(&body)[0], &numbers(&case[pooling]), &what);
                let tokens = case["ids"].as_array().unwrap().len();
                assert_eq!(
                    body["usage"],
                    json!({"prompt_tokens": tokens, "total_tokens": tokens})
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_come_in_the_order_of_their_texts_with_the_numbers_they_have_alone() {
    let daemon = Daemon::with_adapters().await;
    let texts: Vec<String> = (0..70)
        .map(|at| format!("The clerk of case {at} is Ada."))
        .collect();
    let ask = json!({"model": "legal", "input": texts, "pooling": "mean"});
    let (status, all) = daemon.post(EMBED, ask).await;
    assert_eq!(status, 200, "{all}");
    assert_eq!(
        (&all["object"], &all["model"]),
        (&json!("list"), &json!("legal"))
    );
    assert!(
        all["adapter_generation"]
            .as_str()
            .is_some_and(|hex| hex.len() == 64)
    );
    let all_vectors = vectors(&all);
    for at in [0, 13, 69] {
        assert_eq!(all["data"][at]["index"], at);
        assert_eq!(all["data"][at]["object"], "embedding");
        let ask = json!({"input": texts[at], "pooling": "mean", "adapter": "legal"});
        let (_, alone) = daemon.post(EMBED, ask).await;
        assert_near(&vectors(&alone)[0], &all_vectors[at], &texts[at]);
    }
    let (_, base) = daemon
        .post(EMBED, json!({"input": texts[0], "pooling": "mean"}))
        .await;
    assert_ne!(vectors(&base)[0], all_vectors[0]);
    assert!(base["adapter_generation"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_can_be_cut_and_packed() {
    let daemon = Daemon::start().await;
    let (_, whole) = daemon.post(EMBED, json!({"input": "Ada"})).await;
    let whole = vectors(&whole).remove(0);
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert_eq!(whole.len(), 64);
    assert!((length(&whole) - 1.0).abs() < 1e-6);
    let (_, cut) = daemon
        .post(
            EMBED,
            json!({"input": "Ada", "dimensions": 8, "user": "me"}),
        )
        .await;
    let cut = vectors(&cut).remove(0);
    assert!((length(&cut) - 1.0).abs() < 1e-6);
    let scale = length(&whole[..8]);
    let by_hand: Vec<f32> = whole[..8].iter().map(|x| x / scale).collect();
    assert_near(&cut, &by_hand, "cut");
    let ask = json!({"input": "Ada", "encoding_format": "base64"});
    let (_, packed) = daemon.post(EMBED, ask).await;
    let packed = packed["data"][0]["embedding"].as_str().unwrap();
    assert_eq!(unpacked(packed), whole);
}

/// Floats from base64, as a client reads them.
fn unpacked(text: &str) -> Vec<f32> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other}"),
    };
    let letters = text.trim_end_matches('=').bytes().map(value);
    let bits: Vec<u8> = letters
        .flat_map(|six| (0..6).rev().map(move |at| (six >> at) & 1))
        .collect();
    let bytes: Vec<u8> = bits
        .chunks_exact(8)
        .map(|byte| byte.iter().fold(0, |sum, bit| (sum << 1) | bit))
        .collect();
    let floats = bytes.chunks_exact(4);
    floats
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_embedded_is_refused_by_its_field() {
    let daemon = Daemon::with_adapters().await;
    let long = vec![1; 600];
    for (ask, status, param) in [
        (json!({}), 400, "input"),
        (json!({"input": []}), 400, "input"),
        (json!({"input": vec!["a"; 2049]}), 400, "input"),
        (json!({"input": [[1], [99_999]]}), 400, "input[1]"),
        (json!({"input": long}), 400, "input"),
        (json!({"input": "a", "dimensions": 65}), 400, "dimensions"),
        (json!({"input": "a", "dimensions": 0}), 400, "dimensions"),
        (json!({"input": "a", "pooling": "max"}), 400, "pooling"),
        (
            json!({"input": "a", "encoding_format": "hex"}),
            400,
            "encoding_format",
        ),
        (json!({"input": "a", "normalize": false}), 400, "normalize"),
        (json!({"input": "a", "adapter": "tax"}), 404, "adapter"),
        (json!({"input": "a", "model": "gpt-4o"}), 404, "model"),
    ] {
        let (told, body) = daemon.post(EMBED, ask.clone()).await;
        assert_eq!(told, status, "{ask}: {body}");
        assert_eq!(body["error"]["param"], param, "{ask}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_give_the_same_vectors() {
    let daemon = Daemon::with_adapters().await;
    let mut client = InferenceClient::connect(daemon.grpc.clone()).await.unwrap();
    let texts = ["The clerk", "Ada"];
    let ask = json!({"input": texts, "adapter": "medical", "pooling": "mean", "dimensions": 16});
    let (_, http) = daemon.post(EMBED, ask).await;
    let ask = pb::EmbedRequest {
        adapter: "medical".into(),
        input: Some(Input::Texts(pb::Texts {
            texts: texts.map(str::to_owned).to_vec(),
        })),
        pooling: "mean".into(),
        dimensions: Some(16),
        ..pb::EmbedRequest::default()
    };
    let response = client.embed(ask.clone()).await.unwrap();
    let generation = response.metadata().get("adapter-generation").unwrap();
    assert_eq!(generation.to_str().unwrap(), http["adapter_generation"]);
    let told = response.into_inner();
    assert_eq!(told.adapter_generation, http["adapter_generation"]);
    let found: Vec<Vec<f32>> = told.embeddings.into_iter().map(|e| e.values).collect();
    assert_eq!(found, vectors(&http));
    let tokens = told.usage.unwrap().prompt_tokens;
    assert_eq!(http["usage"]["prompt_tokens"], tokens);
    for (wrong, code) in [
        (
            pb::EmbedRequest {
                input: None,
                ..ask.clone()
            },
            Code::InvalidArgument,
        ),
        (
            pb::EmbedRequest {
                pooling: "max".into(),
                ..ask.clone()
            },
            Code::InvalidArgument,
        ),
        (
            pb::EmbedRequest {
                dimensions: Some(65),
                ..ask.clone()
            },
            Code::InvalidArgument,
        ),
        (
            pb::EmbedRequest {
                adapter: "tax".into(),
                ..ask.clone()
            },
            Code::NotFound,
        ),
    ] {
        assert_eq!(client.embed(wrong).await.unwrap_err().code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_a_vector_a_line() {
    let daemon = Daemon::with_adapters().await;
    let at = ["--server", &daemon.http];
    let (_, http) = daemon
        .post(EMBED, json!({"input": ["Ada", "Zoe"], "adapter": "legal"}))
        .await;
    let texts = ["embed", "Ada", "Zoe", "--adapter", "legal"];
    let (code, out, err) = outcome(program(&[&at[..], &texts].concat())).await;
    assert_eq!(code, 0, "{err}");
    let lines: Vec<Vec<f32>> = out
        .lines()
        .map(|line| line.split(' ').map(|x| x.parse().unwrap()).collect())
        .collect();
    assert_eq!(lines, vectors(&http));
    let (code, out, _) = outcome(program(&[&at[..], &texts, &["--json"]].concat())).await;
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), http);
    let mistaken = ["embed", "Ada", "--pooling", "max"];
    let (code, _, _) = outcome(program(&[&at[..], &mistaken].concat())).await;
    assert_eq!(code, 2);
}
