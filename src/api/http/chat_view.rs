//! How chat answers look: `chat.completion` and its chunks.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::gather::{Called, Choice, Whole, add};
use super::respond::usage;
use super::sampling::Delivery;
use super::sse::Chunks;
use crate::domain::{CallPiece, Event, Generation, TokenInfo, Usage};
use crate::gateway::{Answers, Events};

/// What every chunk of one request repeats.
pub(super) struct ChatView {
    id: String,
    created: i64,
    model: String,
    fingerprint: String,
    generation: Option<Generation>,
    prompt: Vec<u32>,
    logprobs: bool,
    /// Calls may come beside text, or instead.
    may_call: bool,
    delivery: Delivery,
}

impl ChatView {
    pub fn new(
        answers: Answers,
        fingerprint: &str,
        logprobs: bool,
        delivery: Delivery,
    ) -> (Self, Vec<Events>) {
        let mut prompt = Vec::new();
        let take = |answer: crate::gateway::Answer| {
            prompt = answer.prompt;
            answer.events
        };
        let each: Vec<Events> = answers.each.into_iter().map(take).collect();
        let view = Self {
            id: format!("chatcmpl-{}", answers.id),
            created: answers.created,
            model: answers.model,
            fingerprint: fingerprint.to_owned(),
            generation: answers.generation,
            prompt,
            logprobs,
            may_call: each.iter().any(Events::may_call),
            delivery,
        };
        (view, each)
    }

    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    fn envelope(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "adapter_generation": self.generation,
        })
    }

    pub fn whole(&self, whole: Whole) -> Value {
        let choices = whole.prompts.iter().flat_map(|prompt| &prompt.choices);
        let choices = choices
            .enumerate()
            .map(|(index, choice)| self.choice(index, choice))
            .collect();
        let mut value = self.envelope("chat.completion", choices);
        value["usage"] = usage(whole.usage);
        if self.delivery.token_ids {
            value["prompt_token_ids"] = json!(self.prompt);
        }
        value
    }

    fn choice(&self, index: usize, choice: &Choice) -> Value {
        let mut message = json!({"role": "assistant", "content": choice.text, "refusal": null});
        if !choice.calls.is_empty() {
            if choice.text.is_empty() {
                message["content"] = Value::Null;
            }
            message["tool_calls"] = choice.calls.iter().map(call).collect();
        }
        let mut value = json!({
            "index": index,
            "message": message,
            "logprobs": self.logprobs_of(&choice.tokens),
            "finish_reason": choice.finish.map(|reason| reason.as_str()),
        });
        if self.delivery.token_ids {
            value["token_ids"] = ids(&choice.tokens);
        }
        value
    }

    fn logprobs_of(&self, tokens: &[TokenInfo]) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        let content: Vec<Value> = tokens.iter().map(token).collect();
        json!({"content": content, "refusal": null})
    }

    pub fn stream(self, n: u32) -> ChatStream {
        ChatStream {
            view: self,
            begun: vec![false; n as usize],
            usage: Usage::default(),
        }
    }
}

fn call(call: &Called) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments});
    json!({"id": call.id, "type": "function", "function": function})
}

fn ids(tokens: &[TokenInfo]) -> Value {
    tokens.iter().map(|token| token.id).collect()
}

pub(super) fn token(token: &TokenInfo) -> Value {
    let top: Vec<Value> = token
        .top
        .iter()
        .map(|top| json!({"token": top.text, "logprob": top.logprob, "bytes": top.bytes}))
        .collect();
    json!({"token": token.text, "logprob": token.logprob, "bytes": token.bytes, "top_logprobs": top})
}

pub(super) struct ChatStream {
    view: ChatView,
    /// Which answers have sent their role.
    begun: Vec<bool>,
    usage: Usage,
}

impl ChatStream {
    fn chunk(
        &self,
        choice: u32,
        delta: Value,
        tokens: &[TokenInfo],
        finish: Option<&str>,
    ) -> Value {
        let logprobs = if tokens.is_empty() {
            Value::Null
        } else {
            self.view.logprobs_of(tokens)
        };
        let mut one =
            json!({"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
        if self.view.delivery.token_ids && !tokens.is_empty() {
            one["token_ids"] = ids(tokens);
        }
        let mut chunk = self.view.envelope("chat.completion.chunk", json!([one]));
        if self.view.delivery.usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The chunk that opens an answer, once. One that opens with a call says null, as OpenAI's do.
    fn opening(&mut self, choice: u32, content: Option<&str>) -> Option<Value> {
        let first = !self.begun.contains(&true);
        let begun = self.begun.get_mut(choice as usize)?;
        if std::mem::replace(begun, true) {
            return None;
        }
        let mut chunk = self.chunk(
            choice,
            json!({"role": "assistant", "content": content}),
            &[],
            None,
        );
        if first && self.view.delivery.token_ids {
            chunk["prompt_token_ids"] = json!(self.view.prompt);
        }
        Some(chunk)
    }
}

impl Chunks for ChatStream {
    fn on(&mut self, _prompt: usize, event: Event) -> Vec<Value> {
        match event {
            Event::Delta {
                choice,
                text,
                tokens,
            } => {
                let telling =
                    (self.view.logprobs || self.view.delivery.token_ids) && !tokens.is_empty();
                if self.view.may_call && text.is_empty() && !telling {
                    // Whether it opens with text or with a call is not known yet.
                    return Vec::new();
                }
                let mut chunks: Vec<Value> = self.opening(choice, Some("")).into_iter().collect();
                if !text.is_empty() || telling {
                    chunks.push(self.chunk(choice, json!({"content": text}), &tokens, None));
                }
                chunks
            }
            Event::Call {
                choice,
                index,
                piece,
            } => {
                let mut chunks: Vec<Value> = self.opening(choice, None).into_iter().collect();
                let call = match piece {
                    CallPiece::Begin { id, name } => json!({
                        "index": index, "id": id, "type": "function",
                        "function": {"name": name, "arguments": ""},
                    }),
                    CallPiece::Arguments(text) => {
                        json!({"index": index, "function": {"arguments": text}})
                    }
                };
                chunks.push(self.chunk(choice, json!({"tool_calls": [call]}), &[], None));
                chunks
            }
            Event::Finish { choice, reason } => {
                let mut chunks: Vec<Value> = self.opening(choice, Some("")).into_iter().collect();
                chunks.push(self.chunk(choice, json!({}), &[], Some(reason.as_str())));
                chunks
            }
            Event::Done { usage } => {
                add(&mut self.usage, usage);
                Vec::new()
            }
            Event::Prompt { .. } | Event::Embedding { .. } | Event::Failed(_) => Vec::new(),
        }
    }

    fn end(&mut self) -> Vec<Value> {
        if !self.view.delivery.usage {
            return Vec::new();
        }
        let mut last = self.view.envelope("chat.completion.chunk", json!([]));
        last["usage"] = usage(self.usage);
        vec![last]
    }
}
