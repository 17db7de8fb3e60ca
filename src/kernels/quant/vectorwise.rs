//! vectorwise: LLM.int8 (Dettmers et al., arXiv 2208.07339). Rows of W are int8 with one scale each, rows of x int8 with one
//! scale each; features of x that are outliers keep all their bits and meet W's columns as plain numbers.
//!
//! The published method takes a column of x as an outlier for every row of a batch as soon as one row has an outlier there.
//! Here each row decides for itself, or a token's answer would depend on the rest of the batch. For a batch of one the
//! two are the same; in a larger one a row keeps as outliers exactly the features that are its own, and its scale can
//! only be finer for what it does not share.

use std::ops::Range;

use crate::device::{Result, bail};

#[cfg(target_arch = "x86_64")]
use super::super::ahead::ask_for;
use super::super::memory::Large;
use super::super::pool::{self, Shared};
use super::super::simd::{self, simd_fn};
use super::super::unit::Unit;
#[cfg(target_arch = "x86_64")]
use super::AHEAD;
use super::Packed;
use super::packed::LANES;
use super::product::{Input, Output};

/// Consecutive values of a row that one multiply instruction takes.
const STEP: usize = 4;
/// What is added to codes, so that they have no sign.
const ZERO: i32 = 128;
/// Rows of x that one pass over a tile of W takes.
const ROWS: usize = 8;
/// Sums of so many products of bytes fit 32 bits.
pub(super) const MOST_INPUTS: usize = 1 << 16;

/// Four values of each of 16 rows, as [row][value].
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Plane([u8; STEP * LANES]);

// SAFETY: bytes, for which zero is a value.
unsafe impl bytemuck::Zeroable for Plane {}

pub(super) struct Vectorwise {
    /// [tiles of 16 rows][k / 4]; what fills up tiles and steps is zero.
    planes: Large<Plane>,
    scales: Vec<f32>,
    k: usize,
    threshold: f32,
}

impl Vectorwise {
    /// `rows` gives rows of W [n, k] as f32. Features of x as large as the threshold are outliers; 0 makes none.
    pub fn pack<E: Send + From<crate::device::Error>>(
        (n, k): (usize, usize),
        threshold: f32,
        rows: impl Fn(Range<usize>) -> std::result::Result<Vec<f32>, E> + Sync,
    ) -> std::result::Result<Self, E> {
        let check = || -> Result<()> {
            if k > MOST_INPUTS {
                bail!("rows of {k} values; int8 takes up to {MOST_INPUTS}");
            }
            Ok(())
        };
        check()?;
        let (tiles, steps) = (n.div_ceil(LANES), k.div_ceil(STEP));
        let mut planes = Large::<Plane>::zeroed(tiles * steps);
        let mut scales = vec![0.0; tiles * LANES];
        let all = Shared::new(&mut scales);
        let failure = pool::Failure::default();
        let at_once = pool::rows_of(1 << 16, LANES * k);
        pool::over_rows(&mut planes, steps.max(1), at_once, |part, planes| {
            planes.fill(Plane([ZERO as u8; STEP * LANES]));
            // SAFETY: each part has its own tiles.
            let scales = unsafe { all.part(part.start * LANES..part.end * LANES) };
            let own = part.start * LANES..(part.end * LANES).min(n);
            if let Some(dense) = failure.of(rows(own)) {
                for (at, row) in dense.chunks_exact(k.max(1)).enumerate() {
                    let tile = &mut planes[at / LANES * steps..][..steps];
                    scales[at] = place(row, at % LANES, tile);
                }
            }
        });
        failure.end()?;
        Ok(Self {
            planes,
            scales,
            k,
            threshold,
        })
    }

    /// Bytes of a weight [n, k].
    pub fn held(n: usize, k: usize) -> u64 {
        let tiles = n.div_ceil(LANES);
        (tiles * (k.div_ceil(STEP) * size_of::<Plane>() + LANES * size_of::<f32>())) as u64
    }

    fn tile(&self, tile: usize) -> &[Plane] {
        let steps = self.k.div_ceil(STEP);
        &self.planes[tile * steps..(tile + 1) * steps]
    }

    fn tiles_with(&self, unit: Unit, tiles: Range<usize>, x: &Rows, y: &Output<'_>) {
        let m = x.scales.len();
        for tile in tiles {
            let planes = self.tile(tile);
            let scales = &self.scales[tile * LANES..(tile + 1) * LANES];
            for first in (0..m).step_by(ROWS) {
                let count = ROWS.min(m - first);
                let mut sums = [[0i32; LANES]; ROWS];
                let pass = Pass {
                    planes,
                    q: &x.q[first * x.width()..(first + count) * x.width()],
                    first: first == 0,
                };
                dots(unit, &pass, &mut sums[..count]);
                for (row, sums) in (first..first + count).zip(&sums) {
                    let mut out = [0f32; LANES];
                    x.finish(row, sums, planes, scales, &mut out);
                    // SAFETY: these outputs belong to this tile alone.
                    unsafe { y.put(row, tile * LANES, &out) };
                }
            }
        }
    }
}

impl Packed for Vectorwise {
    fn bytes(&self) -> u64 {
        (size_of_val(&*self.planes) + size_of_val(&self.scales[..])) as u64
    }

    fn unit(&self) -> &'static str {
        match Unit::best() >= Unit::Avx512Vnni {
            true => Unit::Avx512Vnni.name(),
            false => simd::tier().name(),
        }
    }

    fn prepare(&self, x: &Input<'_>) {
        x.vectorwise(self.threshold);
    }

    fn tiles(&self, tiles: Range<usize>, _: Range<usize>, x: &Input<'_>, y: &Output<'_>) {
        match x.vectorwise(self.threshold) {
            Some(rows) => self.tiles_with(Unit::best(), tiles, rows, y),
            // Weights with another threshold read the same rows.
            None => {
                let rows = Rows::of(x.x, self.k, x.rows, self.threshold);
                self.tiles_with(Unit::best(), tiles, &rows, y);
            }
        }
    }

    fn unpack(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        for (row, out) in rows.zip(out.chunks_exact_mut(self.k.max(1))) {
            let (planes, lane) = (self.tile(row / LANES), row % LANES);
            for (plane, out) in planes.iter().zip(out.chunks_mut(STEP)) {
                for (code, out) in plane.0[lane * STEP..].iter().zip(out) {
                    *out = (i32::from(*code) - ZERO) as f32 * self.scales[row];
                }
            }
        }
        Ok(())
    }
}

/// A row of W in its lane of a tile; returns its scale, which makes its largest value ±127.
fn place(row: &[f32], lane: usize, tile: &mut [Plane]) -> f32 {
    let top = row.iter().fold(0f32, |top, w| top.max(w.abs()));
    let by = 127.0 / top;
    if !by.is_finite() {
        return 0.0;
    }
    for (plane, row) in tile.iter_mut().zip(row.chunks(STEP)) {
        for (code, w) in plane.0[lane * STEP..].iter_mut().zip(row) {
            *code = ((w * by).round_ties_even() as i32 + ZERO) as u8;
        }
    }
    top / 127.0
}

/// Rows of x: whole numbers in ±127 with a scale a row, and each row's outliers as they are.
pub(super) struct Rows {
    pub threshold: f32,
    /// [m, steps · 4], outliers 0.
    q: Vec<i8>,
    scales: Vec<f32>,
    /// −ZERO · sum of a row's numbers.
    offsets: Vec<i32>,
    outliers: Vec<Vec<(usize, f32)>>,
}

impl Rows {
    pub fn of(x: &[f32], k: usize, m: usize, threshold: f32) -> Self {
        let width = k.div_ceil(STEP) * STEP;
        let mut rows = Self {
            threshold,
            q: vec![0; m * width],
            scales: vec![0.0; m],
            offsets: vec![0; m],
            outliers: vec![Vec::new(); m],
        };
        let (scales, offsets, outliers) = (
            Shared::new(&mut rows.scales),
            Shared::new(&mut rows.offsets),
            Shared::new(&mut rows.outliers),
        );
        pool::over_rows(
            &mut rows.q,
            width,
            pool::rows_of(1 << 15, width),
            |part, q| {
                // SAFETY: each part has its own rows.
                let (scales, offsets, outliers) = unsafe {
                    (
                        scales.part(part.clone()),
                        offsets.part(part.clone()),
                        outliers.part(part.clone()),
                    )
                };
                for (at, row) in part.enumerate() {
                    let (x, q) = (&x[row * k..(row + 1) * k], &mut q[at * width..][..k]);
                    // What is no finite number takes the same way: it must reach every output.
                    let limit = if threshold > 0.0 {
                        threshold
                    } else {
                        f32::INFINITY
                    };
                    let top = largest_below(x, limit);
                    let (scale, sum) = round(x, limit, top, q);
                    scales[at] = scale;
                    offsets[at] = -ZERO * sum;
                    if !x.iter().all(|x| x.abs() < limit) {
                        let far = x.iter().copied().enumerate();
                        outliers[at] = far
                            .filter(|(_, x)| x.abs() >= limit || x.is_nan())
                            .collect();
                    }
                }
            },
        );
        rows
    }

    fn width(&self) -> usize {
        self.q.len() / self.scales.len().max(1)
    }

    /// A row's outputs: whole numbers times both scales, and outliers times W's columns, in their order.
    fn finish(
        &self,
        row: usize,
        sums: &[i32; LANES],
        planes: &[Plane],
        scales: &[f32],
        out: &mut [f32; LANES],
    ) {
        let (scale, offset) = (self.scales[row], self.offsets[row]);
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = (sum + offset) as f32 * scale;
        }
        for &(feature, x) in &self.outliers[row] {
            let plane = &planes[feature / STEP].0;
            for (lane, out) in out.iter_mut().enumerate() {
                let code = i32::from(plane[lane * STEP + feature % STEP]) - ZERO;
                *out += x * code as f32;
            }
        }
        for (out, scale) in out.iter_mut().zip(scales) {
            *out *= scale;
        }
    }
}

simd_fn! {
    /// The largest absolute value below the limit.
    fn largest_below(x: &[f32], limit: f32) -> f32 {
        let mut lanes = [0f32; LANES];
        let (chunks, tail) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let x = if chunk[lane].abs() < limit { chunk[lane].abs() } else { 0.0 };
                lanes[lane] = if x > lanes[lane] { x } else { lanes[lane] };
            }
        }
        let tail = tail.iter().map(|x| x.abs()).filter(|x| *x < limit);
        lanes.into_iter().chain(tail).fold(0.0, f32::max)
    }
}

simd_fn! {
    /// Numbers below the limit as multiples of the returned scale, others as 0; and the sum of the multiples.
    fn round(x: &[f32], limit: f32, top: f32, q: &mut [i8]) -> (f32, i32) {
        // Adding 1.5·2²³ rounds to the nearest integer, ties to even; the low bits are the integer.
        const MAGIC: f32 = 12_582_912.0;
        let by = 127.0 / top;
        if !by.is_finite() {
            q.fill(0);
            return (0.0, 0);
        }
        let mut sum = 0;
        for (x, q) in x.iter().zip(q) {
            let x = if x.abs() < limit { *x } else { 0.0 };
            let whole = (x * by + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
            sum += whole;
            *q = whole as i8;
        }
        (top / 127.0, sum)
    }
}

/// A tile of W and some rows of q.
struct Pass<'a> {
    planes: &'a [Plane],
    q: &'a [i8],
    /// Of the rows that need this tile.
    first: bool,
}

/// Σ code · q of 16 rows of W with each row of q; exact, so every unit gives the same.
fn dots(unit: Unit, pass: &Pass<'_>, sums: &mut [[i32; LANES]]) {
    let width = pass.planes.len() * STEP;
    assert_eq!(
        pass.q.len(),
        sums.len() * width,
        "rows of q as long as those of W"
    );
    #[cfg(target_arch = "x86_64")]
    if unit >= Unit::Avx512Vnni {
        // SAFETY: the unit is only named where the processor has it; lengths as just seen.
        return unsafe {
            match sums.len() {
                1 => vnni::<1>(pass, sums),
                2 => vnni::<2>(pass, sums),
                3 => vnni::<3>(pass, sums),
                4 => vnni::<4>(pass, sums),
                5 => vnni::<5>(pass, sums),
                6 => vnni::<6>(pass, sums),
                7 => vnni::<7>(pass, sums),
                _ => vnni::<ROWS>(pass, sums),
            }
        };
    }
    let _ = unit;
    for (q, sums) in pass.q.chunks_exact(width).zip(sums) {
        plain(pass.planes, q, sums);
    }
}

simd_fn! {
    fn plain(planes: &[Plane], q: &[i8], sums: &mut [i32; LANES]) {
        for (plane, q) in planes.iter().zip(q.as_chunks::<STEP>().0) {
            for (codes, sum) in plane.0.as_chunks::<STEP>().0.iter().zip(&mut *sums) {
                for (code, q) in codes.iter().zip(q) {
                    *sum += i32::from(*code) * i32::from(*q);
                }
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 F and VNNI; q is [R, planes · 4] and there are R rows of sums.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn vnni<const R: usize>(pass: &Pass<'_>, sums: &mut [[i32; LANES]]) {
    use std::arch::x86_64::*;
    let Pass { planes, q, first } = *pass;
    let mut totals = [[_mm512_setzero_si512(); 2]; R];
    let mut step = |at: usize, half: usize| {
        // SAFETY: planes and rows of q have this step.
        unsafe {
            let plane = planes.as_ptr().add(at);
            // The first rows bring it from memory.
            if first {
                ask_for(plane, AHEAD, 1);
            }
            let w = _mm512_load_si512(plane.cast());
            for (r, totals) in totals.iter_mut().enumerate() {
                let x = q.as_ptr().add((r * planes.len() + at) * STEP).cast::<i32>();
                let x = _mm512_set1_epi32(x.read_unaligned());
                totals[half] = _mm512_dpbusd_epi32(totals[half], w, x);
            }
        }
    };
    let pairs = planes.len() / 2;
    for pair in 0..pairs {
        step(2 * pair, 0);
        step(2 * pair + 1, 1);
    }
    if planes.len() % 2 == 1 {
        step(2 * pairs, 0);
    }
    for (total, sums) in totals.into_iter().zip(sums) {
        // SAFETY: 16 numbers.
        unsafe {
            _mm512_storeu_si512(
                sums.as_mut_ptr().cast(),
                _mm512_add_epi32(total[0], total[1]),
            );
        }
    }
}

#[cfg(test)]
mod tests;
