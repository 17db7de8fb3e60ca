//! Keys and values of one layer in blocks of positions, `[block][kv head]`, so that what one head of one block needs lies
//! together. Within it positions come in panels of 16: the keys of each are `[d][16]`, because scores are wanted for many
//! positions at once, the values `[16][d]`. Blocks are filled up to whole panels and heads to whole vectors.

use super::super::memory::Lazy;
use super::super::pool::{self, Shared};
use super::super::rotary::Angles;
use super::cells::{Cell, SHARE};
use super::lanes::LANES;
use crate::device::{Array, Result, bail};

/// How cached keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    F32,
    F16,
    /// 8 bits a number and an f32 scale for each 32 numbers of a head.
    Q8,
}

/// The cache of one layer. Blocks are numbered from 0; which sequence uses which is decided by the caller.
pub struct Pages {
    slab: Slab,
    blocks: usize,
    part: Part,
}

pub(super) enum Slab {
    F32(Cells<f32>),
    F16(Cells<u16>),
    Q8(Cells<i8>),
}

/// All cells of a layer and their scales; zeroed memory costs nothing before its first use.
pub(super) struct Cells<T> {
    cells: Lazy<T>,
    scales: Lazy<f32>,
    part: Part,
}

/// Sizes of what one head of one block takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub block_size: usize,
    pub heads: usize,
    pub dim: usize,
}

/// 16 positions of one head.
pub(super) struct Panel<'a, T> {
    /// [d, 16]
    pub keys: &'a [T],
    /// [16, padded d]
    pub values: &'a [T],
    /// [shares, 16] and [16, shares]; empty where cells have no scales.
    pub key_scales: &'a [f32],
    pub value_scales: &'a [f32],
}

impl Part {
    pub const fn panels(self) -> usize {
        self.block_size.div_ceil(LANES)
    }

    /// Numbers of a cached value: d, filled up to whole vectors.
    pub const fn padded(self) -> usize {
        self.dim.next_multiple_of(LANES)
    }

    /// Scales of a head's key or value.
    pub const fn shares(self) -> usize {
        self.dim.div_ceil(SHARE)
    }

    /// Cells of the keys of a panel, and of keys and values.
    const fn panel_cells(self) -> (usize, usize) {
        (self.dim * LANES, (self.dim + self.padded()) * LANES)
    }

    /// Scales of a panel's keys; its values have as many.
    const fn panel_scales(self, scaled: bool) -> usize {
        if scaled { self.shares() * LANES } else { 0 }
    }

    const fn panel_bytes(self, stored: Stored) -> usize {
        let cells = self.panel_cells().1;
        match stored {
            Stored::F32 => 4 * cells,
            Stored::F16 => 2 * cells,
            Stored::Q8 => cells + 4 * 2 * self.panel_scales(true),
        }
    }

    /// Number of a panel among all.
    fn panel(self, block: u32, head: usize, panel: usize) -> usize {
        (block as usize * self.heads + head) * self.panels() + panel
    }
}

impl<T: Cell> Cells<T> {
    fn new(blocks: usize, part: Part) -> Self {
        let panels = blocks * part.heads * part.panels();
        Self {
            cells: Lazy::zeroed(panels * part.panel_cells().1),
            scales: Lazy::zeroed(panels * 2 * part.panel_scales(T::SCALED)),
            part,
        }
    }

    pub fn part(&self) -> Part {
        self.part
    }

    /// Panel `panel` of one head of a block.
    pub fn panel(&self, block: u32, head: usize, panel: usize) -> Panel<'_, T> {
        let at = self.part.panel(block, head, panel);
        let (of_keys, all) = self.part.panel_cells();
        let scales = self.part.panel_scales(T::SCALED);
        let (keys, values) = self.cells[at * all..(at + 1) * all].split_at(of_keys);
        let (key_scales, value_scales) =
            self.scales[at * 2 * scales..(at + 1) * 2 * scales].split_at(scales);
        Panel {
            keys,
            values,
            key_scales,
            value_scales,
        }
    }

    /// Stores what `tokens` says of each head at `slots`. Heads go to different threads.
    fn write(&mut self, tokens: &Tokens<'_>, slots: &[(u32, usize)]) {
        let part = self.part;
        let (cells, scales) = (Shared::new(&mut self.cells), Shared::new(&mut self.scales));
        let head = |head: usize| {
            let mut scratch = Scratch::new(part);
            for (token, &(block, at)) in slots.iter().enumerate() {
                let (panel, lane) = (part.panel(block, head, at / LANES), at % LANES);
                let (of_keys, all) = part.panel_cells();
                let count = part.panel_scales(T::SCALED);
                // SAFETY: this call alone has this head's panels, and one at a time.
                let (cells, scales) = unsafe {
                    (
                        cells.part(panel * all..(panel + 1) * all),
                        scales.part(panel * 2 * count..(panel + 1) * 2 * count),
                    )
                };
                let (keys, values) = cells.split_at_mut(of_keys);
                let (key_scales, value_scales) = scales.split_at_mut(count);
                let Scratch {
                    turned,
                    cells,
                    scales,
                } = &mut scratch;
                let scales = &mut scales[..count / LANES];
                T::encode(tokens.key(token, head, turned), cells, scales);
                scatter(cells, keys, lane);
                scatter(scales, key_scales, lane);
                let values = &mut values[lane * part.padded()..][..part.dim];
                let value_scales = &mut value_scales[lane * scales.len()..][..scales.len()];
                T::encode(tokens.value(token, head), values, value_scales);
            }
        };
        // A few tokens are written sooner than other threads are asked.
        const FEW: usize = 32;
        if slots.len() <= FEW {
            (0..part.heads).for_each(head);
        } else {
            pool::for_each(part.heads, head);
        }
    }
}

/// Column `lane` of [.., 16].
fn scatter<T: Copy>(from: &[T], to: &mut [T], lane: usize) {
    for (from, to) in from.iter().zip(to.as_chunks_mut::<LANES>().0) {
        to[lane] = *from;
    }
}

struct Scratch<T> {
    turned: Vec<f32>,
    cells: Vec<T>,
    scales: Vec<f32>,
}

impl<T: Cell> Scratch<T> {
    fn new(part: Part) -> Self {
        Self {
            turned: vec![0.0; part.dim],
            cells: vec![T::zeroed(); part.dim],
            scales: vec![0.0; part.shares()],
        }
    }
}

/// Keys and values to be stored, [tokens, heads · d] each.
struct Tokens<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    angles: Option<&'a Angles>,
    part: Part,
}

impl Tokens<'_> {
    fn head(&self, of: usize, head: usize) -> std::ops::Range<usize> {
        let start = (of * self.part.heads + head) * self.part.dim;
        start..start + self.part.dim
    }

    /// The key of one head, turned.
    fn key<'a>(&'a self, token: usize, head: usize, turned: &'a mut [f32]) -> &'a [f32] {
        let key = &self.keys[self.head(token, head)];
        let Some(angles) = self.angles else {
            return key;
        };
        angles.turn(token, key, turned);
        turned
    }

    fn value(&self, token: usize, head: usize) -> &[f32] {
        &self.values[self.head(token, head)]
    }
}

impl Pages {
    pub fn new(stored: Stored, blocks: usize, block_size: usize, heads: usize, dim: usize) -> Self {
        let part = Part {
            block_size,
            heads,
            dim,
        };
        let slab = match stored {
            Stored::F32 => Slab::F32(Cells::new(blocks, part)),
            Stored::F16 => Slab::F16(Cells::new(blocks, part)),
            Stored::Q8 => Slab::Q8(Cells::new(blocks, part)),
        };
        Self { slab, blocks, part }
    }

    /// Bytes of one block, keys and values.
    pub const fn block_bytes(stored: Stored, block_size: usize, heads: usize, dim: usize) -> usize {
        let part = Part {
            block_size,
            heads,
            dim,
        };
        heads * part.panels() * part.panel_bytes(stored)
    }

    /// (kv heads, size of a head)
    pub fn heads(&self) -> (usize, usize) {
        (self.part.heads, self.part.dim)
    }

    pub(super) fn part(&self) -> Part {
        self.part
    }

    pub(super) fn slab(&self) -> &Slab {
        &self.slab
    }

    /// Stores keys and values, [tokens, heads · d] each, at `slots`: a token's (block, position within it). With angles,
    /// keys are turned by those of their tokens, as [`Rotate`](super::super::rotary::Rotate) would, on their way.
    pub fn write(
        &mut self,
        keys: &[f32],
        values: &[f32],
        angles: Option<&Angles>,
        slots: &[(u32, usize)],
    ) -> Result<()> {
        let Part {
            block_size,
            heads,
            dim,
        } = self.part;
        let width = heads * dim;
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
            .find(|(block, at)| *block as usize >= self.blocks || *at >= block_size)
        {
            bail!(
                "slot {slot:?} of a cache of {} blocks of {block_size}",
                self.blocks
            );
        }
        if let Some(angles) = angles {
            angles.fit(slots.len(), dim)?;
        }
        let tokens = Tokens {
            keys,
            values,
            angles,
            part: self.part,
        };
        match &mut self.slab {
            Slab::F32(cells) => cells.write(&tokens, slots),
            Slab::F16(cells) => cells.write(&tokens, slots),
            Slab::Q8(cells) => cells.write(&tokens, slots),
        }
        Ok(())
    }

    /// [`write`](Self::write) for keys and values [tokens, heads · d].
    pub fn store(
        &mut self,
        keys: &Array,
        values: &Array,
        angles: Option<&Angles>,
        slots: &[(u32, usize)],
    ) -> Result<()> {
        self.write(keys.values(), values.values(), angles, slots)
    }

    /// Whether every block of a table exists.
    pub(super) fn has(&self, table: &[u32]) -> bool {
        table.iter().all(|block| (*block as usize) < self.blocks)
    }
}
