//! A trainable low-rank update of a linear layer, tracked to its input, to the layer's output and to both factors.
//! The plain twin is the same formula in candle's own operations (see the tests).

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::dropout::Dropout;
use super::gemm::{self, View};
use super::values::{self, Values};

/// `y + scale · (drop(x) Aᵀ) Bᵀ` for y [T, out], x [T, in], A [r, in], B [out, r], all f32.
///
/// What is not tracked gets no gradient: the input of the first adapted layer depends on nothing that learns.
pub fn update(
    y: &Tensor,
    x: &Tensor,
    (a, b): (&Tensor, &Tensor),
    scale: f32,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let shrink = Shrink {
        scale,
        dropout,
        input_learns: x.track_op(),
    };
    let expand = Expand {
        output_learns: y.track_op(),
    };
    let low = x.contiguous()?.apply_op2(&a.contiguous()?, shrink)?;
    y.contiguous()?.apply_op3(&low, &b.contiguous()?, expand)
}

/// `scale · drop(x) Aᵀ`
struct Shrink {
    scale: f32,
    dropout: Option<Dropout>,
    input_learns: bool,
}

impl Shrink {
    fn dropped(&self, x: &[f32], width: usize) -> Option<Vec<f32>> {
        self.dropout.map(|dropout| {
            let mut x = x.to_vec();
            dropout.apply(&mut x, width);
            x
        })
    }
}

impl CustomOp2 for Shrink {
    fn name(&self) -> &'static str {
        "low-rank-shrink"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = x_layout.shape().dims2()?;
        let (rank, width) = a_layout.shape().dims2()?;
        if width != inputs {
            bail!("A [{rank}, {width}] for an input [{tokens}, {inputs}]");
        }
        let (x, a) = (values::slice(x, x_layout)?, values::slice(a, a_layout)?);
        let dropped = self.dropped(x, inputs);
        let x = View::dense(dropped.as_deref().unwrap_or(x), tokens, inputs);
        let mut low = vec![0.0; tokens * rank];
        gemm::parallel(
            x,
            View::dense(a, rank, inputs).transposed(),
            &mut low,
            0.0,
            self.scale,
        );
        values::result(low, (tokens, rank))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        _low: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (tokens, inputs) = x.dims2()?;
        let rank = a.dims2()?.0;
        let grad = grad.contiguous()?;
        let (grad, x, a) = (Values::of(&grad)?, Values::of(x)?, Values::of(a)?);
        let grad = View::dense(&grad, tokens, rank);
        let dropped = self.dropped(&x, inputs);
        let seen = View::dense(dropped.as_deref().unwrap_or(&x), tokens, inputs);
        let mut da = vec![0.0; rank * inputs];
        gemm::parallel(grad.transposed(), seen, &mut da, 0.0, self.scale);
        let dx = if self.input_learns {
            let mut dx = vec![0.0; tokens * inputs];
            gemm::parallel(
                grad,
                View::dense(&a, rank, inputs),
                &mut dx,
                0.0,
                self.scale,
            );
            if let Some(dropout) = &self.dropout {
                dropout.apply(&mut dx, inputs);
            }
            Some(values::tensor(dx, (tokens, inputs))?)
        } else {
            None
        };
        Ok((dx, Some(values::tensor(da, (rank, inputs))?)))
    }
}

/// `y + low Bᵀ`
struct Expand {
    output_learns: bool,
}

impl CustomOp3 for Expand {
    fn name(&self) -> &'static str {
        "low-rank-expand"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        low: &CpuStorage,
        low_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, outputs) = y_layout.shape().dims2()?;
        let (rows, rank) = low_layout.shape().dims2()?;
        if rows != tokens || b_layout.shape().dims() != [outputs, rank] {
            bail!(
                "B {:?} for an output [{tokens}, {outputs}] at rank {rank}",
                b_layout.shape()
            );
        }
        let mut sum = values::slice(y, y_layout)?.to_vec();
        let (low, b) = (values::slice(low, low_layout)?, values::slice(b, b_layout)?);
        let b = View::dense(b, outputs, rank).transposed();
        gemm::parallel(View::dense(low, tokens, rank), b, &mut sum, 1.0, 1.0);
        values::result(sum, (tokens, outputs))
    }

    fn bwd(
        &self,
        _y: &Tensor,
        low: &Tensor,
        b: &Tensor,
        _sum: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (tokens, rank) = low.dims2()?;
        let outputs = b.dims2()?.0;
        let dy = grad.contiguous()?;
        let (dlow, db) = {
            let (grad, low, b) = (Values::of(&dy)?, Values::of(low)?, Values::of(b)?);
            let grad = View::dense(&grad, tokens, outputs);
            let mut dlow = vec![0.0; tokens * rank];
            gemm::parallel(grad, View::dense(&b, outputs, rank), &mut dlow, 0.0, 1.0);
            let mut db = vec![0.0; outputs * rank];
            gemm::parallel(
                grad.transposed(),
                View::dense(&low, tokens, rank),
                &mut db,
                0.0,
                1.0,
            );
            (
                values::tensor(dlow, (tokens, rank))?,
                values::tensor(db, (outputs, rank))?,
            )
        };
        Ok((self.output_learns.then_some(dy), Some(dlow), Some(db)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn matrix(rows: usize, columns: usize, seed: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * columns)
            .map(|i| ((i * 31 + seed * 17) % 23) as f32 / 11.0 - 1.0)
            .collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    fn close(found: &Tensor, wanted: &Tensor) {
        let far = (found - wanted)
            .unwrap()
            .abs()
            .unwrap()
            .max_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        assert!(far < 2e-4, "off by {far}");
    }

    #[test]
    fn values_and_gradients_are_those_of_plain_operations() {
        let (t, i, o, r) = (37, 24, 19, 5);
        let vars = [(t, o, 1), (t, i, 2), (r, i, 3), (o, r, 4)]
            .map(|(rows, columns, seed)| Var::from_tensor(&matrix(rows, columns, seed)).unwrap());
        let [y, x, a, b] = &vars;
        let weight = matrix(t, o, 9);
        for dropout in [
            None,
            Some(Dropout {
                key: [3; 32],
                rate: 0.3,
            }),
        ] {
            let mut mask = vec![1.0; t * i];
            if let Some(dropout) = dropout {
                dropout.apply(&mut mask, i);
            }
            let mask = Tensor::from_vec(mask, (t, i), &Device::Cpu).unwrap();
            let low = (x.as_tensor() * mask)
                .unwrap()
                .matmul(&a.t().unwrap())
                .unwrap();
            let plain =
                (y.as_tensor() + (low.matmul(&b.t().unwrap()).unwrap() * 0.5).unwrap()).unwrap();
            let fused = update(y, x, (a, b), 0.5, dropout).unwrap();
            close(&fused, &plain);
            let wanted = (plain * &weight)
                .unwrap()
                .sum_all()
                .unwrap()
                .backward()
                .unwrap();
            let found = (fused * &weight)
                .unwrap()
                .sum_all()
                .unwrap()
                .backward()
                .unwrap();
            for var in &vars {
                close(found.get(var).unwrap(), wanted.get(var).unwrap());
            }
        }
    }

    #[test]
    fn only_what_learns_gets_a_gradient() {
        let (a, b) = (
            Var::from_tensor(&matrix(2, 4, 1)).unwrap(),
            Var::from_tensor(&matrix(3, 2, 2)).unwrap(),
        );
        let (x, y) = (matrix(5, 4, 3), matrix(5, 3, 4));
        let grads = update(&y, &x, (&a, &b), 1.0, None)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let mut ids: Vec<_> = grads.get_ids().copied().collect();
        let mut wanted = vec![a.id(), b.id()];
        ids.sort_by_key(|id| format!("{id:?}"));
        wanted.sort_by_key(|id| format!("{id:?}"));
        assert_eq!(ids, wanted);
    }

    #[test]
    fn factors_that_do_not_fit_are_refused() {
        let (x, y) = (matrix(5, 4, 3), matrix(5, 3, 4));
        assert!(update(&y, &x, (&matrix(2, 5, 1), &matrix(3, 2, 2)), 1.0, None).is_err());
        assert!(update(&y, &x, (&matrix(2, 4, 1), &matrix(2, 2, 2)), 1.0, None).is_err());
    }
}
