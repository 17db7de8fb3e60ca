use super::{half, nibble};
use crate::kernels::quant::packed::{Codes, Four, Layout, Scaled};

/// 32 four-bit numbers less 8, with one f16 scale.
pub(in super::super) struct Q4_0;

impl Layout for Q4_0 {
    type Codes = Four;
    type Scaling = Scaled;
    const ZERO: i32 = 8;
    const STORED: usize = 18;

    fn place(stored: &[u8], lane: usize, codes: &mut [Four], scaling: &mut Scaled) {
        scaling.set(lane, half(stored, 0));
        for value in 0..32 {
            codes[0].set(lane, value, nibble(&stored[2..], value));
        }
    }
}
