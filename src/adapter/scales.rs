//! Factors a feature, on what goes into a linear layer or comes out of it.

use std::sync::Arc;

/// `None`: all ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scales {
    /// [inputs]
    pub input: Option<Arc<[f32]>>,
    /// [outputs]
    pub output: Option<Arc<[f32]>>,
}

impl Scales {
    /// Memory of the factors.
    pub fn bytes(&self) -> u64 {
        let both = [&self.input, &self.output].into_iter().flatten();
        both.map(|factors| size_of_val(&factors[..]) as u64).sum()
    }
}
