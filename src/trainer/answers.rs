//! Greedy answers of the base, plain or adapted, to a few prompts at once: as they are served, with a cache of their own.

use std::collections::HashSet;
use std::sync::Arc;

use crate::adapter::{Adapter, Routed, virtual_tokens};
use crate::device::{Result, bail};
use crate::model::{Base, Batch, Sequence};

/// Positions of a cache block.
const BLOCK: usize = 16;

/// One answer under way.
struct Answer {
    /// Virtual tokens, prompt and what was said.
    tokens: Vec<u32>,
    prompt: usize,
    computed: usize,
    /// Its blocks of the cache.
    table: Vec<u32>,
    is_over: bool,
}

/// Up to `most` tokens for each prompt, without those that end an answer. Ends early, with what there is, when `go_on` says
/// no. Prompts and answers must fit the context.
pub fn answers(
    base: &Base,
    prompts: &[&[u32]],
    adapter: Option<&Arc<Adapter>>,
    most: usize,
    go_on: &dyn Fn() -> bool,
) -> Result<Vec<Vec<u32>>> {
    let ends: HashSet<u32> = base.tokenizer.eos().iter().copied().collect();
    let taken = adapter.map_or(0, |adapter| adapter.virtual_tokens());
    let mut blocks = 0u32;
    let mut all: Vec<Answer> = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let tokens: Vec<u32> = virtual_tokens(taken)
            .chain(prompt.iter().copied())
            .collect();
        let needed = (tokens.len() + most).div_ceil(BLOCK) as u32;
        all.push(Answer {
            prompt: tokens.len(),
            is_over: tokens.is_empty(),
            tokens,
            computed: 0,
            table: (blocks..blocks + needed).collect(),
        });
        blocks += needed;
    }
    let mut cache = base.model.new_cache(blocks as usize, BLOCK)?;
    while all.iter().any(|answer| !answer.is_over) && go_on() {
        let batch = batch(all.iter().filter(|answer| !answer.is_over));
        let mut routed = Routed::base();
        if let Some(adapter) = adapter {
            routed
                .segments
                .push((0..batch.tokens.len(), adapter.clone()));
        }
        let logits = base.model.serve(&batch, &mut cache, &routed)?;
        let width = logits.width();
        let rows = logits.values().chunks_exact(width.max(1));
        for (answer, row) in all.iter_mut().filter(|answer| !answer.is_over).zip(rows) {
            let Some(next) = likeliest(row) else {
                bail!("the scores of an answer are not finite");
            };
            answer.computed = answer.tokens.len();
            answer.is_over = ends.contains(&next);
            if !answer.is_over {
                answer.tokens.push(next);
                answer.is_over = answer.tokens.len() == answer.prompt + most;
            }
        }
    }
    let said = |answer: Answer| answer.tokens[answer.prompt..].to_vec();
    Ok(all.into_iter().map(said).collect())
}

/// All that is not computed yet of each; its last row is wanted.
fn batch<'a>(running: impl Iterator<Item = &'a Answer>) -> Batch {
    let mut batch = Batch::default();
    for answer in running {
        let first = batch.tokens.len();
        batch
            .tokens
            .extend_from_slice(&answer.tokens[answer.computed..]);
        batch.logit_rows.push(batch.tokens.len() - 1);
        batch.sequences.push(Sequence {
            range: first..batch.tokens.len(),
            start: answer.computed,
            prompt: answer.prompt,
            table: answer.table[..answer.tokens.len().div_ceil(BLOCK)].to_vec(),
        });
    }
    batch
}

/// Of equals the first.
fn likeliest(row: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (at, score) in row.iter().enumerate() {
        if !score.is_finite() {
            return None;
        }
        if best.is_none_or(|(_, most)| *score > most) {
            best = Some((at, *score));
        }
    }
    best.map(|(at, _)| at as u32)
}
