//! Products on the way back, and with weights that learn, on the matrix unit: both sides are f32 in memory and rounded to
//! bf16 here. Only where they are numbers of bf16 anyway, or weights beside those.

use std::mem::MaybeUninit;

use half::bf16;

use super::super::super::memory::Large;
use super::super::super::narrow::nearest_bf16;
use super::super::super::pool;
use super::super::packed::LANES;
use super::super::product::{Output, tiles_at_once};
use super::{Paired, Pairs, Rows, TASK, pairs_of};

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

/// out += a · b, for a [m, inner] and b [inner, n].
///
/// # Panics
/// Where the unit is not available, or sizes do not fit.
pub fn add_product(a: Part<'_>, b: Part<'_>, out: &mut [f32]) {
    assert_eq!(a.columns, b.rows, "inner sizes of a product");
    add(&as_rows(a), &turned_weight(b), (a.rows, b.columns), out);
}

/// out += aᵀ · b, for a [inner, m] and b [inner, n].
///
/// # Panics
/// As [`add_product`].
pub fn add_turned(a: Part<'_>, b: Part<'_>, out: &mut [f32]) {
    assert_eq!(a.rows, b.rows, "inner sizes of a product");
    add(
        &turned_rows(a),
        &turned_weight(b),
        (a.columns, b.columns),
        out,
    );
}

/// out += a · bᵀ, for a [m, inner] and b [n, inner].
///
/// # Panics
/// As [`add_product`].
pub fn add_by_rows(a: Part<'_>, b: Part<'_>, out: &mut [f32]) {
    assert_eq!(a.columns, b.columns, "inner sizes of a product");
    add(&as_rows(a), &weight(b), (a.rows, b.rows), out);
}

fn add(rows: &Rows, weight: &Paired, (m, n): (usize, usize), out: &mut [f32]) {
    assert!(Paired::is_available() && out.len() == m * n && rows.rows == m);
    let mut found: Vec<f32> = Vec::with_capacity(m * n);
    let memory: &mut [MaybeUninit<f32>] = found.spare_capacity_mut();
    let output = Output::new(memory, m, n, None);
    let tiles = n.div_ceil(LANES);
    let at_once = tiles_at_once(tiles, m * weight.k);
    pool::for_each(tiles.div_ceil(at_once), |piece| {
        let some = piece * at_once..((piece + 1) * at_once).min(tiles);
        assert!(rows.width == pairs_of(weight.k) && some.end * rows.width <= weight.pairs.len());
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the unit is there, the tiles exist, and a piece has its own.
        unsafe {
            super::amx::tiles(weight, some, rows, &output);
        }
    });
    // SAFETY: all tiles have been multiplied, and each writes its outputs of every row.
    unsafe { found.set_len(m * n) };
    pool::over_rows(out, 1, TASK, |range, out| {
        let pairs = out.iter_mut().zip(&found[range]);
        pairs.for_each(|(out, found)| *out += found);
    });
}

/// Rows of a.
fn as_rows(a: Part<'_>) -> Rows {
    filled(a.rows, a.columns, |row, pairs| {
        let places = pairs.as_flattened_mut().iter_mut();
        places
            .zip(a.row(row))
            .for_each(|(place, x)| *place = nearest_bf16(*x));
    })
}

/// Rows of aᵀ.
fn turned_rows(a: Part<'_>) -> Rows {
    filled(a.columns, a.rows, |row, pairs| {
        for (at, place) in pairs.as_flattened_mut()[..a.rows].iter_mut().enumerate() {
            *place = nearest_bf16(a.values[at * a.stride + row]);
        }
    })
}

fn filled(rows: usize, inner: usize, fill: impl Fn(usize, &mut [[bf16; 2]]) + Sync) -> Rows {
    let width = pairs_of(inner);
    let mut pairs = vec![[bf16::ZERO; 2]; rows * width];
    pool::over_rows(
        &mut pairs,
        width,
        pool::rows_of(TASK, inner),
        |part, places| {
            for (row, pairs) in part.zip(places.chunks_exact_mut(width)) {
                fill(row, pairs);
            }
        },
    );
    Rows { pairs, rows, width }
}

/// b as a weight of as many outputs.
fn weight(b: Part<'_>) -> Paired {
    packed(b.rows, b.columns, |tile, places| {
        for (lane, row) in (tile * LANES..((tile + 1) * LANES).min(b.rows)).enumerate() {
            for (place, pair) in places.iter_mut().zip(b.row(row).chunks(2)) {
                let numbers = place.0[lane].iter_mut().zip(pair);
                numbers.for_each(|(number, x)| *number = nearest_bf16(*x));
            }
        }
    })
}

/// bᵀ as a weight of as many outputs.
fn turned_weight(b: Part<'_>) -> Paired {
    packed(b.columns, b.rows, |tile, places| {
        let columns = tile * LANES..((tile + 1) * LANES).min(b.columns);
        for (pair, place) in places.iter_mut().enumerate() {
            for half in 0..2 {
                let row = 2 * pair + half;
                if row < b.rows {
                    let lanes = place.0.iter_mut().zip(&b.row(row)[columns.clone()]);
                    lanes.for_each(|(lane, x)| lane[half] = nearest_bf16(*x));
                }
            }
        }
    })
}

fn packed(outputs: usize, inner: usize, fill: impl Fn(usize, &mut [Pairs]) + Sync) -> Paired {
    let width = pairs_of(inner);
    let mut pairs = Large::<Pairs>::zeroed(outputs.div_ceil(LANES) * width);
    let at_once = pool::rows_of(TASK, LANES * inner);
    pool::over_rows(&mut pairs, width, at_once, |part, tiles| {
        for (tile, places) in part.zip(tiles.chunks_exact_mut(width)) {
            fill(tile, places);
        }
    });
    Paired { pairs, k: inner }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::testing::numbers;
    use super::*;

    const SIZES: [(usize, usize, usize); 5] = [
        (1, 5, 3),
        (3, 16, 1),
        (16, 48, 64),
        (21, 33, 95),
        (33, 70, 128),
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
                turned_weight(Part::whole(&b, (inner, n))),
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
        if !Paired::is_available() {
            return;
        }
        for (m, n, inner) in SIZES {
            let (a, b) = (numbers(m * inner, 2.0, 1), numbers(inner * n, 2.0, 2));
            let mut wanted = vec![0f64; m * n];
            for (at, sum) in wanted.iter_mut().enumerate() {
                let (row, column) = (at / n, at % n);
                *sum = (0..inner)
                    .map(|k| [a[row * inner + k], b[k * n + column]])
                    .map(|pair| pair.map(|x| f64::from(bf16::from_f32(x).to_f32())))
                    .map(|[a, b]| a * b)
                    .sum();
            }
            let (at, bt) = (transposed(&a, (m, inner)), transposed(&b, (inner, n)));
            let mut out = [vec![1.0; m * n], vec![1.0; m * n], vec![1.0; m * n]];
            let [one, two, three] = &mut out;
            let b = Part::whole(&b, (inner, n));
            add_product(Part::whole(&a, (m, inner)), b, one);
            add_turned(Part::whole(&at, (inner, m)), b, two);
            let a = Part::whole(&a, (m, inner));
            add_by_rows(a, Part::whole(&bt, (n, inner)), three);
            for out in &out {
                for (found, wanted) in out.iter().zip(&wanted) {
                    let off = (f64::from(*found) - 1.0 - wanted).abs();
                    assert!(off < 1e-4 * inner as f64, "{found}, not 1 + {wanted}");
                }
            }
        }
    }
}
