use super::half;
use crate::kernels::quant::packed::{Codes, Eight, Layout, Scaled};

/// 32 int8 with one f16 scale. Codes are 128 more, because multiply instructions take one factor unsigned.
pub(in super::super) struct Q8_0;

impl Layout for Q8_0 {
    type Codes = Eight;
    type Scaling = Scaled;
    const ZERO: i32 = 128;
    const STORED: usize = 34;

    fn place(stored: &[u8], lane: usize, codes: &mut [Eight], scaling: &mut Scaled) {
        scaling.set(lane, half(stored, 0));
        for (value, byte) in stored[2..].iter().enumerate() {
            codes[0].set(lane, value, byte ^ 128);
        }
    }
}
