//! `adapter merge`, as people run it.

use std::path::Path;
use std::process::{Command, Stdio};

use adapterd::model::{Base, KvKind, Origin};
use serde_json::Value;

use crate::harness::{Daemon, golden};

/// Exit code, standard output, standard error.
async fn adapterd(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adapterd"));
    command.args(args).env_clear().stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || command.output().unwrap());
    let done = done.await.unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_of_a_daemon_is_merged_into_the_base_it_serves() {
    let daemon = Daemon::with_adapters().await;
    let dir = tempfile::tempdir().unwrap();
    let model = golden("models/llama").display().to_string();
    let rows = dir.path().join("rows.jsonl");
    std::fs::write(
        &rows,
        "{\"prompt\": \"The clerk\", \"completion\": \" copies the name.\"}\n",
    )
    .unwrap();
    for (out, format) in [("merged", "hf"), ("merged.gguf", "gguf")] {
        let path = dir.path().join(out);
        let (code, told, said) = adapterd(&[
            "adapter",
            "merge",
            "legal",
            path.to_str().unwrap(),
            "--server",
            &daemon.http,
            "--model",
            &model,
            "--heldout",
            rows.to_str().unwrap(),
            "--json",
        ])
        .await;
        assert_eq!(code, 0, "{said}");
        let report: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(
            (&report["format"], &report["kind"]),
            (&format.into(), &"lora".into())
        );
        let (_, legal) = daemon.get("/v1/adapters/legal").await;
        assert_eq!(report["generation"], legal["generation"]);
        let compared = &report["compared"];
        assert_eq!(
            (&compared["of"], &compared["rows"]),
            (&"1 held-out rows".into(), &1.into())
        );
        let most = compared["largest_log_probability_difference"]
            .as_f64()
            .unwrap();
        assert!(most < 0.5, "{report}");
        let origin = match format {
            "hf" => Origin::Folder(path),
            _ => Origin::Gguf(path),
        };
        let base = Base::open(&origin, None, KvKind::Auto).unwrap();
        assert_eq!(base.name, "merged");
        assert!(!base.template.source().is_empty());
    }
    // Another base than the daemon's.
    let out = dir.path().join("other");
    let out = out.to_str().unwrap();
    let of = ["adapter", "merge", "legal", out, "--server", &daemon.http];
    let (code, _, said) = adapterd(&[&of[..], &["--model", "embedded"]].concat()).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("llama") && said.contains("--model"), "{said}");
    let nobody = [
        "adapter",
        "merge",
        "nobody",
        out,
        "--server",
        &daemon.http,
        "--model",
        &model,
    ];
    let (code, _, said) = adapterd(&nobody).await;
    assert_eq!((code, said.contains("nobody")), (1, true), "{said}");
    assert_eq!(names(dir.path()), ["merged", "merged.gguf", "rows.jsonl"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_merged_is_told_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let model = golden("models/llama").display().to_string();
    let adapter = golden("adapters/llama-plain").display().to_string();
    let paths = ["taken", "x.gguf", "x", "none", "nowhere", "absent/x"].map(at);
    let [taken, file, folder, none, nowhere, absent] = paths.each_ref().map(|path| path.as_str());
    let adapter = adapter.as_str();
    let cases: [(&[&str], i32, &str); 9] = [
        (&[adapter, taken], 2, "exists already"),
        (&[adapter, folder, "--format", "gguf"], 2, ".gguf"),
        (&[adapter, file, "--format", "hf"], 2, ".gguf"),
        (&[adapter, folder, "--format", "onnx"], 2, "onnx"),
        (&[adapter, folder, "--quant", "q8_0"], 2, "--format gguf"),
        (&[adapter, folder, "--quant", "q9"], 2, "q9"),
        (&[adapter, folder, "--heldout", none], 2, "none"),
        (&[nowhere, folder], 1, "adapter_model.safetensors"),
        (&[adapter, absent], 2, "absent"),
    ];
    for (args, code, word) in cases {
        let all = [&["adapter", "merge"], args, &["--model", &model]].concat();
        let (got, _, said) = adapterd(&all).await;
        assert_eq!(got, code, "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
    }
    assert_eq!(names(dir.path()), ["taken"]);
}
