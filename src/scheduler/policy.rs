//! What the next step does: a pure decision on plain values. No clock, no lock, no device.
//!
//! The rules, in this order:
//! 1. Answers that are generating take one token each, oldest first. One that needs a block nobody has free takes it
//!    from the youngest running answer, which is preempted and computes its tokens again later.
//! 2. Running answers whose prompt is not computed yet take chunks of it, oldest first, from the tokens left.
//! 3. Waiting answers are admitted while rows, tokens and blocks last: first those of the adapter that holds the fewest
//!    rows, among these those of the request that holds the fewest, among these the oldest. One that does not fit may be
//!    overtaken by later ones a bounded number of times; then nobody passes it.
//! 4. Where every row is taken and an adapter or a request without any waits, it takes one from whoever holds most.

mod share;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use share::Shares;

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
            plan.work
                .extend(budget.grant(answer.key, 1, answer.scoring));
        }
        at += 1;
    }
    // A younger answer granted its token may have been preempted for an older one's block only later in the walk, never
    // before: the walk goes oldest first and preempts from the other end.
    let staying = &running[..staying];
    for answer in staying.iter().filter(|a| a.pending > 1) {
        plan.work
            .extend(budget.grant(answer.key, answer.pending, answer.scoring));
    }
    if !plan.preempt.is_empty() {
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
            &mut plan,
        );
    } else if budget.tokens > 0 {
        let fits = |answer: &Waiting| {
            answer.blocks + staying.len() <= free && (!answer.scoring || budget.scored > 0)
        };
        plan.displace = shares.displaced(staying, waiting.iter().filter(|a| fits(a)));
        plan.work.retain(|work| Some(work.0) != plan.displace);
    }
    plan
}

fn admit(
    running: &[Running],
    waiting: &[Waiting],
    rows: usize,
    mut free: usize,
    mut shares: Shares,
    budget: &mut Budget,
    plan: &mut Plan,
) {
    let mut opening: HashSet<u64> = running
        .iter()
        .filter(|a| a.opening)
        .map(|a| a.key.request)
        .collect();
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
        if holders >= rows || budget.tokens == 0 {
            break;
        }
        let request = answer.key.request;
        if stuck.contains(&request) || (answer.follows && opening.contains(&request)) {
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
        let Some(work) = budget.grant(answer.key, answer.pending, answer.scoring) else {
            // No room for its scores, which running answers take. Those end, and until then others may pass: that is
            // not counted, for they take nothing it could have had.
            stuck.insert(request);
            continue;
        };
        free -= answer.blocks;
        shares.add(answer.party, answer.key);
        plan.admit.push(answer.key);
        plan.work.push(work);
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
    /// As many of `pending` tokens as are left, if any are.
    fn grant(&mut self, key: Key, pending: usize, scoring: bool) -> Option<(Key, usize)> {
        let mut tokens = pending.min(self.tokens);
        if scoring {
            tokens = tokens.min(self.scored);
            self.scored -= tokens;
        }
        self.tokens -= tokens;
        (tokens > 0).then_some((key, tokens))
    }
}

#[cfg(test)]
mod tests;
