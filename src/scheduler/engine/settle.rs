//! What a step brought: scores, chosen tokens, ended answers, and the events for each reader.

use std::time::Instant;

use super::Engine;
use crate::device::Array;
use crate::domain::Reason;
use crate::kernels::scores::peak;
use crate::model::sample::{NotFinite, score};
use crate::scheduler::forward::Forward;
use crate::scheduler::policy::ledger;
use crate::scheduler::step::Step;
use crate::text::grammar::Mask;

impl<F: Forward> Engine<F> {
    /// Takes the results of a step: scores, chosen tokens, ended answers.
    pub(super) fn settle(&mut self, step: &Step, logits: &[f32], vocab: usize) {
        let now = Instant::now();
        let mut rows = logits.chunks_exact(vocab.max(1));
        for part in &step.parts {
            let scores: Vec<&[f32]> = rows.by_ref().take(part.scores).collect();
            let choices: Vec<&[f32]> = rows.by_ref().take(part.choices()).collect();
            let Some(at) = self.running_at(part.key) else {
                continue;
            };
            let number = part.key.request;
            if let Some(request) = self.requests.get_mut(&number) {
                let answer = &mut self.running[at];
                answer.compute(part.tokens, request, &self.names);
                let cost = request.reach(answer.computed, part.tokens);
                self.ledger.charge(request.party, cost);
            }
            if !scores.is_empty() && self.take_scores(number, &scores).is_err() {
                self.fail(number, not_finite());
                continue;
            }
            let Some(request) = self.requests.get_mut(&number) else {
                continue;
            };
            if request.tell_of_prompt().is_err() {
                self.remove(number);
                continue;
            }
            if request.needs_no_step() {
                self.end_silent(number);
            } else {
                self.choose_all(at, &choices, &part.drafts, now);
            }
        }
    }

    /// Takes the hidden states of a step that go into vectors of prompts.
    pub(super) fn pool_states(&mut self, step: &Step, states: &Array) {
        let mut rows = states.values().chunks_exact(states.width().max(1));
        for part in &step.parts {
            let number = part.key.request;
            for state in rows.by_ref().take(part.states) {
                if state.iter().any(|x| !x.is_finite()) {
                    self.fail(number, not_finite());
                } else if let Some(request) = self.requests.get_mut(&number) {
                    request.add_state(state);
                }
            }
        }
    }

    /// Chooses the running answer's next token by the first row, and as long as that is the guess that the next row was
    /// computed for, one more by the next: each as a step of its own would have.
    fn choose_all(&mut self, at: usize, rows: &[&[f32]], drafts: &[u32], now: Instant) {
        let mut accepted = 0;
        if let Some(guided) = self.running[at]
            .guided
            .as_ref()
            .filter(|_| !rows.is_empty())
        {
            self.observe.masked(guided.took());
        }
        for (row, draft) in rows.iter().zip(drafts.iter().map(Some).chain([None])) {
            let said = self.choose(at, row, accepted, now);
            if said.is_none() {
                break;
            }
            let answer = &mut self.running[at];
            let Some(request) = self.requests.get(&answer.key.request) else {
                break;
            };
            if said.as_ref() != draft {
                // What was computed for wrong guesses is overwritten; their blocks go back.
                answer.table.shrink(answer.computed);
                break;
            }
            accepted += 1;
            answer.compute(1, request, &self.names);
        }
        if !drafts.is_empty() {
            self.observe.speculated(drafts.len(), accepted);
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

    /// The next token of the running answer `at`, by its `nth` row of this step, sent to its reader. `None` where the
    /// answer ended.
    fn choose(&mut self, at: usize, row: &[f32], nth: usize, now: Instant) -> Option<u32> {
        let answer = &mut self.running[at];
        let key = answer.key;
        let request = self.requests.get_mut(&key.request)?;
        let forbidden = answer.forbidden(request);
        let mask = answer.guided.as_mut().map(|guided| guided.mask(nth));
        let chosen = match mask.transpose() {
            Ok(mask) => {
                let allowed = mask.map(Mask::words);
                let chosen = answer
                    .sampler
                    .choose(row, forbidden, allowed, &mut self.scratch);
                chosen.map_err(|NotFinite| match &answer.guided {
                    Some(guided) if peak(row).is_some() => guided.stuck(),
                    _ => not_finite(),
                })
            }
            Err(reason) => Err(reason),
        };
        let chosen = chosen.and_then(|chosen| {
            let id = chosen.id;
            let said = answer.say(chosen, request, &self.tokenizer, now)?;
            Ok((id, said))
        });
        let (id, said) = match chosen {
            Ok(said) => said,
            Err(reason) => {
                self.fail(key.request, reason);
                return None;
            }
        };
        self.ledger.charge(request.party, ledger::GENERATED);
        if let Some(gap) = said.gap {
            self.observe.inter_token(gap);
        }
        match request.tell_token(key.answer, said.text, said.token, now) {
            Ok(Some(first)) => self.observe.first_token(first),
            Ok(None) => {}
            Err(_) => {
                self.remove(key.request);
                return None;
            }
        }
        let Some(reason) = said.finish else {
            return Some(id);
        };
        match request.finish(key.answer, reason) {
            // The answer's blocks return as it drops.
            Ok(false) => drop(self.running.remove(at)),
            Ok(true) | Err(_) => self.remove(key.request),
        }
        None
    }
}

fn not_finite() -> Reason {
    Reason::Internal("the model's scores are not finite".into())
}
