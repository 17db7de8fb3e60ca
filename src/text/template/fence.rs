//! Finds the answers in a rendering: two characters that nothing else contains stand around them for a while.

use std::collections::HashSet;
use std::ops::Range;

use super::Rendered;
use crate::text::TextError;

/// Two characters that stand around answers in a rendering until they are taken out.
pub(super) struct Fence {
    pub open: char,
    pub close: char,
}

impl Fence {
    /// Characters for private use, of which some are absent from any text of less than a hundred thousand of them.
    pub fn absent_from(text: &str) -> Result<Self, TextError> {
        let used: HashSet<char> = text.chars().filter(|c| *c >= '\u{f0000}').collect();
        let mut free = ('\u{f0000}'..='\u{10fffd}').filter(|c| !used.contains(c));
        match (free.next(), free.next()) {
            (Some(open), Some(close)) => Ok(Self { open, close }),
            _ => Err(TextError::Template("a text uses every character".into())),
        }
    }

    pub fn take_out(&self, fenced: &str) -> Rendered {
        let mut text = String::with_capacity(fenced.len());
        let mut answers: Vec<Range<usize>> = Vec::new();
        let mut opened = Vec::new();
        for c in fenced.chars() {
            if c == self.open {
                opened.push(text.len());
            } else if c == self.close {
                // A block within a block is part of the outer one's answer.
                match opened.pop() {
                    Some(start) if opened.is_empty() && start < text.len() => {
                        answers.push(start..text.len());
                    }
                    _ => {}
                }
            } else {
                text.push(c);
            }
        }
        Rendered { text, answers }
    }
}
