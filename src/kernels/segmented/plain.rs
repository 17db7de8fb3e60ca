//! The plain twin, for any processor: the same pieces, in loops that any compiler understands.

use super::layout::{BLOCK, LANES, Piece, within};
use super::work::{Expand, Shrink};

/// A stored number as f32, exactly.
pub(super) trait Widen: Copy {
    /// Whether such numbers lie in pairs.
    const PAIRED: bool;

    fn widen(self) -> f32;
}

impl Widen for f32 {
    const PAIRED: bool = false;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

/// A bf16: the upper half of the f32 of the same value.
impl Widen for u16 {
    const PAIRED: bool = true;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self) << 16)
    }
}

/// What every tier can read.
#[cfg(target_arch = "x86_64")]
pub(super) trait Number: Widen + super::x86::avx2::Load + super::x86::avx512::Load {}
#[cfg(target_arch = "x86_64")]
impl<T: Widen + super::x86::avx2::Load + super::x86::avx512::Load> Number for T {}
#[cfg(not(target_arch = "x86_64"))]
pub(super) use Widen as Number;

pub(super) fn shrink<T: Widen>(task: &Shrink<'_>, panel: &[T]) {
    for row in 0..task.rows {
        let x = task.x_row(row);
        for j in 0..task.width {
            let mut lanes = [0f32; LANES];
            let blocks = panel.chunks_exact(task.padded * LANES);
            for (x, a) in x.chunks(LANES).zip(blocks) {
                let a = &a[j * LANES..][..LANES];
                for (lane, (x, a)) in lanes.iter_mut().zip(x.iter().zip(a)) {
                    *lane += x * a.widen();
                }
            }
            // SAFETY: the sum is of this task.
            unsafe { *task.hidden_at(row, j) = task.scale * lanes.iter().sum::<f32>() }
        }
    }
}

pub(super) fn expand<T: Widen>(task: &Expand<'_>, block: &[T], piece: &Piece) {
    for row in 0..task.rows {
        let mut sums = [0f32; BLOCK];
        for (r, hidden) in task.hidden_row(row).iter().enumerate() {
            for (column, sum) in sums[..piece.width].iter_mut().enumerate() {
                *sum += hidden * block[within(T::PAIRED, piece.width, r, column)].widen();
            }
        }
        // SAFETY: the columns are of this task.
        let y = unsafe { task.y_row(row, piece.first, piece.width) };
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum);
    }
}
