//! What the base can do with names and numbers it has never seen: the share of exact answers, skill by skill.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokenizers::{Result, Tokenizer};

use super::learn::{TrainingBatch, right};
use super::record::Record;
use super::sampler::{encode, question};
use super::skills::SKILLS;
use super::words::{Draw, Side};
use crate::device;
use crate::model::Model;

/// Prompt and expected answer, in tokens.
type Question = (Vec<u32>, Vec<u32>);

/// Held-out questions of every skill.
pub struct Probe {
    parts: Vec<(&'static str, Vec<Question>)>,
}

impl Probe {
    pub fn new(tokenizer: &Tokenizer, seed: u64, each: usize) -> Result<Self> {
        let mut parts = Vec::new();
        for skill in &SKILLS {
            let mut draw = Draw::new(ChaCha8Rng::seed_from_u64(seed), Side::HeldOut);
            let records: Vec<Record> = (0..each).map(|_| skill.record(&mut draw)).collect();
            let encoded = records
                .iter()
                .map(|record| encode(tokenizer, record))
                .collect::<Result<_>>()?;
            parts.push((skill.name, encoded));
        }
        Ok(Self { parts })
    }

    /// Share of exact answers of the first `skills` skills. An answer is exact when every token of it is the likeliest
    /// after those before it, which is the same as greedy decoding giving that answer.
    pub fn ask(&self, model: &Model, skills: usize) -> device::Result<Vec<(&'static str, f32)>> {
        self.parts
            .iter()
            .take(skills)
            .map(|(name, questions)| Ok((*name, exact(model, questions)?)))
            .collect()
    }
}

/// Share of questions answered exactly.
fn exact(model: &Model, questions: &[Question]) -> device::Result<f32> {
    let mut batch = TrainingBatch::default();
    for (prompt, answer) in questions {
        question(&mut batch, prompt, answer);
    }
    let right = right(model, &batch)?;
    let mut at = 0;
    let mut exact = 0;
    for (_, answer) in questions {
        exact += usize::from(right[at..at + answer.len()].iter().all(|&right| right));
        at += answer.len();
    }
    Ok(exact as f32 / questions.len().max(1) as f32)
}
