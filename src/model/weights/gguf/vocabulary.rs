//! Tokenizer and chat template out of GGUF metadata.

use std::collections::BTreeMap;

use super::file::Value;
use crate::text::vocabulary::{Kind, Pairs, Vocabulary, begins};
use crate::text::{ChatTemplate, Specials, TextError, Tokenizer};

type Metadata = BTreeMap<String, Value>;

/// The whole `tokenizer.json`, where a file carries it.
pub(super) const WHOLE: &str = "tokenizer.huggingface.json";

/// Tokens that end an answer in the chat formats of the supported families, whatever the file names as its end token.
const ENDS: [&str; 5] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
];

pub(super) fn tokenizer(metadata: &Metadata) -> Result<Tokenizer, TextError> {
    let tokens = texts(metadata, "tokens")?.ok_or_else(|| wrong("tokens", "is missing"))?;
    let kinds = kinds(metadata, tokens.len())?;
    let specials = specials(metadata, &tokens, &kinds)?;
    if let Some(Value::Text(json)) = metadata.get(WHOLE) {
        return Tokenizer::from_json(json.as_bytes(), specials);
    }
    let model = text(metadata, "model")?.ok_or_else(|| wrong("model", "is missing"))?;
    let (pairs, begins) = match model {
        "gpt2" => {
            let merges = texts(metadata, "merges")?.ok_or_else(|| wrong("merges", "is missing"))?;
            let pre = text(metadata, "pre")?.unwrap_or("default");
            (
                Pairs::Ranked {
                    merges,
                    pre: pre.to_owned(),
                },
                begins(pre),
            )
        }
        "llama" => {
            let scores = match get(metadata, "scores") {
                Some(Value::Floats(scores)) if scores.len() == tokens.len() => scores.clone(),
                _ => {
                    return Err(wrong(
                        "scores",
                        "is not a list of one number for each token",
                    ));
                }
            };
            (
                Pairs::Scored {
                    scores,
                    prefix: flag(metadata, "add_space_prefix")?.unwrap_or(true),
                },
                true,
            )
        }
        other => {
            return Err(wrong(
                "model",
                &format!("`{other}` is not supported; known: gpt2, llama"),
            ));
        }
    };
    let begin = id(metadata, "bos_token_id", tokens.len())?
        .filter(|_| flag_or(metadata, "add_bos_token", begins));
    let end = id(metadata, "eos_token_id", tokens.len())?
        .filter(|_| flag_or(metadata, "add_eos_token", false));
    Tokenizer::from_vocabulary(Vocabulary {
        tokens,
        kinds,
        pairs,
        specials,
        begin,
        end,
    })
}

pub(super) fn template(metadata: &Metadata) -> Result<ChatTemplate, TextError> {
    let tokens = texts(metadata, "tokens")?.unwrap_or_default();
    let kinds = kinds(metadata, tokens.len())?;
    let specials = specials(metadata, &tokens, &kinds)?;
    match metadata.get("tokenizer.chat_template") {
        Some(Value::Text(source)) => ChatTemplate::of(source, &specials),
        _ => ChatTemplate::plain(&specials),
    }
}

fn specials(metadata: &Metadata, tokens: &[String], kinds: &[Kind]) -> Result<Specials, TextError> {
    let mut specials = Specials::default();
    for (key, name) in [
        ("bos_token_id", "bos_token"),
        ("eos_token_id", "eos_token"),
        ("unknown_token_id", "unk_token"),
        ("padding_token_id", "pad_token"),
    ] {
        if let Some(id) = id(metadata, key, tokens.len())? {
            specials
                .named
                .insert(name.to_owned(), tokens[id as usize].clone());
        }
    }
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        specials.eos_ids.extend(id(metadata, key, tokens.len())?);
    }
    let ends = tokens
        .iter()
        .zip(kinds)
        .zip(0u32..)
        .filter(|((token, kind), _)| **kind == Kind::Control && ENDS.contains(&token.as_str()));
    specials.eos_ids.extend(ends.map(|(_, id)| id));
    specials.bos_id = id(metadata, "bos_token_id", tokens.len())?;
    Ok(specials)
}

fn wrong(key: &str, why: &str) -> TextError {
    TextError::Tokenizer(format!("tokenizer.ggml.{key} {why}"))
}

fn get<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a Value> {
    metadata.get(&format!("tokenizer.ggml.{key}"))
}

fn text<'a>(metadata: &'a Metadata, key: &str) -> Result<Option<&'a str>, TextError> {
    match get(metadata, key) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(key, "is not a string")),
    }
}

fn texts(metadata: &Metadata, key: &str) -> Result<Option<Vec<String>>, TextError> {
    match get(metadata, key) {
        None => Ok(None),
        Some(Value::Texts(texts)) => Ok(Some(texts.clone())),
        Some(_) => Err(wrong(key, "is not a list of strings")),
    }
}

fn flag(metadata: &Metadata, key: &str) -> Result<Option<bool>, TextError> {
    match get(metadata, key) {
        None => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(_) => Err(wrong(key, "is neither true nor false")),
    }
}

fn flag_or(metadata: &Metadata, key: &str, default: bool) -> bool {
    matches!(get(metadata, key), Some(Value::Bool(true)))
        || (get(metadata, key).is_none() && default)
}

fn id(metadata: &Metadata, key: &str, tokens: usize) -> Result<Option<u32>, TextError> {
    match get(metadata, key) {
        None => Ok(None),
        Some(Value::Int(id)) if (0..tokens as i128).contains(id) => Ok(Some(*id as u32)),
        Some(_) => Err(wrong(key, "is not the id of a token")),
    }
}

/// Files without kinds hold normal pieces only.
fn kinds(metadata: &Metadata, tokens: usize) -> Result<Vec<Kind>, TextError> {
    match get(metadata, "token_type") {
        None => Ok(vec![Kind::Normal; tokens]),
        Some(Value::Ints(kinds)) if kinds.len() == tokens => kinds
            .iter()
            .map(|number| {
                Kind::from_number(*number)
                    .ok_or_else(|| wrong("token_type", &format!("has unknown kind {number}")))
            })
            .collect(),
        Some(_) => Err(wrong(
            "token_type",
            "is not a list of one number for each token",
        )),
    }
}
