//! What comes back while a request runs.

use serde::{Deserialize, Serialize};

use super::Reason;

/// An alternative the model considered for one position.
#[derive(Debug, Clone, PartialEq)]
pub struct TopToken {
    pub id: u32,
    /// As [`TokenInfo::text`].
    pub text: String,
    /// The exact bytes the token stands for.
    pub bytes: Vec<u8>,
    /// Natural log, of the model's own distribution (before temperature and filters).
    pub logprob: f32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TokenInfo {
    pub id: u32,
    /// The token's own text; for a partial UTF-8 sequence, the replacement character.
    pub text: String,
    /// The exact bytes the token stands for.
    pub bytes: Vec<u8>,
    /// `None` where none was asked for, and for the first prompt token.
    pub logprob: Option<f32>,
    pub top: Vec<TopToken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    Stop,
    /// A stop string ended it; its place among those that were asked for.
    StopString(usize),
    Length,
    /// It ended with calls, whose results the model waits for.
    ToolCalls,
}

impl FinishReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop | Self::StopString(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// Tokens spent on one request, over all its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub prompt: usize,
    /// Of `prompt`, those whose keys and values were found in the cache.
    pub cached: usize,
    pub generated: usize,
}

/// A call as it is told: what is called, then the JSON text of its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallPiece {
    Begin { id: String, name: String },
    Arguments(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Sent once, before any answer, where `prompt_logprobs` was asked for.
    Prompt { tokens: Vec<TokenInfo> },
    /// New text of one answer. `text` may be empty (held back for a stop string or a partial character)
    /// while `tokens` is not, and the reverse when held-back text is released.
    Delta {
        choice: u32,
        text: String,
        tokens: Vec<TokenInfo>,
    },
    /// The vector that stands for the prompt, not scaled; sent once, where it was asked for in place of an answer.
    Embedding { vector: Vec<f32> },
    /// Part of a call in one answer, the answer's calls counted from 0.
    Call {
        choice: u32,
        index: u32,
        piece: CallPiece,
    },
    /// One answer ended.
    Finish { choice: u32, reason: FinishReason },
    /// Every answer ended; nothing follows.
    Done { usage: Usage },
    /// The request failed after it had begun; nothing follows.
    Failed(Reason),
}
