//! The engine: owns the cache, the requests and their answers, and makes one step at a time. No thread and no channel
//! of its own, so that a test can drive it step by step.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::Sender;

use super::admit::Admitted;
use super::answer::Answer;
use super::blocks::Pool;
use super::forward::{Forward, with_numbers};
use super::gate::Seat;
use super::observe::Observe;
use super::pace::{Crowd, Pace};
use super::policy::{self, Key, Plan, Room};
use super::prefix::Names;
use super::request::{Naming, Request};
use super::stake::Costs;
use super::step::{Step, Work};
use crate::device::Turns;
use crate::domain::{Event, Reason};
use crate::model::sample::Scratch;
use crate::text::Tokenizer;

mod settle;
mod speculate;

/// Tokens of prompts that a step may compute at least, whatever else it does.
const MIN_CHUNK: usize = 16;

/// Sizes of an engine, resolved.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Answers that run at once.
    pub rows: usize,
    /// Tokens of one step, at least `rows`.
    pub step_tokens: usize,
    /// Rows of one step whose logits may be wanted for scoring prompts.
    pub scored: usize,
    pub blocks: usize,
    pub block_size: usize,
}

/// Ways to the same answers with less work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortcuts {
    /// Requests that begin alike share what is computed of it.
    pub prefix_cache: bool,
    pub speculation: Speculation,
}

/// Whether steps verify guesses at the next tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speculation {
    /// Where it is likely to pay.
    Auto,
    Off,
    /// Wherever there is a guess, whatever it costs.
    #[cfg(test)]
    Always,
}

impl Default for Shortcuts {
    fn default() -> Self {
        Self {
            prefix_cache: true,
            speculation: Speculation::Auto,
        }
    }
}

pub struct Engine<F: Forward> {
    forward: F,
    cache: F::Cache,
    tokenizer: Tokenizer,
    shape: Shape,
    shortcuts: Shortcuts,
    pool: Pool,
    names: Names,
    turns: Turns,
    observe: Arc<dyn Observe>,
    requests: BTreeMap<u64, Request>,
    /// Sorted by key, as is `waiting`: the oldest first.
    running: Vec<Answer>,
    waiting: Vec<Answer>,
    /// The number of the next request.
    next: u64,
    /// Requests that are over.
    ended: u64,
    /// Grows when a request comes, begins or ends.
    changes: u64,
    pace: Pace,
    costs: Costs,
    scratch: Scratch,
}

impl<F: Forward> Engine<F> {
    pub fn new(
        forward: F,
        tokenizer: Tokenizer,
        shape: Shape,
        shortcuts: Shortcuts,
        turns: Turns,
        observe: Arc<dyn Observe>,
    ) -> candle_core::Result<Self> {
        Ok(Self {
            cache: forward.new_cache(shape.blocks, shape.block_size)?,
            names: Names::new(forward.digest(), shape.block_size),
            forward,
            tokenizer,
            pool: Pool::new(shape.blocks, shape.block_size, shortcuts.prefix_cache),
            shape,
            shortcuts,
            turns,
            observe,
            requests: BTreeMap::new(),
            running: Vec::new(),
            waiting: Vec::new(),
            next: 0,
            ended: 0,
            changes: 0,
            pace: Pace::default(),
            costs: Costs::default(),
            scratch: Scratch::default(),
        })
    }

    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Differs from an earlier value where the set of waiting or of running requests may.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values()
    }

    /// Puts a request at the end of the queue.
    pub fn accept(&mut self, admitted: Admitted, events: Sender<Event>, seat: Seat) {
        let number = self.next;
        self.next += 1;
        self.changes += 1;
        let naming = Naming {
            names: &self.names,
            alone: (!self.shortcuts.prefix_cache).then_some(number),
        };
        let request = Request::new(admitted, events, seat, &self.tokenizer, naming);
        let (n, speaks) = (request.n, request.max_tokens() > 0);
        self.requests.insert(number, request);
        // A request that only scores its prompt computes it once, whatever n is.
        let answers = if speaks { 0..n } else { 0..1 };
        for answer in answers {
            let key = Key {
                request: number,
                answer,
            };
            let request = &self.requests[&number];
            self.waiting
                .push(Answer::new(key, request, &self.pool, &self.tokenizer));
        }
        if !speaks && self.requests[&number].scored().is_none() {
            self.end_silent(number);
        }
    }

    /// Makes one step, where there is anything to do. False where another turn would find the same.
    pub fn turn(&mut self) -> bool {
        self.drop_deserted();
        self.refuse_impossible();
        let plan = policy::plan(&self.running_view(), &self.waiting_view(), self.room());
        let mut work = self.apply(&plan);
        if work.is_empty() {
            return !plan.preempt.is_empty() || plan.displace.is_some();
        }
        let only_generates = self.only_generates(&work);
        if only_generates {
            self.speculate(&mut work);
        }
        let step = Step::assemble(work, &self.running, &self.requests);
        let turn = self.turns.serving();
        let started = Instant::now();
        // The blocks written by a step that fails belong to its own requests, which end here; nothing else is harmed.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.compute(&step)));
        drop(turn);
        let fault = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic_text(&*panic)),
        };
        if let Some(fault) = fault {
            tracing::error!(
                fault,
                rows = step.parts.len(),
                "a step failed; its requests end"
            );
            for part in &step.parts {
                self.fail(
                    part.key.request,
                    Reason::Internal("the model failed to compute a step".into()),
                );
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        // Guesses are several tokens of an answer that generates.
        let prompts = step
            .parts
            .iter()
            .filter(|part| part.tokens > 1 && !only_generates);
        self.pace
            .learn(prompts.map(|part| part.tokens).sum(), seconds);
        if only_generates {
            self.costs.learn(step.batch.tokens.len(), seconds);
        }
        self.observe
            .step(seconds, step.parts.len(), step.adapters());
        true
    }

    /// Ends every request with this reason.
    pub fn abort(&mut self, reason: &Reason) {
        for number in self.requests.keys().copied().collect::<Vec<_>>() {
            self.fail(number, reason.clone());
        }
    }

    fn compute(&mut self, step: &Step) -> candle_core::Result<()> {
        let logits = self
            .forward
            .serve(&step.batch, &mut self.cache, &step.routed)?;
        let rows = step.batch.logit_rows.len();
        if logits.dims().first() != Some(&rows) {
            candle_core::bail!("asked for {rows} rows of logits, got {:?}", logits.dims());
        }
        with_numbers(&logits, |numbers| {
            self.settle(step, numbers, numbers.len() / rows.max(1))
        })
    }

    fn drop_deserted(&mut self) {
        let deserted = |(&number, request): (&u64, &Request)| request.deserted().then_some(number);
        for number in self
            .requests
            .iter()
            .filter_map(deserted)
            .collect::<Vec<_>>()
        {
            self.remove(number);
        }
    }

    /// What the whole cache cannot hold is never admitted, and in the end would let nobody pass. Admission refuses it
    /// with better words; this is the last line, whatever the limits were that it was checked against.
    fn refuse_impossible(&mut self) {
        let impossible = |answer: &&Answer| {
            let request = &self.requests[&answer.key.request];
            let positions = request.needs(answer.known(request));
            self.pool.blocks_for(positions) > self.pool.total()
        };
        let numbers: Vec<u64> = self
            .waiting
            .iter()
            .filter(impossible)
            .map(|a| a.key.request)
            .collect();
        for number in numbers {
            let Some(request) = self.requests.get(&number) else {
                continue;
            };
            let reason = Reason::PromptTooLong {
                tokens: request.prompt.len(),
                wanted: request.max_tokens(),
                limit: self.pool.total() * self.pool.block_size(),
            };
            self.fail(number, reason);
        }
    }

    fn room(&self) -> Room {
        let Shape {
            rows, step_tokens, ..
        } = self.shape;
        let running = self.running.len();
        let opens = |answer: &&Answer| answer.opening(&self.requests[&answer.key.request]);
        let opening = self.running.iter().filter(opens).count();
        let crowd = Crowd {
            generating: running - opening,
            // Of those who wait, as many as there are rows for.
            opening: opening + self.waiting.len().min(rows.saturating_sub(running)),
        };
        // Every running answer may take one token; what goes beyond is for prompts.
        let most = step_tokens.saturating_sub(running);
        let tokens = running + self.pace.chunk(crowd, MIN_CHUNK, most);
        Room {
            rows,
            tokens,
            scored: self.shape.scored,
            free_blocks: self.pool.free(),
        }
    }

    fn running_view(&self) -> Vec<policy::Running> {
        // With a free block for each, nobody is preempted, and what that would free does not matter.
        let scarce = self.pool.free() < self.running.len();
        let view = |answer: &Answer| {
            let request = &self.requests[&answer.key.request];
            policy::Running {
                key: answer.key,
                pending: answer.pending(request),
                opening: answer.opening(request),
                growth: self
                    .pool
                    .blocks_for(answer.computed + 1)
                    .saturating_sub(answer.table.len()),
                exclusive: if scarce { answer.table.exclusive() } else { 0 },
                scoring: request.scored().is_some(),
                party: request.party,
                next: answer.next_block(request),
            }
        };
        self.running.iter().map(view).collect()
    }

    fn waiting_view(&self) -> Vec<policy::Waiting> {
        let view = |answer: &Answer| {
            let request = &self.requests[&answer.key.request];
            let known = answer.known(request);
            let reusable = answer.reusable(request);
            let found = self.pool.find(reusable);
            policy::Waiting {
                key: answer.key,
                pending: known - found.blocks * self.pool.block_size(),
                blocks: self.pool.blocks_for(request.needs(known)) - found.held,
                follows: request.n > 1
                    && (found.blocks < self.shareable(request) || request.scored().is_some()),
                overtaken: answer.overtaken,
                scoring: request.scored().is_some(),
                party: request.party,
                next: reusable.get(found.blocks).copied(),
            }
        };
        self.waiting.iter().map(view).collect()
    }

    /// Full blocks of the prompt that answers to it may share. The last token is each answer's own: it chooses.
    fn shareable(&self, request: &Request) -> usize {
        (request.prompt.len() - 1) / self.pool.block_size()
    }

    /// Moves answers as planned and takes the blocks they need. Returns the work that can be done, ascending.
    fn apply(&mut self, plan: &Plan) -> Vec<Work> {
        for &key in plan.preempt.iter().chain(&plan.displace) {
            if let Some(mut answer) = take(&mut self.running, key) {
                answer.preempt();
                put(&mut self.waiting, answer);
            }
        }
        for &key in &plan.overtaken {
            if let Ok(at) = self.waiting.binary_search_by_key(&key, |a| a.key) {
                self.waiting[at].overtaken += 1;
            }
        }
        for &key in &plan.admit {
            self.admit(key);
        }
        let mut planned = plan.work.clone();
        planned.sort_unstable();
        let mut work = Vec::with_capacity(planned.len());
        for (key, tokens) in planned {
            let Some(at) = self.running_at(key) else {
                continue;
            };
            let answer = &mut self.running[at];
            if answer.table.grow(answer.computed + tokens).is_ok() {
                work.push(Work {
                    key,
                    tokens,
                    drafts: Vec::new(),
                });
            }
        }
        work
    }

    fn running_at(&self, key: Key) -> Option<usize> {
        self.running.binary_search_by_key(&key, |a| a.key).ok()
    }

    fn admit(&mut self, key: Key) {
        let Some(mut answer) = take(&mut self.waiting, key) else {
            return;
        };
        let Some(request) = self.requests.get_mut(&key.request) else {
            return;
        };
        let found = answer.reuse(request);
        let positions = request.needs(answer.known(request));
        if answer.table.grow(positions).is_err() {
            answer.preempt();
            return put(&mut self.waiting, answer);
        }
        answer.overtaken = 0;
        self.changes += 1;
        if let Some(found) = request.begin(found) {
            self.observe.reused(request.prompt.len(), found);
        }
        put(&mut self.running, answer);
    }
}

fn take(answers: &mut Vec<Answer>, key: Key) -> Option<Answer> {
    let at = answers
        .binary_search_by_key(&key, |answer| answer.key)
        .ok()?;
    Some(answers.remove(at))
}

fn put(answers: &mut Vec<Answer>, answer: Answer) {
    let at = answers.partition_point(|other| other.key < answer.key);
    answers.insert(at, answer);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("of an unknown kind"))
}
