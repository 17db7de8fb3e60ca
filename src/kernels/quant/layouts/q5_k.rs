use super::{half, six_bits};
use crate::kernels::quant::packed::{Codes, Five, Layout, Nested};

/// 256 five-bit numbers: an f16 scale and shift, and six-bit multiples of both for each 32; the fifth bits lie together.
pub(in super::super) struct Q5K;

impl Layout for Q5K {
    type Codes = Five;
    type Scaling = Nested;
    const ZERO: i32 = 0;
    const STORED: usize = 176;

    fn place(stored: &[u8], lane: usize, codes: &mut [Five], scaling: &mut Nested) {
        scaling.set(lane, half(stored, 0), half(stored, 2));
        let high = &stored[16..48];
        for (block, codes) in codes.iter_mut().enumerate() {
            let (scale, shift) = six_bits(&stored[4..16], block);
            scaling.set_block(lane, block, scale, shift);
            // Two blocks share 32 bytes, the first in their low halves; bit `block` of the high bytes is this block's.
            let bytes = &stored[48 + block / 2 * 32..][..32];
            for (value, (byte, high)) in bytes.iter().zip(high).enumerate() {
                let low = byte >> (4 * (block % 2)) & 15;
                codes.set(lane, value, low | (high >> block & 1) << 4);
            }
        }
    }
}
