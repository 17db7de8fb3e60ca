use super::{half, nibble};
use crate::kernels::quant::packed::{Codes, Five, Layout, Shifted};

/// 32 five-bit numbers with an f16 scale and an f16 shift; the fifth bits lie together.
pub(in super::super) struct Q5_1;

impl Layout for Q5_1 {
    type Codes = Five;
    type Scaling = Shifted;
    const ZERO: i32 = 0;
    const STORED: usize = 24;

    fn place(stored: &[u8], lane: usize, codes: &mut [Five], scaling: &mut Shifted) {
        scaling.set(lane, half(stored, 0), half(stored, 2));
        for value in 0..32 {
            let high = stored[4 + value / 8] >> (value % 8) & 1;
            codes[0].set(lane, value, nibble(&stored[8..], value) | high << 4);
        }
    }
}
