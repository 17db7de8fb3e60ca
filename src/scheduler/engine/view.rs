//! The engine as `policy::plan` sees it.

use std::time::Instant;

use super::Engine;
use crate::device::Coming;
use crate::scheduler::answer::Answer;
use crate::scheduler::engine::Shape;
use crate::scheduler::forward::Forward;
use crate::scheduler::pace::Crowd;
use crate::scheduler::policy::{self, Key, Room};
use crate::scheduler::request::Request;
use crate::scheduler::step::Work;

/// Tokens of prompts that a step may compute at least, whatever else it does.
const MIN_CHUNK: usize = 8;

/// Kernels compute rows by panels of so many; a panel that is not full takes as long as one that is.
const PANEL: usize = 16;

/// About so many tokens, that fill their panels and leave prompts the least they may have beside those that run.
fn whole(tokens: usize, running: usize) -> usize {
    let least = running + MIN_CHUNK;
    match (tokens + PANEL / 2) / PANEL * PANEL {
        nearest if nearest >= least => nearest,
        _ => least.next_multiple_of(PANEL),
    }
}

/// How many requests these answers belong to: one computes the prompt for all.
fn requests(answers: impl Iterator<Item = Key>) -> usize {
    let mut requests: Vec<_> = answers.map(|key| key.request).collect();
    requests.sort_unstable();
    requests.dedup();
    requests.len()
}

impl<F: Forward> Engine<F> {
    pub(super) fn room(&self, now: Instant) -> Room {
        let Shape {
            rows, step_tokens, ..
        } = self.shape;
        let running = self.running.len();
        let opens = |answer: &&Answer| answer.opening(&self.requests[&answer.key.request]);
        let opening = || self.running.iter().filter(opens);
        // Of those that wait, as many as there are rows for.
        let waiting = self.waiting.iter().take(rows.saturating_sub(running));
        let prompts = || opening().chain(waiting.clone());
        let waited = prompts().map(|answer| answer.waited(now));
        let crowd = Crowd {
            generating: running - opening().count(),
            opening: requests(prompts().map(|answer| answer.key)),
            waited: waited.max().unwrap_or_default().as_secs_f64(),
        };
        // Every running answer may take one token; what goes beyond is for prompts.
        let most = step_tokens.saturating_sub(running);
        let tokens = running + self.pace.chunk(crowd, MIN_CHUNK, most);
        let tokens = match crowd.generating {
            0 => tokens,
            _ => whole(tokens, running).min(step_tokens),
        };
        Room {
            rows,
            tokens,
            scored: self.shape.scored,
            free_blocks: self.pool.free(),
        }
    }

    /// What training may have to wait for.
    pub(super) fn coming(&self, work: &[Work], only_generates: bool) -> Coming {
        let generates = |work: &Work| {
            let answer = self.running_at(work.key).map(|at| &self.running[at]);
            answer.is_some_and(|answer| !answer.opening(&self.requests[&answer.key.request]))
        };
        Coming {
            generating: work.iter().any(generates),
            opening: !only_generates,
            crowded: !self.waiting.is_empty(),
        }
    }

    pub(super) fn running_view(&self) -> Vec<policy::Running> {
        // With a free block for each, none is preempted, and what that would free does not matter.
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
                priority: request.terms.priority,
                next: answer.next_block(request),
            }
        };
        self.running.iter().map(view).collect()
    }

    pub(super) fn waiting_view(&self, now: Instant) -> Vec<policy::Waiting> {
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
                passed: answer.passed,
                scoring: request.scored().is_some(),
                party: request.party,
                priority: request.terms.priority,
                minutes: answer.minutes(now),
                next: reusable.get(found.blocks).copied(),
            }
        };
        self.waiting.iter().map(view).collect()
    }

    /// Full blocks of the prompt that answers to it may share. The last token is each answer's own: it chooses.
    fn shareable(&self, request: &Request) -> usize {
        (request.prompt.len() - 1) / self.pool.block_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_one_prompt_wait_for_one_prompt() {
        let keys = [(7, 0), (3, 0), (7, 1), (3, 2), (9, 0)];
        let keys = keys.map(|(request, answer)| Key { request, answer });
        assert_eq!(requests(keys.into_iter()), 3);
        assert_eq!(requests([].into_iter()), 0);
    }

    #[test]
    fn a_step_fills_its_panels_and_prompts_get_their_least() {
        for running in 1..40 {
            for chunk in MIN_CHUNK..200 {
                let tokens = whole(running + chunk, running);
                assert_eq!(tokens % PANEL, 0);
                assert!(tokens >= running + MIN_CHUNK);
                let off = tokens.abs_diff(running + chunk);
                assert!(off <= PANEL / 2 || tokens < running + MIN_CHUNK + PANEL);
            }
        }
        assert_eq!(whole(8 + 12, 8), 16);
        assert_eq!(whole(8 + 20, 8), 32);
        assert_eq!(whole(15 + 8, 15), 32);
    }
}
