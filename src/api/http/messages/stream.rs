//! The events of a streamed message.

use serde_json::{Value, json};

use super::super::blocks::{Blocks, Step};
use super::super::dialect::anthropic;
use super::super::naming::Names;
use super::super::sse::Chunks;
use super::view::{MessageView, usage};
use crate::api::fault::Fault;
use crate::domain::Event;

pub(super) struct MessageStream {
    view: MessageView,
    blocks: Blocks,
    names: Names,
    /// The request's own id.
    request: String,
}

impl MessageStream {
    pub fn new(view: MessageView, blocks: Blocks, names: Names, request: String) -> Self {
        Self {
            view,
            blocks,
            names,
            request,
        }
    }
}

impl Chunks for MessageStream {
    const NAMED: bool = true;

    fn begin(&mut self) -> Vec<Value> {
        vec![json!({"type": "message_start", "message": self.view.begun()})]
    }

    fn on(&mut self, _prompt: usize, event: Event) -> Vec<Value> {
        let mut events = Vec::new();
        self.blocks
            .each(event, |number, step, _| events.push(told(number, step)));
        events
    }

    fn end(&mut self) -> Vec<Value> {
        let (why, stop) = self.view.ended(self.blocks.finish);
        let delta = json!({"stop_reason": why, "stop_sequence": stop});
        let used = usage(self.blocks.usage);
        vec![
            json!({"type": "message_delta", "delta": delta, "usage": used}),
            json!({"type": "message_stop"}),
        ]
    }

    fn failed(&mut self, fault: &Fault) -> Vec<Value> {
        let fault = self.names.fault(fault.reason.clone());
        vec![anthropic(&fault, &self.request)]
    }

    fn silence(&self) -> Option<Value> {
        Some(json!({"type": "ping"}))
    }
}

fn told(number: usize, step: &Step) -> Value {
    let begun = |block: Value| json!({"type": "content_block_start", "index": number, "content_block": block});
    let more =
        |delta: Value| json!({"type": "content_block_delta", "index": number, "delta": delta});
    match step {
        Step::BeginText => begun(json!({"type": "text", "text": "", "citations": null})),
        Step::BeginCall { id, name } => {
            begun(json!({"type": "tool_use", "id": id, "name": name, "input": {}}))
        }
        Step::Text { text, .. } => more(json!({"type": "text_delta", "text": text})),
        Step::Arguments(text) => more(json!({"type": "input_json_delta", "partial_json": text})),
        Step::End => json!({"type": "content_block_stop", "index": number}),
    }
}
