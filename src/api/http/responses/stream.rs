//! The events of a streamed response.

use serde_json::{Value, json};

use super::super::blocks::{Block, Blocks, Step};
use super::super::naming::Names;
use super::super::sse::Chunks;
use super::view::{ResponseView, Status, logprobs, part};
use crate::api::fault::Fault;
use crate::domain::Event;

pub(super) struct ResponseStream {
    view: ResponseView,
    blocks: Blocks,
    names: Names,
    /// Events told.
    told: u64,
}

impl ResponseStream {
    pub fn new(view: ResponseView, blocks: Blocks, names: Names) -> Self {
        Self {
            view,
            blocks,
            names,
            told: 0,
        }
    }

    /// Gives each event its number.
    fn numbered(&mut self, mut events: Vec<Value>) -> Vec<Value> {
        for event in &mut events {
            event["sequence_number"] = json!(self.told);
            self.told += 1;
        }
        events
    }
}

impl Chunks for ResponseStream {
    const NAMED: bool = true;

    fn begin(&mut self) -> Vec<Value> {
        let response = self.view.begun();
        let event = |name: &str| json!({"type": name, "response": response});
        let events = ["response.created", "response.in_progress"].map(event);
        self.numbered(events.into())
    }

    fn on(&mut self, _prompt: usize, event: Event) -> Vec<Value> {
        let status = match &event {
            Event::Finish { reason, .. } => Status::of(Some(*reason)),
            _ => Status::Completed,
        };
        let (mut events, view) = (Vec::new(), &self.view);
        self.blocks.each(event, |number, step, block| {
            events.extend(told(view, number, step, block, status));
        });
        self.numbered(events)
    }

    fn end(&mut self) -> Vec<Value> {
        let name = match Status::of(self.blocks.finish) {
            Status::Incomplete => "response.incomplete",
            _ => "response.completed",
        };
        let response = self.view.whole(&self.blocks);
        self.numbered(vec![json!({"type": name, "response": response})])
    }

    fn failed(&mut self, fault: &Fault) -> Vec<Value> {
        let fault = self.names.fault(fault.reason.clone());
        let response = self.view.failed(&self.blocks, &fault);
        self.numbered(vec![
            json!({"type": "response.failed", "response": response}),
        ])
    }
}

/// `status`: how far an item is that ends now.
fn told(
    view: &ResponseView,
    number: usize,
    step: &Step,
    block: &Block,
    status: Status,
) -> Vec<Value> {
    let id = view.item_id(number, block);
    let of_item = |name: &str, status: Status| {
        let item = view.item(number, block, status);
        json!({"type": format!("response.output_item.{name}"), "output_index": number, "item": item})
    };
    let of_text = |name: &str| {
        json!({
            "type": format!("response.{name}"), "item_id": id, "output_index": number, "content_index": 0,
        })
    };
    let of_call = |name: &str| {
        json!({
            "type": format!("response.function_call_arguments.{name}"), "item_id": id, "output_index": number,
        })
    };
    let with = |mut event: Value, name: &str, value: Value| {
        event[name] = value;
        event
    };
    match (step, block) {
        (Step::BeginText, _) => {
            let begun = with(of_text("content_part.added"), "part", part(block));
            vec![of_item("added", Status::InProgress), begun]
        }
        (Step::BeginCall { .. }, _) => vec![of_item("added", Status::InProgress)],
        (Step::Text { text, tokens }, _) => {
            let delta = with(of_text("output_text.delta"), "delta", json!(text));
            vec![with(delta, "logprobs", logprobs(tokens))]
        }
        (Step::Arguments(text), _) => vec![with(of_call("delta"), "delta", json!(text))],
        (Step::End, Block::Text { text, tokens }) => {
            let done = with(of_text("output_text.done"), "text", json!(text));
            let done = with(done, "logprobs", logprobs(tokens));
            let ended = with(of_text("content_part.done"), "part", part(block));
            vec![done, ended, of_item("done", status)]
        }
        (Step::End, Block::Call(call)) => {
            let done = with(of_call("done"), "name", json!(call.name));
            let done = with(done, "arguments", json!(call.arguments));
            vec![done, of_item("done", status)]
        }
    }
}
