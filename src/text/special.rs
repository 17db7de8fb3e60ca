//! Which tokens begin and end a text, as the files beside a tokenizer say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::TextError;
use crate::domain::lfs_pointer;

const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Tokens that end an answer or a turn of it by their names, as published models use them (those llama.cpp knows, and
/// Llama 4's): whatever a file calls its end token, and whether or not it says that they are special.
const ENDINGS: [&str; 19] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// The names above that a vocabulary has, with their ids. Where messages of one answer end by `<|end|>` and the answer by a
/// token of its own, `<|end|>` does not end it.
pub(super) fn endings(id: impl Fn(&str) -> Option<u32>) -> Vec<(&'static str, u32)> {
    let message_ends = id("<|return|>").is_some()
        && ["<|call|>", "<|calls|>", "<|flush|>"]
            .iter()
            .any(|name| id(name).is_some());
    ENDINGS
        .into_iter()
        .filter(|name| !(message_ends && *name == "<|end|>"))
        .filter_map(|name| Some((name, id(name)?)))
        .collect()
}

/// Special tokens by what they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Specials {
    /// `bos_token` → `<s>`, as chat templates name them.
    pub named: BTreeMap<String, String>,
    /// Special tokens without a name of their own.
    pub others: BTreeSet<String>,
    /// Tokens that `tokenizer.json` may lack, by id.
    pub added: BTreeMap<u32, Added>,
    /// Ids given as numbers, used where no name says which token begins a text.
    pub bos_id: Option<u32>,
    /// Ids given as numbers that end an answer beside the named `eos_token`.
    pub eos_ids: BTreeSet<u32>,
}

/// A token laid over a vocabulary, as `added_tokens_decoder` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    pub content: String,
    pub special: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub single_word: bool,
    pub normalized: bool,
}

impl Specials {
    /// Reads `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and `config.json`, each if it is there.
    pub fn from_folder(dir: &Path) -> Result<Self, TextError> {
        let tokenizer = object(dir, "tokenizer_config.json")?;
        let map = object(dir, "special_tokens_map.json")?;
        let mut specials = Self::default();
        for name in NAMES {
            // A key set to null says that there is no such token; an absent one leaves it to the older file.
            let value = tokenizer.get(name).or_else(|| map.get(name));
            if let Some(token) = value.and_then(content) {
                specials.named.insert(name.to_owned(), token);
            }
        }
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            let listed = tokenizer.get(key).or_else(|| map.get(key));
            match listed {
                Some(Value::Array(items)) => {
                    specials.others.extend(items.iter().filter_map(content))
                }
                Some(Value::Object(items)) => {
                    specials.others.extend(items.values().filter_map(content))
                }
                _ => {}
            }
        }
        if let Some(Value::Object(tokens)) = tokenizer.get("added_tokens_decoder") {
            for (id, token) in tokens {
                let (Ok(id), Some(content)) = (id.parse(), content(token)) else {
                    return Err(TextError::File(format!(
                        "tokenizer_config.json: added_tokens_decoder.{id} is not a token"
                    )));
                };
                let flag = |key: &str| token[key].as_bool().unwrap_or(false);
                let added = Added {
                    content,
                    special: flag("special"),
                    lstrip: flag("lstrip"),
                    rstrip: flag("rstrip"),
                    single_word: flag("single_word"),
                    normalized: flag("normalized"),
                };
                specials.added.insert(id, added);
            }
        }
        for file in ["generation_config.json", "config.json"] {
            let config = object(dir, file)?;
            specials.bos_id = specials
                .bos_id
                .or_else(|| ids(config.get("bos_token_id")).next());
            specials.eos_ids.extend(ids(config.get("eos_token_id")));
            for key in ["bos_token_id", "eos_token_id"] {
                if let Some(bad) = not_an_id(config.get(key)) {
                    tracing::warn!("{file}: {key}: {bad} is not the id of a token; ignored");
                }
            }
        }
        Ok(specials)
    }
}

/// A token is a string, or an object with its `content`.
fn content(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value["content"].as_str())
        .map(str::to_owned)
}

/// A number or a list of numbers.
fn ids(value: Option<&Value>) -> impl Iterator<Item = u32> {
    let one = value.and_then(Value::as_u64);
    let many = value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64);
    one.into_iter()
        .chain(many)
        .filter_map(|id| u32::try_from(id).ok())
}

/// A number, or one of a list, that cannot be an id.
fn not_an_id(value: Option<&Value>) -> Option<&Value> {
    let id = |value: &Value| value.as_u64().is_some_and(|id| u32::try_from(id).is_ok());
    match value? {
        Value::Array(items) => items.iter().find(|item| !id(item)),
        Value::Null => None,
        one => Some(one).filter(|one| !id(one)),
    }
}

/// The object in a JSON file of a folder; empty if there is no such file.
pub(super) fn object(dir: &Path, file: &str) -> Result<serde_json::Map<String, Value>, TextError> {
    let text = match std::fs::read_to_string(dir.join(file)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(serde_json::Map::new()),
        Err(e) => return Err(TextError::File(format!("{file}: {e}"))),
    };
    if let Some(why) = lfs_pointer(text.as_bytes()) {
        return Err(TextError::File(format!("{file}: {why}")));
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(TextError::File(format!("{file}: is not a JSON object"))),
        Err(e) => Err(TextError::File(format!("{file}: {e}"))),
    }
}
