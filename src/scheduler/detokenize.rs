//! From the tokens of one answer to the text its reader sees, and to what is reported of each token.

use crate::domain::{Sampling, TokenInfo, TopToken};
use crate::model::sample::Score;
use crate::text::{Checked, Decoder, StopMatcher, Tokenizer};

pub struct Detokenizer {
    decoder: Decoder,
    stops: StopMatcher,
}

impl Detokenizer {
    pub fn new(tokenizer: &Tokenizer, sampling: &Sampling) -> Self {
        Self {
            decoder: tokenizer.decoder().spelling(&sampling.spelled),
            stops: StopMatcher::new(&sampling.stop),
        }
    }

    /// The text this token makes final. `mindful`: stop strings end it, which they do not before `min_tokens` tokens.
    pub fn say(&mut self, id: u32, mindful: bool) -> Checked {
        let text = self.decoder.push(id).unwrap_or_default();
        if mindful {
            self.stops.push(&text)
        } else {
            Checked {
                text,
                stopped: None,
            }
        }
    }

    /// What was held back, at the end of an answer.
    pub fn close(&mut self) -> Checked {
        let mut last = self.stops.push(&self.decoder.finish().unwrap_or_default());
        if last.stopped.is_none() {
            last.text.push_str(&self.stops.finish());
        }
        last
    }
}

/// A token as readers see it.
pub fn describe(tokenizer: &Tokenizer, id: u32, score: Option<Score>) -> TokenInfo {
    let bytes = tokenizer.token_bytes(id);
    let logprob = score.as_ref().map(|score| score.logprob);
    let top = score.map(|score| score.top).unwrap_or_default();
    let top = top
        .into_iter()
        .map(|(id, logprob)| {
            let bytes = tokenizer.token_bytes(id);
            TopToken {
                id,
                text: lossy(&bytes),
                bytes,
                logprob,
            }
        })
        .collect();
    TokenInfo {
        id,
        text: lossy(&bytes),
        bytes,
        logprob,
        top,
    }
}

/// The token that ended an answer: it is counted and has an id, but gives no text.
pub fn silent(info: TokenInfo) -> TokenInfo {
    TokenInfo {
        text: String::new(),
        bytes: Vec::new(),
        ..info
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
