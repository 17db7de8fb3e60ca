use super::half;
use crate::kernels::quant::packed::{Codes, Layout, NestedHalves, Six};

/// 256 three-bit numbers less 4: an f16 scale, and six-bit multiples of it less 32 for each 16. Held as six-bit numbers,
/// which are the same weights: it saves a kernel for a format that is rarely used.
pub(in super::super) struct Q3K;

impl Layout for Q3K {
    type Codes = Six;
    type Scaling = NestedHalves;
    const ZERO: i32 = 32;
    const STORED: usize = 110;

    fn place(stored: &[u8], lane: usize, codes: &mut [Six], scaling: &mut NestedHalves) {
        let (high, rest) = stored.split_at(32);
        let (low, rest) = rest.split_at(64);
        scaling.set(lane, half(rest, 12));
        for (block, codes) in codes.iter_mut().enumerate() {
            for part in 0..2 {
                let at = 2 * block + part;
                let four = rest[at % 8] >> (4 * (at / 8)) & 15;
                let two = rest[8 + at % 4] >> (2 * (at / 4)) & 3;
                scaling.set_half(lane, block, part, (four | two << 4) as i8 - 32);
            }
            // Four blocks share 32 low bytes, two bits each; all share the high bytes, one bit each.
            let low = &low[32 * (block / 4)..][..32];
            for (value, (low, high)) in low.iter().zip(high).enumerate() {
                let code = low >> (2 * (block % 4)) & 3 | (high >> block & 1) << 2;
                codes.set(lane, value, code + 32 - 4);
            }
        }
    }
}
