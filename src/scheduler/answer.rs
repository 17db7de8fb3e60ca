//! One answer on its way: the tokens it has, how many of them are in the cache, and how it goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blocks::{Pool, Table};
use super::detokenize::{Detokenizer, describe, silent};
use super::draft::Drafter;
use super::guided::Guided;
use super::policy::Key;
use super::prefix::{Name, Names};
use super::request::Request;
use crate::domain::{FinishReason, Reason, TokenInfo};
use crate::model::sample::{Chosen, Sampler};
use crate::text::Tokenizer;
use crate::text::grammar::Guide;

pub struct Answer {
    pub key: Key,
    /// Tokens chosen so far.
    said: Vec<u32>,
    /// Leading tokens of prompt and answer whose keys and values are in `table`.
    pub computed: usize,
    pub table: Table,
    /// Of the leading blocks that its prompt, and what was computed of its answer, fill.
    names: Arc<Vec<Name>>,
    pub sampler: Sampler,
    /// Where it is in the form it must have. Stays while it is preempted: it follows what was said, not what is computed.
    pub guided: Option<Box<Guided>>,
    detokenizer: Detokenizer,
    /// From its first token on.
    drafter: Option<Drafter>,
    /// How often it was overtaken in the queue because it did not fit.
    pub overtaken: u32,
    /// How many younger ones were admitted while it waited.
    pub passed: u32,
    /// When it began to wait.
    since: Instant,
    /// When its newest token was chosen.
    last: Option<Instant>,
}

/// What one more token means.
pub struct Said {
    pub text: String,
    pub token: TokenInfo,
    pub finish: Option<FinishReason>,
    /// Seconds since the token before.
    pub gap: Option<f64>,
}

impl Answer {
    pub fn new(
        key: Key,
        request: &Request,
        pool: &Pool,
        tokenizer: &Tokenizer,
        guide: Option<Guide>,
    ) -> Self {
        Self {
            key,
            said: Vec::new(),
            computed: 0,
            table: pool.table(),
            names: request.names.clone(),
            sampler: Sampler::new(&request.sampling, request.asked(), key.answer),
            guided: guide.map(|guide| Box::new(Guided::new(guide))),
            detokenizer: Detokenizer::new(tokenizer, &request.sampling),
            drafter: None,
            overtaken: 0,
            passed: 0,
            since: Instant::now(),
            last: None,
        }
    }

    /// Tokens of prompt and answer.
    pub fn known(&self, request: &Request) -> usize {
        request.prompt.len() + self.said.len()
    }

    pub fn pending(&self, request: &Request) -> usize {
        self.known(request) - self.computed
    }

    /// Its prompt is not in the cache yet.
    pub fn opening(&self, request: &Request) -> bool {
        self.computed < request.prompt.len()
    }

    /// Appends the next `count` tokens to compute.
    pub fn next_tokens(&self, request: &Request, count: usize, out: &mut Vec<u32>) {
        let all = request.prompt.iter().chain(&self.said);
        out.extend(all.skip(self.computed).take(count));
    }

    /// Leading blocks it may take from the cache instead of computing them. The newest token is left to compute, for its
    /// row chooses; so are the rows that score a prompt or are pooled.
    pub fn reusable(&self, request: &Request) -> &[Name] {
        let positions = request.reusable().min(self.known(request)) - 1;
        let blocks = positions / self.table.block_size();
        &self.names[..blocks.min(self.names.len())]
    }

    /// The block of its prompt that it is about to fill.
    pub fn next_block(&self, request: &Request) -> Option<Name> {
        let block = self.computed / self.table.block_size();
        self.opening(request)
            .then(|| self.names.get(block).copied())?
    }

    /// Takes what the cache has of it; returns the tokens found.
    pub fn reuse(&mut self, request: &Request) -> usize {
        let names = self.names.clone();
        let reusable = self.reusable(request).len();
        self.computed = self.table.adopt(&names[..reusable]) * self.table.block_size();
        self.computed
    }

    /// So many more of its tokens are in the cache. Blocks that are full now can be found by others.
    pub fn compute(&mut self, tokens: usize, request: &Request, names: &Names) {
        self.computed += tokens;
        let full = self.computed / names.block_size();
        if full > self.names.len() {
            let all = request.prompt.iter().chain(&self.said).take(self.computed);
            names.extend(request.root, Arc::make_mut(&mut self.names), all);
        }
        self.table.name(&self.names[..full]);
    }

    /// Gives its blocks back and waits. Everything it said, and its random state, stay.
    pub fn preempt(&mut self) {
        self.table.clear();
        self.computed = 0;
        self.since = Instant::now();
    }

    /// How long ago it came, or was preempted.
    pub fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whole minutes that it has waited.
    pub fn minutes(&self, now: Instant) -> u32 {
        u32::try_from(self.waited(now).as_secs() / 60).unwrap_or(u32::MAX)
    }

    /// What it still held back, as it ends early.
    pub fn close(&mut self) -> String {
        self.detokenizer.close().text
    }

    /// Tokens it may still say.
    pub fn left(&self, request: &Request) -> usize {
        request.max_tokens().saturating_sub(self.said.len())
    }

    /// How likely its first one, two, … guesses at the next tokens are all right, up to `most`.
    pub fn odds(&self, most: usize) -> Vec<f32> {
        let drafter = self.drafter.as_ref();
        drafter.map_or_else(Vec::new, |drafter| drafter.odds(most).collect())
    }

    /// Its first `count` guesses, up to one that it cannot say.
    pub fn draft(&mut self, count: usize, request: &Request) -> Vec<u32> {
        let drafter = self.drafter.as_ref();
        let mut guesses = drafter.map_or_else(Vec::new, |drafter| drafter.draft(count));
        if let Some(guided) = &mut self.guided {
            let ends = |id: &u32| request.ends.binary_search(id).is_ok();
            guesses.truncate(guesses.iter().take_while(|id| !ends(id)).count());
            guided.cut(&mut guesses);
        }
        guesses
    }

    /// Ids that must not be chosen next.
    pub fn forbidden<'r>(&self, request: &'r Request) -> &'r [u32] {
        if self.said.len() < request.sampling.min_tokens {
            &request.ends
        } else {
            &[]
        }
    }

    /// Takes the token chosen.
    ///
    /// # Errors
    /// The form it must have does not go on by it.
    pub fn say(
        &mut self,
        chosen: Chosen,
        request: &Request,
        tokenizer: &Tokenizer,
        now: Instant,
    ) -> Result<Said, Reason> {
        let id = chosen.id;
        self.said.push(id);
        self.drafter
            .get_or_insert_with(|| Drafter::new(request.asked()))
            .hear(id);
        let gap = self
            .last
            .replace(now)
            .map(|last| now.duration_since(last).as_secs_f64());
        let token = describe(tokenizer, id, chosen.score);
        if request.ends.binary_search(&id).is_ok() {
            let text = self.detokenizer.close().text;
            return Ok(Said {
                text,
                token: silent(token),
                finish: Some(FinishReason::Stop),
                gap,
            });
        }
        let guided = self.guided.as_mut();
        let complete = guided.map_or(Ok(false), |guided| guided.accept(id))?;
        let mut heard = self
            .detokenizer
            .say(id, self.said.len() > request.sampling.min_tokens);
        let mut finish = heard.stopped.map(FinishReason::StopString);
        if finish.is_none() && (complete || self.said.len() >= request.max_tokens()) {
            let last = self.detokenizer.close();
            heard.text.push_str(&last.text);
            finish = Some(match last.stopped {
                Some(stop) => FinishReason::StopString(stop),
                None if complete => FinishReason::Stop,
                None => FinishReason::Length,
            });
        }
        Ok(Said {
            text: heard.text,
            token,
            finish,
            gap,
        })
    }
}
