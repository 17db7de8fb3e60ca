//! Guessed tokens in steps that have nothing else to do than to generate.

use super::{Engine, Speculation};
use crate::scheduler::forward::Forward;
use crate::scheduler::speculation::{MOST_ANSWERS, MOST_GUESSES};
use crate::scheduler::step::Work;

impl<F: Forward> Engine<F> {
    /// Every answer of this step computes its newest token, and no more: what such steps cost depends on their rows.
    pub(super) fn only_generates(&self, work: &[Work]) -> bool {
        work.iter().all(|work| {
            let answer = self.running_at(work.key).map(|at| &self.running[at]);
            let request = self.requests.get(&work.key.request);
            answer.zip(request).is_some_and(|(answer, request)| {
                !answer.opening(request) && answer.pending(request) == 1
            })
        })
    }

    /// Adds guesses to such a step where they are likely to pay for the rows they take.
    pub(super) fn speculate(&mut self, work: &mut [Work]) {
        if self.shortcuts.speculation == Speculation::Off || work.len() > MOST_ANSWERS {
            return;
        }
        let odds: Vec<Vec<f32>> = work.iter().map(|work| self.odds(work)).collect();
        let spare = self.shape.step_tokens.saturating_sub(work.len());
        let guesses = match self.shortcuts.speculation {
            #[cfg(test)]
            Speculation::Always => odds.iter().map(Vec::len).collect(),
            _ => self.costs.guesses(&odds),
        };
        let mut spare = spare;
        for (work, guess_count) in work.iter_mut().zip(guesses) {
            let guess_count = guess_count.min(spare);
            let Some(at) = self.running_at(work.key).filter(|_| guess_count > 0) else {
                continue;
            };
            let Some(request) = self.requests.get(&work.key.request) else {
                continue;
            };
            let answer = &mut self.running[at];
            // No answer is preempted for a guess.
            let positions = answer.computed + work.tokens + guess_count;
            if answer.table.grow(positions).is_ok() {
                work.drafts = answer.draft(guess_count, request);
                spare -= work.drafts.len();
            }
        }
    }

    /// How likely the answer's first one, two, … guesses are all right.
    fn odds(&self, work: &Work) -> Vec<f32> {
        let answer = self.running_at(work.key).map(|at| &self.running[at]);
        let Some((answer, request)) = answer.zip(self.requests.get(&work.key.request)) else {
            return Vec::new();
        };
        // The step itself brings one token more than it verifies.
        let most = answer.left(request).saturating_sub(1).min(MOST_GUESSES);
        answer.odds(most)
    }
}
