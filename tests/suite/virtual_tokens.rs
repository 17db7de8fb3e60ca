//! Prefixes and prompts over HTTP, from an upload to answers in which nobody sees a virtual token.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Daemon, chunks};
use crate::learning::{ended, rows, upload};

const COMPLETE: &str = "/v1/completions";

async fn train(daemon: &Daemon, name: &str, adapterd: Value) -> Value {
    let (_, file) = upload(daemon, rows(12)).await;
    let body = json!({"model": "llama", "training_file": file["id"], "suffix": name, "adapterd": adapterd});
    let (status, job) = daemon.post("/v1/fine_tuning/jobs", body).await;
    assert_eq!(status, 200, "{job}");
    let job = ended(daemon, job["id"].as_str().unwrap()).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn trained_virtual_tokens_answer_and_are_never_shown() {
    let daemon = Daemon::start().await;
    let steps = json!({"steps": 3, "lr": 0.01, "virtual_tokens": 6, "eval_split": 2});
    let of = |more: Value| {
        let mut fields = steps.clone();
        let all = fields.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        fields
    };
    let prompt = "The clerk is Ada.";
    let base = json!({"prompt": prompt, "max_tokens": 0, "echo": true, "logprobs": 1});
    let (_, base) = daemon.post(COMPLETE, base).await;
    let mut said = BTreeSet::from([base["choices"][0]["logprobs"].to_string()]);
    for (name, fields) in [
        ("prefix", of(json!({"method": "prefix"}))),
        (
            "projected",
            of(json!({"method": "prefix", "prefix_projection": true, "prefix_hidden": 8})),
        ),
        ("prompt", of(json!({"method": "prompt"}))),
        (
            "texted",
            of(json!({"method": "prompt", "prompt_text": "Copy the name."})),
        ),
    ] {
        let job = train(&daemon, name, fields.clone()).await;
        let (_, shown) = daemon.get(&format!("/v1/adapters/{name}")).await;
        assert_eq!(shown["kind"], fields["method"], "{shown}");

        // Scored: the prompt's own tokens, one of them without a number.
        let scored = json!({"model": name, "prompt": prompt, "max_tokens": 0, "echo": true, "logprobs": 1,
            "return_token_ids": true});
        let (status, scored) = daemon.post(COMPLETE, scored).await;
        assert_eq!(status, 200, "{scored}");
        let choice = &scored["choices"][0];
        assert_eq!(
            (&choice["text"], &scored["usage"]),
            (&base["choices"][0]["text"], &base["usage"])
        );
        let numbers = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        assert!(numbers[0].is_null() && numbers[1..].iter().all(Value::is_number));
        let ids = choice["prompt_token_ids"].as_array().unwrap();
        assert_eq!(ids.len(), numbers.len());
        assert!(
            said.insert(choice["logprobs"].to_string()),
            "{name} changes nothing"
        );

        // Two answers, whole and streamed, with and without what the cache has.
        let mut ask = json!({"model": name, "prompt": prompt, "max_tokens": 8, "n": 2, "seed": 3, "temperature": 0.7,
            "repetition_penalty": 1.1, "echo": true, "logprobs": 2, "ignore_eos": true});
        let (status, first) = daemon.post(COMPLETE, ask.clone()).await;
        assert_eq!(status, 200, "{first}");
        let (_, again) = daemon.post(COMPLETE, ask.clone()).await;
        assert_eq!(first["choices"], again["choices"], "{name}");
        assert_eq!(
            first["usage"]["prompt_tokens"],
            base["usage"]["prompt_tokens"]
        );
        assert_eq!(first["usage"]["completion_tokens"], 16);
        assert_eq!(first["adapter_generation"], job["adapterd"]["generation"]);
        ask["stream"] = json!(true);
        ask["stream_options"] = json!({"include_usage": true});
        let response = daemon
            .client
            .post(format!("{}{COMPLETE}", daemon.http))
            .json(&ask)
            .send();
        let (pieces, done) = chunks(&response.await.unwrap().text().await.unwrap());
        assert!(done);
        for choice in first["choices"].as_array().unwrap() {
            let own = pieces
                .iter()
                .flat_map(|piece| piece["choices"].as_array().unwrap());
            let own = own.filter(|piece| piece["index"] == choice["index"]);
            let text: String = own.map(|piece| piece["text"].as_str().unwrap()).collect();
            assert_eq!(choice["text"], text, "{name}");
        }
        let usage = &pieces.last().unwrap()["usage"];
        assert_eq!(usage["total_tokens"], first["usage"]["total_tokens"]);

        // Too long by the virtual tokens alone.
        let long = json!({"model": name, "prompt": vec![7; 506], "max_tokens": 1});
        let (status, refused) = daemon.post(COMPLETE, long).await;
        let message = refused["error"]["message"].as_str().unwrap();
        assert_eq!(
            (status, refused["error"]["param"].as_str()),
            (400, Some("prompt")),
            "{refused}"
        );
        assert!(message.contains("virtual tokens take 6"), "{message}");

        // Out and in again: the same generation. Trained further from there.
        let content = daemon
            .client
            .get(format!("{}/v1/adapters/{name}/content", daemon.http));
        let archive = content.send().await.unwrap().bytes().await.unwrap();
        let url = format!("{}/v1/adapters/{name}-again", daemon.http);
        let put = daemon
            .client
            .put(url)
            .header("content-type", "application/x-tar")
            .body(archive);
        let (status, view) = crate::harness::answer(put).await;
        assert_eq!(status, 200, "{view}");
        assert_eq!(view["generation"], shown["generation"]);
        let further = json!({"from": format!("{name}-again"), "steps": 1});
        let job = train(&daemon, "further", further).await;
        let recipe = &job["adapterd"]["recipe"];
        assert_eq!(recipe["virtual_tokens"], 6, "{recipe}");
        assert_eq!(
            recipe["prefix_projection"].as_bool(),
            fields["prefix_projection"]
                .as_bool()
                .or((name == "prefix").then_some(false))
        );
    }
    daemon.stop().await;
}
