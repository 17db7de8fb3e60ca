//! Low-rank factors of a matrix, by the largest of its singular values.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::gemm::{self, View};
use super::pool;
use crate::device::{Array, Result, bail};

/// Sides up to which every singular value is found; of larger matrices only those that are wanted, and some more.
const SMALL: usize = 128;
/// Directions that are followed beside those wanted, so that the last of those is found well.
const BESIDE: usize = 16;
/// Times that a guess of the directions is sharpened.
const PASSES: usize = 8;
/// Sweeps of rotations; half as many make columns orthogonal to the last bit.
const SWEEPS: usize = 30;

/// A [r, n] and B [m, r] whose product comes closest to `matrix` [m, n], r being `rank` or what the matrix has room for.
/// Rows of A are orthonormal; lengths of B's columns are singular values, descending.
pub fn truncated(matrix: &Array, rank: usize) -> Result<(Array, Array)> {
    let (rows, columns) = matrix.dims();
    let least = rows.min(columns);
    let all = View::dense(matrix.values(), rows, columns);
    if least <= SMALL {
        let one = identity(least);
        return match rows < columns {
            true => reduced((matrix, &one), rank),
            false => reduced((&one, matrix), rank),
        };
    }
    let followed = (2 * rank + BESIDE).min(least);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut directions = Array::zeros((columns, followed));
    for value in directions.values_mut() {
        *value = rng.random_range(-1.0..1.0);
    }
    let mut found = Array::zeros((rows, followed));
    for pass in 0..=PASSES {
        let from = View::dense(directions.values(), columns, followed);
        gemm::parallel(all, from, found.values_mut(), 0.0, 1.0);
        found = orthonormal(&found);
        let to = View::dense(found.values(), rows, followed);
        gemm::parallel(all.transposed(), to, directions.values_mut(), 0.0, 1.0);
        if pass < PASSES {
            directions = orthonormal(&directions);
        }
        pool::give_way();
    }
    let right = directions.transposed();
    reduced((&right, &found), rank)
}

/// As [`truncated`], for the product of B [m, k] and A [k, n], which is never made.
pub fn reduced((a, b): (&Array, &Array), rank: usize) -> Result<(Array, Array)> {
    let inner = a.rows();
    if b.width() != inner || rank == 0 {
        bail!("factors {a:?} and {b:?} at rank {rank}");
    }
    let (right, over_a) = decomposed(columns_of(&a.transposed()));
    let (left, over_b) = decomposed(columns_of(b));
    // Of the upper triangles' product, column by column.
    let core: Vec<Vec<f64>> = (0..inner)
        .map(|column| {
            let entry = |row: usize| {
                let shared = row.max(column)..inner;
                shared.map(|k| over_b[k][row] * over_a[k][column]).sum()
            };
            (0..inner).map(entry).collect()
        })
        .collect();
    let values = rotated(core);
    let kept = rank.min(a.width()).min(b.rows()).min(inner);
    let combine = |of: &[Vec<f64>], by: &[f64]| {
        let mut sum = vec![0.0; of.first().map_or(0, Vec::len)];
        for (column, by) in of.iter().zip(by) {
            sum.iter_mut().zip(column).for_each(|(s, c)| *s += c * by);
        }
        sum
    };
    let (mut new_a, mut new_b) = (
        Array::zeros((kept, a.width())),
        Array::zeros((b.rows(), kept)),
    );
    for (at, (scaled, turned)) in values.iter().take(kept).enumerate() {
        let row = combine(&right, turned);
        let places = new_a.values_mut()[at * a.width()..].iter_mut();
        places.zip(&row).for_each(|(to, from)| *to = *from as f32);
        let column = combine(&left, scaled);
        for (to, from) in new_b.values_mut().chunks_exact_mut(kept).zip(&column) {
            to[at] = *from as f32;
        }
    }
    Ok((new_a, new_b))
}

/// Columns made orthogonal by rotations (one-sided Jacobi): each as (singular value · left vector, right vector), the
/// largest first.
fn rotated(mut columns: Vec<Vec<f64>>) -> Vec<(Vec<f64>, Vec<f64>)> {
    let count = columns.len();
    let mut turned: Vec<Vec<f64>> = (0..count)
        .map(|at| (0..count).map(|k| f64::from(u8::from(k == at))).collect())
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for _ in 0..SWEEPS {
        let mut still = true;
        for one in 0..count {
            for other in one + 1..count {
                let (p, q) = (
                    dot(&columns[one], &columns[one]),
                    dot(&columns[other], &columns[other]),
                );
                let along = dot(&columns[one], &columns[other]);
                if along.abs() <= 1e-15 * (p * q).sqrt() || along == 0.0 {
                    continue;
                }
                still = false;
                let zeta = (q - p) / (2.0 * along);
                let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = cosine * tangent;
                for all in [&mut columns, &mut turned] {
                    let (before, after) = all.split_at_mut(other);
                    for (a, b) in before[one].iter_mut().zip(&mut after[0]) {
                        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
                    }
                }
            }
        }
        pool::give_way();
        if still {
            break;
        }
    }
    let mut values: Vec<_> = columns.into_iter().zip(turned).collect();
    values.sort_by(|(a, _), (b, _)| dot(b, b).total_cmp(&dot(a, a)));
    values
}

/// Orthonormal columns and, for each column given, what it takes of them: `upper[k][row]` is the entry at (row, k). A column
/// that the ones before it make up becomes zeros.
fn decomposed(mut columns: Vec<Vec<f64>>) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let count = columns.len();
    let mut upper = vec![vec![0.0; count]; count];
    for (at, entries) in upper.iter_mut().enumerate() {
        let (before, rest) = columns.split_at_mut(at);
        let column = &mut rest[0];
        let length = dot(column, column).sqrt();
        // Twice: what rounding leaves of the others is taken away too.
        for _ in 0..2 {
            for (row, other) in before.iter().enumerate() {
                let along = dot(other, column);
                entries[row] += along;
                column
                    .iter_mut()
                    .zip(other)
                    .for_each(|(c, o)| *c -= along * o);
            }
        }
        let left = dot(column, column).sqrt();
        if left <= 1e-12 * length {
            column.fill(0.0);
            continue;
        }
        entries[at] = left;
        column.iter_mut().for_each(|value| *value /= left);
    }
    (columns, upper)
}

fn orthonormal(matrix: &Array) -> Array {
    let (columns, _) = decomposed(columns_of(matrix));
    let mut out = Array::zeros(matrix.dims());
    let width = matrix.width();
    for (at, column) in columns.iter().enumerate() {
        for (to, from) in out.values_mut().chunks_exact_mut(width).zip(column) {
            to[at] = *from as f32;
        }
    }
    out
}

fn columns_of(matrix: &Array) -> Vec<Vec<f64>> {
    let width = matrix.width();
    let column = |at: usize| {
        let rows = matrix.values().chunks_exact(width);
        rows.map(|row| f64::from(row[at])).collect()
    };
    (0..width).map(column).collect()
}

fn identity(size: usize) -> Array {
    let mut one = Array::zeros((size, size));
    let values = one.values_mut();
    (0..size).for_each(|at| values[at * size + at] = 1.0);
    one
}

#[cfg(test)]
mod tests {
    use super::super::testing::{noise, tensor};
    use super::*;

    fn product((a, b): &(Array, Array)) -> Vec<f32> {
        let sum = tensor(b).matmul(&tensor(a)).unwrap();
        sum.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn error(of: &Array, found: &(Array, Array)) -> f64 {
        let pairs = of.values().iter().zip(product(found));
        let squares = pairs.map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    }

    /// A matrix [m, n] with these singular values, of random directions.
    fn made(dims: (usize, usize), values: &[f64]) -> Array {
        let side = |rows, seed| orthonormal(&noise((rows, values.len()), 1.0, seed));
        let (left, right) = (side(dims.0, 1), side(dims.1, 2));
        let mut out = Array::zeros(dims);
        for (row, to) in out.values_mut().chunks_exact_mut(dims.1).enumerate() {
            for (column, to) in to.iter_mut().enumerate() {
                let each = values.iter().enumerate().map(|(at, value)| {
                    let places = (row * values.len() + at, column * values.len() + at);
                    value * f64::from(left.values()[places.0] * right.values()[places.1])
                });
                *to = each.sum::<f64>() as f32;
            }
        }
        out
    }

    #[test]
    fn what_is_cut_off_is_the_smallest_there_is() {
        let values = [9.0, 5.0, 4.0, 1.0, 0.5];
        for dims in [(30, 20), (20, 30), (200, 150)] {
            let matrix = made(dims, &values);
            for rank in 1..=5 {
                let found = truncated(&matrix, rank).unwrap();
                assert_eq!((found.0.rows(), found.1.width()), (rank, rank));
                let cut: f64 = values[rank..].iter().map(|v| v * v).sum::<f64>().sqrt();
                let off = error(&matrix, &found);
                assert!(
                    (off - cut).abs() < 1e-4,
                    "{dims:?} at {rank}: {off} for {cut}"
                );
                let rows = found.0.values().chunks_exact(dims.1);
                for row in rows {
                    let length: f32 = row.iter().map(|v| v * v).sum();
                    assert!((length - 1.0).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn a_product_is_reduced_as_if_it_had_been_made() {
        let (a, b) = (noise((6, 17), 1.0, 3), noise((23, 6), 1.0, 4));
        let made = Array::new(product(&(a.clone(), b.clone())), (23, 17)).unwrap();
        for rank in [1, 3, 6, 9] {
            let (plain, cheap) = (
                truncated(&made, rank).unwrap(),
                reduced((&a, &b), rank).unwrap(),
            );
            let [plain, cheap] = [plain, cheap].map(|found| error(&made, &found));
            assert!((plain - cheap).abs() < 1e-3, "{rank}: {plain} {cheap}");
            assert!(rank < 6 || cheap < 1e-4);
        }
        // Two equal halves: the second adds nothing to the first's directions.
        let twice = |m: &Array| Array::new([m.values(), m.values()].concat(), (12, 17)).unwrap();
        let halves = [b.transposed().values(), b.transposed().values()].concat();
        let wide = Array::new(halves, (12, 23)).unwrap().transposed();
        let found = reduced((&twice(&a), &wide), 6).unwrap();
        let double: Vec<f32> = made.values().iter().map(|v| 2.0 * v).collect();
        assert!(error(&Array::new(double, (23, 17)).unwrap(), &found) < 1e-3);
    }

    #[test]
    fn zeros_have_factors_of_zeros() {
        let found = truncated(&Array::zeros((10, 12)), 3).unwrap();
        assert!(product(&found).iter().all(|value| *value == 0.0));
    }
}
