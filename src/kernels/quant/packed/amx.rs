//! The kernel for AMX: the matrix unit sums whole blocks for up to sixteen rows of x, and AVX-512 scales the sums. Whole
//! numbers are exact and the scaling is that of the AVX-512 kernel, so both give the same bits and may share a product.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;

use super::super::super::ahead::ask_for;
use super::{BLOCK, Codes, LANES, Layout, PANEL, Rounded, Scaling, Tiles, avx512};

/// Rows of x the matrix unit takes at once: a panel.
const MOST: usize = PANEL;
/// Fewer rows than this are faster without it.
const LEAST: usize = 8;
/// Fewer than this are not worth spreading codes for.
const WORTH_SPREADING: usize = 32;
/// Bytes of a block once spread: eight planes.
const SPREAD: usize = BLOCK * LANES;
/// Spread codes that are kept at a time: half of a second-level cache.
const KEPT: usize = 1 << 20;
/// Bytes that codes are asked for in advance.
const AHEAD: usize = 6 * SPREAD;

/// What the tile registers are: 0 and 1 hold sums (of both halves, or of each), 2 rows of x, 3 codes of 16 weight rows.
#[repr(C, align(64))]
struct Registers {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Registers {
    const fn of(rows: usize, halves: bool) -> Self {
        let inner = if halves { BLOCK / 2 } else { BLOCK };
        let (rows, line) = (rows as u8, 4 * LANES as u16);
        let mut registers = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        registers.rows.as_chunks_mut::<4>().0[0] = [rows, rows, rows, inner as u8 / 4];
        registers.row_bytes.as_chunks_mut::<4>().0[0] = [line, line, inner as u16, line];
        registers
    }
}

/// The codes of a block less their zero, one byte each.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Spread([u8; SPREAD]);

/// Sums of up to sixteen rows, of both halves of a block or of each.
#[repr(C, align(64))]
struct Sums([[[i32; LANES]; MOST]; 2]);

thread_local! {
    /// Codes of a format narrower than a byte.
    static WIDE: RefCell<Vec<Spread>> = const { RefCell::new(Vec::new()) };
}

/// `write` gets the numbers of a row and of a tile, and their outputs.
///
/// # Safety
/// The processor has AMX-INT8, the process may use it, and it has what the AVX-512 kernel needs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn tiles<L: Layout>(
    tiles: &Tiles<'_, L>,
    x: &Rounded,
    write: impl Fn(usize, usize, &[f32; LANES]),
) {
    let (blocks, rows) = match L::Codes::WIDE || x.rows() >= WORTH_SPREADING {
        true => (x.blocks, x.rows() - x.rows() % LEAST),
        false => (x.blocks, 0),
    };
    let count = tiles.codes.len() / blocks.max(1);
    if rows > 0 && L::Codes::WIDE {
        // SAFETY: codes that are wide lie as spread ones do; features as this function's.
        unsafe { all_rows(tiles, tiles.codes.as_ptr().cast(), x, rows, &write) };
    } else if rows > 0 {
        let at_once = (KEPT / (blocks.max(1) * SPREAD)).max(1);
        WIDE.with_borrow_mut(|wide| {
            for first in (0..count).step_by(at_once) {
                let some = tiles.some(first..(first + at_once).min(count), blocks);
                if wide.len() < some.codes.len() {
                    wide.resize(some.codes.len(), Spread([0; SPREAD]));
                }
                let write = |row: usize, tile: usize, out: &_| write(row, first + tile, out);
                // SAFETY: `wide` has the codes of these tiles; features as this function's.
                unsafe {
                    for (codes, wide) in some.codes.iter().zip(wide.iter_mut()) {
                        spread::<L>(codes, wide);
                    }
                    all_rows(&some, wide.as_ptr(), x, rows, &write);
                }
            }
        });
    }
    if rows == x.rows() {
        return;
    }
    // SAFETY: as this function demands.
    unsafe { avx512::tiles(tiles, x, rows..x.rows(), write) }
}

/// # Safety
/// Features as [`tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn spread<L: Layout>(codes: &L::Codes, wide: &mut Spread) {
    let to = wide.0.as_mut_ptr().cast::<__m512i>();
    let zero = _mm512_set1_epi8(L::ZERO as i8);
    macro_rules! planes {
        ($($g:literal)*) => {$(
            // SAFETY: eight planes of 64 bytes, aligned by their type; the features are this function's.
            unsafe {
                let plane = L::Codes::plane512::<$g>(codes);
                _mm512_store_si512(to.add($g), _mm512_sub_epi8(plane, zero));
            }
        )*};
    }
    planes!(0 1 2 3 4 5 6 7);
}

/// The first `rows` rows, a multiple of [`LEAST`], with tiles whose spread codes are at `codes`.
///
/// # Safety
/// `codes` has the blocks of all tiles; features as [`tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn all_rows<L: Layout>(
    tiles: &Tiles<'_, L>,
    codes: *const Spread,
    x: &Rounded,
    rows: usize,
    write: &impl Fn(usize, usize, &[f32; LANES]),
) {
    let (most, less) = (rows - rows % MOST, rows % MOST);
    // SAFETY: rows row..row + R exist, the registers are set up for R, and the rest is this function's own demand.
    unsafe {
        if most > 0 {
            set_up(&const { Registers::of(MOST, L::Scaling::HALVES) });
            for row in (0..most).step_by(MOST) {
                some_rows::<L, MOST>(tiles, codes, x, row, write);
            }
        }
        if less > 0 {
            set_up(&const { Registers::of(LEAST, L::Scaling::HALVES) });
            some_rows::<L, LEAST>(tiles, codes, x, most, write);
        }
        // What these registers hold would be saved and restored with every switch to another thread.
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// # Safety
/// Features as [`tiles`].
unsafe fn set_up(registers: &Registers) {
    // SAFETY: a set-up that the unit has: sizes are within its limits.
    unsafe { asm!("ldtilecfg [{}]", in(reg) registers, options(nostack, readonly)) };
}

/// # Safety
/// Rows `row..row + R` of x exist, `codes` has the blocks of all tiles, and the registers are set up for `L` and `R`;
/// features as [`tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn some_rows<L: Layout, const R: usize>(
    tiles: &Tiles<'_, L>,
    codes: *const Spread,
    x: &Rounded,
    row: usize,
    write: &impl Fn(usize, usize, &[f32; LANES]),
) {
    let (blocks, span) = (x.blocks, L::Scaling::SPAN);
    if blocks == 0 {
        return;
    }
    let count = tiles.codes.len() / blocks;
    tiles.check(x, row, R, count);
    let (first, width) = (x.at(row, 0), x.width(row));
    // Two: the next block is summed while one is scaled.
    let mut sums = [const { MaybeUninit::<Sums>::uninit() }; 2];
    // SAFETY: `check` has seen rows row..row + R of x and the tiles' blocks, the codes are the caller's promise, and sums
    // have room for the R rows that the registers are set up for.
    unsafe {
        let q = x.q.as_ptr().add(first);
        let sum = |at: usize, block: usize, sums: &mut MaybeUninit<Sums>| {
            let codes = codes.add(at);
            // The first rows bring them from memory.
            if L::Codes::WIDE && row == 0 {
                ask_for(codes, AHEAD, 1);
            }
            let q = q.add(block * width).cast();
            block_sums::<L>(q, codes, sums.as_mut_ptr().cast());
        };
        sum(0, 0, &mut sums[0]);
        for tile in 0..count {
            let mut out = [_mm512_setzero_ps(); R];
            for block in 0..blocks {
                let at = tile * blocks + block;
                if at + 1 < count * blocks {
                    let next = if block + 1 < blocks { block + 1 } else { 0 };
                    sum(at + 1, next, &mut sums[(at + 1) % 2]);
                }
                let sums = sums[at % 2].as_ptr().cast::<[i32; LANES]>();
                let scaling = tiles.scaling.get_unchecked(at / span);
                let (of_halves, shift) = scaling.lanes512(at % span);
                for (r, out) in out.iter_mut().enumerate() {
                    let at = first + block * width + r;
                    let scale = _mm512_set1_ps(*x.scales.get_unchecked(at));
                    let sum = |half: usize| {
                        _mm512_cvtepi32_ps(_mm512_load_si512(sums.add(half * MOST + r).cast()))
                    };
                    *out = if L::Scaling::HALVES {
                        let low = _mm512_mul_ps(sum(0), of_halves[0]);
                        let both = _mm512_fmadd_ps(sum(1), of_halves[1], low);
                        _mm512_fmadd_ps(both, scale, *out)
                    } else {
                        _mm512_fmadd_ps(sum(0), _mm512_mul_ps(of_halves[0], scale), *out)
                    };
                    if L::Scaling::SHIFTS {
                        let weighted = _mm512_set1_ps(*x.weighted.get_unchecked(at));
                        *out = _mm512_fmadd_ps(shift, weighted, *out);
                    }
                }
            }
            for (r, out) in out.iter().enumerate() {
                let mut values = [0f32; LANES];
                _mm512_storeu_ps(values.as_mut_ptr(), *out);
                write(row + r, tile, &values);
            }
        }
    }
}

/// Sums of x · (code − zero) over a block, of both halves together or of each.
///
/// # Safety
/// The registers are set up for this layout, and all that they take exists.
#[inline(always)]
unsafe fn block_sums<L: Layout>(q: *const i8, codes: *const Spread, to: *mut [i32; LANES]) {
    macro_rules! product {
        ($sum:tt, $q:expr, $codes:expr, $to:expr) => {
            asm!(
                concat!("tilezero ", $sum),
                "tileloadd tmm3, [{codes} + {line}*1]",
                "tileloadd tmm2, [{q} + {row}*1]",
                concat!("tdpbssd ", $sum, ", tmm2, tmm3"),
                concat!("tilestored [{to} + {line}*1], ", $sum),
                codes = in(reg) $codes, q = in(reg) $q, to = in(reg) $to,
                line = in(reg) 4 * LANES, row = in(reg) BLOCK,
                out($sum) _, out("tmm2") _, out("tmm3") _, options(nostack),
            )
        };
    }
    // SAFETY: as this function demands.
    unsafe {
        product!("tmm0", q, codes, to);
        if L::Scaling::HALVES {
            let (q, codes) = (q.add(BLOCK / 2), codes.cast::<u8>().add(SPREAD / 2));
            product!("tmm1", q, codes, to.add(MOST));
        }
    }
}
