//! The exact bytes each token stands for, and how a run of tokens reads as text.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::Tokenizer as Engine;

use super::TextError;

/// Bytes of every token, in one allocation.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// `bytes[ends[id - 1]..ends[id]]`
    ends: Vec<u32>,
    special: Vec<bool>,
    /// Spaces that decoding a whole text takes off its front, since encoding puts them there.
    pub stripped: usize,
}

/// How the strings of a vocabulary spell bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Each character stands for a byte (GPT-2's table).
    ByteLevel,
    /// `▁` is a space; `<0x0A>` is a byte where `fallback` holds.
    Spaced { fallback: bool, stripped: usize },
}

impl Pieces {
    pub fn of(engine: &Engine) -> Result<Self, TextError> {
        let spelling = spelling(engine)?;
        let table = byte_of_char();
        let added = engine.get_added_tokens_decoder();
        let vocab = engine.get_vocab(true);
        let size = vocab.values().max().map_or(0, |max| *max as usize + 1);
        let mut by_id: Vec<Option<&str>> = vec![None; size];
        for (token, id) in &vocab {
            by_id[*id as usize] = Some(token);
        }
        let (mut bytes, mut ends, mut special) = (
            Vec::new(),
            Vec::with_capacity(size),
            Vec::with_capacity(size),
        );
        for (id, token) in by_id.into_iter().enumerate() {
            let added = added.get(&(id as u32));
            match (token, added, spelling) {
                (None, ..) => {}
                (Some(token), Some(_), _) => bytes.extend_from_slice(token.as_bytes()),
                (Some(token), None, Spelling::ByteLevel) => {
                    let spelled: Option<Vec<u8>> =
                        token.chars().map(|c| table.get(&c).copied()).collect();
                    // A string outside the table stands for itself, as in the reference decoder.
                    bytes.extend(spelled.unwrap_or_else(|| token.as_bytes().to_vec()));
                }
                (Some(token), None, Spelling::Spaced { fallback, .. }) => {
                    match fallback_byte(token).filter(|_| fallback) {
                        Some(byte) => bytes.push(byte),
                        None => bytes.extend_from_slice(token.replace('▁', " ").as_bytes()),
                    }
                }
            }
            ends.push(
                u32::try_from(bytes.len())
                    .map_err(|_| TextError::Tokenizer("the vocabulary is too large".into()))?,
            );
            special.push(added.is_some_and(|token| token.special));
        }
        let stripped = match spelling {
            Spelling::ByteLevel => 0,
            Spelling::Spaced { stripped, .. } => stripped,
        };
        Ok(Self {
            bytes,
            ends,
            special,
            stripped,
        })
    }

    /// Largest id + 1.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Nothing for an id outside the vocabulary.
    pub fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(end) = self.ends.get(id) else {
            return &[];
        };
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..*end as usize]
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }
}

/// Reads how the engine's decoder spells; a kind that cannot be followed token by token is refused.
fn spelling(engine: &Engine) -> Result<Spelling, TextError> {
    let decoder = serde_json::to_value(engine.get_decoder())
        .map_err(|e| TextError::Tokenizer(e.to_string()))?;
    let steps = match &decoder["decoders"] {
        Value::Array(steps) if decoder["type"] == "Sequence" => steps.clone(),
        _ => vec![decoder],
    };
    let (mut level, mut fallback, mut stripped) = (false, false, 0);
    for step in &steps {
        match step["type"].as_str() {
            Some("ByteLevel") => level = true,
            Some("ByteFallback") => fallback = true,
            Some("Fuse") => {}
            Some("Metaspace") => stripped = usize::from(step["prepend_scheme"] != "never"),
            Some("Replace") if step["pattern"]["String"] == "▁" && step["content"] == " " => {}
            Some("Strip") if step["content"] == " " && step["stop"] == 0 => {
                stripped = step["start"].as_u64().unwrap_or(0) as usize;
            }
            None => return Err(TextError::Tokenizer("has no decoder".into())),
            Some(other) => {
                return Err(TextError::Tokenizer(format!(
                    "decoder `{other}` is not supported; known: ByteLevel, Metaspace, and sequences of Replace(▁), ByteFallback, Fuse, Strip"
                )));
            }
        }
    }
    Ok(if level {
        Spelling::ByteLevel
    } else {
        Spelling::Spaced { fallback, stripped }
    })
}

/// `<0x0A>` → 10
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// GPT-2's table: printable bytes stand for themselves, the others for characters from U+0100 on, in their order.
pub(super) fn char_of_byte(byte: u8) -> char {
    let beyond = match byte {
        0..=0x20 => u32::from(byte),
        0x7f..=0xa0 => u32::from(byte) - 0x7f + 0x21,
        0xad => 0x43,
        _ => return char::from(byte),
    };
    char::from_u32(0x100 + beyond).unwrap_or(char::REPLACEMENT_CHARACTER)
}

pub(super) fn byte_of_char() -> HashMap<char, u8> {
    (0..=255).map(|byte| (char_of_byte(byte), byte)).collect()
}

/// [`byte_of_char`] in the order of bytes.
#[cfg(test)]
pub(crate) fn spelled_bytes() -> Vec<(u8, char)> {
    (0..=255).map(|byte| (byte, char_of_byte(byte))).collect()
}

/// Takes from `held` all that is final as text. What no continuation can make valid becomes U+FFFD, one for each
/// ill-formed piece as Unicode counts them; an unfinished character at the end stays.
pub(super) fn take_text(held: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut rest = held.as_slice();
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = &[];
                break;
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                match error.error_len() {
                    Some(bad) => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = &after[bad..];
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
        }
    }
    let kept = rest.len();
    held.drain(..held.len() - kept);
    text
}
