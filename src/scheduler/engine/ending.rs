//! How requests end other than by their last token: the reader left, time is up, they can never run, something failed.

use std::time::Instant;

use super::Engine;
use crate::domain::{FinishReason, Reason};
use crate::scheduler::answer::Answer;
use crate::scheduler::forward::Forward;
use crate::scheduler::request::{Gone, Request};

impl<F: Forward> Engine<F> {
    /// Ends every request with this reason.
    pub fn abort(&mut self, reason: &Reason) {
        for number in self.requests.keys().copied().collect::<Vec<_>>() {
            self.fail(number, reason.clone());
        }
    }

    pub(super) fn drop_deserted(&mut self) {
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

    /// What the whole cache cannot hold is never admitted, and in the end would keep all others out. Admission refuses
    /// it with better words; this is the last line, whatever the limits were that it was checked against.
    pub(super) fn refuse_impossible(&mut self) {
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
                tokens: request.asked().len(),
                wanted: request.max_tokens(),
                limit: self.pool.total() * self.pool.block_size(),
                virtual_tokens: request.virtual_tokens,
            };
            self.fail(number, reason);
        }
    }

    /// Ends requests whose time is up: those that have no token yet fail, answers under way are as long as they are.
    pub(super) fn expire(&mut self, now: Instant) {
        let late = |(&number, request): (&u64, &Request)| {
            let late = request.terms.deadline.is_some_and(|end| end <= now);
            late.then_some((number, request.has_answered()))
        };
        for (number, has_answered) in self.requests.iter().filter_map(late).collect::<Vec<_>>() {
            match has_answered {
                true => self.cut_short(number),
                false => self.fail(number, Reason::DeadlineExceeded),
            }
        }
    }

    /// Ends the answers of a request where they are.
    fn cut_short(&mut self, number: u64) {
        if let Some(request) = self.requests.get_mut(&number) {
            let answers = self.running.iter_mut().chain(&mut self.waiting);
            let told = answers
                .filter(|answer| answer.key.request == number)
                .try_for_each(|answer| {
                    let choice = answer.key.answer;
                    request.tell_rest(choice, answer.close())?;
                    request.finish(choice, FinishReason::Length)?;
                    Ok::<_, Gone>(())
                });
            tracing::trace!(number, heard = told.is_ok(), "cut short");
        }
        self.remove(number);
    }

    /// Ends a request that wanted no token.
    pub(super) fn end_silent(&mut self, number: u64) {
        if let Some(request) = self.requests.get_mut(&number) {
            let told = request.tell_of_prompt();
            let told = told.and_then(|()| {
                (0..request.n)
                    .try_for_each(|choice| request.finish(choice, FinishReason::Length).map(drop))
            });
            tracing::trace!(number, heard = told.is_ok(), "prompt scored");
        }
        self.remove(number);
    }

    pub(super) fn fail(&mut self, number: u64, reason: Reason) {
        if let Some(request) = self.requests.get(&number) {
            request.fail(reason);
        }
        self.remove(number);
    }

    /// Forgets a request; its blocks, its seat and its lease give themselves back.
    pub(super) fn remove(&mut self, number: u64) {
        let Some(request) = self.requests.remove(&number) else {
            return;
        };
        self.running.retain(|answer| answer.key.request != number);
        self.waiting.retain(|answer| answer.key.request != number);
        self.ended += 1;
        self.changes += 1;
        self.ledger.leave(request.party);
        let adapter = request.lease.as_ref().map(|lease| lease.label());
        self.observe
            .request(request.seconds(), adapter, request.spent());
    }
}
