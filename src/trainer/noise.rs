//! NEFTune (Jain et al., 2023, arXiv:2310.05914): uniform noise on what enters the first layer, while learning.

use std::ops::Range;

use super::rng::{self, Purpose, unit};
use crate::adapter::{Adapt, BaseNorm, Past, Routed, Site, Sublayer};
use crate::device::{Array, Result};
use crate::kernels::activation::Residual;
use crate::kernels::op::{Run, Value};
use crate::kernels::quant::{Layer, Matrix};

/// How much, and which of all draws.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    /// Noise lies within ± alpha / sqrt(tokens × width) for a sequence of so many tokens.
    pub alpha: f64,
    pub seed: u64,
    pub step: u64,
    pub forward: u64,
}

/// Adapters whose embeddings get noise; all else is theirs.
pub struct Noisy<'a> {
    pub adapters: Box<dyn Adapt + 'a>,
    pub noise: Noise,
    /// Rows of each sequence of the forward.
    pub ranges: &'a [Range<usize>],
}

impl Noisy<'_> {
    /// [rows, width]
    fn draw(&self, rows: usize, width: usize) -> Array {
        let Noise {
            alpha,
            seed,
            step,
            forward,
        } = self.noise;
        let mut words = rng::stream(seed, Purpose::Noise, &[step, forward]);
        let mut noise = Array::zeros((rows, width));
        for range in self.ranges {
            let most = (alpha / ((range.len() * width) as f64).sqrt()) as f32;
            let values = &mut noise.values_mut()[range.start * width..range.end * width];
            values.fill_with(|| most * (2.0 * unit(&mut words) - 1.0));
        }
        noise
    }
}

impl Adapt for Noisy<'_> {
    fn embedded(&self, run: Run<'_, '_>, tokens: &[u32], x: Value) -> Result<Value> {
        let x = self.adapters.embedded(run, tokens, x)?;
        let noise = self.draw(x.rows(), x.width()).into();
        run.op(Residual, &[&x, &noise])
    }

    fn virtual_tokens(&self) -> usize {
        self.adapters.virtual_tokens()
    }

    fn through(&self, run: Run<'_, '_>, site: Site, x: &Value, layer: &Layer<'_>) -> Result<Value> {
        self.adapters.through(run, site, x, layer)
    }

    fn through_each(
        &self,
        run: Run<'_, '_>,
        x: &Value,
        layers: &[(Site, Layer<'_>)],
    ) -> Result<Vec<Value>> {
        self.adapters.through_each(run, x, layers)
    }

    fn norm(&self, run: Run<'_, '_>, base: BaseNorm<'_>, x: &Value) -> Result<Value> {
        self.adapters.norm(run, base, x)
    }

    fn residual(&self, run: Run<'_, '_>, at: Sublayer, x: &Value, y: &Value) -> Result<Value> {
        self.adapters.residual(run, at, x, y)
    }

    fn past(&self, layer: usize, tokens: &[u32]) -> Result<Option<Past>> {
        self.adapters.past(layer, tokens)
    }

    fn with_past(
        &self,
        run: Run<'_, '_>,
        layer: usize,
        tokens: &[u32],
        both: [Value; 2],
    ) -> Result<[Value; 2]> {
        self.adapters.with_past(run, layer, tokens, both)
    }

    fn head(&self, run: Run<'_, '_>, x: &Value, head: &Layer<'_>) -> Result<Value> {
        self.adapters.head(run, x, head)
    }

    fn token_losses(
        &self,
        run: Run<'_, '_>,
        hidden: &Value,
        targets: &[u32],
        head: &std::sync::Arc<Matrix>,
    ) -> Result<Value> {
        self.adapters.token_losses(run, hidden, targets, head)
    }

    fn of_rows(&self, rows: &[usize]) -> Option<Routed> {
        self.adapters.of_rows(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Unadapted;

    fn drawn(alpha: f64, step: u64) -> Array {
        let noisy = Noisy {
            adapters: Box::new(Unadapted),
            noise: Noise {
                alpha,
                seed: 7,
                step,
                forward: 0,
            },
            ranges: &[0..4, 4..20],
        };
        let zeros = Array::zeros((20, 25)).into();
        let x = noisy.embedded(Run::host(), &[0; 20], zeros).unwrap();
        x.into_array()
    }

    #[test]
    fn noise_fills_its_bound_for_each_sequence_and_differs_from_step_to_step() {
        let noise = drawn(5.0, 1);
        for (rows, bound) in [(0..4, 0.5f32), (4..20, 0.25)] {
            let values = &noise.values()[rows.start * 25..rows.end * 25];
            let most = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            assert!(most <= bound && most > 0.9 * bound, "{most}");
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            assert!(mean.abs() < 0.2 * bound, "{mean}");
        }
        assert_eq!(noise.values(), drawn(5.0, 1).values());
        assert_ne!(noise.values(), drawn(5.0, 2).values());
    }
}
