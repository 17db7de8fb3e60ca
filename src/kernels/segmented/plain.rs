//! The plain twin: the definition, for any processor.

use half::bf16;

use super::{LowRank, Rows, RowsMut, Values};

pub(super) fn product(
    rows: usize,
    x: Rows<'_>,
    y: &mut RowsMut<'_>,
    weights: &LowRank,
    hidden: &mut [f32],
) {
    let (rank, inputs, outputs) = (weights.rank(), weights.inputs(), weights.outputs());
    for row in 0..rows {
        let x = &x.data[row * x.stride..][..inputs];
        let y = &mut y.data[row * y.stride..][..outputs];
        let hidden = &mut hidden[row * rank..][..rank];
        match weights.a() {
            Values::F32(a) => shrink(x, a, weights.scale(), hidden),
            Values::Bf16(a) => shrink(x, a, weights.scale(), hidden),
        }
        match weights.b_transposed() {
            Values::F32(b) => expand(hidden, b, y),
            Values::Bf16(b) => expand(hidden, b, y),
        }
    }
}

fn shrink<T: Widen>(x: &[f32], a: &[T], scale: f32, hidden: &mut [f32]) {
    for (hidden, a) in hidden.iter_mut().zip(a.chunks_exact(x.len())) {
        *hidden = scale * x.iter().zip(a).map(|(x, a)| x * a.widen()).sum::<f32>();
    }
}

fn expand<T: Widen>(hidden: &[f32], b_transposed: &[T], y: &mut [f32]) {
    let width = y.len();
    for (column, y) in y.iter_mut().enumerate() {
        let terms = hidden.iter().enumerate();
        *y += terms
            .map(|(r, hidden)| hidden * b_transposed[r * width + column].widen())
            .sum::<f32>();
    }
}

/// A stored number as f32, exactly.
pub(super) trait Widen: Copy {
    fn widen(self) -> f32;
}

impl Widen for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Widen for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}
