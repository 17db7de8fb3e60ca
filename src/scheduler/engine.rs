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
use super::forward::Forward;
use super::gate::Seat;
use super::guided::Guiding;
use super::observe::Observe;
use super::pace::Pace;
use super::policy::ledger::Ledger;
use super::policy::{self, Key, Plan};
use super::prefix::Names;
use super::request::{Naming, Request};
use super::speculation::Costs;
use super::step::{Step, Work};
use crate::device::{Array, Turns, bail};
use crate::domain::{Event, Reason};
use crate::model::sample::Scratch;
use crate::text::Tokenizer;

mod ending;
mod settle;
mod speculate;
mod view;

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
    ledger: Ledger,
    pace: Pace,
    costs: Costs,
    guiding: Guiding,
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
    ) -> crate::device::Result<Self> {
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
            ledger: Ledger::default(),
            pace: Pace::default(),
            costs: Costs::default(),
            guiding: Guiding::default(),
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
    pub fn accept(&mut self, mut admitted: Admitted, events: Sender<Event>, seat: Seat) {
        let number = self.next;
        self.next += 1;
        self.changes += 1;
        let naming = Naming {
            names: &self.names,
            alone: (!self.shortcuts.prefix_cache).then_some(number),
            key_class: self.forward.key_class(admitted.prompt.len()),
        };
        let mut guides = std::mem::take(&mut admitted.guides).into_iter();
        let request = Request::new(admitted, events, seat, &self.tokenizer, naming);
        let (n, speaks) = (request.n, request.max_tokens() > 0);
        self.ledger.enter(request.party, request.terms.weights);
        self.requests.insert(number, request);
        // A request that only scores its prompt computes it once, whatever n is.
        let answers = if speaks { 0..n } else { 0..1 };
        for answer in answers {
            let key = Key {
                request: number,
                answer,
            };
            let request = &self.requests[&number];
            let guide = guides.next();
            let answer = Answer::new(key, request, &self.pool, &self.tokenizer, guide);
            self.waiting.push(answer);
        }
        if self.requests[&number].needs_no_step() {
            self.end_silent(number);
        }
    }

    /// Makes one step, where there is anything to do. False where another turn would find the same.
    pub fn turn(&mut self) -> bool {
        let now = Instant::now();
        self.drop_deserted();
        self.expire(now);
        self.refuse_impossible();
        let (running, waiting) = (self.running_view(), self.waiting_view(now));
        let plan = policy::plan(&running, &waiting, self.room(now), &self.ledger);
        let mut work = self.apply(&plan);
        if work.is_empty() {
            self.turns.idle();
            return !plan.preempt.is_empty() || plan.displace.is_some();
        }
        let only_generates = self.only_generates(&work);
        if only_generates {
            self.speculate(&mut work);
        }
        let coming = self.coming(&work, only_generates);
        let step = Step::assemble(work, &self.running, &self.requests);
        let turn = self.turns.serving(coming);
        if !turn.given().is_zero() {
            self.observe.sliced(turn.given().as_secs_f64());
        }
        let started = Instant::now();
        // The blocks written by a step that fails belong to its own requests, which end here; nothing else is harmed.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.compute(&step)));
        turn.end(!self.requests.is_empty());
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

    /// Lets training have everything until there is a next turn.
    pub fn rest(&self) {
        self.turns.idle();
    }

    fn compute(&mut self, step: &Step) -> crate::device::Result<()> {
        let (logits, states) = self.serve(step)?;
        let rows = step.batch.logit_rows.len();
        if logits.rows() != rows {
            bail!("asked for {rows} rows of logits, got {logits:?}");
        }
        if let Some(states) = &states {
            if states.rows() != step.state_rows.len() {
                bail!("asked for {} states, got {states:?}", step.state_rows.len());
            }
            self.pool_states(step, states);
        }
        self.settle(step, logits.values(), logits.width());
        Ok(())
    }

    /// The model's part of a step, logits and the states that are wanted; beside it, what answers with a form to keep may
    /// say next.
    fn serve(&mut self, step: &Step) -> crate::device::Result<(Array, Option<Array>)> {
        let (forward, cache) = (&self.forward, &mut self.cache);
        let (batch, routed) = (&step.batch, &step.routed);
        let mut compute = || match step.state_rows.as_slice() {
            [] => Ok((forward.serve(batch, cache, routed)?, None)),
            rows => {
                let [logits, states] = forward.serve_with_states(batch, rows, cache, routed)?;
                Ok((logits, Some(states)))
            }
        };
        if self.running.iter().all(|answer| answer.guided.is_none()) {
            return compute();
        }
        let guided = self.running.iter_mut();
        let guided = guided.filter_map(|answer| step.guesses(answer)).collect();
        self.guiding.beside(guided, compute)
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
        for answer in &mut self.waiting {
            answer.passed = answer.passed.saturating_add(plan.passing(answer.key));
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
        (answer.overtaken, answer.passed) = (0, 0);
        self.changes += 1;
        if let Some(found) = request.begin(found) {
            self.observe.reused(request.asked().len(), found);
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
