//! One step: the planned tokens of many answers as one ragged batch, those of one adapter side by side.

use std::collections::BTreeMap;
use std::ops::Range;

use super::answer::Answer;
use super::policy::Key;
use super::request::Request;
use crate::adapter::Routed;
use crate::model::{Batch, Sequence};

pub struct Step {
    pub batch: Batch,
    pub routed: Routed,
    /// In the order of the batch.
    pub parts: Vec<Part>,
}

/// One answer's share of a step. Its wanted rows of logits are `scores` rows and then, if it chooses, one more.
pub struct Part {
    pub key: Key,
    /// Tokens computed.
    pub tokens: usize,
    /// Rows that score the prompt's next positions.
    pub scores: usize,
    /// The last row chooses the answer's next token.
    pub chooses: bool,
}

impl Step {
    /// `work`: how many tokens each of `running` computes; both in ascending order of their keys.
    pub fn assemble(
        work: &[(Key, usize)],
        running: &[Answer],
        requests: &BTreeMap<u64, Request>,
    ) -> Self {
        let mut members: Vec<(&Answer, &Request, usize)> = work
            .iter()
            .filter_map(|&(key, tokens)| {
                let at = running
                    .binary_search_by_key(&key, |answer| answer.key)
                    .ok()?;
                Some((&running[at], requests.get(&key.request)?, tokens))
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
            parts: Vec::with_capacity(members.len()),
        };
        for (answer, request, tokens) in members {
            step.add(answer, request, tokens);
        }
        step
    }

    /// How many different adapters take part.
    pub fn adapters(&self) -> usize {
        self.routed.segments.len()
    }

    fn add(&mut self, answer: &Answer, request: &Request, tokens: usize) {
        let first = self.batch.tokens.len();
        answer.next_tokens(request, tokens, &mut self.batch.tokens);
        let range = first..self.batch.tokens.len();
        let start = answer.computed;
        self.batch.sequences.push(Sequence {
            range: range.clone(),
            start,
            table: answer.table.ids().to_vec(),
        });

        let scored = rows_to_score(request, start..start + tokens);
        self.batch
            .logit_rows
            .extend(scored.clone().map(|position| first + position - start));
        let chooses = request.max_tokens() > 0 && start + tokens == answer.known(request);
        if chooses {
            self.batch.logit_rows.push(range.end - 1);
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
            chooses,
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
