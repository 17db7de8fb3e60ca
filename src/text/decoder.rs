//! Token ids, one at a time, to text that is final.

use std::sync::Arc;

use super::bytes::{Pieces, take_text};

/// Incremental detokenizer of one answer. Special tokens are skipped. Text comes out as soon as it is final: never half
/// a character, leading spaces exactly as the tokens spell them. All of it joined is the bytes of all tokens read as
/// UTF-8, ill-formed pieces as U+FFFD.
pub struct Decoder {
    pieces: Arc<Pieces>,
    /// Special tokens that are spelled all the same.
    spelled: Vec<u32>,
    /// The start of an unfinished character: at most three bytes between calls.
    held: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(pieces: Arc<Pieces>) -> Self {
        Self {
            pieces,
            spelled: Vec::new(),
            held: Vec::new(),
        }
    }

    /// The same, with these special tokens as part of the text.
    pub fn spelling(mut self, ids: &[u32]) -> Self {
        self.spelled = ids.to_vec();
        self
    }

    /// The text that `id` completes; `None` while there is none.
    pub fn push(&mut self, id: u32) -> Option<String> {
        if self.pieces.is_special(id) && !self.spelled.contains(&id) {
            return None;
        }
        self.held.extend_from_slice(self.pieces.get(id));
        Some(take_text(&mut self.held)).filter(|text| !text.is_empty())
    }

    /// What is left at the end of an answer: an unfinished character reads as U+FFFD.
    pub fn finish(&mut self) -> Option<String> {
        let left = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        Some(left).filter(|text| !text.is_empty())
    }
}
