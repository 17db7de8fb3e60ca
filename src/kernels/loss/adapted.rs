//! The cross entropy of a frozen head with a low-rank update that learns, a chunk of rows at a time.

use std::sync::Arc;

use super::{Slopes, check, cross_entropy, rows_of_a_chunk};
use crate::device::{Array, Result, bail};
use crate::kernels::dora::factor;
use crate::kernels::lowrank::{
    Factor, Setting, expand, expand_back, input_back, shrink, shrink_back,
};
use crate::kernels::op::{Holds, Op, Wants};
use crate::kernels::quant::Matrix;

/// As [`FrozenHead`](super::FrozenHead), of logits `W h + s · B A drop(h)` for A [r, h] and B [vocabulary, r]. With norms of
/// rows and magnitudes m [1, vocabulary] as a fourth input those are `m / norms ∘ (W + s · B A) drop(h)`, and what dropout
/// takes goes through W alone.
pub struct AdaptedHead {
    pub weight: Arc<Matrix>,
    pub targets: Arc<[u32]>,
    pub setting: Setting,
    pub norms: Option<Arc<[f32]>>,
}

/// What the backward needs: logits are computed again.
pub struct Kept {
    hidden: Array,
    a: Array,
    b: Array,
    factors: Option<Vec<f32>>,
}

impl AdaptedHead {
    fn check(&self, inputs: &[&Array]) -> Result<Kept> {
        let (hidden, a, b, magnitudes) = match (inputs, &self.norms) {
            ([hidden, a, b], None) => (hidden, a, b, None),
            ([hidden, a, b, magnitudes], Some(norms)) => (hidden, a, b, Some((magnitudes, norms))),
            _ => bail!(
                "a head with an update takes hidden states, factors, and magnitudes where it has norms"
            ),
        };
        let (vocabulary, width) = self.weight.dims();
        let fits =
            hidden.width() == width && a.width() == width && b.dims() == (vocabulary, a.rows());
        if !fits {
            bail!("{hidden:?} and factors {a:?} and {b:?} for a head [{vocabulary}, {width}]");
        }
        if let Some((magnitudes, norms)) = magnitudes
            && (magnitudes.dims() != (1, vocabulary) || norms.len() != vocabulary)
        {
            bail!(
                "{magnitudes:?} over {} norms for {vocabulary} rows",
                norms.len()
            );
        }
        check(hidden.rows(), &self.targets, vocabulary)?;
        Ok(Kept {
            hidden: (*hidden).clone(),
            a: (*a).clone(),
            b: (*b).clone(),
            factors: magnitudes.map(|(magnitudes, norms)| {
                let pairs = magnitudes.values().iter().zip(&norms[..]);
                pairs.map(|(m, n)| factor(*m, *n)).collect()
            }),
        })
    }

    /// What the update sees of hidden rows.
    fn seen(&self, hidden: &Array) -> Vec<f32> {
        let dropped = self.setting.dropped(hidden.values(), hidden.width());
        dropped.unwrap_or_else(|| hidden.values().to_vec())
    }
}

/// Logits of a chunk, and before magnitudes scaled them where there are some.
struct Logits {
    logits: Vec<f32>,
    before: Option<Vec<f32>>,
}

/// A forward over some rows.
struct Chunked<'a> {
    head: &'a AdaptedHead,
    kept: &'a Kept,
    seen: Vec<f32>,
    /// [R, r], scaled.
    low: Vec<f32>,
}

impl<'a> Chunked<'a> {
    fn new(head: &'a AdaptedHead, kept: &'a Kept) -> Self {
        let seen = head.seen(&kept.hidden);
        let low = shrink(&seen, Factor::of(&kept.a), head.setting.scale);
        Self {
            head,
            kept,
            seen,
            low,
        }
    }

    /// Of rows `start..start + count`.
    fn logits(&self, start: usize, count: usize) -> Result<Logits> {
        let (width, rank) = (self.kept.hidden.width(), self.kept.a.rows());
        let values = start * width..(start + count) * width;
        let hidden = &self.kept.hidden.values()[values.clone()];
        let low = &self.low[start * rank..(start + count) * rank];
        let Some(factors) = &self.kept.factors else {
            let mut logits = self.head.weight.product(hidden)?;
            expand(low, Factor::of(&self.kept.b), &mut logits);
            return Ok(Logits {
                logits,
                before: None,
            });
        };
        let seen = &self.seen[values];
        let mut before = self.head.weight.product(seen)?;
        expand(low, Factor::of(&self.kept.b), &mut before);
        let mut logits = before.clone();
        scale_columns(&mut logits, factors);
        if self.head.setting.dropout.is_some() {
            let rest: Vec<f32> = hidden
                .iter()
                .zip(seen)
                .map(|(all, seen)| all - seen)
                .collect();
            let rest = self.head.weight.product(&rest)?;
            logits
                .iter_mut()
                .zip(rest)
                .for_each(|(logit, rest)| *logit += rest);
        }
        Ok(Logits {
            logits,
            before: Some(before),
        })
    }
}

fn scale_columns(rows: &mut [f32], factors: &[f32]) {
    for row in rows.chunks_exact_mut(factors.len().max(1)) {
        let places = row.iter_mut().zip(factors);
        places.for_each(|(value, factor)| *value *= factor);
    }
}

fn add(sum: &mut [f32], more: &[f32]) {
    sum.iter_mut()
        .zip(more)
        .for_each(|(sum, more)| *sum += more);
}

impl Holds for Kept {
    fn arrays(&mut self, show: &mut dyn FnMut(&mut Array)) {
        show(&mut self.hidden);
    }
}

impl Op for AdaptedHead {
    type Saved = Kept;

    const EXACT: bool = true;

    fn forward(&self, inputs: &[&Array], _: Wants) -> Result<(Array, Kept)> {
        let kept = self.check(inputs)?;
        let (rows, vocabulary) = (kept.hidden.rows(), self.weight.dims().0);
        let chunked = Chunked::new(self, &kept);
        let at_once = rows_of_a_chunk(vocabulary);
        let mut losses = vec![0.0; rows];
        for (part, losses) in losses.chunks_mut(at_once).enumerate() {
            let start = part * at_once;
            let mut logits = chunked.logits(start, losses.len())?.logits;
            let targets = &self.targets[start..start + losses.len()];
            cross_entropy(&mut logits, targets, vocabulary, losses, Slopes::None);
        }
        Ok((Array::new(losses, (rows, 1))?, kept))
    }

    fn backward(&self, kept: Kept, grad: Array, wants: Wants) -> Result<Vec<Option<Array>>> {
        let ((rows, width), vocabulary) = (kept.hidden.dims(), self.weight.dims().0);
        let (a, b) = (Factor::of(&kept.a), Factor::of(&kept.b));
        let chunked = Chunked::new(self, &kept);
        let at_once = rows_of_a_chunk(vocabulary);
        let mut losses = vec![0.0; at_once.min(rows)];
        let (mut dlow, mut db) = (Vec::new(), vec![0.0; vocabulary * kept.a.rows()]);
        let (mut dhidden, mut drest) = (Vec::new(), Vec::new());
        let mut dmagnitudes = vec![0.0; vocabulary];
        for start in (0..rows).step_by(at_once) {
            let count = at_once.min(rows - start);
            let part = start..start + count;
            let Logits { mut logits, before } = chunked.logits(start, count)?;
            let slopes = Slopes::Times(&grad.values()[part.clone()]);
            let (targets, losses) = (&self.targets[part], &mut losses[..count]);
            cross_entropy(&mut logits, targets, vocabulary, losses, slopes);
            if let (Some(before), Some(factors)) = (before, &kept.factors) {
                if self.setting.dropout.is_some() && wants.has(0) {
                    drest.extend(self.weight.transposed_product(&logits)?);
                }
                let rows = logits.chunks_exact(vocabulary);
                for (slopes, before) in rows.zip(before.chunks_exact(vocabulary)) {
                    let places = dmagnitudes.iter_mut().zip(slopes.iter().zip(before));
                    places.for_each(|(sum, (slope, before))| *sum += slope * before);
                }
                scale_columns(&mut logits, factors);
            }
            let rank = kept.a.rows();
            let low = &chunked.low[start * rank..(start + count) * rank];
            let (part, more) = expand_back(&logits, low, b);
            dlow.extend(part);
            add(&mut db, &more);
            if wants.has(0) {
                dhidden.extend(self.weight.transposed_product(&logits)?);
            }
        }
        let da = shrink_back(&dlow, &chunked.seen, a, self.setting.scale);
        if wants.has(0) {
            match (&self.norms, self.setting.dropout) {
                (Some(_), Some(dropout)) => {
                    let all = Setting {
                        dropout: None,
                        ..self.setting
                    };
                    input_back(&dlow, a, &all, &mut dhidden);
                    dropout.apply(&mut dhidden, width);
                    add(&mut dhidden, &drest);
                    dropout.apply(&mut drest, width);
                    dhidden
                        .iter_mut()
                        .zip(drest)
                        .for_each(|(d, kept)| *d -= kept);
                }
                _ => input_back(&dlow, a, &self.setting, &mut dhidden),
            }
        }
        let dmagnitudes = self.norms.as_ref().map(|norms| {
            let pairs = dmagnitudes.into_iter().zip(&norms[..]);
            Array::row(pairs.map(|(sum, n)| factor(sum, *n)).collect())
        });
        let dhidden = wants.has(0).then(|| Array::new(dhidden, (rows, width)));
        let mut grads = vec![
            dhidden.transpose()?,
            Some(Array::new(da, kept.a.dims())?),
            Some(Array::new(db, kept.b.dims())?),
        ];
        if let Some(dmagnitudes) = dmagnitudes {
            grads.push(Some(dmagnitudes));
        }
        Ok(grads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dora::row_norms;
    use crate::kernels::loss::log_softmax;
    use crate::kernels::op::Run;
    use crate::kernels::quant::{Format, Layer};
    use crate::kernels::testing::{assert_close, assert_gradients, noise, once, tensor};
    use crate::kernels::{Dropout, lowrank::Through};

    fn weight(dims: (usize, usize)) -> Arc<Matrix> {
        let values = noise(dims, 0.7, 1);
        Arc::new(Matrix::quantize(&values, Format::F32).unwrap())
    }

    fn head(vocabulary: usize, targets: &[u32], norms: bool, dropout: bool) -> AdaptedHead {
        AdaptedHead {
            weight: weight((vocabulary, 6)),
            targets: targets.into(),
            setting: Setting {
                scale: 1.5,
                dropout: dropout.then_some(Dropout {
                    key: [3; 32],
                    rate: 0.3,
                }),
            },
            norms: norms.then(|| (0..vocabulary).map(|n| 1.0 + n as f32 * 0.1).collect()),
        }
    }

    /// More rows than one chunk has.
    #[test]
    fn losses_are_those_of_plain_logits() {
        let (vocabulary, rows) = (20_000, 150);
        let targets: Vec<u32> = (0..rows).map(|row| row * 131 % 20_000).collect();
        let (x, a) = (noise((rows as usize, 6), 1.0, 2), noise((2, 6), 1.0, 3));
        let b = noise((vocabulary, 2), 1.0, 4);
        let found = once(head(vocabulary, &targets, false, true), &[&x, &a, &b]).unwrap();
        let plain = head(vocabulary, &targets, false, true);
        let through = Through {
            weight: plain.weight.clone(),
            bias: None,
            setting: plain.setting,
        };
        let logits = once(through, &[&x, &a, &b]).unwrap();
        let wanted = oracle(logits, &targets);
        assert_close(&found, &tensor(&wanted), 1e-4, "losses");

        let m = noise((1, vocabulary), 1.0, 5);
        let found = once(head(vocabulary, &targets, true, false), &[&x, &a, &b, &m]).unwrap();
        let dora = head(vocabulary, &targets, true, false);
        let through = Through {
            weight: dora.weight.clone(),
            bias: None,
            setting: dora.setting,
        };
        let sum = once(through, &[&x, &a, &b]).unwrap();
        let scale = crate::kernels::dora::Magnitude {
            norms: dora.norms.unwrap(),
            bias: None,
        };
        let wanted = oracle(once(scale, &[&sum, &m]).unwrap(), &targets);
        assert_close(&found, &tensor(&wanted), 1e-4, "losses with magnitudes");
    }

    fn oracle(logits: Array, targets: &[u32]) -> Array {
        let width = logits.width();
        let log_probs = log_softmax(logits);
        let of = |(row, target): (usize, &u32)| -log_probs.values()[row * width + *target as usize];
        let losses: Vec<f32> = targets.iter().enumerate().map(of).collect();
        Array::new(losses, (targets.len(), 1)).unwrap()
    }

    #[test]
    fn magnitudes_that_are_the_norms_change_nothing_but_what_dropout_takes() {
        let (x, a, b) = (
            noise((3, 6), 1.0, 2),
            noise((2, 6), 1.0, 3),
            noise((9, 2), 1.0, 4),
        );
        let a_zero = Array::zeros(a.dims());
        let dora = head(9, &[1, 2, 8], true, true);
        let norms = row_norms(&dora.weight, (&a_zero, &b), 1.5).unwrap();
        let dora = AdaptedHead {
            norms: Some(norms.clone().into()),
            ..dora
        };
        let layer = Layer {
            weight: &dora.weight.clone(),
            bias: None,
        };
        let plain = layer.forward(Run::host(), &x.clone().into()).unwrap();
        let wanted = oracle(plain.into_array(), &[1, 2, 8]);
        let found = once(dora, &[&x, &a_zero, &b, &Array::row(norms)]).unwrap();
        assert_close(&found, &tensor(&wanted), 1e-4, "losses");
    }

    #[test]
    fn gradients_follow_differences() {
        let inputs = [
            noise((4, 6), 1.0, 2),
            noise((2, 6), 1.0, 3),
            noise((9, 2), 1.0, 4),
            noise((1, 9), 1.0, 5),
        ];
        let targets = [1, 8, 0, 8];
        for dropout in [false, true] {
            assert_gradients(&inputs[..3], 4e-3, |run, t| {
                run.op(head(9, &targets, false, dropout), &[&t[0], &t[1], &t[2]])
            });
            assert_gradients(&inputs, 4e-3, |run, t| {
                let head = head(9, &targets, true, dropout);
                run.op(head, &[&t[0], &t[1], &t[2], &t[3]])
            });
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, a, b) = (
            noise((2, 6), 1.0, 2),
            noise((2, 6), 1.0, 3),
            noise((9, 2), 1.0, 4),
        );
        let refused = |targets: &[u32], norms, inputs: &[&Array]| {
            assert!(once(head(9, targets, norms, false), inputs).is_err());
        };
        refused(&[1, 9], false, &[&x, &a, &b]);
        refused(&[1], false, &[&x, &a, &b]);
        refused(&[1, 2], false, &[&x, &b, &a]);
        refused(&[1, 2], true, &[&x, &a, &b]);
        refused(&[1, 2], true, &[&x, &a, &b, &Array::row(vec![1.0; 8])]);
    }
}
