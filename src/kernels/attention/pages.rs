//! Keys and values of one layer in blocks of positions, `[block][kv head]`, so that what one head of one block needs lies
//! together: within it values are `[position][d]` and keys `[d][position]`, because scores are wanted for many positions
//! at once.

use candle_core::{Result, Tensor, bail};
use half::f16;

use super::super::simd::simd_fn;
use super::super::values::Values;

/// How cached keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    F32,
    F16,
}

impl Stored {
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// The cache of one layer. Blocks are numbered from 0; which sequence uses which is the caller's affair.
pub struct Pages {
    keys: Slab,
    values: Slab,
    blocks: usize,
    block_size: usize,
    heads: usize,
    dim: usize,
}

enum Slab {
    F32(Vec<f32>),
    /// The bits of f16 numbers: zeroed memory of an integer type costs nothing before its first use.
    F16(Vec<u16>),
}

impl Slab {
    fn new(stored: Stored, len: usize) -> Self {
        match stored {
            Stored::F32 => Self::F32(vec![0.0; len]),
            Stored::F16 => Self::F16(vec![0; len]),
        }
    }

    /// Writes numbers `step` apart.
    fn write(&mut self, at: usize, step: usize, from: &[f32]) {
        match self {
            Self::F32(slab) => {
                let places = slab[at..].iter_mut().step_by(step);
                places.zip(from).for_each(|(to, from)| *to = *from);
            }
            Self::F16(slab) => {
                let places = slab[at..].iter_mut().step_by(step);
                places.zip(from).for_each(|(to, from)| *to = narrow(*from));
            }
        }
    }

    /// Values as f32, widened into `scratch` where they are not.
    fn read<'a>(&'a self, at: usize, len: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        match self {
            Self::F32(slab) => &slab[at..at + len],
            Self::F16(slab) => {
                widen(&slab[at..at + len], &mut scratch[..len]);
                &scratch[..len]
            }
        }
    }
}

simd_fn! {
    fn widen(from: &[u16], to: &mut [f32]) {
        for (from, to) in from.iter().zip(to) {
            *to = super::super::quant::single(*from);
        }
    }
}

/// Bits of the nearest f16; values beyond its range take its largest number, so that a cache never holds infinities.
fn narrow(from: f32) -> u16 {
    f16::from_f32(from.clamp(-65_504.0, 65_504.0)).to_bits()
}

impl Pages {
    pub fn new(stored: Stored, blocks: usize, block_size: usize, heads: usize, dim: usize) -> Self {
        let len = blocks * block_size * heads * dim;
        Self {
            keys: Slab::new(stored, len),
            values: Slab::new(stored, len),
            blocks,
            block_size,
            heads,
            dim,
        }
    }

    /// Bytes of one block, keys and values.
    pub const fn block_bytes(stored: Stored, block_size: usize, heads: usize, dim: usize) -> usize {
        2 * block_size * heads * dim * stored.bytes()
    }

    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// (kv heads, size of a head)
    pub fn heads(&self) -> (usize, usize) {
        (self.heads, self.dim)
    }

    /// Stores keys and values, [tokens, heads, d] each, at `slots`: a token's (block, position within it).
    pub fn write(&mut self, keys: &[f32], values: &[f32], slots: &[(u32, usize)]) -> Result<()> {
        let width = self.heads * self.dim;
        if keys.len() != slots.len() * width || values.len() != keys.len() {
            bail!(
                "{} keys and {} values for {} slots of {width}",
                keys.len(),
                values.len(),
                slots.len()
            );
        }
        if let Some(slot) = slots
            .iter()
            .find(|(block, at)| *block as usize >= self.blocks || *at >= self.block_size)
        {
            bail!(
                "slot {slot:?} of a cache of {} blocks of {}",
                self.blocks,
                self.block_size
            );
        }
        let tokens = keys.chunks_exact(width).zip(values.chunks_exact(width));
        for (&(block, at), (keys, values)) in slots.iter().zip(tokens) {
            let heads = keys
                .chunks_exact(self.dim)
                .zip(values.chunks_exact(self.dim));
            for (head, (key, value)) in heads.enumerate() {
                let start = self.start(block, head);
                self.keys.write(start + at, self.block_size, key);
                self.values.write(start + at * self.dim, 1, value);
            }
        }
        Ok(())
    }

    /// [`write`](Self::write) for tensors [tokens, heads · d].
    pub fn store(&mut self, keys: &Tensor, values: &Tensor, slots: &[(u32, usize)]) -> Result<()> {
        let (keys, values) = (keys.contiguous()?, values.contiguous()?);
        self.write(&Values::of(&keys)?, &Values::of(&values)?, slots)
    }

    /// Whether every block of a table exists.
    pub(super) fn has(&self, table: &[u32]) -> bool {
        table.iter().all(|block| (*block as usize) < self.blocks)
    }

    /// One head of a block: keys [d, positions] and values [positions, d].
    pub(super) fn block<'a>(
        &'a self,
        block: u32,
        head: usize,
        scratch: &'a mut (Vec<f32>, Vec<f32>),
    ) -> (&'a [f32], &'a [f32]) {
        let (at, len) = (self.start(block, head), self.block_size * self.dim);
        if matches!(self.keys, Slab::F16(_)) {
            scratch.0.resize(len, 0.0);
            scratch.1.resize(len, 0.0);
        }
        (
            self.keys.read(at, len, &mut scratch.0),
            self.values.read(at, len, &mut scratch.1),
        )
    }

    fn start(&self, block: u32, head: usize) -> usize {
        (block as usize * self.heads + head) * self.block_size * self.dim
    }
}
