//! Products on the way back, and with weights that learn, on a unit that multiplies pairs: both sides are f32 in memory and
//! rounded to bf16 here. Only where they are numbers of bf16 anyway, or weights beside those.

use std::mem::MaybeUninit;
use std::ops::Range;

use half::bf16;

use super::super::super::memory::Large;
use super::super::super::narrow::nearest_bf16;
use super::super::super::pool::{self, Shared};
use super::super::super::simd::simd_fn;
use super::super::packed::LANES;
use super::super::product::{Output, tiles_at_once};
use super::{Paired, Pairs, Rows, STEP, TASK, pairs_of, round};
use crate::device::Result;

/// Rows of b that a task takes: their pairs fill a step of each tile.
pub(in super::super) const ROWS: usize = 2 * STEP;
/// Bytes of rows of a that stay in a core's cache while tiles pass.
const CACHED: usize = 384 << 10;
/// Rows that the kernel for AVX-512 takes at a time.
const PANEL: usize = 12;

/// Part of a matrix in memory: rows of `columns` numbers that begin `stride` apart.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

impl<'a> Part<'a> {
    /// All of a matrix.
    pub const fn whole(values: &'a [f32], (rows, columns): (usize, usize)) -> Self {
        Self {
            values,
            rows,
            columns,
            stride: columns,
        }
    }

    fn row(self, at: usize) -> &'a [f32] {
        &self.values[at * self.stride..at * self.stride + self.columns]
    }
}

/// a · b, for a [m, inner] and b [inner, n], whose rows `unpack` writes.
///
/// # Errors
/// Those of `unpack`.
///
/// # Panics
/// Where no unit multiplies pairs.
pub fn product_with(
    a: Part<'_>,
    n: usize,
    unpack: impl Fn(Range<usize>, &mut [f32]) -> Result<()> + Sync,
) -> Result<Vec<f32>> {
    let weight = turned_weight((a.columns, n), unpack)?;
    Ok(multiplied(&as_rows(a), &weight, n))
}

/// a · b, for a [m, inner] and b [inner, n].
///
/// # Errors
/// None.
///
/// # Panics
/// Where no unit multiplies pairs, or sizes do not fit.
pub fn product(a: Part<'_>, b: Part<'_>) -> Result<Vec<f32>> {
    assert_eq!(a.columns, b.rows, "inner sizes of a product");
    product_with(a, b.columns, |rows, out| copied(b, rows, out))
}

/// aᵀ · b, for a [inner, m] and b [inner, n].
///
/// # Errors
/// None.
///
/// # Panics
/// As [`product`].
pub fn product_of_turned(a: Part<'_>, b: Part<'_>) -> Result<Vec<f32>> {
    assert_eq!(a.rows, b.rows, "inner sizes of a product");
    let weight = turned_weight((b.rows, b.columns), |rows, out| copied(b, rows, out))?;
    Ok(multiplied(&turned_rows(a), &weight, b.columns))
}

/// a · bᵀ, for a [m, inner] and b [n, inner].
///
/// # Panics
/// As [`product`].
pub fn product_by_rows(a: Part<'_>, b: Part<'_>) -> Vec<f32> {
    assert_eq!(a.columns, b.columns, "inner sizes of a product");
    multiplied(&as_rows(a), &weight(b), b.rows)
}

fn copied(from: Part<'_>, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
    for (row, out) in rows.zip(out.chunks_exact_mut(from.columns.max(1))) {
        out.copy_from_slice(from.row(row));
    }
    Ok(())
}

fn multiplied(rows: &Rows, weight: &Paired, n: usize) -> Vec<f32> {
    assert!(Paired::learns());
    // SAFETY: a unit is there, and which of both has been asked for.
    unsafe { multiplied_on(Paired::is_available(), rows, weight, n) }
}

/// On the matrix unit, or with AVX-512.
///
/// # Safety
/// The processor multiplies pairs of bf16 so.
unsafe fn multiplied_on(matrix_unit: bool, rows: &Rows, weight: &Paired, n: usize) -> Vec<f32> {
    assert_eq!(rows.width, pairs_of(weight.k), "inner sizes of a product");
    let m = rows.rows;
    let mut found: Vec<f32> = Vec::with_capacity(m * n);
    let memory: &mut [MaybeUninit<f32>] = found.spare_capacity_mut();
    let output = Output::new(memory, m, n, None);
    let tiles = n.div_ceil(LANES);
    assert!(tiles * rows.width <= weight.pairs.len());
    let height = match matrix_unit {
        // Its own kernel cuts rows as its registers want them.
        true => m,
        false => (CACHED / (rows.width * size_of::<[bf16; 2]>()).max(1)).max(1),
    };
    let height = height.next_multiple_of(PANEL).clamp(1, m.max(1));
    let at_once = tiles_at_once(tiles, height * weight.k);
    let across = tiles.div_ceil(at_once);
    // Tiles of the same rows follow one another, so that these stay in the cache.
    pool::for_each(m.div_ceil(height) * across, |piece| {
        let (down, across) = (piece / across, piece % across);
        let some = across * at_once..((across + 1) * at_once).min(tiles);
        let part = down * height..((down + 1) * height).min(m);
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!(
            "no unit multiplies {some:?} by {part:?} of {output:p}",
            output = &output
        );
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the unit is there, rows and tiles exist, and a piece has its own.
        unsafe {
            match matrix_unit {
                true => super::amx::tiles(weight, some, rows, &output),
                false => super::avx512::tiles(weight, some, rows, part, &output),
            }
        }
    });
    // SAFETY: all rows have been multiplied with all tiles, and each writes its outputs.
    unsafe { found.set_len(m * n) };
    found
}

/// Rows of a.
fn as_rows(a: Part<'_>) -> Rows {
    filled(a.rows, a.columns, 1, |rows, places, width| {
        let places = places.as_flattened_mut().chunks_exact_mut(2 * width);
        for (row, place) in rows.zip(places) {
            round(a.row(row), &mut place[..a.columns]);
        }
    })
}

/// Rows of aᵀ.
fn turned_rows(a: Part<'_>) -> Rows {
    filled(a.columns, a.rows, LANES, |rows, places, width| {
        let places = places.as_flattened_mut();
        for at in 0..a.rows {
            let values = &a.row(at)[rows.clone()];
            for (row, x) in values.iter().enumerate() {
                places[row * 2 * width + at] = nearest_bf16(*x);
            }
        }
    })
}

/// Rows that are filled so many together, at least.
fn filled(
    rows: usize,
    inner: usize,
    together: usize,
    fill: impl Fn(Range<usize>, &mut [[bf16; 2]], usize) + Sync,
) -> Rows {
    let width = pairs_of(inner);
    let mut pairs = vec![[bf16::ZERO; 2]; rows * width];
    let at_once = pool::rows_of(TASK, inner).max(together);
    pool::over_rows(&mut pairs, width, at_once, |part, places| {
        fill(part, places, width)
    });
    Rows { pairs, rows, width }
}

/// b as a weight of as many outputs.
fn weight(b: Part<'_>) -> Paired {
    let width = pairs_of(b.columns);
    let mut pairs = Large::<Pairs>::zeroed(b.rows.div_ceil(LANES) * width);
    let at_once = pool::rows_of(TASK, LANES * b.columns);
    pool::over_rows(&mut pairs, width, at_once, |part, tiles| {
        for (tile, places) in part.zip(tiles.chunks_exact_mut(width)) {
            for (lane, row) in (tile * LANES..((tile + 1) * LANES).min(b.rows)).enumerate() {
                for (place, pair) in places.iter_mut().zip(b.row(row).chunks(2)) {
                    let numbers = place.0[lane].iter_mut().zip(pair);
                    numbers.for_each(|(number, x)| *number = nearest_bf16(*x));
                }
            }
        }
    });
    Paired {
        pairs,
        k: b.columns,
    }
}

/// bᵀ as a weight of as many outputs, for b [inner, n] whose rows `unpack` writes.
fn turned_weight(
    (inner, n): (usize, usize),
    unpack: impl Fn(Range<usize>, &mut [f32]) -> Result<()> + Sync,
) -> Result<Paired> {
    let (width, tiles) = (pairs_of(inner), n.div_ceil(LANES));
    let mut pairs = Large::<Pairs>::zeroed(tiles * width);
    let places = Shared::new(&mut pairs);
    let failure = pool::Failure::default();
    pool::for_each(inner.div_ceil(ROWS), |task| {
        let rows = task * ROWS..((task + 1) * ROWS).min(inner);
        let mut block = vec![0.0; ROWS * n];
        failure.of(unpack(rows.clone(), &mut block[..rows.len() * n]));
        for tile in 0..tiles {
            let start = tile * width + task * STEP;
            // SAFETY: a task has its own step of every tile.
            let places = unsafe { places.part(start..start + STEP) };
            place(&block, n, tile * LANES, places);
        }
    });
    failure.end()?;
    Ok(Paired { pairs, k: inner })
}

simd_fn! {
    /// Pairs of the columns of a block [32, n] from `first` on, sixteen or what is left.
    fn place(block: &[f32], n: usize, first: usize, places: &mut [Pairs]) {
        let count = LANES.min(n - first);
        for (pair, place) in places.iter_mut().enumerate() {
            let [one, two] = [0, 1].map(|half| {
                let row = &block[(2 * pair + half) * n + first..][..count];
                let mut values = [0.0; LANES];
                match row.as_array() {
                    // Of a length known beforehand, so one load.
                    Some(row) => values = *row,
                    None => values[..count].copy_from_slice(row),
                }
                values
            });
            for (lane, place) in place.0.iter_mut().enumerate() {
                *place = [nearest_bf16(one[lane]), nearest_bf16(two[lane])];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::testing::numbers;
    use super::super::unit;
    use super::*;

    const SIZES: [(usize, usize, usize); 6] = [
        (1, 5, 3),
        (3, 16, 1),
        (16, 48, 64),
        (21, 33, 95),
        (33, 70, 128),
        // More rows than stay in a cache.
        (61, 40, 5000),
    ];

    fn transposed(values: &[f32], (rows, columns): (usize, usize)) -> Vec<f32> {
        let at = |place: usize| values[place % rows * columns + place / rows];
        (0..rows * columns).map(at).collect()
    }

    /// Places without the unit: every way to lay out a matrix is checked by another.
    #[test]
    fn what_is_turned_lies_as_its_transpose_does() {
        for (m, n, inner) in SIZES {
            let b = numbers(inner * n, 2.0, 1);
            let other = transposed(&b, (inner, n));
            let [turned, plain] = [
                turned_weight((inner, n), |rows, out| {
                    copied(Part::whole(&b, (inner, n)), rows, out)
                })
                .unwrap(),
                weight(Part::whole(&other, (n, inner))),
            ];
            assert_eq!(turned.k, plain.k);
            for (turned, plain) in turned.pairs.iter().zip(&plain.pairs[..]) {
                assert_eq!(turned.0, plain.0, "{m}x{n}x{inner}");
            }
            let a = numbers(inner * m, 2.0, 2);
            let other = transposed(&a, (inner, m));
            let turned = turned_rows(Part::whole(&a, (inner, m)));
            let plain = Rows::of(&other, inner);
            let direct = as_rows(Part::whole(&other, (m, inner)));
            assert_eq!((turned.pairs, turned.width), (plain.pairs, plain.width));
            assert_eq!(direct.pairs, turned_rows(Part::whole(&a, (inner, m))).pairs);
        }
        let wide = numbers(7 * 20, 1.0, 3);
        let part = Part {
            values: &wide[5..],
            rows: 7,
            columns: 9,
            stride: 20,
        };
        let cut: Vec<f32> = (0..7).flat_map(|row| part.row(row).to_vec()).collect();
        assert_eq!(as_rows(part).pairs, Rows::of(&cut, 9).pairs);
    }

    #[test]
    fn every_product_agrees_with_the_sum_of_rounded_values() {
        if !Paired::learns() {
            return;
        }
        for (m, n, inner) in SIZES {
            let (a, b) = (numbers(m * inner, 2.0, 1), numbers(inner * n, 2.0, 2));
            let wanted = products(&a, &b, (m, n, inner));
            let (at, bt) = (transposed(&a, (m, inner)), transposed(&b, (inner, n)));
            let b = Part::whole(&b, (inner, n));
            let whole = Part::whole(&a, (m, inner));
            let out = [
                product(whole, b).unwrap(),
                product_of_turned(Part::whole(&at, (inner, m)), b).unwrap(),
                product_by_rows(whole, Part::whole(&bt, (n, inner))),
            ];
            out.iter().for_each(|out| agrees(out, &wanted, inner));
        }
    }

    fn agrees(out: &[f32], wanted: &[f64], inner: usize) {
        for (found, wanted) in out.iter().zip(wanted) {
            let off = (f64::from(*found) - wanted).abs();
            assert!(off < 1e-4 * inner as f64, "{found}, not {wanted}");
        }
    }

    /// Also where the matrix unit takes products otherwise.
    #[test]
    fn the_kernel_for_avx_512_agrees_with_the_sum_of_rounded_values() {
        if !unit::has_pairs() {
            return;
        }
        for (m, n, inner) in SIZES {
            let (a, b) = (numbers(m * inner, 2.0, 1), numbers(inner * n, 2.0, 2));
            let wanted = products(&a, &b, (m, n, inner));
            let weight = turned_weight((inner, n), |rows, out| {
                copied(Part::whole(&b, (inner, n)), rows, out)
            });
            let rows = as_rows(Part::whole(&a, (m, inner)));
            // SAFETY: the processor has it.
            let out = unsafe { multiplied_on(false, &rows, &weight.unwrap(), n) };
            agrees(&out, &wanted, inner);
        }
    }

    /// a [m, inner] · b [inner, n] of their numbers as bf16, in f64.
    fn products(a: &[f32], b: &[f32], (m, n, inner): (usize, usize, usize)) -> Vec<f64> {
        let sum = |at: usize| {
            let (row, column) = (at / n, at % n);
            (0..inner)
                .map(|k| [a[row * inner + k], b[k * n + column]])
                .map(|pair| pair.map(|x| f64::from(bf16::from_f32(x).to_f32())))
                .map(|[a, b]| a * b)
                .sum()
        };
        (0..m * n).map(sum).collect()
    }
}
