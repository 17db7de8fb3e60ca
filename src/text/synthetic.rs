//! A tokenizer of any size for a base of random weights: the bytes, an end token, and made-up words of one token each.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::TextError;
use super::bytes::byte_of_char;

const END: &str = "<|end|>";
/// Tokens before the first word: every byte, and the end.
const FIRST_WORD: usize = 257;
const LETTERS: usize = 26;

/// Writes `tokenizer.json` and `tokenizer_config.json`; `vocab` counts every token, at least 257.
pub fn write(dir: &Path, vocab: usize) -> Result<(), TextError> {
    let settings = json!({"eos_token": END});
    for (name, content) in [
        ("tokenizer.json", tokenizer(vocab)),
        ("tokenizer_config.json", settings),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, content.to_string())
            .map_err(|e| TextError::File(format!("{}: {e}", path.display())))?;
    }
    Ok(())
}

/// The `index`-th made-up word: at least four letters, one token when a space is before it.
pub fn word(mut index: usize) -> String {
    let mut letters = Vec::new();
    while index > 0 || letters.len() < 4 {
        letters.push(b'a' + (index % LETTERS) as u8);
        index /= LETTERS;
    }
    letters.into_iter().rev().map(char::from).collect()
}

fn tokenizer(vocab: usize) -> Value {
    let mut entries: Map<String, Value> = byte_of_char()
        .into_iter()
        .map(|(spelled, byte)| (spelled.to_string(), json!(byte)))
        .collect();
    entries.insert(END.to_owned(), json!(FIRST_WORD - 1));
    entries
        .extend((FIRST_WORD..vocab).map(|id| (format!("Ġ{}", word(id - FIRST_WORD)), json!(id))));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{
            "id": FIRST_WORD - 1, "content": END, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": entries, "merges": [], "ignore_merges": true},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    #[test]
    fn a_made_up_word_is_one_token_and_reads_as_written() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 2000).unwrap();
        let tokenizer = Tokenizer::from_folder(dir.path()).unwrap();
        let text = format!(" {} {}", word(0), word(1742));
        let ids = tokenizer.encode(&text, false).unwrap();
        assert_eq!(ids, [257, 1999]);
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}
