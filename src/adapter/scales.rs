//! Factors a feature, on what goes into a linear layer or comes out of it, and what is added there.

use std::sync::Arc;

/// `((W (x ∘ input) + b) − b) ∘ around_bias + b) ∘ output + shift`, with what low-rank products add to W; `None`: all ones, of
/// the shift all zeros.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scales {
    /// [inputs]
    pub input: Option<Arc<[f32]>>,
    /// [outputs], of everything but the layer's bias.
    pub around_bias: Option<Arc<[f32]>>,
    /// [outputs]
    pub output: Option<Arc<[f32]>>,
    /// [outputs], such as a bias of the adapter's own less the layer's.
    pub shift: Option<Arc<[f32]>>,
}

impl Scales {
    /// Those there are, in the order of their fields.
    pub fn all(&self) -> impl Iterator<Item = &Arc<[f32]>> {
        [&self.input, &self.around_bias, &self.output, &self.shift]
            .into_iter()
            .flatten()
    }

    /// Memory of the vectors.
    pub fn bytes(&self) -> u64 {
        self.all()
            .map(|factors| size_of_val(&factors[..]) as u64)
            .sum()
    }
}
