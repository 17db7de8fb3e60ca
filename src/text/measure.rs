//! How long a text is in tokens, without tokenizing all of it: a tokenizer needs a hundred times the text's memory.

use super::{TextError, Tokenizer};

/// Bytes tokenized at a time.
const CHUNK: usize = 16 << 10;
/// Tokens that a cut may add to the pieces on both sides of it.
const CUT: usize = 32;
/// How far back a cut looks for a space.
const LOOK_BACK: usize = 256;

impl Tokenizer {
    /// Whether `text` is certain to have more than `most` tokens. Costs time and memory by `most`, not by the text, and
    /// asks nothing of the tokenizer: pieces of the text are tokenized until they make twice as many.
    ///
    /// # Errors
    /// What [`Self::encode`] would say of a piece.
    pub fn surely_exceeds(&self, text: &str, most: usize) -> Result<bool, TextError> {
        let enough = most.saturating_mul(2);
        // A token spells at least one byte.
        if text.len() <= enough {
            return Ok(false);
        }
        let (mut rest, mut tokens) = (text, 0usize);
        // The last piece tells nothing that encoding the whole would not tell at the same price.
        while rest.len() > CHUNK {
            let (piece, after) = rest.split_at(cut(rest));
            tokens += self.encode(piece, false)?.len().saturating_sub(CUT);
            if tokens > enough {
                return Ok(true);
            }
            rest = after;
        }
        Ok(false)
    }
}

/// Where the first chunk of `text` ends: before a space if one is near, at a character's border in any case.
fn cut(text: &str) -> usize {
    let end = text.floor_char_boundary(CHUNK);
    let near = text.floor_char_boundary(end - LOOK_BACK);
    match text[near..end].rfind(' ') {
        Some(at) => near + at,
        None => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::synthetic;

    fn tokenizer() -> Tokenizer {
        let dir = tempfile::TempDir::new().unwrap();
        synthetic::write(dir.path(), 600).unwrap();
        Tokenizer::from_folder(dir.path()).unwrap()
    }

    #[test]
    fn a_text_far_too_long_is_known_as_such_and_one_that_fits_never_is() {
        let tokenizer = tokenizer();
        for unit in ["ab ", "x", "é", "\u{1F600}", " ", "word and more\n"] {
            let text = unit.repeat(200_000 / unit.len());
            let tokens = tokenizer.encode(&text, false).unwrap().len();
            assert!(
                !tokenizer.surely_exceeds(&text, tokens).unwrap(),
                "{unit:?}"
            );
            assert!(
                tokenizer.surely_exceeds(&text, tokens / 4).unwrap(),
                "{unit:?}"
            );
        }
    }

    #[test]
    fn a_short_text_is_left_to_be_encoded() {
        assert!(!tokenizer().surely_exceeds(&"x".repeat(CHUNK), 1).unwrap());
    }
}
