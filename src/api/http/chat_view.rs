//! How chat answers look: `chat.completion` and its chunks.

use serde_json::{Value, json};

use super::gather::{Choice, Whole, add};
use super::respond::usage;
use super::sampling::Delivery;
use super::sse::Chunks;
use crate::domain::{Event, Generation, TokenInfo, Usage};
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
        let each = answers.each.into_iter().map(take).collect();
        let view = Self {
            id: format!("chatcmpl-{}", answers.id),
            created: answers.created,
            model: answers.model,
            fingerprint: fingerprint.to_owned(),
            generation: answers.generation,
            prompt,
            logprobs,
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
        let mut value = json!({
            "index": index,
            "message": {"role": "assistant", "content": choice.text, "refusal": null},
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

fn ids(tokens: &[TokenInfo]) -> Value {
    tokens.iter().map(|token| token.id).collect()
}

fn token(token: &TokenInfo) -> Value {
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

    /// The chunk that opens an answer, once.
    fn opening(&mut self, choice: u32) -> Option<Value> {
        let first = !self.begun.contains(&true);
        let begun = self.begun.get_mut(choice as usize)?;
        if std::mem::replace(begun, true) {
            return None;
        }
        let mut chunk = self.chunk(
            choice,
            json!({"role": "assistant", "content": ""}),
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
                let mut chunks: Vec<Value> = self.opening(choice).into_iter().collect();
                let telling =
                    (self.view.logprobs || self.view.delivery.token_ids) && !tokens.is_empty();
                if !text.is_empty() || telling {
                    chunks.push(self.chunk(choice, json!({"content": text}), &tokens, None));
                }
                chunks
            }
            Event::Finish { choice, reason } => {
                let mut chunks: Vec<Value> = self.opening(choice).into_iter().collect();
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::domain::{FinishReason, TopToken};

    fn view(logprobs: bool, usage: bool, token_ids: bool) -> ChatView {
        let (_, events) = mpsc::channel(1);
        let answers = Answers {
            id: "1".into(),
            created: 5,
            model: "legal".into(),
            generation: Some(Generation::new([1; 32])),
            each: vec![crate::gateway::Answer {
                prompt: vec![8, 9],
                events: events.into(),
            }],
        };
        ChatView::new(
            answers,
            "fp_1",
            logprobs,
            Delivery {
                stream: true,
                usage,
                token_ids,
            },
        )
        .0
    }

    fn told(id: u32, text: &str) -> TokenInfo {
        let top = vec![TopToken {
            id,
            text: text.into(),
            bytes: text.as_bytes().to_vec(),
            logprob: -0.5,
        }];
        TokenInfo {
            id,
            text: text.into(),
            bytes: text.as_bytes().to_vec(),
            logprob: Some(-0.5),
            top,
        }
    }

    fn delta(text: &str) -> Event {
        Event::Delta {
            choice: 0,
            text: text.into(),
            tokens: vec![told(3, text)],
        }
    }

    #[test]
    fn a_stream_opens_with_the_role_and_closes_with_the_reason() {
        let mut stream = view(false, true, false).stream(1);
        let mut chunks = stream.on(0, delta("hi"));
        chunks.extend(stream.on(
            0,
            Event::Finish {
                choice: 0,
                reason: FinishReason::Stop,
            },
        ));
        chunks.extend(stream.on(
            0,
            Event::Done {
                usage: Usage {
                    prompt: 2,
                    cached: 0,
                    generated: 1,
                },
            },
        ));
        chunks.extend(stream.end());
        let deltas: Vec<&Value> = chunks[..3]
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"])
            .collect();
        assert_eq!(
            deltas,
            [
                &json!({"role": "assistant", "content": ""}),
                &json!({"content": "hi"}),
                &json!({})
            ]
        );
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
        assert!(
            chunks[..3]
                .iter()
                .all(|chunk| chunk["usage"].is_null() && chunk["adapter_generation"].is_string())
        );
        assert_eq!(chunks[3]["choices"], json!([]));
        assert_eq!(chunks[3]["usage"]["total_tokens"], 3);
    }

    #[test]
    fn held_back_text_makes_no_empty_chunks_unless_the_token_is_told() {
        let mut stream = view(false, false, false).stream(1);
        assert_eq!(stream.on(0, delta("")).len(), 1, "the opening alone");
        assert!(stream.on(0, delta("")).is_empty());
        let mut telling = view(true, false, true).stream(1);
        let chunks = telling.on(0, delta(""));
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[0]["prompt_token_ids"], json!([8, 9]));
        assert_eq!(chunks[1]["choices"][0]["token_ids"], json!([3]));
        assert_eq!(
            chunks[1]["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"],
            -0.5
        );
    }

    #[test]
    fn a_whole_answer_has_every_choice_and_the_usage() {
        let choice = || Choice {
            text: "hi".into(),
            tokens: vec![told(3, "hi")],
            finish: Some(FinishReason::Length),
        };
        let answered = super::super::gather::Answered {
            prompt: Vec::new(),
            choices: vec![choice(), choice()],
        };
        let whole = Whole {
            prompts: vec![answered],
            usage: Usage {
                prompt: 2,
                cached: 1,
                generated: 2,
            },
        };
        let value = view(true, false, true).whole(whole);
        assert_eq!(value["object"], "chat.completion");
        assert_eq!(value["choices"][1]["index"], 1);
        assert_eq!(value["choices"][1]["finish_reason"], "length");
        assert_eq!(
            value["choices"][0]["logprobs"]["content"][0]["bytes"],
            json!([104, 105])
        );
        assert_eq!(value["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
        assert_eq!(value["prompt_token_ids"], json!([8, 9]));
    }
}
