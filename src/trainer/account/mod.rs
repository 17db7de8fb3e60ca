//! account: how much memory a job takes, by what it is for, from sizes alone.
//!
//! It follows what the code allocates: parameters and their two moments, where they are in memory, for the whole job, gradients and what a forward keeps
//! for its backward (`footprint`) during a step, a piece of a checkpoint while it is written, copies while an adapter is
//! scored as it will be served and while it is published. The peak is the largest of these moments; parts are those of that moment, so that they add up to it.

mod fit;
mod footprint;
mod load;
mod outlined;
#[cfg(test)]
mod tests;

use crate::device::Part;
use crate::domain::{self, Checkpointing, Offload, Optimizer, Precision, Recipe};
use crate::kernels::loss::logits_at_once;
use crate::kernels::quant::Matrix;
use crate::model::spec::Spec;

pub use fit::{Change, changes, fewer_rows, offloaded, smallest, with_micro_batch};
pub use footprint::{Bias, Footprint, Outermost, Past, Touch};
pub use load::{Load, longest_of, total_steps};
pub use outlined::Outlined;

use super::methods::Method;
use super::step::half;
use footprint::{Kept, Widths};

/// Bytes of a number while it is learned, and while anything is computed of it: f32.
const NUMBER: u64 = 4;
/// Bytes of a number that a forward keeps in 16 bits.
const HALF: u64 = 2;
/// Numbers of a moment in 8 bits that have one scale.
const BLOCK: u64 = crate::trainer::optimizer::BLOCK as u64;
/// What a checkpoint is written through: it goes out tensor by tensor.
const WRITER: u64 = 2 << 20;
/// Rows whose log-probabilities are looked at together where answers are scored.
const SCORED: usize = 64;

/// What a process holds besides: its code, threads and buffers, and for each token of a vocabulary its text, its bytes and its
/// place in the tables of tokenizer and sampler. Estimates, not counted.
const PROCESS: u64 = 48 << 20;
const PROCESS_PER_TOKEN: u64 = 600;

/// The work that memory is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The end of a forward: all is kept, and the head's logits are there.
    Forward,
    /// On the way back.
    Backward,
    Saving,
    /// Held-out or training rows are scored under the adapter as it will be served.
    Scoring,
    /// The folder is made and read, after the last step.
    Publishing,
}

impl Moment {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "the end of a forward pass",
            Self::Backward => "the backward pass",
            Self::Saving => "writing a checkpoint",
            Self::Scoring => "scoring the adapter",
            Self::Publishing => "publishing the adapter",
        }
    }
}

/// Bytes by part at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub at: Moment,
    /// In the order of [`Part::ALL`].
    parts: [u64; Part::ALL.len()],
}

impl Usage {
    fn new(at: Moment) -> Self {
        Self {
            at,
            parts: [0; Part::ALL.len()],
        }
    }

    fn with(mut self, part: Part, bytes: u64) -> Self {
        self.parts[part as usize] = bytes;
        self
    }

    pub fn of(&self, part: Part) -> u64 {
        self.parts[part as usize]
    }

    pub fn total(&self) -> u64 {
        self.parts.iter().sum()
    }
}

/// What learns in a job, as far as memory goes.
#[derive(Debug, Clone)]
pub struct Learned {
    /// Of each stage.
    stages: Vec<Footprint>,
    /// Bytes of all numbers.
    pub values: u64,
    /// Bytes of the adapter as it answers.
    served: u64,
}

impl Learned {
    pub fn of(method: &dyn Method) -> Self {
        Self {
            stages: method.footprints(),
            values: NUMBER * method.count(),
            served: method.sizes().1,
        }
    }

    /// Bytes of the two moments of all numbers that are held in memory. In 8 bits are those of all parameters but embeddings;
    /// small ones, which are held in full as well, are counted as if they were not.
    fn moments(&self, spec: &Spec, recipe: &Recipe) -> u64 {
        match (recipe.offload_optimizer, recipe.optimizer) {
            (Offload::Disk, _) => 0,
            (Offload::None | Offload::Host, Optimizer::AdamW) => 2 * self.values,
            (Offload::None | Offload::Host, Optimizer::AdamW8bit) => {
                let numbers = self.values / NUMBER;
                let stages = self.stages.iter();
                let full = stages.map(|stage| stage.of_embedding(spec)).max();
                let full = full.unwrap_or(0).min(numbers);
                let eight = numbers - full;
                2 * (NUMBER * full + eight + NUMBER * eight.div_ceil(BLOCK))
            }
        }
    }
}

/// What training alone takes, beside a base that is there anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    moments: Vec<Usage>,
}

impl Account {
    /// Of a job on a base of these sizes, whose largest forward has this `load`.
    pub fn of(spec: &Spec, learned: &Learned, recipe: &Recipe, load: Load) -> Self {
        let sizes = Sizes {
            spec,
            recipe,
            load,
            values: learned.values,
            moments: learned.moments(spec, recipe),
        };
        let stages = learned.stages.iter();
        let mut moments: Vec<Usage> = stages.flat_map(|stage| sizes.step(stage)).collect();
        moments.push(sizes.saving());
        moments.push(sizes.scoring(learned.served));
        moments.push(sizes.publishing(learned.served));
        Self { moments }
    }

    /// The moment that needs most.
    pub fn peak(&self) -> Usage {
        let most = self.moments.iter().max_by_key(|usage| usage.total());
        most.copied().unwrap_or(Usage::new(Moment::Forward))
    }

    /// What a step's forward and backward take beyond what is held for the whole job.
    pub fn of_a_step(&self) -> Usage {
        let steps = self
            .moments
            .iter()
            .filter(|usage| matches!(usage.at, Moment::Forward | Moment::Backward));
        let most = steps.max_by_key(|usage| usage.total());
        most.copied().unwrap_or(Usage::new(Moment::Forward))
    }
}

/// What a process with a vocabulary of this size holds beside weights, cache and training.
pub fn process_bytes(vocabulary: usize) -> u64 {
    PROCESS + PROCESS_PER_TOKEN * vocabulary as u64
}

struct Sizes<'a> {
    spec: &'a Spec,
    recipe: &'a Recipe,
    load: Load,
    /// Bytes of all that learns.
    values: u64,
    /// Bytes of its moments in memory.
    moments: u64,
}

impl Sizes<'_> {
    /// What a job holds from its first update to its last.
    fn held(&self, at: Moment) -> Usage {
        Usage::new(at)
            .with(Part::Adapters, self.values)
            .with(Part::Optimizer, self.moments)
    }

    /// The moments of a step.
    fn step(&self, footprint: &Footprint) -> Vec<Usage> {
        let Self {
            spec, recipe, load, ..
        } = self;
        let tokens = load.tokens as u64;
        let mut recorded = footprint.enters_recorded();
        let blocks: Vec<Kept> = (0..spec.layers)
            .map(|layer| {
                let kept = footprint.block(layer, spec, recorded);
                recorded = kept.recorded;
                kept
            })
            .collect();
        let [first, last] = footprint.learned_outside(spec);
        let learned = first + last + blocks.iter().map(|kept| kept.learned).sum::<u64>();
        let of_block = |kept: &Kept| kept.token * tokens + kept.fixed;
        let recomputes = recipe.recompute == Checkpointing::On;
        let w = Widths::of(spec);
        // Of each block, all or what enters it. The last norm keeps what leaves the last.
        let entered = |kept: &Kept| match kept.recorded {
            true if recomputes => w.hidden * tokens,
            true => of_block(kept),
            false => 0,
        };
        let last_norm = if recorded { w.hidden * tokens } else { 0 };
        let angles = tokens * w.head_dim;
        // Arrays that are kept in 16 bits are widened while their operation is on its way back: at most those of a gate.
        let (number, widened) = match recipe.precision {
            Precision::F32 => (NUMBER, 0),
            Precision::Bf16 | Precision::F16 => (HALF, NUMBER * 2 * w.inner * tokens),
        };
        let of_others = if recipe.accumulate > 1 { learned } else { 0 };
        let all = blocks.iter().map(entered).sum::<u64>() + last_norm + angles;
        let usage = |at, activations, gradients: u64, scratch| {
            self.held(at)
                .with(Part::Activations, number * activations)
                .with(Part::Gradients, NUMBER * gradients.max(of_others))
                .with(Part::Scratch, scratch)
        };
        let (forward, back) = self.head(footprint);
        let mut moments = vec![
            usage(Moment::Forward, all, 0, NUMBER * forward),
            usage(Moment::Forward, all, last, NUMBER * back),
        ];
        let half = half(recipe);
        let turned = |dims| Matrix::bytes_turned(dims, load.tokens, half);
        let unpacked =
            turned((spec.hidden, spec.intermediate)).max(turned((spec.intermediate, spec.hidden)));
        let (mut left, mut found) = (all - last_norm, last);
        for kept in blocks.iter().rev().filter(|kept| kept.recorded) {
            let again = if recomputes { of_block(kept) } else { 0 };
            let scratch = NUMBER * kept.back * tokens + unpacked + widened;
            moments.push(usage(Moment::Backward, left + again, found, scratch));
            left -= entered(kept);
            found += kept.learned;
        }
        // A head that is the embedding has its gradient from the beginning, and the embedding's comes to it.
        let embedding = match footprint.embedding {
            Outermost::Own { learns: true } if spec.tied => (spec.vocab * spec.hidden) as u64,
            _ => 0,
        };
        moments.push(usage(
            Moment::Backward,
            w.hidden * tokens,
            learned + embedding,
            unpacked,
        ));
        moments
    }

    /// Numbers that the head needs at the end of a forward, and at the beginning of the way back.
    fn head(&self, footprint: &Footprint) -> (u64, u64) {
        let (spec, rows) = (self.spec, self.load.trained);
        let hidden = (rows * spec.hidden) as u64;
        let logits = logits_at_once(rows, spec.vocab) as u64;
        let chunk = (logits / spec.vocab.max(1) as u64) as usize;
        let dims = (spec.vocab, spec.hidden);
        let unpacked = Matrix::bytes_turned(dims, chunk, half(self.recipe)) / NUMBER;
        let whole = (spec.vocab * spec.hidden) as u64;
        let entering = (self.load.tokens * spec.hidden) as u64;
        match footprint.head {
            // The rows asked for, the gradients of their losses, and those of a chunk before they are joined.
            Outermost::Frozen | Outermost::Rows => {
                (2 * hidden + logits + unpacked, hidden + entering)
            }
            Outermost::Own { learns } => {
                let slopes = if learns { whole } else { 0 };
                (hidden + logits, hidden + logits + slopes)
            }
            Outermost::LowRank { rank, magnitude } => {
                let factors = rank as u64 * (spec.vocab + spec.hidden) as u64;
                let before = if magnitude { logits } else { 0 };
                let all = 2 * hidden + logits + before;
                (all, all + 2 * factors + unpacked)
            }
        }
    }

    /// Values and moments go out a piece at a time.
    fn saving(&self) -> Usage {
        self.held(Moment::Saving).with(Part::Scratch, WRITER)
    }

    /// What answers is made of the values, and answers; of a forward nothing is kept.
    fn scoring(&self, served: u64) -> Usage {
        let made = match self.recipe.method {
            domain::Method::Modules | domain::Method::Staged | domain::Method::Full => served,
            // The folder, what it takes to train it further, and what answers.
            _ => 2 * self.values + served,
        };
        let w = Widths::of(self.spec);
        let passing = w.passing() * self.load.tokens as u64;
        let scored = logits_at_once(SCORED.min(self.load.trained), self.spec.vocab) as u64;
        self.held(Moment::Scoring)
            .with(Part::Activations, NUMBER * passing)
            .with(Part::Scratch, made + 2 * NUMBER * scored)
    }

    /// The optimizer is gone. First the values and the folder's file; then that file, what it takes to train it further, and
    /// what answers.
    fn publishing(&self, served: u64) -> Usage {
        Usage::new(Moment::Publishing)
            .with(Part::Adapters, self.values)
            .with(Part::Scratch, self.values + served)
    }
}
