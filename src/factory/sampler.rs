//! From records to batches: which tokens there are and which of them are to be predicted.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizers::{Result, Tokenizer};

use super::learn::TrainingBatch;
use super::record::Record;
use super::skills::SKILLS;
use super::tokenizer::{ASSISTANT, BEGIN, END, SPECIAL, USER, VOCABULARY};
use super::words::{Draw, Side};

/// What a stage's batches are made of.
#[derive(Debug, Clone, Copy)]
pub struct Mixture {
    /// Share of the records that are repeated random segments.
    pub segments: f64,
    /// Longest period of a repeated segment.
    pub period: usize,
    /// The first so many of `SKILLS`.
    pub skills: usize,
    /// Share of the records whose question is learned too.
    pub whole: f64,
}

/// Makes the batch of one step. Every step has a random stream of its own, so a run that is taken up again needs no
/// more than the number of the step.
pub struct Sampler<'a> {
    tokenizer: &'a Tokenizer,
    mixture: Mixture,
    draw: Draw,
}

impl<'a> Sampler<'a> {
    pub fn new(tokenizer: &'a Tokenizer, mixture: Mixture, seed: u64, step: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(step);
        Self {
            tokenizer,
            mixture,
            draw: Draw::new(rng, Side::Train),
        }
    }

    /// Records and repeated segments, laid end to end until there are `tokens` tokens.
    pub fn batch(mut self, tokens: usize) -> Result<TrainingBatch> {
        let mut batch = TrainingBatch::default();
        while batch.tokens.len() < tokens {
            if self.draw.chance(self.mixture.segments) {
                self.segment(&mut batch);
            } else {
                self.record(&mut batch)?;
            }
        }
        Ok(batch)
    }

    /// A few random tokens again and again; the first time round cannot be predicted and is not learned.
    fn segment(&mut self, batch: &mut TrainingBatch) {
        let rng = &mut self.draw.rng;
        let period = rng.random_range(2..=self.mixture.period);
        let span = period * rng.random_range(2..=3);
        let segment: Vec<u32> = (0..period)
            .map(|_| rng.random_range(SPECIAL.len() as u32..VOCABULARY as u32))
            .collect();
        let tokens = (0..span).map(|at| segment[at % period]);
        extend(batch, tokens, period..span - 1);
    }

    fn record(&mut self, batch: &mut TrainingBatch) -> Result<()> {
        let skill = &SKILLS[self.draw.below(self.mixture.skills)];
        let record = skill.record(&mut self.draw);
        let (prompt, answer) = encode(self.tokenizer, &record)?;
        let whole = self.draw.chance(self.mixture.whole);
        let first = if whole { 0 } else { prompt.len() - 1 };
        let last = prompt.len() + answer.len() - 1;
        extend(batch, prompt.into_iter().chain(answer), first..last);
        Ok(())
    }
}

/// One question and its answer, to be predicted.
pub fn question(batch: &mut TrainingBatch, prompt: &[u32], answer: &[u32]) {
    let rows = prompt.len() - 1..prompt.len() + answer.len() - 1;
    extend(batch, prompt.iter().chain(answer).copied(), rows);
}

/// Adds one record; `rows` are the places in it that predict what follows them.
fn extend(
    batch: &mut TrainingBatch,
    tokens: impl Iterator<Item = u32>,
    rows: std::ops::Range<usize>,
) {
    let start = batch.tokens.len();
    batch.tokens.extend(tokens);
    batch.records.push(start..batch.tokens.len());
    batch.rows.extend(rows.map(|row| start + row));
}

/// The prompt, to where the assistant speaks; its answer, to the token that ends it.
pub fn encode(tokenizer: &Tokenizer, record: &Record) -> Result<(Vec<u32>, Vec<u32>)> {
    let prompt = format!("{BEGIN}{USER}{}{END}{ASSISTANT}", record.question());
    let prompt = tokenizer.encode(prompt, false)?.get_ids().to_vec();
    let answer = tokenizer
        .encode(format!("{}{END}", record.output), false)?
        .get_ids()
        .to_vec();
    Ok((prompt, answer))
}

/// A batch of one segment of `period` random tokens, repeated to `span` tokens.
#[cfg(test)]
pub fn repeated(seed: u64, period: usize, span: usize) -> TrainingBatch {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let segment: Vec<u32> = (0..period)
        .map(|_| rng.random_range(SPECIAL.len() as u32..VOCABULARY as u32))
        .collect();
    let mut batch = TrainingBatch::default();
    extend(
        &mut batch,
        (0..span).map(|at| segment[at % period]),
        period..span - 1,
    );
    batch
}
