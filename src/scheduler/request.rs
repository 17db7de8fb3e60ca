//! What the answers of one request share: the prompt, the adapter, the reader.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::Sender;

use super::admit::{Admitted, Begun, Terms};
use super::detokenize::describe;
use super::gate::Seat;
use super::policy::ledger::{self, Party};
use super::pooling::Pooled;
use super::prefix::{Circle, Name, Names};
use crate::domain::{Event, FinishReason, Reason, Sampling, TokenInfo, Usage};
use crate::model::sample::Score;
use crate::registry::Lease;
use crate::text::Tokenizer;

pub struct Request {
    /// After the virtual tokens of its adapter, which nobody is shown.
    pub prompt: Vec<u32>,
    pub virtual_tokens: usize,
    pub sampling: Sampling,
    pub n: u32,
    pub lease: Option<Lease>,
    pub terms: Terms,
    pub party: Party,
    /// Ids that end an answer, ascending.
    pub ends: Vec<u32>,
    /// What the names of its blocks are chained to.
    pub root: Name,
    /// Of the blocks its prompt fills.
    pub names: Arc<Vec<Name>>,
    /// Prompt tokens that its first answer found in the cache; known once that has begun.
    cached: Option<usize>,
    /// What is known of each prompt token so far; taken when it is sent.
    scores: Option<Vec<TokenInfo>>,
    /// What is known of the vector that is wanted of the prompt; taken when it is sent.
    pooled: Option<Pooled>,
    events: Sender<Event>,
    unfinished: u32,
    /// Prompt tokens that a step has computed, each counted once.
    computed: usize,
    generated: usize,
    arrived: Instant,
    answered: bool,
    begun: Begun,
    seat: Seat,
}

/// How the blocks of a request are named.
pub struct Naming<'a> {
    pub names: &'a Names,
    /// Where no other request may share them: the request's number.
    pub alone: Option<u64>,
    /// What keys depend on besides tokens and their positions.
    pub key_class: usize,
}

/// The reader has gone, or was too slow and got the error that says so. The request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Request {
    pub fn new(
        admitted: Admitted,
        events: Sender<Event>,
        seat: Seat,
        tokenizer: &Tokenizer,
        naming: Naming<'_>,
    ) -> Self {
        let Admitted {
            prompt,
            virtual_tokens,
            sampling,
            n,
            prompt_logprobs,
            lease,
            cache_salt,
            terms,
            pooling,
            begun,
            // Its answers have them.
            guides: _,
        } = admitted;
        let mut ends = sampling.stop_token_ids.clone();
        if !sampling.ignore_eos {
            ends.extend_from_slice(tokenizer.eos());
        }
        ends.sort_unstable();
        ends.dedup();
        let adapter = lease.as_ref().map_or(0, |lease| {
            let mut hash = DefaultHasher::new();
            lease.name().as_str().hash(&mut hash);
            hash.finish()
        });
        let party = Party {
            tenant: terms.tenant,
            adapter,
        };
        let circle = match naming.alone {
            Some(number) => Circle::Alone(number),
            None => match terms.circle {
                Some(owner) => Circle::Owned(owner, &cache_salt),
                None => Circle::Salted(&cache_salt),
            },
        };
        let generation = lease.as_ref().map(Lease::generation);
        let root = naming.names.root(circle, generation, naming.key_class);
        let mut names = Vec::new();
        naming.names.extend(root, &mut names, prompt.iter());
        let scores =
            prompt_logprobs.then(|| vec![describe(tokenizer, prompt[virtual_tokens], None)]);
        let pooled = pooling.map(|pooling| Pooled::new(pooling, virtual_tokens..prompt.len()));
        Self {
            prompt,
            virtual_tokens,
            sampling,
            n,
            lease,
            terms,
            party,
            ends,
            root,
            names: Arc::new(names),
            cached: None,
            scores,
            pooled,
            events,
            unfinished: n,
            computed: 0,
            generated: 0,
            arrived: Instant::now(),
            answered: false,
            begun,
            seat,
        }
    }

    /// What the caller gave.
    pub fn asked(&self) -> &[u32] {
        &self.prompt[self.virtual_tokens..]
    }

    /// Of so many tokens from the beginning, those that the caller gave.
    fn shown(&self, tokens: usize) -> usize {
        tokens
            .min(self.prompt.len())
            .saturating_sub(self.virtual_tokens)
    }

    /// Tokens an answer may have.
    pub fn max_tokens(&self) -> usize {
        // Admission resolved it.
        self.sampling.max_tokens.unwrap_or(0)
    }

    /// Positions an answer needs to go on from `known` tokens: theirs, and one for the token it chooses, if it may.
    pub fn needs(&self, known: usize) -> usize {
        known + usize::from(self.max_tokens() > 0)
    }

    pub fn deserted(&self) -> bool {
        self.events.is_closed()
    }

    /// Prompt positions whose scores are known, where scores are wanted and not all are.
    pub fn scored(&self) -> Option<usize> {
        let known = self.scores.as_ref()?.len() + self.virtual_tokens;
        Some(known).filter(|&known| known < self.prompt.len())
    }

    /// The score of the next prompt position.
    pub fn add_score(&mut self, score: Score, tokenizer: &Tokenizer) {
        if let Some(scores) = &mut self.scores {
            let id = self.prompt[self.virtual_tokens + scores.len()];
            scores.push(describe(tokenizer, id, Some(score)));
        }
    }

    /// Of the prompt positions computed, those whose hidden states go into its vector.
    pub fn states_wanted(&self, computed: Range<usize>) -> Range<usize> {
        match &self.pooled {
            None => computed.start..computed.start,
            Some(pooled) => pooled.wants(computed),
        }
    }

    /// Takes the hidden state of the next such position.
    pub fn add_state(&mut self, state: &[f32]) {
        if let Some(pooled) = &mut self.pooled {
            pooled.add(state);
        }
    }

    /// Sends the vector of the prompt once it is whole.
    fn tell_vector(&mut self) -> Result<(), Gone> {
        let vector = self.pooled.as_ref().and_then(Pooled::vector);
        let Some(vector) = vector else { return Ok(()) };
        self.pooled = None;
        self.tell(Event::Embedding { vector })
    }

    /// Nothing is wanted of it any more that a step would bring.
    pub fn needs_no_step(&self) -> bool {
        self.max_tokens() == 0 && self.scored().is_none() && self.pooled.is_none()
    }

    /// Leading positions it may take from the cache, as far as what is wanted of the prompt's rows goes.
    pub fn reusable(&self) -> usize {
        let scored = self.scored().unwrap_or(usize::MAX);
        let pooled = self.pooled.as_ref().map(Pooled::reusable);
        // The row before a score's token makes it; the first row that is not pooled has to be computed itself.
        scored.min(pooled.map_or(usize::MAX, |next| next + 1))
    }

    /// Sends what is known of the prompt once all of it is.
    pub fn tell_of_prompt(&mut self) -> Result<(), Gone> {
        self.tell_vector()?;
        let all = self.asked().len();
        match self.scores.take_if(|scores| scores.len() == all) {
            Some(tokens) => self.tell(Event::Prompt { tokens }),
            None => Ok(()),
        }
    }

    /// An answer took its row, with so many tokens found in the cache. For the request's first answer, how many prompt
    /// tokens were found.
    pub fn begin(&mut self, found: usize) -> Option<usize> {
        self.seat.leave_queue();
        self.begun.mark();
        let first = self.cached.is_none();
        let found = self.shown(found);
        first.then(|| *self.cached.insert(found))
    }

    /// One of its answers has computed `tokens` more and is at this position now. What those cost that no answer had
    /// computed before.
    pub fn reach(&mut self, position: usize, tokens: usize) -> u64 {
        let before = self.computed;
        self.computed = before.max(position.min(self.prompt.len()));
        ledger::PROMPT * (self.computed - before).min(tokens) as u64
    }

    /// An answer was chosen a token for.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    pub fn has_begun(&self) -> bool {
        !self.seat.in_queue()
    }

    /// Sends a token of an answer with the text it made final. Returns the seconds since arrival for the first of all.
    pub fn tell_token(
        &mut self,
        choice: u32,
        text: String,
        token: TokenInfo,
        now: Instant,
    ) -> Result<Option<f64>, Gone> {
        self.generated += 1;
        self.tell(Event::Delta {
            choice,
            text,
            tokens: vec![token],
        })?;
        let first = !std::mem::replace(&mut self.answered, true);
        Ok(first.then(|| now.duration_since(self.arrived).as_secs_f64()))
    }

    /// Sends text that an answer had held back.
    pub fn tell_rest(&self, choice: u32, text: String) -> Result<(), Gone> {
        match text.is_empty() {
            true => Ok(()),
            false => self.tell(Event::Delta {
                choice,
                text,
                tokens: Vec::new(),
            }),
        }
    }

    /// Ends one answer; true when it was the last and the reader knows that all is done.
    pub fn finish(&mut self, choice: u32, reason: FinishReason) -> Result<bool, Gone> {
        self.tell(Event::Finish { choice, reason })?;
        self.unfinished -= 1;
        if self.unfinished > 0 {
            return Ok(false);
        }
        // Nothing follows, so the slot kept for a last word is free to use.
        let _ = self.events.try_send(Event::Done {
            usage: self.usage(),
        });
        Ok(true)
    }

    pub fn fail(&self, reason: Reason) {
        let _ = self.events.try_send(Event::Failed(reason));
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt: self.asked().len(),
            cached: self.cached.unwrap_or(0),
            generated: self.generated,
        }
    }

    /// The tokens computed for it so far: less than its usage where it ends before all of its prompt was.
    pub fn spent(&self) -> Usage {
        Usage {
            prompt: self.shown(self.computed),
            ..self.usage()
        }
    }

    pub fn seconds(&self) -> f64 {
        self.arrived.elapsed().as_secs_f64()
    }

    /// Never waits. One slot stays free for a last word.
    fn tell(&self, event: Event) -> Result<(), Gone> {
        if self.events.capacity() <= 1 {
            self.fail(Reason::SlowReader {
                events: self.events.max_capacity(),
            });
            return Err(Gone);
        }
        self.events.try_send(event).map_err(|_| Gone)
    }
}
