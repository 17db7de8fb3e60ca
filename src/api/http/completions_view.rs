//! How text completions look: `text_completion`, whole and in chunks.

use serde_json::{Map, Value, json};

use super::gather::{Whole, add};
use super::respond::usage;
use super::sampling::Delivery;
use super::sse::Chunks;
use crate::domain::{Event, Generation, TokenInfo, Usage};
use crate::gateway::{Answer, Answers, Events};

pub(super) struct TextView {
    id: String,
    created: i64,
    model: String,
    fingerprint: String,
    generation: Option<Generation>,
    /// Ids of each prompt.
    prompts: Vec<Vec<u32>>,
    /// Text of each prompt, where it is to be returned.
    echoes: Option<Vec<String>>,
    n: u32,
    logprobs: Option<u8>,
    delivery: Delivery,
}

impl TextView {
    pub fn new(
        answers: Answers,
        echoes: Option<Vec<String>>,
        fingerprint: &str,
        n: u32,
        logprobs: Option<u8>,
        delivery: Delivery,
    ) -> (Self, Vec<Events>) {
        let apart = |answer: Answer| (answer.prompt, answer.events);
        let (prompts, each) = answers.each.into_iter().map(apart).unzip();
        let view = Self {
            id: format!("cmpl-{}", answers.id),
            created: answers.created,
            model: answers.model,
            fingerprint: fingerprint.to_owned(),
            generation: answers.generation,
            prompts,
            echoes,
            n,
            logprobs,
            delivery,
        };
        (view, each)
    }

    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }

    fn envelope(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "adapter_generation": self.generation,
        })
    }

    fn echo(&self, prompt: usize) -> &str {
        self.echoes
            .as_ref()
            .and_then(|echoes| echoes.get(prompt))
            .map_or("", String::as_str)
    }

    fn index(&self, prompt: usize, choice: usize) -> usize {
        prompt * self.n as usize + choice
    }

    pub fn whole(&self, whole: Whole) -> Value {
        let mut choices = Vec::new();
        for (at, answered) in whole.prompts.iter().enumerate() {
            for (number, choice) in answered.choices.iter().enumerate() {
                let mut table = Logprobs::default();
                table.extend(&answered.prompt, self.logprobs);
                table.extend(&choice.tokens, self.logprobs);
                let mut one = json!({
                    "index": self.index(at, number),
                    "text": format!("{}{}", self.echo(at), choice.text),
                    "logprobs": self.logprobs.map(|_| table.value()),
                    "finish_reason": choice.finish.map(|reason| reason.as_str()),
                });
                if self.delivery.token_ids {
                    one["token_ids"] = choice.tokens.iter().map(|token| token.id).collect();
                    one["prompt_token_ids"] = json!(self.prompts.get(at));
                }
                choices.push(one);
            }
        }
        let mut value = self.envelope(Value::Array(choices));
        value["usage"] = usage(whole.usage);
        value
    }

    pub fn stream(self) -> TextStream {
        let answers = self.prompts.len() * self.n as usize;
        TextStream {
            offsets: vec![0; answers],
            opened: vec![false; answers],
            view: self,
            usage: Usage::default(),
        }
    }
}

/// The four parallel lists of a text completion's log-probabilities.
#[derive(Debug, Default)]
struct Logprobs {
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<Value>,
    /// Characters so far.
    offset: usize,
}

impl Logprobs {
    fn extend(&mut self, tokens: &[TokenInfo], asked: Option<u8>) {
        for token in tokens {
            self.tokens.push(json!(token.text));
            self.token_logprobs.push(json!(token.logprob));
            self.top_logprobs
                .push(alternatives(token, asked.unwrap_or(0)));
            self.text_offset.push(json!(self.offset));
            self.offset += token.text.chars().count();
        }
    }

    fn value(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        })
    }
}

/// Text to log-probability, likeliest first; the token itself is always among them. Of two tokens that read the
/// same, the likelier stays.
fn alternatives(token: &TokenInfo, asked: u8) -> Value {
    let Some(own) = token.logprob else {
        return Value::Null;
    };
    if asked == 0 {
        return json!({});
    }
    let mut map = Map::new();
    for top in token.top.iter().take(asked as usize) {
        map.entry(top.text.clone())
            .or_insert_with(|| json!(top.logprob));
    }
    map.entry(token.text.clone()).or_insert_with(|| json!(own));
    Value::Object(map)
}

pub(super) struct TextStream {
    view: TextView,
    /// Characters sent of each answer, for `text_offset`.
    offsets: Vec<usize>,
    /// Which answers have begun.
    opened: Vec<bool>,
    usage: Usage,
}

impl TextStream {
    fn chunk(
        &mut self,
        index: usize,
        text: &str,
        tokens: &[TokenInfo],
        finish: Option<&str>,
    ) -> Value {
        let logprobs = self
            .view
            .logprobs
            .filter(|_| !tokens.is_empty())
            .map(|asked| {
                let offset = self.offsets.get(index).copied().unwrap_or(0);
                let mut table = Logprobs {
                    offset,
                    ..Logprobs::default()
                };
                table.extend(tokens, Some(asked));
                if let Some(sent) = self.offsets.get_mut(index) {
                    *sent = table.offset;
                }
                table.value()
            });
        let mut one =
            json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish});
        if self.view.delivery.token_ids && !tokens.is_empty() {
            one["token_ids"] = tokens.iter().map(|token| token.id).collect();
        }
        let mut chunk = self.view.envelope(json!([one]));
        if self.view.delivery.usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The chunk that repeats the prompt, once an answer: its text, and its tokens where they were scored.
    fn opening(&mut self, prompt: usize, choice: usize, tokens: &[TokenInfo]) -> Option<Value> {
        let index = self.view.index(prompt, choice);
        if std::mem::replace(self.opened.get_mut(index)?, true) {
            return None;
        }
        if self.view.echoes.is_none() && !self.view.delivery.token_ids {
            return None;
        }
        let echo = self.view.echo(prompt).to_owned();
        let mut chunk = self.chunk(index, &echo, tokens, None);
        if self.view.delivery.token_ids {
            let one = &mut chunk["choices"][0];
            // These are the prompt's, not the answer's.
            if let Some(map) = one.as_object_mut() {
                map.remove("token_ids");
            }
            one["prompt_token_ids"] = json!(self.view.prompts.get(prompt));
        }
        Some(chunk)
    }
}

impl Chunks for TextStream {
    fn on(&mut self, prompt: usize, event: Event) -> Vec<Value> {
        match event {
            Event::Prompt { tokens } => (0..self.view.n as usize)
                .filter_map(|choice| self.opening(prompt, choice, &tokens))
                .collect(),
            Event::Delta {
                choice,
                text,
                tokens,
            } => {
                let choice = choice as usize;
                let mut chunks: Vec<Value> =
                    self.opening(prompt, choice, &[]).into_iter().collect();
                let telling = (self.view.logprobs.is_some() || self.view.delivery.token_ids)
                    && !tokens.is_empty();
                if !text.is_empty() || telling {
                    chunks.push(self.chunk(self.view.index(prompt, choice), &text, &tokens, None));
                }
                chunks
            }
            Event::Finish { choice, reason } => {
                let choice = choice as usize;
                let mut chunks: Vec<Value> =
                    self.opening(prompt, choice, &[]).into_iter().collect();
                chunks.push(self.chunk(
                    self.view.index(prompt, choice),
                    "",
                    &[],
                    Some(reason.as_str()),
                ));
                chunks
            }
            Event::Done { usage } => {
                add(&mut self.usage, usage);
                Vec::new()
            }
            Event::Embedding { .. } | Event::Call { .. } | Event::Failed(_) => Vec::new(),
        }
    }

    fn end(&mut self) -> Vec<Value> {
        if !self.view.delivery.usage {
            return Vec::new();
        }
        let mut last = self.view.envelope(json!([]));
        last["usage"] = usage(self.usage);
        vec![last]
    }
}

#[cfg(test)]
mod tests {
    use super::super::gather::{Answered, Choice};
    use tokio::sync::mpsc;

    use super::*;
    use crate::domain::{FinishReason, TopToken};

    fn view(prompts: usize, n: u32, echo: bool, logprobs: Option<u8>) -> TextView {
        let answer = |_| Answer {
            prompt: vec![4, 5],
            events: mpsc::channel(1).1.into(),
        };
        let each = (0..prompts).map(answer).collect();
        let answers = Answers {
            id: "1".into(),
            created: 5,
            model: "tiny".into(),
            generation: None,
            each,
        };
        let echoes = echo.then(|| vec!["é!".to_owned(); prompts]);
        let delivery = Delivery {
            stream: true,
            usage: true,
            token_ids: false,
        };
        TextView::new(answers, echoes, "fp_1", n, logprobs, delivery).0
    }

    fn token(id: u32, text: &str, logprob: Option<f32>) -> TokenInfo {
        let top = TopToken {
            id: 9,
            text: "z".into(),
            bytes: b"z".to_vec(),
            logprob: -0.125,
        };
        TokenInfo {
            id,
            text: text.into(),
            bytes: text.as_bytes().to_vec(),
            logprob,
            top: vec![top],
        }
    }

    #[test]
    fn choices_are_numbered_across_prompts() {
        let choice = || Choice {
            calls: Vec::new(),
            text: "x".into(),
            tokens: Vec::new(),
            finish: Some(FinishReason::Stop),
        };
        let prompt = || Answered {
            prompt: Vec::new(),
            choices: vec![choice(), choice()],
        };
        let whole = Whole {
            prompts: vec![prompt(), prompt()],
            usage: Usage::default(),
        };
        let value = view(2, 2, false, None).whole(whole);
        let numbers: Vec<u64> = value["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["index"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert!(value["adapter_generation"].is_null() && value["choices"][0]["logprobs"].is_null());
    }

    #[test]
    fn a_scored_prompt_has_a_log_probability_for_every_token_but_the_first() {
        let prompt = vec![token(4, "é", None), token(5, "!", Some(-1.5))];
        let answered = Answered {
            prompt,
            choices: vec![Choice {
                finish: Some(FinishReason::Length),
                ..Choice::default()
            }],
        };
        let value = view(1, 1, true, Some(1)).whole(Whole {
            prompts: vec![answered],
            usage: Usage::default(),
        });
        let one = &value["choices"][0];
        assert_eq!(one["text"], "é!");
        assert_eq!(one["logprobs"]["token_logprobs"], json!([null, -1.5]));
        assert_eq!(
            one["logprobs"]["top_logprobs"],
            json!([null, {"z": -0.125, "!": -1.5}])
        );
        assert_eq!(one["logprobs"]["text_offset"], json!([0, 1]));
    }

    #[test]
    fn a_stream_repeats_the_prompt_once_and_counts_offsets_on() {
        let mut stream = view(1, 1, true, Some(0)).stream();
        let mut chunks = stream.on(
            0,
            Event::Prompt {
                tokens: vec![token(4, "é", None), token(5, "!", Some(-1.5))],
            },
        );
        chunks.extend(stream.on(
            0,
            Event::Delta {
                choice: 0,
                text: "a".into(),
                tokens: vec![token(6, "a", Some(-0.5))],
            },
        ));
        chunks.extend(stream.on(
            0,
            Event::Finish {
                choice: 0,
                reason: FinishReason::Length,
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
        let texts: Vec<&Value> = chunks[..3]
            .iter()
            .map(|chunk| &chunk["choices"][0]["text"])
            .collect();
        assert_eq!(texts, ["é!", "a", ""]);
        assert_eq!(
            chunks[1]["choices"][0]["logprobs"]["text_offset"],
            json!([2])
        );
        assert_eq!(chunks[3]["usage"]["prompt_tokens"], 2);
    }
}
