//! How answers look: `response` objects and the items in them.

use serde_json::{Map, Value, json};

use super::super::blocks::{Block, Blocks};
use super::super::naming::Names;
use super::stream::ResponseStream;
use crate::api::fault::Fault;
use crate::domain::{FinishReason, TokenInfo, Usage};
use crate::gateway::{Answers, Events};

/// How far a response or an item of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }

    /// Of an answer that ended so.
    pub fn of(finish: Option<FinishReason>) -> Self {
        match finish {
            Some(FinishReason::Length) => Self::Incomplete,
            _ => Self::Completed,
        }
    }
}

/// What every event of one request repeats.
pub(super) struct ResponseView {
    id: String,
    /// The response without what changes while it is answered.
    fixed: Map<String, Value>,
}

impl ResponseView {
    pub fn new(answers: Answers, echo: Map<String, Value>) -> (Self, Vec<Events>) {
        let mut fixed = Map::new();
        for (name, value) in [
            ("id", json!(format!("resp_{}", answers.id))),
            ("object", json!("response")),
            ("created_at", json!(answers.created)),
            ("model", json!(answers.model)),
            ("adapter_generation", json!(answers.generation)),
            ("background", json!(false)),
            ("previous_response_id", Value::Null),
            ("store", json!(false)),
            ("truncation", json!("disabled")),
            ("instructions", Value::Null),
            ("max_output_tokens", Value::Null),
            ("metadata", json!({})),
            ("parallel_tool_calls", json!(true)),
            ("reasoning", json!({"effort": null, "summary": null})),
            ("temperature", json!(1.0)),
            ("text", json!({"format": {"type": "text"}})),
            ("tool_choice", json!("auto")),
            ("tools", json!([])),
            ("top_p", json!(1.0)),
            ("user", Value::Null),
        ] {
            fixed.insert(name.to_owned(), value);
        }
        fixed.extend(echo.into_iter().filter(|(_, value)| !value.is_null()));
        let view = Self {
            id: answers.id,
            fixed,
        };
        let each = answers.each.into_iter().map(|answer| answer.events);
        (view, each.collect())
    }

    /// The response at a moment; `blocks` are complete.
    fn at(&self, status: Status, output: Vec<Value>, used: Option<Usage>) -> Map<String, Value> {
        let mut value = self.fixed.clone();
        let why = match status {
            Status::Incomplete => json!({"reason": "max_output_tokens"}),
            _ => Value::Null,
        };
        for (name, part) in [
            ("status", json!(status.as_str())),
            ("error", Value::Null),
            ("incomplete_details", why),
            ("output", Value::Array(output)),
            ("usage", used.map_or(Value::Null, usage)),
        ] {
            value.insert(name.to_owned(), part);
        }
        value
    }

    pub fn begun(&self) -> Value {
        Value::Object(self.at(Status::InProgress, Vec::new(), None))
    }

    pub fn whole(&self, whole: &Blocks) -> Value {
        let status = Status::of(whole.finish);
        let last = whole.last();
        let items = whole.blocks.iter().enumerate().map(|(number, block)| {
            // Only what came last was cut short.
            let status = if number == last {
                status
            } else {
                Status::Completed
            };
            self.item(number, block, status)
        });
        Value::Object(self.at(status, items.collect(), Some(whole.usage)))
    }

    /// With what was answered until then.
    pub fn failed(&self, blocks: &Blocks, fault: &Fault) -> Value {
        let items = blocks.blocks.iter().enumerate();
        let items = items.map(|(number, block)| self.item(number, block, Status::Incomplete));
        let mut value = self.at(Status::Failed, items.collect(), None);
        // Clients know few codes here.
        let code = match fault.row().status {
            429 => "rate_limit_exceeded",
            400..=499 => "invalid_prompt",
            _ => "server_error",
        };
        let error = json!({"code": code, "message": fault.message(), "param": fault.param});
        value.insert("error".to_owned(), error);
        Value::Object(value)
    }

    pub fn item_id(&self, number: usize, block: &Block) -> String {
        match block {
            Block::Text { .. } => format!("msg_{}_{number}", self.id),
            Block::Call(_) => format!("fc_{}_{number}", self.id),
        }
    }

    pub fn item(&self, number: usize, block: &Block, status: Status) -> Value {
        let id = self.item_id(number, block);
        match block {
            Block::Text { .. } => {
                // A message that has just begun has no part yet.
                let content: Vec<Value> = match status {
                    Status::InProgress => Vec::new(),
                    _ => vec![part(block)],
                };
                json!({
                    "id": id, "type": "message", "status": status.as_str(), "role": "assistant",
                    "content": content,
                })
            }
            Block::Call(call) => json!({
                "id": id, "type": "function_call", "status": status.as_str(),
                "call_id": call.id, "name": call.name, "arguments": call.arguments,
            }),
        }
    }

    pub fn stream(self, blocks: Blocks, names: Names) -> ResponseStream {
        ResponseStream::new(self, blocks, names)
    }
}

/// The content of a text.
pub(super) fn part(block: &Block) -> Value {
    let (text, tokens) = match block {
        Block::Text { text, tokens } => (text.as_str(), tokens.as_slice()),
        Block::Call(_) => ("", &[][..]),
    };
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs(tokens)})
}

pub(super) fn logprobs(tokens: &[TokenInfo]) -> Value {
    tokens.iter().map(super::super::chat_view::token).collect()
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.generated,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.generated,
    })
}
