//! One instruction record, the shape every generator makes.

use serde::Serialize;

/// Serialized as the training data this program takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Record {
    pub instruction: String,
    pub input: String,
    pub output: String,
}

impl Record {
    pub fn new(
        instruction: impl Into<String>,
        input: impl Into<String>,
        output: impl Into<String>,
    ) -> Self {
        Self {
            instruction: instruction.into(),
            input: input.into(),
            output: output.into(),
        }
    }

    /// The user's turn.
    pub fn question(&self) -> String {
        if self.input.is_empty() {
            self.instruction.clone()
        } else {
            format!("{}\n{}", self.instruction, self.input)
        }
    }
}

/// Replaces `{a}`, `{b}`, … by the values of the same letters.
pub fn fill(template: &str, values: &[(char, &str)]) -> String {
    let mut text = template.to_owned();
    for (slot, value) in values {
        text = text.replace(&format!("{{{slot}}}"), value);
    }
    text
}
