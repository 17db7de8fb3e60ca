//! Recipes from elsewhere, through each door: the same files say the same, and what they became is kept with the job.

use std::process::{Command, Stdio};

use adapterd::pb;
use adapterd::pb::training_client::TrainingClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Daemon, PATIENCE};
use crate::learning::{rows, upload};

fn deepspeed() -> Value {
    json!({
        "train_batch_size": 4, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": "auto",
        "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": [0.8, 0.99]}},
        "scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 4, "warmup_num_steps": "auto"}},
        "bf16": {"enabled": true},
        "zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}},
    })
}

fn peft_config() -> Value {
    json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]})
}

fn training_args() -> Value {
    json!({"learning_rate": 1e-3, "max_steps": -1, "group_by_length": true, "seed": 7})
}

/// The file, and a body that brings all three recipes.
async fn asked(daemon: &Daemon) -> (String, Value) {
    let (_, file) = upload(daemon, rows(12)).await;
    let id = file["id"].as_str().unwrap().to_owned();
    let body = json!({
        "model": "llama", "training_file": id, "suffix": "clerk",
        "adapterd": {"deepspeed": deepspeed(), "peft_config": peft_config(), "training_args": training_args()},
    });
    (id, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_grpc_make_the_same_job_of_the_same_files() {
    let daemon = Daemon::start().await;
    let (file, body) = asked(&daemon).await;
    let (status, job) = daemon.post("/v1/fine_tuning/jobs", body).await;
    assert_eq!(status, 200, "{job}");
    let recipe = &job["adapterd"]["recipe"];
    for (field, value) in [
        ("rank", json!(4)),
        ("batch_size", json!(4)),
        ("accumulate", json!(2)),
        ("learning_rate", json!(1e-3)),
        ("adam_beta1", json!(0.8)),
        ("steps", json!(4)),
        ("seed", json!(7)),
        ("precision", json!("bf16")),
        ("offload_optimizer", json!("host")),
        ("targets", json!(["q_proj", "v_proj"])),
    ] {
        assert_eq!(recipe[field], value, "{field}");
    }
    let mappings = job["adapterd"]["mappings"].as_array().unwrap();
    let stage = { mappings.iter() }
        .find(|mapping| mapping["key"] == "deepspeed.zero_optimization.stage")
        .unwrap();
    assert_eq!(
        stage["becomes"],
        "the base is held once, quantized; nothing to shard on one device"
    );
    let id = job["id"].as_str().unwrap();
    let (_, kept) = daemon.get(&format!("/v1/fine_tuning/jobs/{id}")).await;
    assert_eq!(kept["adapterd"]["mappings"], job["adapterd"]["mappings"]);
    let (_, events) = daemon
        .get(&format!("/v1/fine_tuning/jobs/{id}/events?limit=100"))
        .await;
    let warned = events["data"].as_array().unwrap().iter().any(|event| {
        let message = event["message"].as_str().unwrap();
        event["level"] == "warn" && message.starts_with("training_args.group_by_length = true → ")
    });
    assert!(warned, "{events}");

    let mut client = TrainingClient::connect(daemon.grpc.clone()).await.unwrap();
    let recipe = pb::Recipe {
        deepspeed: Some(deepspeed().to_string()),
        peft_config: Some(peft_config().to_string()),
        training_args: Some(training_args().to_string()),
        ..Default::default()
    };
    let ask = pb::CreateJobRequest {
        training_file: file,
        name: "other".into(),
        recipe: Some(recipe),
        ..Default::default()
    };
    let called = client.create_job(ask).await.unwrap().into_inner();
    let told: Vec<Value> = { called.mappings.iter() }
        .map(|mapping| {
            json!({
                "key": mapping.key, "value": serde_json::from_str::<Value>(&mapping.value).unwrap(),
                "becomes": mapping.becomes, "effect": mapping.effect,
            })
        })
        .collect();
    assert_eq!(&told, mappings);
    assert_eq!(called.recipe.unwrap().rank, Some(4));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_key_as_its_door_does() {
    let daemon = Daemon::start().await;
    let (file, _) = asked(&daemon).await;
    for (settings, param) in [
        (
            json!({"deepspeed": {"zero_optimization": {"stag": 3}}}),
            "adapterd.deepspeed.zero_optimization.stag",
        ),
        (
            json!({"lr": 0.1, "deepspeed": {"optimizer": {"params": {"lr": 0.2}}}}),
            "adapterd.deepspeed.optimizer.params.lr",
        ),
        // Found by the trainer, long after the file was read.
        (
            json!({"training_args": {"max_length": 100_000}}),
            "adapterd.training_args.max_length",
        ),
        (json!({"deepspeed": "ds.json"}), "adapterd.deepspeed"),
    ] {
        let body = json!({"training_file": file, "adapterd": settings, "hyperparameters": {"n_epochs": 1}});
        let (status, refused) = daemon.post("/v1/fine_tuning/jobs", body).await;
        assert_eq!(
            (status, &refused["error"]["param"]),
            (400, &json!(param)),
            "{refused}"
        );
    }
    let mut client = TrainingClient::connect(daemon.grpc.clone()).await.unwrap();
    for (text, param) in [
        (
            r#"{"zero_optimization": {"stag": 3}}"#,
            "deepspeed.zero_optimization.stag",
        ),
        (r#"{"a": 1, "a": 1}"#, "deepspeed"),
    ] {
        let recipe = pb::Recipe {
            deepspeed: Some(text.into()),
            ..Default::default()
        };
        let ask = pb::CreateJobRequest {
            training_file: file.clone(),
            recipe: Some(recipe),
            ..Default::default()
        };
        let refused = client.create_job(ask).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.metadata().get("error-param").unwrap(), param);
    }
    daemon.stop().await;
}

async fn train(daemon: &Daemon, folder: &std::path::Path, flags: &[&str]) -> (i32, String, String) {
    let data = folder.join("rows.jsonl");
    std::fs::write(&data, rows(12)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_adapterd"));
    command
        .args([
            "train",
            "--name",
            "clerk",
            "--server",
            &daemon.http,
            "--data",
        ])
        .arg(data)
        .args(flags)
        .env_clear()
        .stdin(Stdio::null());
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    let done = tokio::time::timeout(PATIENCE, running).await;
    let done = done.expect("the command ends").unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_what_each_key_becomes_before_the_job_starts() {
    let daemon = Daemon::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ds, peft, args) = (
        write("ds.json", deepspeed()),
        write("adapter_config.json", peft_config()),
        write("args.json", training_args()),
    );
    let flags = [
        "--deepspeed",
        &ds,
        "--peft-config",
        &peft,
        "--training-args",
        &args,
    ];
    let (code, told, said) =
        train(&daemon, folder.path(), &[&flags[..], &["--wait"]].concat()).await;
    assert_eq!(code, 0, "{told}{said}");
    let line = |start: &str| {
        let mut lines = told.lines();
        let at = lines.position(|line| line.starts_with(start));
        at.unwrap_or_else(|| panic!("{start}: {told}"))
    };
    let stage = line("deepspeed.zero_optimization.stage = 3");
    assert!(
        told.lines()
            .nth(stage)
            .unwrap()
            .ends_with("→ the base is held once, quantized; nothing to shard on one device")
    );
    assert!(line("peft_config.r = 4") < line("step 1/4"));
    let (_, jobs) = daemon.get("/v1/fine_tuning/jobs").await;
    let id = jobs["data"][0]["id"].as_str().unwrap();
    let mut show = Command::new(env!("CARGO_BIN_EXE_adapterd"));
    show.args(["job", "show", id, "--server", &daemon.http])
        .env_clear();
    let shown = tokio::task::spawn_blocking(move || show.output().unwrap())
        .await
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("deepspeed.zero_optimization.stage = 3"),
        "{shown}"
    );

    // A mistake is found before the data is sent.
    let bad = write("bad.json", json!({"zero_optimization": {"stage": 9}}));
    let (_, before) = daemon.get("/v1/files").await;
    let (code, _, said) = train(&daemon, folder.path(), &["--deepspeed", &bad]).await;
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("deepspeed.zero_optimization.stage: `9` is none of"),
        "{said}"
    );
    let (code, _, said) = train(
        &daemon,
        folder.path(),
        &[&flags[..], &["--rank", "8"]].concat(),
    )
    .await;
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("peft_config.r: 4 contradicts `rank` = 8"),
        "{said}"
    );
    let (_, after) = daemon.get("/v1/files").await;
    assert_eq!(before, after);
    daemon.stop().await;
}
