//! Damaged files and requests: whatever they hold is read or refused, and the daemon goes on. The same bodies run under
//! `cargo fuzz` (`fuzz/`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::harness::{Daemon, adapter, golden, tarball};

#[path = "../../fuzz/bodies.rs"]
mod bodies;

const SEED: u64 = 11;
/// Even where the machine is busy.
const LONGEST: Duration = Duration::from_secs(30);

/// Numbers that lengths, counts and offsets are read wrong from.
const TELLING: [u64; 8] = [
    0,
    1,
    0xff,
    u32::MAX as u64,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A good file with a few things wrong.
fn damaged(good: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            break;
        }
        // Most formats say at their beginning what follows.
        let within = match rng.random_bool(0.5) {
            true => bytes.len().min(512),
            false => bytes.len(),
        };
        let at = rng.random_range(0..within);
        let span = rng.random_range(1..=64).min(bytes.len() - at);
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + span)),
            4 => {
                let again = bytes[at..at + span].to_vec();
                bytes.splice(at..at, again);
            }
            5 => {
                let number = TELLING[rng.random_range(0..TELLING.len())].to_le_bytes();
                let span = span.min(8);
                bytes[at..at + span].copy_from_slice(&number[..span]);
            }
            _ => {
                let noise: Vec<u8> = (0..span).map(|_| rng.random()).collect();
                bytes.splice(at..at, noise);
            }
        }
    }
    bytes
}

/// Good files of a format.
fn good(format: &str) -> Vec<Vec<u8>> {
    let read = |path: &str| std::fs::read(golden(path)).unwrap();
    let text = |text: &str| text.as_bytes().to_vec();
    match format {
        "gguf" => vec![read("gguf/llama-yarn-q8_0.gguf")],
        "adapter_tensors" => vec![read("adapters/llama-plain/adapter_model.safetensors")],
        "adapter_config" => vec![
            read("adapters/llama-plain/adapter_config.json"),
            read("adapters/llama-patterns/adapter_config.json"),
        ],
        "training_rows" => vec![
            text(
                r#"{"instruction": "say it", "input": "now", "output": "it"}
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}
{"prompt": "one", "completion": "two"}
{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
"#,
            ),
            text(r#"[{"prompt": "a", "chosen": "b", "rejected": "c"}, {"text": "d"}]"#),
        ],
        "chat_template" => vec![text(
            "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[{{ m['content'] | trim }}]\
             {% elif loop.index0 % 2 == 0 %}{{ m.content.split(' ')[0] }}{% else %}{{ m | tojson(indent=2) }}\
             {% endif %}{% endfor %}{% if tools %}{{ tools[0].function.name }}{% endif %}\
             {% macro f(x, y=2) %}{{ x ~ y }}{% endmacro %}{{ f('a' * 3) }}{{ '%s-%d' % ('b', 4) }}",
        )],
        "recipes" => vec![
            text(
                r#"{"train_micro_batch_size_per_gpu": 2, "fp16": {"enabled": true, "loss_scale": 0, "hysteresis": 2},
                    "optimizer": {"type": "AdamW", "params": {"lr": 3e-4, "betas": [0.9, 0.95]}},
                    "zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}}"#,
            ),
            text(
                r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "bias": "none"}"#,
            ),
            text(
                r#"{"per_device_train_batch_size": 4, "learning_rate": 2e-4, "bf16": true, "num_train_epochs": 3}"#,
            ),
        ],
        "settings" => vec![text(
            "[server]\nhttp = \"127.0.0.1:0\"\n[training]\nmin_share = 0.1\n[limits]\nweights = { legal = 2.0 }\n",
        )],
        "sse" => vec![text(
            "data: {\"choices\": [{\"delta\": {\"content\": \"a\"}}]}\n\ndata: {\"error\": {\"message\": \"no\"}}\n\ndata: [DONE]\n\n",
        )],
        other => panic!("no good file of {other}"),
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    for (format, body) in bodies::ALL {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        for good in good(format) {
            body(&good);
            for turn in 0..200 {
                let bytes = damaged(&good, &mut rng);
                let begun = Instant::now();
                let done = catch_unwind(AssertUnwindSafe(|| body(&bytes)));
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]);
                assert!(done.is_ok(), "{format}, turn {turn}: panics on {shown:?}");
                let took = begun.elapsed();
                assert!(took < LONGEST, "{format}, turn {turn}: {took:?}, {shown:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_requests_are_answered_and_the_daemon_goes_on() {
    let daemon = Daemon::with_adapters().await;
    let chat = json!({
        "model": "legal", "max_tokens": 2, "temperature": 0.5, "stop": ["x"], "n": 2, "logprobs": true,
        "top_logprobs": 2, "logit_bias": {"5": -1.5}, "messages": [{"role": "user", "content": "hello"}],
    });
    let completion =
        json!({"prompt": [[1, 2, 3], [4]], "max_tokens": 1, "echo": true, "logprobs": 1});
    let form = "--edge\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n--edge\r\n\
                Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n\
                {\"prompt\": \"a\", \"completion\": \"b\"}\n\r\n--edge--\r\n";
    let folder = tarball(&adapter("plain"), "");
    let posts = [
        (
            "POST",
            "/v1/chat/completions",
            "application/json",
            chat.to_string().into_bytes(),
        ),
        (
            "POST",
            "/v1/completions",
            "application/json",
            completion.to_string().into_bytes(),
        ),
        (
            "POST",
            "/v1/files",
            "multipart/form-data; boundary=edge",
            form.as_bytes().to_vec(),
        ),
        ("PUT", "/v1/adapters/other", "application/x-tar", folder),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for (verb, path, kind, good) in posts {
        for turn in 0..60 {
            let bytes = damaged(&good, &mut rng);
            let request = daemon
                .client
                .request(verb.parse().unwrap(), format!("{}{path}", daemon.http))
                .header("content-type", kind)
                .body(bytes.clone());
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(1000)]);
            assert!(
                status < 500,
                "{path}, turn {turn}: {status} {text}, {shown:?}"
            );
        }
    }
    let (status, answer) = daemon.post("/v1/chat/completions", chat).await;
    assert_eq!(status, 200, "{answer}");
    daemon.stop().await;
}
