//! Products with weights that learn, and rows looked up in them.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::gemm::{self, View};
use super::values::{self, Values};

/// x·Wᵀ for x [.., k] and W [n, k]: [.., n]. Tracked to both; a gradient is only computed for an operand that is tracked.
pub fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&w.contiguous()?, Linear)
}

struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (m, k) = values::rows(x_layout.shape())?;
        let (n, inner) = w_layout.shape().dims2()?;
        if k != inner {
            bail!("rows of {k} times a weight [{n}, {inner}]");
        }
        let (x, w) = (values::slice(x, x_layout)?, values::slice(w, w_layout)?);
        let mut y = vec![0.0; m * n];
        gemm::parallel(
            View::dense(x, m, k),
            View::dense(w, n, k).transposed(),
            &mut y,
            0.0,
            1.0,
        );
        let mut shape = x_layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = n;
        }
        values::result(y, shape)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (m, k) = values::rows(x.shape())?;
        let n = w.dim(0)?;
        let (xs, ws, dys) = (Values::of(x)?, Values::of(w)?, Values::of(&dy)?);
        let (xs, ws, dys) = (
            View::dense(&xs, m, k),
            View::dense(&ws, n, k),
            View::dense(&dys, m, n),
        );
        let mut grads = (None, None);
        if x.track_op() {
            let mut dx = vec![0.0; m * k];
            gemm::parallel(dys, ws, &mut dx, 0.0, 1.0);
            grads.0 = Some(values::tensor(dx, x.shape())?);
        }
        if w.track_op() {
            let mut dw = vec![0.0; n * k];
            gemm::parallel(dys.transposed(), xs, &mut dw, 0.0, 1.0);
            grads.1 = Some(values::tensor(dw, (n, k))?);
        }
        Ok(grads)
    }
}

/// Rows `ids` of W [n, k]: [ids, k]. Tracked to W.
pub fn lookup(w: &Tensor, ids: &[u32]) -> Result<Tensor> {
    w.contiguous()?.apply_op1(Lookup(ids.into()))
}

struct Lookup(Arc<[u32]>);

impl CustomOp1 for Lookup {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, w: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, k) = layout.shape().dims2()?;
        let w = values::slice(w, layout)?;
        let mut rows = Vec::with_capacity(self.0.len() * k);
        for &id in self.0.iter() {
            let id = id as usize;
            if id >= n {
                bail!("row {id} of a weight of {n}");
            }
            rows.extend_from_slice(&w[id * k..(id + 1) * k]);
        }
        values::result(rows, (self.0.len(), k))
    }

    fn bwd(&self, w: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dy = Values::of(&dy)?;
        let (n, k) = w.dims2()?;
        let mut dw = vec![0.0; n * k];
        for (&id, dy) in self.0.iter().zip(dy.chunks_exact(k)) {
            let row = &mut dw[id as usize * k..][..k];
            row.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += dy);
        }
        values::tensor(dw, (n, k)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradients, noise};
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn it_agrees_with_a_plain_product() -> Result<()> {
        for (m, n, k) in [(1, 5, 3), (70, 130, 65), (300, 64, 256)] {
            let (x, w) = (noise(&[m, k], 1.0, 1), noise(&[n, k], 1.0, 2));
            assert_close(&linear(&x, &w)?, &x.matmul(&w.t()?)?, 2e-5, "linear");
        }
        assert!(linear(&noise(&[2, 3], 1.0, 1), &noise(&[2, 4], 1.0, 1)).is_err());
        Ok(())
    }

    #[test]
    fn gradients_follow_differences() {
        let inputs = [noise(&[2, 3, 5], 1.0, 3), noise(&[4, 5], 1.0, 4)];
        assert_gradients(&inputs, 2e-3, |t| linear(&t[0], &t[1]));
        assert_gradients(&[noise(&[4, 5], 1.0, 5)], 2e-3, |t| {
            lookup(&t[0], &[3, 0, 3])
        });
    }

    #[test]
    fn a_weight_that_does_not_learn_gets_no_gradient() -> Result<()> {
        let x = Var::from_tensor(&noise(&[3, 5], 1.0, 1))?;
        let w = noise(&[4, 5], 1.0, 2);
        let grads = linear(&x, &w)?.sum_all()?.backward()?;
        assert!(grads.get(&x).is_some() && grads.get(&w).is_none());
        Ok(())
    }

    #[test]
    fn looked_up_rows_are_the_weights_rows() -> Result<()> {
        let w = noise(&[4, 5], 1.0, 6);
        let oracle = w.index_select(&Tensor::new(&[2u32, 2, 0], &Device::Cpu)?, 0)?;
        assert_close(&lookup(&w, &[2, 2, 0])?, &oracle, 0.0, "rows");
        assert!(lookup(&w, &[4]).is_err());
        Ok(())
    }
}
