//! text: from characters to token ids and back, chat templates, stop strings, grammars of answers.
//! Shared by serving and training; knows no model and no request.

mod bytes;
mod decoder;
pub mod grammar;
mod jinja;
mod measure;
mod special;
mod stop;
pub mod synthetic;
mod template;
mod tokenizer;
mod tool_calls;
pub mod vocabulary;
mod words;

pub use decoder::Decoder;
pub use special::Specials;
pub use stop::{Checked, StopMatcher};
pub use template::{ChatTemplate, Conversation, Rendered, TOOL_USE_FILE, ToolParts};
pub use tokenizer::{Encoded, Tokenizer};
pub use tool_calls::{CallParser, Leaves, Part, Syntax, call_rule};

/// Why text cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A file that is missing or cannot be read, with its name.
    #[error("{0}")]
    File(String),
    /// The template refused the messages (`raise_exception`) or is malformed.
    #[error("chat template: {0}")]
    Template(String),
    #[error("tokenizer: {0}")]
    Tokenizer(String),
}
