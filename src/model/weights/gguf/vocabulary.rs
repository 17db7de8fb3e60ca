//! Tokenizer and chat template out of GGUF metadata.

use std::collections::BTreeMap;

use super::file::Value;
use crate::text::vocabulary::{Kind, Pairs, Vocabulary, begins};
use crate::text::{ChatTemplate, Specials, TextError, Tokenizer};

type Metadata = BTreeMap<String, Value>;

/// The whole `tokenizer.json`, where a file carries it.
pub(super) const WHOLE: &str = "tokenizer.huggingface.json";

/// Control tokens that digests of these files have counted among those that end an answer since the first of them. The
/// tokenizer knows more, by their names alone; those do not enter the digest, which ties adapters to a tokenizer.
const ENDS: [&str; 5] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
];

pub(super) fn tokenizer(metadata: &Metadata) -> Result<Tokenizer, TextError> {
    let tokens = texts(metadata, "tokens")?.ok_or_else(|| wrong("tokens", "is missing"))?;
    warn_of_dropped(metadata, tokens.len());
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
    let begin = id(metadata, "bos_token_id", &tokens)?
        .filter(|_| flag_or(metadata, "add_bos_token", begins));
    let end = id(metadata, "eos_token_id", &tokens)?
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
        Some(Value::Text(source)) => {
            let tool_use = match metadata.get("tokenizer.chat_template.tool_use") {
                Some(Value::Text(source)) => Some(source.as_str()),
                _ => None,
            };
            ChatTemplate::both(source, tool_use, &specials)
        }
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
        if let Some(id) = id(metadata, key, tokens)? {
            specials
                .named
                .insert(name.to_owned(), tokens[id as usize].clone());
        }
    }
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        specials.eos_ids.extend(id(metadata, key, tokens)?);
    }
    let ends = tokens
        .iter()
        .zip(kinds)
        .zip(0u32..)
        .filter(|((token, kind), _)| **kind == Kind::Control && ENDS.contains(&token.as_str()));
    specials.eos_ids.extend(ends.map(|(_, id)| id));
    specials.bos_id = id(metadata, "bos_token_id", tokens)?;
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

fn id(metadata: &Metadata, key: &str, tokens: &[String]) -> Result<Option<u32>, TextError> {
    match get(metadata, key) {
        None => Ok(None),
        Some(Value::Int(id)) if (0..tokens.len() as i128).contains(id) => Ok(Some(*id as u32)),
        // Some converters write -1, or what a padded embedding has room for.
        Some(Value::Int(_)) => Ok(usual(metadata, key, tokens)),
        Some(_) => Err(wrong(key, "is not the id of a token")),
    }
}

/// Where a SentencePiece vocabulary has the token that a key is about, if it has it there.
fn usual(metadata: &Metadata, key: &str, tokens: &[String]) -> Option<u32> {
    let (id, name) = match key {
        "unknown_token_id" => (0, "<unk>"),
        "bos_token_id" => (1, "<s>"),
        "eos_token_id" => (2, "</s>"),
        _ => return None,
    };
    let scored = matches!(get(metadata, "model"), Some(Value::Text(model)) if model == "llama");
    let there = tokens.get(id as usize).is_some_and(|token| token == name);
    (scored && there).then_some(id)
}

/// Ids that are none of the vocabulary's, and numbers that are no kind of token: files with them are read without them.
fn warn_of_dropped(metadata: &Metadata, tokens: usize) {
    for (key, value) in metadata {
        let name = key.strip_prefix("tokenizer.ggml.").unwrap_or_default();
        match value {
            Value::Int(id) if name.ends_with("_token_id") && !(0..tokens as i128).contains(id) => {
                tracing::warn!("{key}: {id} is not the id of one of {tokens} tokens; ignored");
            }
            Value::Ints(kinds) if name == "token_type" => {
                let odd = || {
                    kinds
                        .iter()
                        .filter(|kind| Kind::from_number(**kind).is_none())
                };
                if let Some(first) = odd().next() {
                    let count = odd().count();
                    tracing::warn!(
                        "{key}: {count} tokens have unknown kinds, such as {first}; read as normal"
                    );
                }
            }
            _ => {}
        }
    }
}

/// Files without kinds hold normal pieces only.
fn kinds(metadata: &Metadata, tokens: usize) -> Result<Vec<Kind>, TextError> {
    match get(metadata, "token_type") {
        None => Ok(vec![Kind::Normal; tokens]),
        Some(Value::Ints(kinds)) if kinds.len() == tokens => Ok(kinds
            .iter()
            .map(|number| Kind::from_number(*number).unwrap_or(Kind::Normal))
            .collect()),
        Some(_) => Err(wrong(
            "token_type",
            "is not a list of one number for each token",
        )),
    }
}

#[cfg(test)]
mod tests;
