//! Dense f32 products on strided views: the one place that calls the `gemm` crate.
//!
//! The sum of one output element runs over the inner dimension in an order that gemm chooses by the shape, so the same
//! row can differ in its last bits between a product of one row and a product of many.

use std::ops::Range;

use gemm::Parallelism;

use super::pool;

/// Multiply-adds of a training tile: one to two tenths of a millisecond on one core.
const TILE: usize = 1 << 23;
/// Into how many parts training cuts a product that is worth it, whatever threads there are: gemm's order of a sum may
/// depend on the part's shape, and a job must not learn other weights on more cores.
const TRAINING_PARTS: usize = 2;
/// Products smaller than this are not worth waking a second thread.
const SERIAL: usize = 1 << 16;

/// A matrix inside a slice: element (r, c) is `data[r * row + c * column]`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
}

impl<'a> View<'a> {
    /// # Panics
    /// When the last element lies outside `data`: a kernel's own arithmetic is wrong then.
    pub fn new(
        data: &'a [f32],
        (rows, columns): (usize, usize),
        (row, column): (usize, usize),
    ) -> Self {
        assert!(
            reach(rows, columns, row, column) <= data.len(),
            "view {rows}x{columns} by {row},{column}"
        );
        Self {
            data,
            rows,
            columns,
            row,
            column,
        }
    }

    /// Row after row without gaps.
    pub fn dense(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::new(data, (rows, columns), (columns, 1))
    }

    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row: self.column,
            column: self.row,
            ..self
        }
    }

    fn some_rows(self, rows: Range<usize>) -> Self {
        let data = &self.data[(rows.start * self.row).min(self.data.len())..];
        Self::new(data, (rows.len(), self.columns), (self.row, self.column))
    }

    fn some_columns(self, columns: Range<usize>) -> Self {
        self.transposed().some_rows(columns).transposed()
    }
}

/// Elements a strided matrix spans from its first to its last.
fn reach(rows: usize, columns: usize, row: usize, column: usize) -> usize {
    if rows == 0 || columns == 0 {
        0
    } else {
        (rows - 1) * row + (columns - 1) * column + 1
    }
}

/// out = keep·out + scale·(a·b) on the calling thread; rows of `out` start `row` elements apart.
///
/// # Panics
/// When sizes do not fit together.
pub fn product(a: View<'_>, b: View<'_>, out: &mut [f32], row: usize, keep: f32, scale: f32) {
    let (m, n) = (a.rows, b.columns);
    assert!(
        reach(m, n, row, 1) <= out.len() && (n <= row || m <= 1),
        "product of {m}x{n} by {row}"
    );
    // SAFETY: just checked: every row of n elements lies within `out`, which is exclusively borrowed.
    unsafe { product_at(a, b, out.as_mut_ptr(), row, keep, scale) }
}

/// out = keep·out + scale·(a·b) on the threads of the caller's class; `out` is [a.rows, b.columns] without gaps.
pub fn parallel(a: View<'_>, b: View<'_>, out: &mut [f32], keep: f32, scale: f32) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(out.len(), m * n, "product of {m}x{n}");
    let (rows, columns) = tile(m, n, k);
    let (down, across) = (m.div_ceil(rows), n.div_ceil(columns));
    let shared = pool::Shared::new(out);
    pool::for_each(down * across, |i| {
        let r = i / across * rows..((i / across + 1) * rows).min(m);
        let c = i % across * columns..((i % across + 1) * columns).min(n);
        // SAFETY: the tile's rows and columns lie in the m·n elements of `out`, and no other tile has any of them.
        unsafe {
            let corner = shared.as_mut_ptr().add(r.start * n + c.start);
            product_at(a.some_rows(r), b.some_columns(c), corner, n, keep, scale);
        }
    });
}

/// Where a product goes inside a slice that several tiles write: its first element, the distance between its rows, and
/// what of the old content stays.
pub struct Place {
    pub start: usize,
    pub row: usize,
    pub keep: f32,
}

/// Writes keep·out + scale·(a·b) at `place` of a shared slice, on the calling thread.
///
/// # Safety
/// Nothing else reads or writes the elements of the result during the call.
///
/// # Panics
/// When the result does not lie within the slice.
pub unsafe fn product_into(
    a: View<'_>,
    b: View<'_>,
    out: &pool::Shared<'_, f32>,
    place: Place,
    scale: f32,
) {
    let (m, n) = (a.rows, b.columns);
    let Place { start, row, keep } = place;
    assert!(
        start + reach(m, n, row, 1) <= out.len() && (n <= row || m <= 1),
        "product of {m}x{n} at {start}"
    );
    // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
    unsafe { product_at(a, b, out.as_mut_ptr().add(start), row, keep, scale) }
}

/// Rows and columns of one tile of an m×n result whose elements cost k each.
fn tile(m: usize, n: usize, k: usize) -> (usize, usize) {
    let work = m * n * k;
    let (mut rows, mut columns) = (m.max(1), n.max(1));
    if work < SERIAL {
        return (rows, columns);
    }
    // Serving has no reason to cut finer than its threads: every tile packs its operands anew.
    let (parts, most) = match pool::trains() {
        true => (TRAINING_PARTS.max(work >> 20).min(16), TILE),
        false => (pool::threads(), usize::MAX),
    };
    let enough = |rows: usize, columns: usize| {
        m.div_ceil(rows) * n.div_ceil(columns) >= parts && rows * columns * k <= most
    };
    while !enough(rows, columns) {
        let before = (rows, columns);
        if rows > columns || columns <= 64 {
            rows = rows.div_ceil(2).next_multiple_of(16).min(rows);
        } else {
            columns = columns.div_ceil(2).next_multiple_of(64).min(columns);
        }
        if (rows, columns) == before {
            break;
        }
    }
    (rows, columns)
}

/// # Safety
/// `out` points to `a.rows` rows of `b.columns` elements, `row` apart, that are valid and used by nothing
/// else during the call.
unsafe fn product_at(a: View<'_>, b: View<'_>, out: *mut f32, row: usize, keep: f32, scale: f32) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "inner sizes of a product");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: views were checked against their slices when made, so every element read for these sizes and strides is in
    // bounds; the caller promises it for those written.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            row as isize,
            keep != 0.0,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            keep,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_follow_their_strides() {
        // a = [[1,2],[3,4],[5,6]], stored by columns with a gap; b = [[1,0,2],[0,1,3]].
        let a = [1.0, 3.0, 5.0, -9.0, 2.0, 4.0, 6.0];
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 3.0];
        let mut out = vec![1.0; 3 * 4];
        let view = View::new(&a, (3, 2), (1, 4));
        product(view, View::dense(&b, 2, 3), &mut out, 4, 1.0, 2.0);
        let want = [
            [3.0, 5.0, 17.0, 1.0],
            [7.0, 9.0, 37.0, 1.0],
            [11.0, 13.0, 57.0, 1.0],
        ]
        .concat();
        assert_eq!(out, want);
    }

    #[test]
    fn tiles_cover_every_shape() {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 300, 256),
            (130, 70, 33),
            (64, 1, 2_048),
            (257, 129, 64),
        ] {
            let a: Vec<f32> = (0..m * k)
                .map(|i| ((i * 7 + 3) % 11) as f32 - 5.0)
                .collect();
            let b: Vec<f32> = (0..n * k)
                .map(|i| ((i * 5 + 1) % 13) as f32 - 6.0)
                .collect();
            let mut out = vec![f32::NAN; m * n];
            parallel(
                View::dense(&a, m, k),
                View::dense(&b, n, k).transposed(),
                &mut out,
                0.0,
                1.0,
            );
            for (at, found) in out.iter().enumerate() {
                let (r, c) = (at / n, at % n);
                let want: f32 = (0..k).map(|j| a[r * k + j] * b[c * k + j]).sum();
                assert_eq!(*found, want, "{m}x{n}x{k} at {r},{c}");
            }
        }
    }

    #[test]
    fn training_cuts_products_by_their_sizes_and_not_by_threads() {
        let turns = crate::device::Turns::default();
        pool::within(pool::Class::Training(turns), || {
            assert_eq!(tile(8, 8, 64), (8, 8));
            assert_eq!(tile(64, 64, 64), (32, 64));
            assert_eq!(tile(512, 16, 256), (256, 16));
            for (m, n, k) in [(512, 256, 256), (2048, 896, 4864), (1, 32_000, 896)] {
                let (rows, columns) = tile(m, n, k);
                let least = 16 * 64 * k;
                assert!(
                    rows * columns * k <= TILE.max(least),
                    "{m}x{n}x{k}: {rows}x{columns}"
                );
            }
        });
    }

    #[test]
    #[should_panic(expected = "view 2x2")]
    fn a_view_must_fit_its_slice() {
        View::dense(&[1.0, 2.0, 3.0], 2, 2);
    }
}
