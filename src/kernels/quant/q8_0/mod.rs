//! Q8_0, packed: 32 values with one f16 scale, 16 rows side by side.
//!
//! Products round activations to int8 per 32 values, add up whole numbers exactly within a block, and blocks in their
//! order: an output depends on its row of x and its row of W alone, bit for bit, whatever the batch and the threads.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use candle_core::quantized::QTensor;
use candle_core::{Result, bail};

use super::super::memory::Large;
use super::super::pool::{self, Shared};
use super::super::simd::simd_fn;
use super::Packed;
use super::activations::{BLOCK, Rounded};
use super::single;

/// Weight rows of a tile.
const LANES: usize = 16;
/// Bytes of a block as files hold it: scale, then values.
const STORED: usize = 2 + BLOCK;
/// Multiply-adds below which a product stays on one thread, and those of a training tile (under two milliseconds).
const SERIAL: usize = 1 << 18;
const TILE: usize = 1 << 26;

/// 32 values of 16 rows. Value `4·g + i` of row `r` is `q[g][4·r + i]`: what one multiply instruction takes lies together.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Group {
    q: [[i8; 4 * LANES]; BLOCK / 4],
    /// Bits of f16 numbers.
    scales: [u16; LANES],
}

// SAFETY: numbers alone, without padding.
unsafe impl bytemuck::Zeroable for Group {}

pub(super) struct Q8_0 {
    /// [tiles of 16 rows][blocks of a row]; rows beyond the last are zero.
    groups: Large<Group>,
    n: usize,
    blocks: usize,
}

/// The kernels of one instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Kernel {
    /// Those this processor can run, the fastest last.
    fn available() -> impl DoubleEndedIterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let all = {
            use super::super::simd::{Tier, tier};
            let vnni = tier() == Tier::Avx512 && is_x86_feature_detected!("avx512vnni");
            let avx2 = tier() >= Tier::Avx2;
            [
                Some(Self::Portable),
                avx2.then_some(Self::Avx2),
                vnni.then_some(Self::Avx512Vnni),
            ]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let all = [Some(Self::Portable)];
        all.into_iter().flatten()
    }

    fn best() -> Self {
        use std::sync::OnceLock;
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().next_back().unwrap_or(Self::Portable))
    }

    /// One tile of weight rows against every row of x; `write` takes the row's number and its 16 outputs.
    fn tile(self, groups: &[Group], x: &Rounded, write: impl FnMut(usize, &[f32; LANES])) {
        match self {
            Self::Portable => portable::tile(groups, x, write),
            // SAFETY: `available` gives this kernel only where the processor has its features.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::avx2(groups, x, write) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => unsafe { x86::avx512_vnni(groups, x, write) },
        }
    }
}

pub(super) fn pack(weight: QTensor, n: usize, k: usize) -> Result<Box<dyn Packed>> {
    Ok(Box::new(Q8_0::pack(&weight, n, k)?))
}

impl Q8_0 {
    fn pack(weight: &QTensor, n: usize, k: usize) -> Result<Self> {
        let data = weight.data()?;
        let blocks = k / BLOCK;
        if data.len() != n * blocks * STORED || !k.is_multiple_of(BLOCK) {
            bail!("{} bytes are not a q8_0 weight [{n}, {k}]", data.len());
        }
        let mut groups = Large::<Group>::zeroed(n.div_ceil(LANES) * blocks);
        pool::over_rows(
            &mut groups,
            blocks,
            pool::rows_of(1 << 16, LANES * k),
            |tiles, groups| {
                for (at, group) in groups.iter_mut().enumerate() {
                    let (tile, block) = (tiles.start + at / blocks, at % blocks);
                    for lane in 0..LANES.min(n - tile * LANES) {
                        let stored =
                            &data[((tile * LANES + lane) * blocks + block) * STORED..][..STORED];
                        group.scales[lane] = u16::from_le_bytes([stored[0], stored[1]]);
                        for (value, byte) in stored[2..].iter().enumerate() {
                            group.q[value / 4][4 * lane + value % 4] = *byte as i8;
                        }
                    }
                }
            },
        );
        Ok(Self { groups, n, blocks })
    }

    fn product_with(&self, kernel: Kernel, x: &Rounded, y: &mut [f32]) {
        let (n, m, k) = (self.n, x.rows(), self.blocks * BLOCK);
        let tiles = n.div_ceil(LANES);
        let work = m * n * k;
        let at_once = match (work < SERIAL, pool::trains()) {
            (true, _) => tiles,
            (false, false) => tiles.div_ceil(4 * pool::threads()),
            (false, true) => tiles
                .div_ceil(4 * pool::threads())
                .min(pool::rows_of(TILE, m * k * LANES)),
        }
        .max(1);
        let y = Shared::new(y);
        pool::for_each(tiles.div_ceil(at_once), |i| {
            for tile in i * at_once..((i + 1) * at_once).min(tiles) {
                let lanes = tile * LANES..((tile + 1) * LANES).min(n);
                kernel.tile(
                    &self.groups[tile * self.blocks..(tile + 1) * self.blocks],
                    x,
                    |row, out| {
                        // SAFETY: these outputs belong to this tile of weight rows alone.
                        let place = unsafe { y.part(row * n + lanes.start..row * n + lanes.end) };
                        place.copy_from_slice(&out[..lanes.len()]);
                    },
                );
            }
        });
    }
}

impl Packed for Q8_0 {
    fn bytes(&self) -> u64 {
        size_of_val(&self.groups[..]) as u64
    }

    fn product(&self, x: &[f32], _m: usize, y: &mut [f32]) -> Result<()> {
        let x = Rounded::of(x, self.blocks * BLOCK);
        self.product_with(Kernel::best(), &x, y);
        Ok(())
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
            let groups = &self.groups[tile * self.blocks..(tile + 1) * self.blocks];
            unpack_tile(groups, first, part, k);
            rest = after;
            row += count;
        }
        Ok(())
    }
}

simd_fn! {
    /// Rows `first..` of a tile as f32, as many as `out` has room for.
    fn unpack_tile(groups: &[Group], first: usize, out: &mut [f32], k: usize) {
        for (block, group) in groups.iter().enumerate() {
            for (lane, out) in out.chunks_exact_mut(k).enumerate() {
                let lane = first + lane;
                let scale = single(group.scales[lane]);
                let (out, _) = out[block * BLOCK..(block + 1) * BLOCK].as_chunks_mut::<4>();
                for (q, out) in group.q.iter().zip(out) {
                    for i in 0..4 {
                        out[i] = scale * f32::from(q[4 * lane + i]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::noise;
    use super::*;
    use candle_core::quantized::GgmlDType;
    use half::f16;

    fn weight(n: usize, k: usize) -> (QTensor, Q8_0) {
        let stored = QTensor::quantize(&noise(&[n, k], 0.7, 1), GgmlDType::Q8_0).unwrap();
        let packed = Q8_0::pack(&stored, n, k).unwrap();
        (stored, packed)
    }

    #[test]
    fn packing_loses_nothing() {
        for (n, k) in [(1, 32), (16, 64), (35, 96)] {
            let (stored, packed) = weight(n, k);
            let wanted: Vec<f32> = stored
                .dequantize(&candle_core::Device::Cpu)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap();
            let mut found = vec![0.0; n * k];
            packed.unpack(0..n, &mut found).unwrap();
            assert_eq!(found, wanted, "{n}x{k}");
            let mut some = vec![0.0; k];
            packed.unpack(n - 1..n, &mut some).unwrap();
            assert_eq!(some, wanted[(n - 1) * k..]);
        }
    }

    #[test]
    fn every_kernel_gives_the_exact_sum_of_rounded_numbers() {
        for (m, n, k) in [
            (1, 16, 32),
            (1, 33, 256),
            (5, 7, 64),
            (13, 48, 160),
            (40, 100, 96),
        ] {
            let (_, packed) = weight(n, k);
            let x: Vec<f32> = noise(&[m * k], 2.0, 2).to_vec1().unwrap();
            let rounded = Rounded::of(&x, k);
            let mut w = vec![0.0; n * k];
            packed.unpack(0..n, &mut w).unwrap();
            for kernel in Kernel::available() {
                let mut y = vec![f32::NAN; m * n];
                packed.product_with(kernel, &rounded, &mut y);
                for (at, y) in y.iter().enumerate() {
                    let (row, out) = (at / n, at % n);
                    let wanted: f64 = (0..k)
                        .map(|i| {
                            let x = f64::from(rounded.scales[(row * k + i) / BLOCK])
                                * f64::from(rounded.q[row * k + i]);
                            x * f64::from(w[out * k + i])
                        })
                        .sum();
                    assert!(
                        (f64::from(*y) - wanted).abs() < 1e-4,
                        "{kernel:?} {m}x{n}x{k} at {at}: {y}, not {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_bit_for_bit_alone_and_in_any_batch() {
        let (m, n, k) = (37, 50, 256);
        let (_, packed) = weight(n, k);
        let x: Vec<f32> = noise(&[m * k], 2.0, 3).to_vec1().unwrap();
        for kernel in Kernel::available() {
            let mut together = vec![0.0; m * n];
            packed.product_with(kernel, &Rounded::of(&x, k), &mut together);
            for row in 0..m {
                let mut alone = vec![0.0; n];
                packed.product_with(
                    kernel,
                    &Rounded::of(&x[row * k..(row + 1) * k], k),
                    &mut alone,
                );
                assert_eq!(
                    alone,
                    together[row * n..(row + 1) * n],
                    "{kernel:?}, row {row}"
                );
            }
        }
    }

    #[test]
    fn scales_keep_their_bits() {
        let (_, packed) = weight(16, 32);
        assert!(
            packed.groups[0]
                .scales
                .iter()
                .all(|scale| f16::from_bits(*scale).to_f32() == single(*scale))
        );
    }
}
