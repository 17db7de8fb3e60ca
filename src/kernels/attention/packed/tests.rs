use super::super::super::testing::{assert_close, assert_gradients, noise};
use super::*;
use candle_core::{D, Device};

fn attend(dim: usize, scale: f32, window: Option<usize>) -> Attend {
    Attend { dim, scale, window }
}

/// Heads repeated, scores masked with −∞, softmax, weighted sum; one record at a time.
fn plain(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    ranges: &[Range<usize>],
    attend: Attend,
) -> Result<Tensor> {
    let Attend { dim, scale, window } = attend;
    let (heads, groups) = (q.dim(1)? / dim, k.dim(1)? / dim);
    let share = heads / groups;
    let by_head = |x: &Tensor, heads: usize| x.reshape((x.dim(0)?, heads, dim));
    let repeat = |x: &Tensor| {
        let t = x.dim(0)?;
        by_head(x, groups)?
            .unsqueeze(2)?
            .broadcast_as((t, groups, share, dim))?
            .reshape((t, heads, dim))?
            .transpose(0, 1)?
            .contiguous()
    };
    let mut parts = Vec::new();
    for range in ranges {
        let part = |x: &Tensor| x.narrow(0, range.start, range.len());
        let n = range.len();
        let mask: Vec<f32> = (0..n * n)
            .map(|at| {
                let (row, column) = (at / n, at % n);
                let seen = column <= row && window.is_none_or(|w| column + w > row);
                if seen { 0.0 } else { f32::NEG_INFINITY }
            })
            .collect();
        let mask = Tensor::from_vec(mask, (1, n, n), &Device::Cpu)?;
        let queries = by_head(&part(q)?, heads)?.transpose(0, 1)?.contiguous()?;
        let scores =
            (queries.matmul(&repeat(&part(k)?)?.t()?)? * f64::from(scale))?.broadcast_add(&mask)?;
        let top = scores.max_keepdim(D::Minus1)?;
        let weights = scores.broadcast_sub(&top)?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        parts.push(
            weights
                .matmul(&repeat(&part(v)?)?)?
                .transpose(0, 1)?
                .contiguous()?
                .flatten_from(1)?,
        );
    }
    Tensor::cat(&parts, 0)
}

fn inputs(tokens: usize, heads: usize, groups: usize, dim: usize) -> [Tensor; 3] {
    [
        noise(&[tokens, heads * dim], 1.5, 1),
        noise(&[tokens, groups * dim], 1.5, 2),
        noise(&[tokens, groups * dim], 1.0, 3),
    ]
}

#[test]
fn it_agrees_with_masked_softmax() -> Result<()> {
    for (heads, groups, dim) in [(4, 4, 8), (4, 2, 16), (6, 1, 5)] {
        for window in [None, Some(1), Some(7), Some(100)] {
            let ranges = [0..3, 3..4, 4..150, 150..215];
            let [q, k, v] = inputs(215, heads, groups, dim);
            let oracle = plain(&q, &k, &v, &ranges, attend(dim, 0.3, window))?;
            let found = packed(&q, &k, &v, &ranges, attend(dim, 0.3, window))?;
            assert_close(
                &found,
                &oracle,
                1e-5,
                &format!("{heads}/{groups} heads, window {window:?}"),
            );
        }
    }
    Ok(())
}

#[test]
fn its_gradients_follow_differences() {
    for window in [None, Some(3)] {
        assert_gradients(&inputs(9, 4, 2, 4), 4e-3, |t| {
            packed(&t[0], &t[1], &t[2], &[0..6, 6..9], attend(4, 0.5, window))
        });
    }
}

#[test]
fn its_gradients_agree_with_those_of_masked_softmax_over_many_blocks() -> Result<()> {
    let ranges = [0..140, 140..150];
    let vars = inputs(150, 4, 2, 8).map(|t| candle_core::Var::from_tensor(&t).expect("a variable"));
    let seed = noise(&[150, 4 * 8], 1.0, 9);
    let [q, k, v] = &vars;
    for window in [None, Some(70)] {
        let found = (packed(q, k, v, &ranges, attend(8, 0.3, window))? * &seed)?
            .sum_all()?
            .backward()?;
        let oracle = (plain(q, k, v, &ranges, attend(8, 0.3, window))? * &seed)?
            .sum_all()?
            .backward()?;
        for (name, var) in ["q", "k", "v"].iter().zip(&vars) {
            let (found, oracle) = (
                found.get(var).expect("tracked"),
                oracle.get(var).expect("tracked"),
            );
            assert_close(found, oracle, 2e-5, name);
        }
    }
    Ok(())
}

#[test]
fn rows_outside_every_record_are_zero_and_records_must_ascend() -> Result<()> {
    let [q, k, v] = inputs(6, 2, 2, 4);
    let out = packed(&q, &k, &v, &[1..3], attend(4, 1.0, None))?;
    let sums = out.abs()?.sum(1)?.to_vec1::<f32>()?;
    assert!(sums[0] == 0.0 && sums[1] > 0.0 && sums[3..] == [0.0; 3]);
    assert!(packed(&q, &k, &v, &[0..3, 2..6], attend(4, 1.0, None)).is_err());
    assert!(packed(&q, &k, &v, &[0..7], attend(4, 1.0, None)).is_err());
    Ok(())
}
