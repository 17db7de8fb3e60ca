//! The engine as `policy::plan` sees it.

use std::time::Instant;

use super::Engine;
use crate::scheduler::answer::Answer;
use crate::scheduler::engine::Shape;
use crate::scheduler::forward::Forward;
use crate::scheduler::pace::Crowd;
use crate::scheduler::policy::{self, Room};
use crate::scheduler::request::Request;

/// Tokens of prompts that a step may compute at least, whatever else it does.
const MIN_CHUNK: usize = 16;

impl<F: Forward> Engine<F> {
    pub(super) fn room(&self) -> Room {
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

    pub(super) fn running_view(&self) -> Vec<policy::Running> {
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
