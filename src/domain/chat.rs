//! Chat messages, as templates render them and training records hold them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ToolCall;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// The text of a content that came in parts: one to a line, where it is asked and where it is trained on.
pub fn join_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    parts.into_iter().collect::<Vec<_>>().join("\n")
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What an assistant calls, beside what it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Whose result a tool's turn is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Training only: 0 leaves an assistant turn out of the loss, 1 (the default) trains on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            weight: None,
        }
    }

    /// As chat templates read it. What says nothing is left out: templates ask whether a key is there.
    pub fn told(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert("role".into(), json!(self.role.as_str()));
        told.insert("content".into(), json!(self.content));
        if let Some(name) = &self.name {
            told.insert("name".into(), json!(name));
        }
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.iter().map(ToolCall::told).collect();
            told.insert("tool_calls".into(), Value::Array(calls));
        }
        if let Some(id) = &self.tool_call_id {
            told.insert("tool_call_id".into(), json!(id));
        }
        told
    }
}
