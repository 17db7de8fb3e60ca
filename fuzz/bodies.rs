//! Everything that reads bytes from outside, one function a format. Whatever the bytes are, each ends in time, with a
//! value or an error and never a panic. The suite runs them on damaged good files; `cargo fuzz` runs them on anything.

use std::path::Path;
use std::sync::OnceLock;

use adapterd::adapter::Precision;
use adapterd::adapter::peft::{self, Files};
use adapterd::app::settings;
use adapterd::cli;
use adapterd::domain::recipes::Recipes;
use adapterd::model::{Base, KvKind, Origin, Outline, Quant, voice};
use adapterd::text::ChatTemplate;
use adapterd::trainer::data;
use futures::StreamExt;
use serde_json::json;

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// The formats, by the names of the fuzz targets.
pub const ALL: &[(&str, Body)] = &[
    ("gguf", gguf),
    ("adapter_tensors", adapter_tensors),
    ("adapter_config", adapter_config),
    ("training_rows", training_rows),
    ("chat_template", chat_template),
    ("recipes", recipes),
    ("settings", settings_file),
    ("sse", sse),
];

fn golden(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("tests/golden").join(path))
        .find(|path| path.exists())
        .expect("the project's golden files")
}

/// A model file: its sizes, its tokenizer and its template.
pub fn gguf(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a file");
    let origin = Origin::Gguf(path);
    let _ = Outline::open(&origin, None);
    let _ = voice(&origin);
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let origin = Origin::Folder(golden("models/llama"));
        Base::open(&origin, Some(Quant::AsStored), KvKind::Auto).expect("the golden model")
    })
}

fn adapter() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let entries = std::fs::read_dir(golden("adapters/llama-plain")).expect("a folder");
        let file = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().expect("a name");
            (name, std::fs::read(entry.path()).expect("a file").into())
        };
        entries
            .map(|entry| file(entry.expect("an entry")))
            .collect()
    })
}

fn read_adapter(name: &str, bytes: &[u8]) {
    let mut files = adapter().clone();
    files.insert(name.to_owned(), bytes.to_vec().into());
    let _ = peft::read(&files, &base().fit(64, Precision::Exact));
}

pub fn adapter_tensors(bytes: &[u8]) {
    read_adapter("adapter_model.safetensors", bytes);
}

pub fn adapter_config(bytes: &[u8]) {
    read_adapter("adapter_config.json", bytes);
}

/// A training file of any format that is told by its first bytes: JSON, JSONL, Parquet, each gzip'd or not.
pub fn training_rows(bytes: &[u8]) {
    let _ = data::parse(bytes);
}

/// A template, rendered for a short conversation with and without tools.
pub fn chat_template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(template) = ChatTemplate::new(source, Some("<s>"), Some("</s>")) else {
        return;
    };
    let messages = [
        json!({"role": "system", "content": "be brief"}),
        json!({"role": "user", "content": "what is 2 + 2?"}),
        json!({"role": "assistant", "content": "4"}),
    ];
    let tools = [json!({"type": "function", "function": {"name": "add", "parameters": {}}})];
    for tools in [None, Some(&tools[..])] {
        let _ = template.render_with(&adapterd::text::Conversation {
            messages: &messages,
            tools,
            variables: None,
            add_generation_prompt: true,
        });
    }
}

/// Recipes of other programs, each format.
pub fn recipes(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for name in adapterd::domain::recipes::NAMES {
        let mut recipes = Recipes::default();
        if recipes.put_text(name, text).is_ok() {
            let _ = recipes.join(adapterd::trainer::Wishes::default());
        }
    }
}

/// The daemon's settings file.
pub fn settings_file(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("adapterd.toml");
    std::fs::write(&path, bytes).expect("a file");
    let _ = settings::load(Some(&path), std::iter::empty(), &[]);
}

/// A stream of server-sent events, as the command line reads it.
pub fn sse(bytes: &[u8]) {
    let response = axum::http::Response::new(bytes.to_vec());
    let chunks = cli::chunks(reqwest::Response::from(response));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let all = async { chunks.collect::<Vec<_>>().await };
    let _ = runtime.expect("a runtime").block_on(all);
}
