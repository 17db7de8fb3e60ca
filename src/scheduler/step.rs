//! One step: the planned tokens of many answers as one ragged batch, those of one adapter side by side.

use std::collections::BTreeMap;
use std::ops::Range;

use super::answer::Answer;
use super::guided::Guided;
use super::policy::Key;
use super::request::Request;
use crate::adapter::Routed;
use crate::model::{Batch, Sequence};

pub struct Step {
    pub batch: Batch,
    pub routed: Routed,
    /// Rows whose hidden states after the last norm are wanted, in the order of the parts.
    pub state_rows: Vec<usize>,
    /// In the order of the batch.
    pub parts: Vec<Part>,
}

/// What an answer computes in a step.
pub struct Work {
    pub key: Key,
    /// Known tokens.
    pub tokens: usize,
    /// Guesses at the tokens after all known ones.
    pub drafts: Vec<u32>,
}

/// One answer's share of a step. Its wanted rows of logits are `scores` rows and then those that choose.
pub struct Part {
    pub key: Key,
    /// Known tokens computed.
    pub tokens: usize,
    /// Rows that score the prompt's next positions.
    pub scores: usize,
    /// Rows whose states go into the prompt's vector.
    pub states: usize,
    /// The row of the last known token chooses the answer's next one.
    pub chooses: bool,
    /// The row of each guess chooses one more, where the guess was right.
    pub drafts: Vec<u32>,
}

impl Part {
    /// Rows that choose, the first of which always does.
    pub fn choices(&self) -> usize {
        usize::from(self.chooses) + self.drafts.len()
    }
}

impl Step {
    /// `work`: what each of `running` computes; both in ascending order of their keys.
    pub fn assemble(
        work: Vec<Work>,
        running: &[Answer],
        requests: &BTreeMap<u64, Request>,
    ) -> Self {
        let mut members: Vec<(&Answer, &Request, Work)> = work
            .into_iter()
            .filter_map(|work| {
                let at = running
                    .binary_search_by_key(&work.key, |answer| answer.key)
                    .ok()?;
                Some((&running[at], requests.get(&work.key.request)?, work))
            })
            .collect();
        // A stable sort: base rows first, then adapter by adapter, the oldest first within each.
        members
            .sort_by_key(|(_, request, _)| request.lease.as_ref().map(|lease| lease.generation()));

        let mut step = Self {
            batch: Batch {
                tokens: Vec::new(),
                sequences: Vec::with_capacity(members.len()),
                logit_rows: Vec::new(),
            },
            routed: Routed::default(),
            state_rows: Vec::new(),
            parts: Vec::with_capacity(members.len()),
        };
        for (answer, request, work) in members {
            step.add(answer, request, work);
        }
        step
    }

    /// Of an answer with a form to keep that chooses in this step: where it is, and its guesses.
    pub fn guesses<'a>(&'a self, answer: &'a mut Answer) -> Option<(&'a mut Guided, &'a [u32])> {
        let guided = answer.guided.as_mut()?;
        let mut parts = self.parts.iter().filter(|part| part.chooses);
        let part = parts.find(|part| part.key == answer.key)?;
        Some((guided, &part.drafts))
    }

    /// How many different adapters take part.
    pub fn adapters(&self) -> usize {
        self.routed.segments.len()
    }

    fn add(&mut self, answer: &Answer, request: &Request, work: Work) {
        let Work { tokens, drafts, .. } = work;
        let first = self.batch.tokens.len();
        answer.next_tokens(request, tokens, &mut self.batch.tokens);
        self.batch.tokens.extend_from_slice(&drafts);
        let range = first..self.batch.tokens.len();
        let start = answer.computed;
        self.batch.sequences.push(Sequence {
            range: range.clone(),
            start,
            prompt: request.prompt.len(),
            table: answer.table.ids().to_vec(),
        });

        let scored = rows_to_score(request, start..start + tokens);
        self.batch
            .logit_rows
            .extend(scored.clone().map(|position| first + position - start));
        let states = request.states_wanted(start..start + tokens);
        self.state_rows
            .extend(states.clone().map(|position| first + position - start));
        let chooses = request.max_tokens() > 0 && start + tokens == answer.known(request);
        if chooses {
            let newest = first + tokens - 1;
            self.batch.logit_rows.extend(newest..range.end);
        }
        if let Some(lease) = &request.lease {
            match self.routed.segments.last_mut() {
                Some((rows, adapter)) if adapter.generation() == lease.generation() => {
                    rows.end = range.end
                }
                _ => self.routed.segments.push((range, lease.adapter().clone())),
            }
        }
        self.parts.push(Part {
            key: answer.key,
            tokens,
            scores: scored.len(),
            states: states.len(),
            chooses,
            drafts,
        });
    }
}

/// Of the positions computed, those whose row scores a prompt token not scored yet: row i scores token i + 1.
fn rows_to_score(request: &Request, computed: Range<usize>) -> Range<usize> {
    match request.scored() {
        None => computed.start..computed.start,
        Some(known) => {
            let start = computed.start.max(known - 1);
            start..computed.end.min(request.prompt.len() - 1).max(start)
        }
    }
}
