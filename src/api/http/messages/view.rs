//! How answers look: `message` objects and the blocks in them.

use serde_json::{Map, Value, json};

use super::super::blocks::{Block, Blocks};
use crate::domain::{FinishReason, Generation, Usage};
use crate::gateway::{Answers, Events};

pub(super) struct MessageView {
    id: String,
    model: String,
    generation: Option<Generation>,
    /// The strings that may end it.
    stops: Vec<String>,
    /// Tokens of the prompt.
    prompt: usize,
}

impl MessageView {
    pub fn new(answers: Answers, stops: Vec<String>) -> (Self, Vec<Events>) {
        let prompt = answers.each.iter().map(|answer| answer.prompt.len()).sum();
        let view = Self {
            id: format!("msg_{}", answers.id),
            model: answers.model,
            generation: answers.generation,
            stops,
            prompt,
        };
        let each = answers.each.into_iter().map(|answer| answer.events);
        (view, each.collect())
    }

    fn message(&self, content: Vec<Value>, ended: (Value, Value), used: &Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": ended.0,
            "stop_sequence": ended.1,
            "usage": used,
            "adapter_generation": self.generation,
        })
    }

    /// Before anything is answered. What the cache has of the prompt is not known yet.
    pub fn begun(&self) -> Value {
        let used = usage(Usage {
            prompt: self.prompt,
            ..Usage::default()
        });
        self.message(Vec::new(), (Value::Null, Value::Null), &used)
    }

    pub fn whole(&self, whole: &Blocks) -> Value {
        let content = whole.blocks.iter().filter_map(block).collect();
        self.message(content, self.ended(whole.finish), &usage(whole.usage))
    }

    /// `stop_reason` and `stop_sequence`.
    pub fn ended(&self, finish: Option<FinishReason>) -> (Value, Value) {
        let (why, stop) = match finish {
            None => return (Value::Null, Value::Null),
            Some(FinishReason::Stop) => ("end_turn", None),
            Some(FinishReason::StopString(number)) => ("stop_sequence", self.stops.get(number)),
            Some(FinishReason::Length) => ("max_tokens", None),
            Some(FinishReason::ToolCalls) => ("tool_use", None),
        };
        (json!(why), json!(stop))
    }
}

/// `None`: a call that was cut short, of which a client would take what is there for all of it.
fn block(block: &Block) -> Option<Value> {
    Some(match block {
        Block::Text { text, .. } => json!({"type": "text", "text": text, "citations": null}),
        Block::Call(call) => {
            let input: Map<String, Value> = serde_json::from_str(&call.arguments).ok()?;
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
        }
    })
}

/// What was found in the cache is not counted as read.
pub(super) fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt.saturating_sub(usage.cached),
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.generated,
    })
}
