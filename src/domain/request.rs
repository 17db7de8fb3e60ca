//! What a caller asks for, before it is checked.

use std::sync::Arc;

use super::{AdapterName, Blend, Constraint, Message, Pin, Sampling, Toolset};

/// Which adapter a request names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// The base model, without any adapter.
    #[default]
    Base,
    Named {
        name: AdapterName,
        /// Present for `name@GENERATION`.
        pin: Option<Pin>,
    },
    /// `name@step-N`: what a job for that name had learned after so many steps.
    Checkpoint { name: AdapterName, step: u64 },
    /// Several at once, each by a weight.
    Blend(Blend),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Raw text, tokenized with the model's special tokens, without a template.
    Text(String),
    /// Taken as they are.
    Tokens(Vec<u32>),
    /// Rendered with the model's chat template.
    Chat(Vec<Message>),
}

/// One question to the model: one prompt, `n` answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub input: Input,
    /// What the model may call, in a chat.
    pub tools: Toolset,
    pub sampling: Sampling,
    /// The form every answer has; `None` is any text. Prompts of one request share it.
    pub constraint: Option<Arc<Constraint>>,
    /// Answers to the same prompt, numbered from 0.
    pub n: u32,
    /// Report the log-probability of every prompt token (the first has none).
    pub prompt_logprobs: bool,
    /// What is computed of a common beginning is shared only with requests that say the same; those without one share
    /// with each other.
    pub cache_salt: String,
    pub urgency: Urgency,
}

/// Bytes of what separates the cache of some from that of others.
pub const MAX_SALT_BYTES: usize = 256;
/// Of a request's `priority`, in either direction.
pub const MOST_PRIORITY: i32 = 100;

/// When a request wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Urgency {
    /// -100 to 100; lower comes first among the requests of one caller.
    pub priority: i32,
    /// Seconds from its arrival. Without a token it fails then; with some, it ends.
    pub timeout: Option<f64>,
}
