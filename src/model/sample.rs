//! From one row of logits to one token.
//!
//! The order, as in vLLM and transformers: repetition, presence and frequency penalties → `logit_bias` → ids that are
//! forbidden, or not allowed → temperature → `top_k` → `top_p` → `min_p` → draw. Temperature 0 takes the largest score after the penalties and the
//! bias. Ties go to the lower id everywhere. Reported log-probabilities are the model's own: of the row as it came,
//! before any of these.
//!
//! The random state belongs to the answer, and the draw walks the ids upwards, so a seed repeats an answer whatever
//! else shares the batch.

use std::collections::HashMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::domain::Sampling;
use crate::kernels::scores::{BLOCK, block_sum, log_sum_exp, sum, weigh};

mod row;
#[cfg(test)]
mod tests;

/// The row holds NaN or +∞, or excludes every token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model's scores are not finite")]
pub struct NotFinite;

#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    pub id: u32,
    /// Present where log-probabilities were asked for.
    pub score: Option<Score>,
}

/// A token's standing in the model's own distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Natural log.
    pub logprob: f32,
    /// The likeliest tokens with their log-probabilities, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Buffers of one vocabulary's size, shared by every answer of an engine.
#[derive(Default)]
pub struct Scratch {
    scores: Vec<f32>,
    weights: Vec<f32>,
    ranked: Vec<(f32, u32)>,
}

/// `token`'s log-probability in `logits`, and the `alternatives` likeliest tokens.
pub fn score(
    logits: &[f32],
    token: u32,
    alternatives: usize,
    scratch: &mut Scratch,
) -> Result<Score, NotFinite> {
    let norm = log_sum_exp(logits, peak(logits)?);
    row::foremost(logits, alternatives, &mut scratch.ranked);
    scratch.ranked.sort_unstable_by(row::ahead);
    let top = scratch
        .ranked
        .iter()
        .map(|&(value, id)| (id, value - norm))
        .collect();
    let own = logits.get(token as usize).ok_or(NotFinite)?;
    Ok(Score {
        logprob: own - norm,
        top,
    })
}

/// How one answer chooses its tokens: the settings, the random state and what was said so far.
pub struct Sampler {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    min_p: f32,
    presence: f32,
    frequency: f32,
    repetition: f32,
    bias: Vec<(u32, f32)>,
    alternatives: Option<usize>,
    random: ChaCha8Rng,
    /// Every token of prompt and answer, with how often the answer holds it. Kept only where a penalty reads it.
    seen: Option<HashMap<u32, u32>>,
}

impl Sampler {
    /// `answer` is the index among the answers of one request: answers of one seed differ. Without a seed the random
    /// state comes from the operating system.
    pub fn new(sampling: &Sampling, prompt: &[u32], answer: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(sampling.seed.unwrap_or_else(rand::random));
        random.set_stream(u64::from(answer));
        let repeats = sampling.repetition_penalty != 1.0;
        let penalised =
            repeats || sampling.presence_penalty != 0.0 || sampling.frequency_penalty != 0.0;
        let prompt = if repeats { prompt } else { &[] };
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k as usize,
            min_p: sampling.min_p,
            presence: sampling.presence_penalty,
            frequency: sampling.frequency_penalty,
            repetition: sampling.repetition_penalty,
            bias: sampling.logit_bias.clone(),
            alternatives: sampling.logprobs.map(usize::from),
            random,
            seen: penalised.then(|| prompt.iter().map(|&id| (id, 0)).collect()),
        }
    }

    /// Chooses the next token and remembers it. `forbidden` ids cannot be chosen, nor those that `allowed` lacks: a bit an
    /// id, the lowest of a word first.
    pub fn choose(
        &mut self,
        logits: &[f32],
        forbidden: &[u32],
        allowed: Option<&[u32]>,
        scratch: &mut Scratch,
    ) -> Result<Chosen, NotFinite> {
        let as_is = allowed.is_none() && self.reads_as_is(forbidden);
        let id = if as_is && self.temperature == 0.0 {
            row::first_at(logits, peak(logits)?)
        } else {
            // The row is checked as it came: a forbidden NaN is still a fault of the model.
            peak(logits)?;
            self.adjust(logits, forbidden, &mut scratch.scores);
            if let Some(allowed) = allowed {
                row::keep(&mut scratch.scores, allowed);
            }
            let peak = peak(&scratch.scores)?;
            if self.temperature == 0.0 {
                row::first_at(&scratch.scores, peak)
            } else {
                self.draw(peak, scratch)
            }
        };
        if let Some(seen) = &mut self.seen {
            *seen.entry(id).or_default() += 1;
        }
        let score = self
            .alternatives
            .map(|k| score(logits, id, k, scratch))
            .transpose()?;
        Ok(Chosen { id, score })
    }

    fn reads_as_is(&self, forbidden: &[u32]) -> bool {
        self.seen.is_none() && self.bias.is_empty() && forbidden.is_empty()
    }

    /// Penalties, bias and forbidden ids. Repetition is transformers' formula over prompt and answer; presence and
    /// frequency are OpenAI's over the answer.
    fn adjust(&self, logits: &[f32], forbidden: &[u32], scores: &mut Vec<f32>) {
        scores.clear();
        scores.extend_from_slice(logits);
        for (&id, &times) in self.seen.iter().flatten() {
            let Some(score) = scores.get_mut(id as usize) else {
                continue;
            };
            *score = if *score < 0.0 {
                *score * self.repetition
            } else {
                *score / self.repetition
            };
            if times > 0 {
                *score -= self.presence + self.frequency * times as f32;
            }
        }
        for &(id, bias) in &self.bias {
            if let Some(score) = scores.get_mut(id as usize) {
                *score += bias;
            }
        }
        for &id in forbidden {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
    }

    /// Draws from `scratch.scores`. Each filter keeps a leading part of one order (`row::ahead`), so each is a cut in it.
    fn draw(&mut self, peak: f32, scratch: &mut Scratch) -> u32 {
        let Scratch {
            scores,
            weights,
            ranked,
        } = scratch;
        if (1..scores.len()).contains(&self.top_k) {
            row::foremost(scores, self.top_k, ranked);
            if let Some(&end) = ranked.iter().max_by(|a, b| row::ahead(a, b)) {
                drop_behind(scores, end, f32::NEG_INFINITY);
            }
        }
        weigh(scores, peak, self.temperature, weights);
        if self.top_p < 1.0 {
            let total = sum(weights);
            let top_p = f64::from(self.top_p);
            // Weights below this floor sum to less than (1 - top_p) of the total, so the nucleus ends before them.
            let floor = (0.999 * (1.0 - top_p) * total / weights.len() as f64) as f32;
            ranked.clear();
            ranked.extend(
                (0u32..)
                    .zip(weights.iter())
                    .filter(|(_, w)| **w > floor)
                    .map(|(id, w)| (*w, id)),
            );
            if let Some(end) = row::nucleus_end(ranked, top_p * total) {
                drop_behind(weights, end, 0.0);
            }
        }
        if self.min_p > 0.0 {
            // The largest weight is e^0 = 1.
            for weight in weights.iter_mut() {
                *weight = if *weight < self.min_p { 0.0 } else { *weight };
            }
        }
        walk(weights, self.random.random::<f64>())
    }
}

fn peak(logits: &[f32]) -> Result<f32, NotFinite> {
    crate::kernels::scores::peak(logits).ok_or(NotFinite)
}

fn drop_behind(values: &mut [f32], end: (f32, u32), dropped: f32) {
    for (id, value) in values.iter_mut().enumerate() {
        let kept = *value > end.0 || (*value == end.0 && id <= end.1 as usize);
        *value = if kept { *value } else { dropped };
    }
}

/// The id at share `at` (0 to 1) of the summed weights, going up the ids.
fn walk(weights: &[f32], at: f64) -> u32 {
    let mut left = at * sum(weights);
    let mut last = 0;
    for (block, first) in weights.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
        let mass = f64::from(block_sum(block));
        if left >= mass {
            left -= mass;
            if let Some(within) = block.iter().rposition(|&w| w > 0.0) {
                last = first + within as u32;
            }
            continue;
        }
        for (id, &weight) in (first..).zip(block) {
            if weight > 0.0 {
                last = id;
                left -= f64::from(weight);
                if left < 0.0 {
                    return id;
                }
            }
        }
    }
    // Rounding may leave a small rest beyond the last token.
    last
}
