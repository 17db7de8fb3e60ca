//! What is known of one request when it has been answered: who asked, which adapter answered, how many tokens and when.
//! Holds no text.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::domain::{Event, FinishReason, Generation, Sampling};
use crate::scheduler::Begun;

/// Cheap to clone; all clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    told: Told,
    begun: Vec<Begun>,
}

/// Of a request.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The id of its key.
    pub key: Option<String>,
    /// What of the model was asked for.
    pub wish: Option<Wish>,
    /// What answers: the adapter's name, the blend, or the base's name.
    pub model: Option<String>,
    /// The same as the request says it, once it has been found; none where it says none.
    pub requested: Option<String>,
    /// The adapter, or the blend; `None` for the base, and where no model was asked.
    pub adapter: Option<String>,
    pub generation: Option<Generation>,
    pub prompt_tokens: Option<usize>,
    /// Of these, those found in the cache; known when all answers have ended.
    pub cached_tokens: Option<usize>,
    pub generated_tokens: Option<usize>,
    /// How its answers ended, in the order in which they did.
    pub finished: Vec<FinishReason>,
    /// When the gateway took it up.
    pub asked: Option<Instant>,
    /// When its prompts were tokens.
    pub tokenized: Option<Instant>,
    /// When its adapter was held in memory.
    pub leased: Option<Instant>,
    /// When it was handed to the engine.
    pub submitted: Option<Instant>,
    /// When the engine took it up.
    pub begun: Option<Instant>,
    pub first_token: Option<Instant>,
    pub last_token: Option<Instant>,
    /// When what had been asked for was there.
    pub done: Option<Instant>,
}

/// What was asked for, by its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    pub operation: Operation,
    /// Answers to each prompt.
    pub n: u32,
    /// Of an answer; `None` for what is no answer.
    pub sampling: Option<Shape>,
}

/// How an answer is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: u32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub max_tokens: Option<usize>,
    pub seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Chat,
    Completion,
    Embeddings,
}

/// What answers, and to what.
pub(super) struct Asked<'r> {
    pub adapter: Option<(&'r str, Generation)>,
    pub model: &'r str,
    pub requested: Option<&'r str>,
    pub prompt_tokens: usize,
    pub begun: Vec<Begun>,
}

impl From<&Sampling> for Shape {
    fn from(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            max_tokens: sampling.max_tokens,
            seed: sampling.seed,
        }
    }
}

impl Trace {
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn key(&self, id: &str) {
        self.with(|state| state.told.key = Some(id.to_owned()));
    }

    /// The gateway has taken it up.
    pub(super) fn wished(&self, wish: Wish) {
        self.with(|state| {
            state.told.wish = Some(wish);
            state.told.asked = Some(Instant::now());
        });
    }

    pub(super) fn tokenized(&self) {
        self.with(|state| state.told.tokenized = Some(Instant::now()));
    }

    pub(super) fn leased(&self) {
        self.with(|state| state.told.leased = Some(Instant::now()));
    }

    /// What answers, and to how many prompt tokens.
    pub(super) fn asked(&self, asked: Asked<'_>) {
        self.with(|state| {
            let told = &mut state.told;
            told.model = Some(asked.model.to_owned());
            told.requested = asked.requested.map(str::to_owned);
            told.adapter = asked.adapter.map(|(name, _)| name.to_owned());
            told.generation = asked.adapter.map(|(_, generation)| generation);
            told.prompt_tokens = Some(asked.prompt_tokens);
            told.generated_tokens = Some(0);
            told.submitted = Some(Instant::now());
            state.begun = asked.begun;
        });
    }

    pub(super) fn heard(&self, event: &Event) {
        match event {
            Event::Delta { tokens, .. } if !tokens.is_empty() => self.with(|state| {
                let (now, told) = (Instant::now(), &mut state.told);
                told.first_token.get_or_insert(now);
                told.last_token = Some(now);
                *told.generated_tokens.get_or_insert(0) += tokens.len();
            }),
            Event::Done { usage } => self.with(|state| {
                state.told.done = Some(Instant::now());
                *state.told.cached_tokens.get_or_insert(0) += usage.cached;
            }),
            _ => {}
        }
    }

    /// The same of an event as it is told on: what ended with calls says so.
    pub(super) fn said(&self, event: &Event) {
        if let Event::Finish { reason, .. } = event {
            self.with(|state| state.told.finished.push(*reason));
        }
    }

    pub fn told(&self) -> Told {
        self.with(|state| Told {
            begun: state.begun.iter().filter_map(Begun::at).min(),
            ..state.told.clone()
        })
    }
}

impl Operation {
    /// As the conventions for generative models name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "text_completion",
            Self::Embeddings => "embeddings",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TokenInfo, Usage};

    #[test]
    fn a_trace_keeps_the_order_of_what_happened_and_no_text() {
        let trace = Trace::new();
        let token = TokenInfo {
            id: 1,
            text: "secret".into(),
            bytes: Vec::new(),
            logprob: None,
            top: Vec::new(),
        };
        trace.wished(Wish {
            operation: Operation::Chat,
            n: 1,
            sampling: Some(Shape::from(&Sampling::default())),
        });
        trace.leased();
        trace.tokenized();
        trace.asked(Asked {
            adapter: None,
            model: "base",
            requested: Some("base"),
            prompt_tokens: 5,
            begun: vec![Begun::default()],
        });
        let usage = Usage {
            prompt: 5,
            cached: 4,
            generated: 2,
        };
        let delta = Event::Delta {
            choice: 0,
            text: "secret".into(),
            tokens: vec![token],
        };
        let finish = Event::Finish {
            choice: 0,
            reason: FinishReason::ToolCalls,
        };
        for event in [&delta, &delta, &finish, &Event::Done { usage }] {
            trace.heard(event);
            trace.said(event);
        }
        let told = trace.told();
        assert_eq!((told.prompt_tokens, told.cached_tokens), (Some(5), Some(4)));
        assert_eq!(told.generated_tokens, Some(2));
        assert_eq!(told.finished, [FinishReason::ToolCalls]);
        assert_eq!(told.begun, None, "the engine has not taken it up");
        let times = [
            told.asked,
            told.leased,
            told.tokenized,
            told.submitted,
            told.first_token,
            told.last_token,
            told.done,
        ];
        assert!(times.iter().all(Option::is_some) && times.is_sorted());
        assert!(!format!("{told:?}").contains("secret"));
    }
}
