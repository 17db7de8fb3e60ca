use super::half;
use crate::kernels::quant::packed::{Codes, Layout, NestedHalves, Six};

/// 256 six-bit numbers less 32: an f16 scale, and int8 multiples of it for each 16.
pub(in super::super) struct Q6K;

impl Layout for Q6K {
    type Codes = Six;
    type Scaling = NestedHalves;
    const ZERO: i32 = 32;
    const STORED: usize = 210;

    fn place(stored: &[u8], lane: usize, codes: &mut [Six], scaling: &mut NestedHalves) {
        let (low, rest) = stored.split_at(128);
        let (high, rest) = rest.split_at(64);
        scaling.set(lane, half(rest, 16));
        for (block, codes) in codes.iter_mut().enumerate() {
            for part in 0..2 {
                scaling.set_half(lane, block, part, rest[2 * block + part] as i8);
            }
            // Four blocks share 64 low bytes, two in each half of a byte, and 32 high bytes, two bits each.
            let (group, of_group) = (block / 4, block % 4);
            let low = &low[64 * group + 32 * (of_group % 2)..][..32];
            let high = &high[32 * group..][..32];
            for (value, (low, high)) in low.iter().zip(high).enumerate() {
                let low = low >> (4 * (of_group / 2)) & 15;
                codes.set(lane, value, low | (high >> (2 * of_group) & 3) << 4);
            }
        }
    }
}
