//! The kernel for AMX: blocks of sixteen rows of x by sixteen of W, two by two where there are as many.

use std::arch::asm;
use std::mem::MaybeUninit;
use std::ops::Range;

use half::bf16;

use super::super::packed::LANES;
use super::super::product::Output;
use super::{Paired, Rows, STEP};

/// Rows of x in a tile register.
const MOST: usize = 16;
/// Bytes of a register's line.
const LINE: usize = 64;

/// What the tile registers are: 0 to 3 hold sums, 4 and 5 rows of x, 6 and 7 pairs of 16 weight rows.
#[repr(C, align(64))]
struct Registers {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Registers {
    /// For so many rows of x at a time, up to [`MOST`].
    fn of(rows: usize) -> Self {
        let mut registers = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        registers.row_bytes[..8].fill(LINE as u16);
        registers.rows[..6].fill(rows as u8);
        registers.rows[6..8].fill(STEP as u8);
        registers
    }
}

/// Sums of up to sixteen rows.
#[repr(C, align(64))]
struct Sums([[f32; LANES]; MOST]);

/// Multiplies all rows of x with these tiles.
///
/// # Safety
/// The processor has AMX-BF16 and the process may use it, the tiles exist, x has rows as wide as theirs, and the outputs
/// are the caller's.
pub(super) unsafe fn tiles(weight: &Paired, tiles: Range<usize>, x: &Rows, y: &Output<'_>) {
    let whole = x.rows - x.rows % MOST;
    for (rows, height) in [(0..whole, MOST), (whole..x.rows, x.rows - whole)] {
        if rows.is_empty() {
            continue;
        }
        let registers = Registers::of(height);
        // SAFETY: a set-up that the unit has, since sizes are within its limits.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &registers, options(nostack, readonly)) };
        for first in tiles.clone().step_by(2) {
            // A last one without a companion is multiplied twice, to the same outputs.
            let pair = [first, (first + 1).min(tiles.end - 1)];
            let mut row = rows.start;
            // SAFETY: these rows and tiles exist, the registers are set up for them, and their outputs are the caller's.
            unsafe {
                while row + 2 * height <= rows.end {
                    blocks::<2>(weight, pair, x, row, height, y);
                    row += 2 * height;
                }
                if row < rows.end {
                    blocks::<1>(weight, pair, x, row, height, y);
                }
            }
        }
    }
    // What these registers hold would be saved and restored with every switch to another thread.
    // SAFETY: nothing is kept in them.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// `R` blocks of `height` rows, from `row` on, with two tiles.
///
/// # Safety
/// As [`tiles`]; the registers are set up for blocks of this height.
unsafe fn blocks<const R: usize>(
    weight: &Paired,
    pair: [usize; 2],
    x: &Rows,
    row: usize,
    height: usize,
    y: &Output<'_>,
) {
    let rows = &x.pairs[row * x.width..(row + R * height) * x.width];
    let next = (R - 1) * height * x.width;
    let tiles = pair.map(|tile| weight.tile(tile));
    let mut sums = [const { MaybeUninit::<Sums>::uninit() }; 4];
    // SAFETY: a register takes `height` lines of 64 bytes from x, which are a line of each row, and 16 from a tile, one a
    // pair; a row is whole steps of 16 pairs wide, and a tile has as many. Sums have room for sixteen lines.
    unsafe {
        macro_rules! sum {
            ($zero:literal, $more:literal, $store:literal) => {
                asm!(
                    "tilezero tmm0", "tilezero tmm1", $zero,
                    "2:",
                    "tileloadd tmm6, [{w0} + {line}*1]",
                    "tileloadd tmm4, [{x0} + {wide}*1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{w1} + {line}*1]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    $more,
                    "add {w0}, 1024", "add {w1}, 1024", "add {x0}, 64", "add {x1}, 64",
                    "dec {steps}", "jnz 2b",
                    "tilestored [{to} + {line}*1], tmm0",
                    "tilestored [{to} + {line}*1 + 1024], tmm1",
                    $store,
                    w0 = inout(reg) tiles[0].as_ptr() => _, w1 = inout(reg) tiles[1].as_ptr() => _,
                    x0 = inout(reg) rows.as_ptr() => _, x1 = inout(reg) rows[next..].as_ptr() => _,
                    steps = inout(reg) x.width / STEP => _,
                    line = in(reg) LINE, wide = in(reg) x.width * size_of::<[bf16; 2]>(), to = in(reg) &mut sums,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack),
                )
            };
        }
        if R == 2 {
            sum!(
                "tilezero tmm2\ntilezero tmm3",
                "tileloadd tmm5, [{x1} + {wide}*1]\ntdpbf16ps tmm2, tmm5, tmm6\ntdpbf16ps tmm3, tmm5, tmm7",
                "tilestored [{to} + {line}*1 + 2048], tmm2\ntilestored [{to} + {line}*1 + 3072], tmm3"
            );
        } else {
            sum!("", "", "");
        }
        for block in 0..R {
            for (tile, at) in pair.into_iter().enumerate() {
                let sums = sums[2 * block + tile].as_ptr().cast::<[f32; LANES]>();
                for r in 0..height {
                    y.put(row + block * height + r, at * LANES, &*sums.add(r));
                }
            }
        }
    }
}
