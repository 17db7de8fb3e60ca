//! What a caller asks for, before anyone has judged it.

use super::{AdapterName, Message, Pin};

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

/// How tokens are chosen and when an answer ends. `Default` is the OpenAI default of every field.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    pub top_p: f32,
    /// 0 keeps every token.
    pub top_k: u32,
    pub min_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    /// Over prompt and answer, as in transformers; 1 is off.
    pub repetition_penalty: f32,
    pub logit_bias: Vec<(u32, f32)>,
    pub seed: Option<u64>,
    /// How many alternatives to report with each token's log-probability; `None` reports none at all.
    pub logprobs: Option<u8>,
    /// `None` lets an answer fill the context.
    pub max_tokens: Option<usize>,
    pub min_tokens: usize,
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<u32>,
    pub ignore_eos: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: None,
            logprobs: None,
            max_tokens: None,
            min_tokens: 0,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            ignore_eos: false,
        }
    }
}

/// One question to the model: one prompt, `n` answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub input: Input,
    pub sampling: Sampling,
    /// Answers to the same prompt, numbered from 0.
    pub n: u32,
    /// Report the log-probability of every prompt token (the first has none).
    pub prompt_logprobs: bool,
    /// What is computed of a common beginning is shared only with requests that say the same; empty is everybody.
    pub cache_salt: String,
    pub urgency: Urgency,
}

/// When a request wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Urgency {
    /// -100 to 100; lower comes first among the requests of one caller.
    pub priority: i32,
    /// Seconds from its arrival. Without a token it fails then; with some, it ends.
    pub timeout: Option<f64>,
}
