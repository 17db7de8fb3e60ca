use super::{half, six_bits};
use crate::kernels::quant::packed::{Codes, Four, Layout, Nested};

/// 256 four-bit numbers: an f16 scale and shift, and six-bit multiples of both for each 32.
pub(in super::super) struct Q4K;

impl Layout for Q4K {
    type Codes = Four;
    type Scaling = Nested;
    const ZERO: i32 = 0;
    const STORED: usize = 144;

    fn place(stored: &[u8], lane: usize, codes: &mut [Four], scaling: &mut Nested) {
        scaling.set(lane, half(stored, 0), half(stored, 2));
        for (block, codes) in codes.iter_mut().enumerate() {
            let (scale, shift) = six_bits(&stored[4..16], block);
            scaling.set_block(lane, block, scale, shift);
            // Two blocks share 32 bytes, the first in their low halves.
            let bytes = &stored[16 + block / 2 * 32..][..32];
            for (value, byte) in bytes.iter().enumerate() {
                codes.set(lane, value, byte >> (4 * (block % 2)) & 15);
            }
        }
    }
}
