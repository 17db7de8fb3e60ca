//! What the next step does: a pure decision on plain values. No clock, no lock, no device.
//!
//! The rules, in this order:
//! 1. Answers that are generating take one token each, oldest first. One that needs a block nobody has free takes it
//!    from the youngest running answer, which is preempted and computes its tokens again later.
//! 2. The tokens left are divided evenly among the prompts that are not computed yet, those just admitted included.
//! 3. Waiting answers are admitted while rows, tokens and blocks last: first those of the adapter that holds the fewest
//!    rows, among these those of the request that holds the fewest, among these the oldest. One that does not fit may be
//!    overtaken by later ones a bounded number of times; then nobody passes it.
//! 4. Where every row is taken and an adapter or a request without any waits, it takes one from whoever holds most.

mod share;
mod split;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

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
    /// Who it is for: the adapter, as a number.
    pub party: u64,
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
    pub overtaken: u32,
    pub scoring: bool,
    pub party: u64,
    /// The first block that it lacks and might find in the cache. While another computes that, it waits.
    pub next: Option<Name>,
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
    /// This one too, for someone who holds no row at all; it is not for lack of blocks.
    pub displace: Option<Key>,
    /// These take a row and the blocks they need.
    pub admit: Vec<Key>,
    /// These were passed by someone admitted.
    pub overtaken: Vec<Key>,
    /// Tokens each running or admitted answer computes now.
    pub work: Vec<(Key, usize)>,
}

/// Both lists are sorted by key, oldest first.
pub fn plan(running: &[Running], waiting: &[Waiting], room: Room) -> Plan {
    let mut plan = Plan::default();
    let mut budget = Budget {
        tokens: room.tokens,
        scored: room.scored,
    };
    let mut free = room.free_blocks;
    // Running answers that are not preempted: a leading part of `running`.
    let mut staying = running.len();

    let mut at = 0;
    while at < staying {
        let answer = &running[at];
        if answer.pending == 1 {
            while free < answer.growth && staying > at {
                staying -= 1;
                free += running[staying].exclusive;
                plan.preempt.push(running[staying].key);
            }
            if staying == at {
                break;
            }
            free -= answer.growth;
            plan.work.extend(budget.grant(answer.key, answer.scoring));
        }
        at += 1;
    }
    // A younger answer granted its token may have been preempted for an older one's block only later in the walk, never
    // before: the walk goes oldest first and preempts from the other end.
    let staying = &running[..staying];
    let mut prompts = Prompts::default();
    for answer in staying.iter().filter(|a| a.pending > 1) {
        prompts.add(answer.key, budget.need(answer.pending, answer.scoring));
    }
    if !plan.preempt.is_empty() {
        plan.work.extend(prompts.shares(budget.tokens));
        return plan;
    }
    let shares = Shares::of(staying);
    if staying.len() < room.rows {
        admit(
            staying,
            waiting,
            room.rows,
            free,
            shares,
            &mut budget,
            &mut prompts,
            &mut plan,
        );
    } else if prompts.have_room(budget.tokens) {
        let fits = |answer: &Waiting| {
            answer.blocks + staying.len() <= free && (!answer.scoring || budget.scored > 0)
        };
        plan.displace = shares.displaced(staying, waiting.iter().filter(|a| fits(a)));
        plan.work.retain(|work| Some(work.0) != plan.displace);
        prompts.remove(plan.displace);
    }
    plan.work.extend(prompts.shares(budget.tokens));
    plan
}

fn admit(
    running: &[Running],
    waiting: &[Waiting],
    rows: usize,
    mut free: usize,
    mut shares: Shares,
    budget: &mut Budget,
    prompts: &mut Prompts,
    plan: &mut Plan,
) {
    let mut opening: HashSet<u64> = running
        .iter()
        .filter(|a| a.opening)
        .map(|a| a.key.request)
        .collect();
    // Blocks that are being computed: nobody else computes them too.
    let mut coming: HashSet<Name> = running.iter().filter_map(|a| a.next).collect();
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
        let holders = running.len() + plan.admit.len();
        if holders >= rows || !prompts.have_room(budget.tokens) {
            break;
        }
        let request = answer.key.request;
        let follows = answer.follows && opening.contains(&request);
        if stuck.contains(&request) || follows || answer.next.is_some_and(|b| coming.contains(&b)) {
            continue;
        }
        // Each running answer may soon need a block; leaving one for each avoids preempting what was just admitted.
        let reserve = holders;
        if answer.blocks + reserve > free && !(holders == 0 && answer.blocks <= free) {
            stuck.insert(request);
            passed.push(answer.key);
            if answer.overtaken >= OVERTAKINGS {
                break;
            }
            continue;
        }
        let need = budget.need(answer.pending, answer.scoring);
        if need == 0 {
            // No room for its scores, which running answers take. Those end, and until then others may pass: that is
            // not counted, for they take nothing it could have had.
            stuck.insert(request);
            continue;
        }
        free -= answer.blocks;
        shares.add(answer.party, answer.key);
        plan.admit.push(answer.key);
        prompts.add(answer.key, need);
        coming.extend(answer.next);
        for key in &passed {
            if !plan.overtaken.contains(key) {
                plan.overtaken.push(*key);
            }
        }
        if answer.follows {
            opening.insert(request);
        }
    }
}

struct Budget {
    tokens: usize,
    scored: usize,
}

impl Budget {
    /// As many of `pending` tokens as could be computed, if nobody else took any.
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
