use super::{half, nibble};
use crate::kernels::quant::packed::{Codes, Four, Layout, Shifted};

/// 32 four-bit numbers with an f16 scale and an f16 shift.
pub(in super::super) struct Q4_1;

impl Layout for Q4_1 {
    type Codes = Four;
    type Scaling = Shifted;
    const ZERO: i32 = 0;
    const STORED: usize = 20;

    fn place(stored: &[u8], lane: usize, codes: &mut [Four], scaling: &mut Shifted) {
        scaling.set(lane, half(stored, 0), half(stored, 2));
        for value in 0..32 {
            codes[0].set(lane, value, nibble(&stored[4..], value));
        }
    }
}
