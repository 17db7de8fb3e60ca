//! What a step brought: scores, chosen tokens, ended answers, and what each reader is told.

use std::time::Instant;

use super::Engine;
use crate::domain::{FinishReason, Reason};
use crate::model::sample::{NotFinite, score};
use crate::scheduler::forward::Forward;
use crate::scheduler::step::Step;

impl<F: Forward> Engine<F> {
    /// Takes the results of a step: scores, chosen tokens, ended answers.
    pub(super) fn settle(&mut self, step: &Step, logits: &[f32], vocab: usize) {
        let now = Instant::now();
        let mut rows = logits.chunks_exact(vocab.max(1));
        for part in &step.parts {
            let scores: Vec<&[f32]> = rows.by_ref().take(part.scores).collect();
            let choice = if part.chooses { rows.next() } else { None };
            let Ok(at) = self
                .running
                .binary_search_by_key(&part.key, |answer| answer.key)
            else {
                continue;
            };
            let number = part.key.request;
            if let Some(request) = self.requests.get_mut(&number) {
                let answer = &mut self.running[at];
                answer.compute(part.tokens, request, &self.names);
                request.reach(answer.computed);
            }
            if !scores.is_empty() && self.take_scores(number, &scores).is_err() {
                self.fail(number, not_finite());
                continue;
            }
            let Some(request) = self.requests.get_mut(&number) else {
                continue;
            };
            if request.tell_scores().is_err() {
                self.remove(number);
                continue;
            }
            if request.max_tokens() == 0 && request.scored().is_none() {
                self.end_silent(number);
            } else if let Some(row) = choice {
                self.choose(at, row, now);
            }
        }
    }

    fn take_scores(&mut self, number: u64, rows: &[&[f32]]) -> Result<(), NotFinite> {
        let Some(request) = self.requests.get_mut(&number) else {
            return Ok(());
        };
        let alternatives = request.sampling.logprobs.map_or(0, usize::from);
        for row in rows {
            let Some(known) = request.scored() else { break };
            let score = score(row, request.prompt[known], alternatives, &mut self.scratch)?;
            request.add_score(score, &self.tokenizer);
        }
        Ok(())
    }

    /// The next token of the running answer `at`, told to its reader.
    fn choose(&mut self, at: usize, row: &[f32], now: Instant) {
        let answer = &mut self.running[at];
        let key = answer.key;
        let Some(request) = self.requests.get_mut(&key.request) else {
            return;
        };
        let forbidden = answer.forbidden(request);
        let Ok(chosen) = answer.sampler.choose(row, forbidden, &mut self.scratch) else {
            return self.fail(key.request, not_finite());
        };
        let said = answer.say(chosen, request, &self.tokenizer, now);
        if let Some(gap) = said.gap {
            self.observe.inter_token(gap);
        }
        match request.tell_token(key.answer, said.text, said.token, now) {
            Ok(Some(first)) => self.observe.first_token(first),
            Ok(None) => {}
            Err(_) => return self.remove(key.request),
        }
        let Some(reason) = said.finish else { return };
        match request.finish(key.answer, reason) {
            // The answer's blocks return as it drops.
            Ok(false) => drop(self.running.remove(at)),
            Ok(true) | Err(_) => self.remove(key.request),
        }
    }

    /// Ends a request that wanted no token.
    pub(super) fn end_silent(&mut self, number: u64) {
        if let Some(request) = self.requests.get_mut(&number) {
            let told = request.tell_scores();
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
        let adapter = request.lease.as_ref().map(|lease| lease.name().as_str());
        self.observe
            .request(request.seconds(), adapter, request.spent());
    }
}

fn not_finite() -> Reason {
    Reason::Internal("the model's scores are not finite".into())
}
