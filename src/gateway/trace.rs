//! What is known of one request when it has been answered: who asked, which adapter answered, how many tokens and when.
//! Holds no text.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::domain::{Event, Generation};
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
    /// The adapter, or the blend; `None` for the base, and where no model was asked.
    pub adapter: Option<String>,
    pub generation: Option<Generation>,
    pub prompt_tokens: Option<usize>,
    pub generated_tokens: Option<usize>,
    /// When the engine took it up.
    pub begun: Option<Instant>,
    pub first_token: Option<Instant>,
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

    /// What answers, and to how many prompt tokens.
    pub(super) fn asked(
        &self,
        adapter: Option<(&str, Generation)>,
        prompt_tokens: usize,
        begun: Vec<Begun>,
    ) {
        self.with(|state| {
            state.told.adapter = adapter.map(|(name, _)| name.to_owned());
            state.told.generation = adapter.map(|(_, generation)| generation);
            state.told.prompt_tokens = Some(prompt_tokens);
            state.told.generated_tokens = Some(0);
            state.begun = begun;
        });
    }

    pub(super) fn heard(&self, event: &Event) {
        if let Event::Delta { tokens, .. } = event
            && !tokens.is_empty()
        {
            self.with(|state| {
                let told = &mut state.told;
                told.first_token.get_or_insert_with(Instant::now);
                *told.generated_tokens.get_or_insert(0) += tokens.len();
            });
        }
    }

    pub fn told(&self) -> Told {
        self.with(|state| Told {
            begun: state.begun.iter().filter_map(Begun::at).min(),
            ..state.told.clone()
        })
    }
}
