//! What the next step does: a pure decision on plain values. No clock, no lock, no device.
//!
//! The rules, in this order:
//! 1. Answers that are generating take one token each, oldest first. One that needs a block where none is free takes it
//!    from the youngest running answer, which is preempted and computes its tokens again later.
//! 2. The tokens left are divided evenly among the prompts that are not computed yet, those just admitted included.
//! 3. Waiting answers are admitted while rows, tokens and blocks last: first those of the tenant that was given the
//!    fewest tokens for its weight, of these the ones with the best priority, of these those of the adapter that was
//!    given the fewest, then those of the request that holds the fewest rows, then the oldest. One that does not fit may
//!    be overtaken a bounded number of times, one whose turn it is not a larger bounded number; then none passes it.
//! 4. Where every row is taken and a tenant, an adapter or a request without any waits, it takes one from the one that
//!    holds most, unless it was given more.

pub mod ledger;
mod share;
mod split;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use ledger::{Ledger, Party};
use share::Shares;

use super::prefix::Name;

/// Identity and age of an answer: requests are numbered as they arrive, answers within a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub request: u64,
    pub answer: u32,
}

/// How often an answer that does not fit may be overtaken.
pub const OVERTAKINGS: u32 = 8;
/// How many younger answers may be admitted before one that waits for its turn.
pub const PASSES: u32 = 512;

/// An answer that holds a row and blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub key: Key,
    /// Tokens known but not computed. Generating answers have one: the newest.
    pub pending: usize,
    /// The request's prompt is still being computed by this answer.
    pub opening: bool,
    /// Blocks it lacks for its next token: 0 or 1.
    pub growth: usize,
    /// Blocks that preempting it frees, at least.
    pub exclusive: usize,
    /// Every computed row's logits are wanted (prompt log-probabilities).
    pub scoring: bool,
    pub party: Party,
    /// Lower comes first within a tenant.
    pub priority: i32,
    /// The block of a prompt that it is computing and that others may share.
    pub next: Option<Name>,
}

/// An answer that waits, for the first time or again after preemption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub key: Key,
    /// Tokens to compute before it can choose one, less those it would share with a running answer to the same prompt.
    pub pending: usize,
    /// Blocks it needs to hold them and one token more, less the shared ones.
    pub blocks: usize,
    /// It gains from another answer's computing of the same prompt, so it waits while one is opening.
    pub follows: bool,
    /// How often it was overtaken because it did not fit.
    pub overtaken: u32,
    /// How many younger ones were admitted before it.
    pub passed: u32,
    pub scoring: bool,
    pub party: Party,
    pub priority: i32,
    /// How long it has waited; with each it rises by one priority.
    pub minutes: u32,
    /// The first block that it lacks and might find in the cache. While another computes that, it waits.
    pub next: Option<Name>,
}

impl Waiting {
    /// It was passed as often as may be.
    pub fn is_urgent(&self) -> bool {
        self.overtaken >= OVERTAKINGS || self.passed >= PASSES
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Answers that may run at once.
    pub rows: usize,
    /// Tokens of one step; at least as many as answers run.
    pub tokens: usize,
    /// Rows of one step whose logits may be wanted for scoring prompts; at least 1.
    pub scored: usize,
    pub free_blocks: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// These give back row and blocks, and wait.
    pub preempt: Vec<Key>,
    /// This one too, for one that holds no row at all; it is not for lack of blocks.
    pub displace: Option<Key>,
    /// These take a row and the blocks they need.
    pub admit: Vec<Key>,
    /// These were passed by an answer that was admitted.
    pub overtaken: Vec<Key>,
    /// Tokens each running or admitted answer computes now.
    pub work: Vec<(Key, usize)>,
}

impl Plan {
    /// How many younger ones this lets pass an answer that it leaves waiting.
    pub fn passing(&self, key: Key) -> u32 {
        self.admit.iter().filter(|other| **other > key).count() as u32
    }
}

/// Both lists are sorted by key, oldest first.
pub fn plan(running: &[Running], waiting: &[Waiting], room: Room, ledger: &Ledger) -> Plan {
    let mut planner = Planner {
        plan: Plan::default(),
        budget: Budget {
            tokens: room.tokens,
            scored: room.scored,
        },
        free: room.free_blocks,
        prompts: Prompts::default(),
    };
    let staying = planner.generate(running);
    planner.open(staying);
    if planner.plan.preempt.is_empty() {
        let shares = Shares::of(ledger, staying, waiting);
        if staying.len() < room.rows {
            planner.admit(staying, waiting, room.rows, shares);
        } else {
            planner.displace(staying, waiting, &shares);
        }
    }
    planner.finish()
}

/// A plan that is being made.
struct Planner {
    plan: Plan,
    budget: Budget,
    /// Blocks.
    free: usize,
    prompts: Prompts,
}

impl Planner {
    /// A token for each answer that generates. Returns those that keep their rows: a leading part of `running`.
    fn generate<'a>(&mut self, running: &'a [Running]) -> &'a [Running] {
        let mut staying = running.len();
        let mut at = 0;
        while at < staying {
            let answer = &running[at];
            if answer.pending == 1 {
                while self.free < answer.growth && staying > at {
                    staying -= 1;
                    self.free += running[staying].exclusive;
                    self.plan.preempt.push(running[staying].key);
                }
                if staying == at {
                    break;
                }
                self.free -= answer.growth;
                let work = self.budget.grant(answer.key, answer.scoring);
                self.plan.work.extend(work);
            }
            at += 1;
        }
        // A younger answer granted its token may have been preempted for an older one's block only later in the walk,
        // never before: the walk goes oldest first and preempts from the other end.
        &running[..staying]
    }

    /// Those whose prompt is being computed go on with it.
    fn open(&mut self, staying: &[Running]) {
        for answer in staying.iter().filter(|a| a.pending > 1) {
            let need = self.budget.need(answer.pending, answer.scoring);
            self.prompts.add(answer.key, need);
        }
    }

    fn admit(
        &mut self,
        running: &[Running],
        waiting: &[Waiting],
        rows: usize,
        mut shares: Shares<'_>,
    ) {
        let mut coming = Coming::of(running);
        // Requests with an answer that did not fit: their later answers do not pass it.
        let mut stuck: HashSet<u64> = HashSet::new();
        let mut passed: Vec<Key> = Vec::new();
        let ranked = waiting.iter().enumerate();
        let mut queue: BinaryHeap<_> = ranked
            .map(|(at, answer)| Reverse((shares.rank(answer), at)))
            .collect();
        while let Some(Reverse((rank, at))) = queue.pop() {
            let answer = &waiting[at];
            // Shares only grow here, so an answer whose rank has grown comes again at its new place.
            let now = shares.rank(answer);
            if now > rank {
                queue.push(Reverse((now, at)));
                continue;
            }
            let holders = running.len() + self.plan.admit.len();
            if holders >= rows || !self.prompts.have_room(self.budget.tokens) {
                break;
            }
            let request = answer.key.request;
            if coming.helps(answer) || stuck.contains(&request) {
                continue;
            }
            // Each running answer may soon need a block; leaving one for each avoids preempting what was just admitted.
            let reserve = holders;
            if answer.blocks + reserve > self.free && !(holders == 0 && answer.blocks <= self.free)
            {
                stuck.insert(request);
                passed.push(answer.key);
                if answer.overtaken >= OVERTAKINGS {
                    break;
                }
                continue;
            }
            let need = self.budget.need(answer.pending, answer.scoring);
            if need == 0 {
                // No room for its scores, which running answers take. Those end, and until then others may pass: that
                // is not counted, for they take nothing it could have had.
                stuck.insert(request);
                continue;
            }
            self.free -= answer.blocks;
            shares.add(answer.party, answer.key, answer.pending);
            self.plan.admit.push(answer.key);
            self.prompts.add(answer.key, need);
            coming.add(answer);
            for key in &passed {
                if !self.plan.overtaken.contains(key) {
                    self.plan.overtaken.push(*key);
                }
            }
        }
    }

    fn displace(&mut self, staying: &[Running], waiting: &[Waiting], shares: &Shares<'_>) {
        if !self.prompts.have_room(self.budget.tokens) {
            return;
        }
        let coming = Coming::of(staying);
        let fits = |answer: &&Waiting| {
            !coming.helps(answer)
                && answer.blocks + staying.len() <= self.free
                && (!answer.scoring || self.budget.scored > 0)
        };
        let displaced = shares.displaced(staying, waiting.iter().filter(fits));
        self.plan.work.retain(|work| Some(work.0) != displaced);
        self.prompts.remove(displaced);
        self.plan.displace = displaced;
    }

    fn finish(mut self) -> Plan {
        let shares = self.prompts.shares(self.budget.tokens);
        self.plan.work.extend(shares);
        self.plan
    }
}

/// What is being computed and will be found in the cache, so that no other answer computes it too.
struct Coming {
    /// Requests whose prompt it is.
    requests: HashSet<u64>,
    blocks: HashSet<Name>,
}

impl Coming {
    fn of(running: &[Running]) -> Self {
        let opening = running.iter().filter(|a| a.opening);
        Self {
            requests: opening.map(|a| a.key.request).collect(),
            blocks: running.iter().filter_map(|a| a.next).collect(),
        }
    }

    fn add(&mut self, answer: &Waiting) {
        if answer.follows {
            self.requests.insert(answer.key.request);
        }
        self.blocks.extend(answer.next);
    }

    /// Whether this answer gains by waiting for it.
    fn helps(&self, answer: &Waiting) -> bool {
        let block = answer
            .next
            .is_some_and(|block| self.blocks.contains(&block));
        block || (answer.follows && self.requests.contains(&answer.key.request))
    }
}

struct Budget {
    tokens: usize,
    scored: usize,
}

impl Budget {
    /// As many of `pending` tokens as could be computed, if no other answer took any.
    fn need(&mut self, pending: usize, scoring: bool) -> usize {
        if !scoring {
            return pending;
        }
        let tokens = pending.min(self.scored);
        self.scored -= tokens;
        tokens
    }

    /// The one token of an answer that generates, if it is left.
    fn grant(&mut self, key: Key, scoring: bool) -> Option<(Key, usize)> {
        let tokens = self.need(1, scoring).min(self.tokens);
        self.tokens -= tokens;
        (tokens > 0).then_some((key, tokens))
    }
}

/// The answers of a step whose prompts are computed, and how many tokens each could use.
#[derive(Default)]
struct Prompts {
    keys: Vec<Key>,
    needs: Vec<usize>,
}

impl Prompts {
    fn add(&mut self, key: Key, need: usize) {
        self.keys.push(key);
        self.needs.push(need);
    }

    fn remove(&mut self, key: Option<Key>) {
        if let Some(at) = self.keys.iter().position(|other| Some(*other) == key) {
            self.keys.remove(at);
            self.needs.remove(at);
        }
    }

    /// Whether one more would get a part of so many tokens.
    fn have_room(&self, tokens: usize) -> bool {
        split::claimed(&self.needs) < tokens
    }

    fn shares(&self, tokens: usize) -> impl Iterator<Item = (Key, usize)> {
        let given = split::split(&self.needs, tokens);
        let shares = self.keys.iter().copied().zip(given);
        shares.filter(|share| share.1 > 0)
    }
}

#[cfg(test)]
mod tests;
