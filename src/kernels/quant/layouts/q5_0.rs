use super::{half, nibble};
use crate::kernels::quant::packed::{Codes, Five, Layout, Scaled};

/// 32 five-bit numbers less 16, with one f16 scale; the fifth bits lie together.
pub(in super::super) struct Q5_0;

impl Layout for Q5_0 {
    type Codes = Five;
    type Scaling = Scaled;
    const ZERO: i32 = 16;
    const STORED: usize = 22;

    fn place(stored: &[u8], lane: usize, codes: &mut [Five], scaling: &mut Scaled) {
        scaling.set(lane, half(stored, 0));
        for value in 0..32 {
            let high = stored[2 + value / 8] >> (value % 8) & 1;
            codes[0].set(lane, value, nibble(&stored[6..], value) | high << 4);
        }
    }
}
