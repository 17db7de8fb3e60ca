//! What a folder says beside its weights, of a base that came as a GGUF file.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::folder::{write_json, write_text};
use super::{Merge, Stored, WeightError};
use crate::model::spec::{Rope, Scaling, Spec};
use crate::text::{ChatTemplate, TOOL_USE_FILE, Tokenizer};

/// `config.json`, the tokenizer and the chat template.
pub(super) fn describe(merge: &Merge<'_>, dir: &Path, dtype: &str) -> Result<(), WeightError> {
    let spec = &merge.spec();
    let mut config = config(spec, dtype);
    let text = Value::Object(config.clone()).to_string();
    let read = super::super::config::parse(&text)?;
    if let Some(what) = differs(spec, &read) {
        let why = "cannot be said in a config.json; write a GGUF file instead (--format gguf)";
        return Err(WeightError::new(what, why));
    }
    let tokens = merge.tokenizer;
    if let Some(bos) = tokens.bos() {
        config.insert("bos_token_id".to_owned(), json!(bos));
    }
    config.insert("eos_token_id".to_owned(), json!(tokens.specials().eos_ids));
    write_json(&dir.join("config.json"), &Value::Object(config.clone()))?;
    let generation =
        json!({"bos_token_id": tokens.bos(), "eos_token_id": tokens.specials().eos_ids});
    write_json(&dir.join("generation_config.json"), &generation)?;
    let wrong = |error: crate::text::TextError| WeightError::new("tokenizer", error.to_string());
    let text = tokens.to_json().map_err(wrong)?;
    write_text(&dir.join("tokenizer.json"), &text)?;
    let mut named: Map<String, Value> = { tokens.specials().named.iter() }
        .map(|(name, token)| (name.clone(), json!(token)))
        .collect();
    named.insert(
        "tokenizer_class".to_owned(),
        json!("PreTrainedTokenizerFast"),
    );
    named.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    named.insert("model_max_length".to_owned(), json!(spec.context));
    write_json(&dir.join("tokenizer_config.json"), &Value::Object(named))?;
    write_text(&dir.join("chat_template.jinja"), merge.template.source())?;
    if let Some(source) = merge.template.tool_use_source() {
        let path = dir.join(TOOL_USE_FILE);
        if let Some(folder) = path.parent() {
            let failed = |error: std::io::Error| WeightError::new("tokenizer", error.to_string());
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        write_text(&path, source)?;
    }
    check(merge, dir)
}

/// Reads back what was written: another tokenizer would make other prompts.
fn check(merge: &Merge<'_>, dir: &Path) -> Result<(), WeightError> {
    let wrong = |why: String| {
        let hint = "; write a GGUF file instead (--format gguf)";
        WeightError::new("tokenizer", why + hint)
    };
    let read = Tokenizer::from_folder(dir).map_err(|error| wrong(error.to_string()))?;
    let read = read.within(merge.stored.spec().vocab);
    if read.digest() != merge.tokenizer.digest() || read.eos() != merge.tokenizer.eos() {
        return Err(wrong("cannot be said in a tokenizer.json".to_owned()));
    }
    let template = ChatTemplate::from_folder(dir).map_err(|error| wrong(error.to_string()))?;
    let sources = |template: &ChatTemplate| {
        [Some(template.source()), template.tool_use_source()]
            .map(|source| source.map(str::to_owned))
    };
    match sources(&template) == sources(merge.template) {
        true => Ok(()),
        false => Err(wrong("has a template that cannot be stored".to_owned())),
    }
}

fn config(spec: &Spec, dtype: &str) -> Map<String, Value> {
    let arch = spec.arch;
    let mut config = json!({
        "architectures": [arch.class],
        "model_type": arch.name,
        "hidden_act": "silu",
        "hidden_size": spec.hidden,
        "intermediate_size": spec.intermediate,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "vocab_size": spec.vocab,
        "rms_norm_eps": spec.norm_eps,
        "max_position_embeddings": spec.context,
        "rope_theta": spec.rope.theta,
        "tie_word_embeddings": spec.tied,
        "torch_dtype": dtype,
    });
    let mut set = |key: &str, value: Value| config[key] = value;
    if spec.bias.o {
        set("attention_bias", json!(true));
    }
    if spec.bias.mlp {
        set("mlp_bias", json!(true));
    }
    if let Some(window) = spec.windows.iter().flatten().next() {
        set("sliding_window", json!(window));
    }
    if let Some(scaling) = scaling(&spec.rope, spec.context) {
        set("rope_scaling", scaling);
    }
    match config {
        Value::Object(config) => config,
        _ => Map::new(),
    }
}

fn scaling(rope: &Rope, context: usize) -> Option<Value> {
    match &rope.scaling {
        Scaling::Linear { factor } => Some(json!({
            "rope_type": "linear",
            "factor": factor,
            "original_max_position_embeddings": ((context as f64 / factor) as usize).max(1),
        })),
        Scaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_context,
            attention_factor,
            truncate,
        } => Some(json!({
            "rope_type": "yarn",
            "factor": factor,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "original_max_position_embeddings": original_context,
            "attention_factor": attention_factor,
            "truncate": truncate,
        })),
        // Each frequency by its own number, whatever the length: longrope of which both halves are the same.
        Scaling::Divisors(by) => Some(json!({
            "rope_type": "longrope",
            "short_factor": by,
            "long_factor": by,
            "factor": 1.0,
            "attention_factor": 1.0,
            "original_max_position_embeddings": context,
        })),
        // No GGUF file says these.
        Scaling::None
        | Scaling::Llama3 { .. }
        | Scaling::Dynamic { .. }
        | Scaling::LongRope { .. } => None,
    }
}

/// The first thing in which two specs compute differently.
fn differs(one: &Spec, other: &Spec) -> Option<&'static str> {
    let turns = |spec: &Spec| {
        let lengths = [1, spec.context];
        lengths.map(|length| spec.rope.frequencies_of(spec.head_dim, length))
    };
    if turns(one) != turns(other) || one.rope.attention_factor() != other.rope.attention_factor() {
        return Some("rotary scaling");
    }
    let plain = |spec: &Spec| Spec {
        rope: Rope {
            theta: 0.0,
            scaling: Scaling::None,
        },
        ..spec.clone()
    };
    let (one, other) = (plain(one), plain(other));
    match (one.windows == other.windows, one == other) {
        (false, _) => Some("sliding_window"),
        (_, false) => Some("sizes"),
        (true, true) => None,
    }
}

impl Stored {
    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        matches!(self, Self::Folder(..))
    }
}
