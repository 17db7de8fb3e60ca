//! packed: block formats as products want them. 16 rows lie side by side, 32 values of each: one load holds four
//! consecutive values of sixteen rows, which is what one multiply instruction takes.
//!
//! A format says how its stored blocks turn into [`Codes`] (small whole numbers) and a [`Scaling`] (what makes them
//! weights); the kernels are written once over these two. Products round activations to int8 per 32 values, add up whole
//! numbers exactly within a block, and blocks in their order: an output depends on its row of x and its row of W alone,
//! bit for bit, whatever the batch and the threads.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod codes;
mod portable;
mod scaling;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ops::Range;

use crate::device::{Result, bail};

#[cfg(target_arch = "x86_64")]
use super::super::ahead::ask_for;
use super::super::memory::Large;
use super::super::pool::{self, Shared};
use super::super::simd::simd_fn;
use super::super::unit::Unit;
#[cfg(target_arch = "x86_64")]
use super::AHEAD;
use super::Packed;
use super::activations::{BLOCK, PANEL, Rounded};
use super::product::{Input, Output};

pub(super) use codes::{Codes, Eight, Five, Four, Six};
pub(super) use scaling::{Nested, NestedHalves, Scaled, Scaling, Shifted};

/// Weight rows of a tile.
pub(super) const LANES: usize = 16;

/// Bytes of x that stay in a core's cache while tiles pass.
const CACHED: usize = 256 << 10;

/// A block format: weight = scale · (code − ZERO) + shift.
pub(super) trait Layout: Send + Sync + 'static {
    /// 32 codes of 16 rows.
    type Codes: Codes;
    /// Scales and shifts of 16 rows over `SPAN` blocks.
    type Scaling: Scaling;
    const ZERO: i32;
    /// Bytes of a stored block: 32 · `SPAN` values of a row.
    const STORED: usize;

    /// Puts a stored block of row `lane` in its place.
    fn place(stored: &[u8], lane: usize, codes: &mut [Self::Codes], scaling: &mut Self::Scaling);
}

pub(super) struct Weight<L: Layout> {
    /// [tiles of 16 rows][blocks of a row]; rows beyond the last are zero.
    codes: Large<L::Codes>,
    /// [tiles][blocks / SPAN]
    scaling: Large<L::Scaling>,
    blocks: usize,
    layout: PhantomData<L>,
}

/// Some tiles of a weight, each with the blocks of its rows.
struct Tiles<'a, L: Layout> {
    codes: &'a [L::Codes],
    scaling: &'a [L::Scaling],
}

impl<L: Layout> Tiles<'_, L> {
    /// Those with these numbers, of rows of so many blocks.
    fn some(&self, tiles: Range<usize>, blocks: usize) -> Tiles<'_, L> {
        let spans = blocks / L::Scaling::SPAN;
        Tiles {
            codes: &self.codes[tiles.start * blocks..tiles.end * blocks],
            scaling: &self.scaling[tiles.start * spans..tiles.end * spans],
        }
    }

    /// Each by itself, with its number.
    fn each(&self, blocks: usize) -> impl Iterator<Item = (usize, Tiles<'_, L>)> {
        let count = self.codes.len() / blocks.max(1);
        (0..count).map(move |tile| (tile, self.some(tile..tile + 1, blocks)))
    }

    /// For the first rows, which bring a tile from memory: asks for the codes [`AHEAD`] bytes after those of `block`, and for
    /// their scaling. Tiles follow one another: past the last block, these are the next tile's.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ask_ahead(&self, row: usize, block: usize) {
        if row > 0 {
            return;
        }
        ask_for(self.codes.as_ptr().wrapping_add(block), AHEAD, 1);
        let span = L::Scaling::SPAN;
        if block.is_multiple_of(span) {
            let spans = AHEAD.div_ceil(span * size_of::<L::Codes>());
            let scaling = self.scaling.as_ptr().wrapping_add(block / span);
            ask_for(scaling, spans * size_of::<L::Scaling>(), 1);
        }
    }

    /// What kernels rely on: these are `count` tiles for rows as long as those of `x`, of which `row..row + rows` lie in
    /// one panel.
    fn check(&self, x: &Rounded, row: usize, rows: usize, count: usize) {
        let blocks = x.blocks;
        assert!(row + rows <= x.rows() && row % PANEL + rows <= x.width(row));
        let end = x.at(row, blocks.max(1) - 1) + rows;
        assert!(blocks == 0 || x.q.len() >= end && x.scales.len() >= end);
        assert!(blocks == 0 || x.sums.len() >= end && x.weighted.len() >= end);
        assert_eq!(self.codes.len(), count * blocks);
        assert_eq!(self.scaling.len(), count * (blocks / L::Scaling::SPAN));
    }
}

impl<L: Layout> Weight<L> {
    const SPAN: usize = L::Scaling::SPAN;

    /// From stored rows [n, k].
    pub fn pack(data: &[u8], n: usize, k: usize) -> Result<Self> {
        let blocks = k / BLOCK;
        let row = blocks / Self::SPAN * L::STORED;
        if data.len() != n * row || !k.is_multiple_of(BLOCK * Self::SPAN) {
            bail!("{} bytes are not a weight [{n}, {k}]", data.len());
        }
        let tiles = n.div_ceil(LANES);
        let mut codes = Large::<L::Codes>::zeroed(tiles * blocks);
        let mut scaling = Large::<L::Scaling>::zeroed(tiles * (blocks / Self::SPAN));
        let all = Shared::new(&mut scaling);
        let at_once = pool::rows_of(1 << 16, LANES * k);
        pool::over_rows(&mut codes, blocks.max(1), at_once, |part, codes| {
            let spans = blocks / Self::SPAN;
            // SAFETY: each part has its own tiles.
            let scaling = unsafe { all.part(part.start * spans..part.end * spans) };
            for (at, (codes, scaling)) in
                codes.chunks_exact_mut(Self::SPAN).zip(scaling).enumerate()
            {
                let (tile, span) = (part.start + at / spans, at % spans);
                for lane in 0..LANES.min(n - tile * LANES) {
                    let start = (tile * LANES + lane) * row + span * L::STORED;
                    L::place(&data[start..start + L::STORED], lane, codes, scaling);
                }
            }
        });
        Ok(Self {
            codes,
            scaling,
            blocks,
            layout: PhantomData,
        })
    }

    /// Bytes of a weight [n, k].
    pub fn held(n: usize, k: usize) -> u64 {
        let (tiles, blocks) = (n.div_ceil(LANES), k / BLOCK);
        let spans = blocks / Self::SPAN;
        let tile = blocks * size_of::<L::Codes>() + spans * size_of::<L::Scaling>();
        (tiles * tile) as u64
    }

    fn some(&self, tiles: Range<usize>) -> Tiles<'_, L> {
        let (blocks, spans) = (self.blocks, self.blocks / Self::SPAN);
        Tiles {
            codes: &self.codes[tiles.start * blocks..tiles.end * blocks],
            scaling: &self.scaling[tiles.start * spans..tiles.end * spans],
        }
    }

    /// Multiplies with some tiles.
    fn tiles_with(
        &self,
        unit: Unit,
        all: Range<usize>,
        rows: Range<usize>,
        x: &Rounded,
        y: &Output<'_>,
    ) {
        // The kernels cut tiles by the blocks of x.
        assert_eq!(x.blocks, self.blocks);
        let write = |row: usize, tile: usize, out: &[f32; LANES]| {
            // SAFETY: these outputs belong to these tiles of weight rows alone.
            unsafe { y.put(row, (all.start + tile) * LANES, out) };
        };
        let tiles = self.some(all.clone());
        match unit {
            Unit::Portable => portable::tiles(&tiles, x, write),
            // SAFETY (all three): a unit is chosen only where the processor has it.
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2 => unsafe { avx2::plain(&tiles, x, write) },
            #[cfg(target_arch = "x86_64")]
            Unit::AvxVnni => unsafe { avx2::vnni(&tiles, x, write) },
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Vnni => unsafe { avx512::tiles(&tiles, x, rows, write) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Unit::AmxInt8 => unsafe { amx::tiles(&tiles, x, write) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => portable::tiles(&tiles, x, write),
        }
    }
}

impl<L: Layout> Packed for Weight<L> {
    fn bytes(&self) -> u64 {
        (size_of_val(&self.codes[..]) + size_of_val(&self.scaling[..])) as u64
    }

    fn unit(&self) -> &'static str {
        Unit::best().name()
    }

    fn prepare(&self, x: &Input<'_>) {
        x.rounded();
    }

    fn height(&self, rows: usize) -> usize {
        // The matrix unit has fewer passes over x.
        match Unit::best() {
            Unit::Avx512Vnni => (CACHED / (self.blocks * Rounded::BYTES).max(1))
                .next_multiple_of(PANEL)
                .clamp(PANEL, rows.max(PANEL)),
            _ => rows,
        }
    }

    fn tiles(&self, tiles: Range<usize>, rows: Range<usize>, x: &Input<'_>, y: &Output<'_>) {
        self.tiles_with(Unit::best(), tiles, rows, x.rounded(), y);
    }

    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let k = self.blocks * BLOCK;
        let mut row = rows.start;
        let mut rest = out;
        while row < rows.end {
            // All rows of a tile together: their numbers share cache lines.
            let (tile, first) = (row / LANES, row % LANES);
            let count = (LANES - first).min(rows.end - row);
            let (part, after) = rest.split_at_mut(count * k);
            let tiles = self.some(tile..tile + 1);
            for (block, codes) in tiles.codes.iter().enumerate() {
                let scaling = &tiles.scaling[block / Self::SPAN];
                let places: [Place; LANES] =
                    std::array::from_fn(|lane| scaling.of(block % Self::SPAN, lane));
                let out = &mut part[block * BLOCK..];
                unpack_block(
                    &codes.spread(),
                    L::ZERO as u8,
                    &places[first..],
                    out,
                    count,
                    k,
                );
            }
            rest = after;
            row += count;
        }
        Ok(())
    }
}

/// What makes codes of one row and block weights: a scale for each half, and a shift.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Place {
    pub scales: [f32; 2],
    pub shift: f32,
}

simd_fn! {
    /// `count` rows of a block as f32, written `k` apart; `places` are those of the rows.
    fn unpack_block(codes: &[[u8; 4 * LANES]; 8], zero: u8, places: &[Place], out: &mut [f32], count: usize, k: usize) {
        let first = LANES - places.len();
        for (at, place) in places.iter().take(count).enumerate() {
            let lane = 4 * (first + at);
            let mut whole = [0; BLOCK];
            for (g, codes) in codes.iter().enumerate() {
                whole[4 * g..4 * g + 4].copy_from_slice(&codes[lane..lane + 4]);
            }
            let (halves, _) = out[at * k..at * k + BLOCK].as_chunks_mut::<{ BLOCK / 2 }>();
            let (codes, _) = whole.as_chunks::<{ BLOCK / 2 }>();
            for ((out, codes), scale) in halves.iter_mut().zip(codes).zip(place.scales) {
                for (out, code) in out.iter_mut().zip(codes) {
                    let code = i32::from(*code) - i32::from(zero);
                    *out = scale * code as f32 + place.shift;
                }
            }
        }
    }
}
