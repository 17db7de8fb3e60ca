use candle_core::{D, Device as Cpu, Tensor, Var};

use super::super::super::testing::{
    assert_close, assert_gradients, gradients, noise, once, tensor,
};
use super::*;

fn attend(dim: usize, scale: f32, window: Option<usize>) -> Attend {
    Attend { dim, scale, window }
}

fn packed(ranges: &[Range<usize>], attend: Attend) -> Packed {
    Packed {
        ranges: ranges.into(),
        attend,
    }
}

/// Heads repeated, scores masked with −∞, softmax, weighted sum; one record at a time.
fn plain(
    [q, k, v]: [&Tensor; 3],
    ranges: &[Range<usize>],
    attend: Attend,
) -> candle_core::Result<Tensor> {
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
        let mask = Tensor::from_vec(mask, (1, n, n), &Cpu::Cpu)?;
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

fn inputs(tokens: usize, heads: usize, groups: usize, dim: usize) -> [Array; 3] {
    [
        noise((tokens, heads * dim), 1.5, 1),
        noise((tokens, groups * dim), 1.5, 2),
        noise((tokens, groups * dim), 1.0, 3),
    ]
}

#[test]
fn it_agrees_with_masked_softmax() {
    for (heads, groups, dim) in [(4, 4, 8), (4, 2, 16), (6, 1, 5)] {
        for window in [None, Some(1), Some(7), Some(100)] {
            let ranges = [0..3, 3..4, 4..150, 150..215];
            let inputs = inputs(215, heads, groups, dim);
            let tensors = inputs.each_ref().map(tensor);
            let attend = attend(dim, 0.3, window);
            let oracle = plain(tensors.each_ref(), &ranges, attend).unwrap();
            let found = once(packed(&ranges, attend), &inputs.each_ref()).unwrap();
            let what = format!("{heads}/{groups} heads, window {window:?}");
            assert_close(&found, &oracle, 1e-5, &what);
        }
    }
}

#[test]
fn its_gradients_follow_differences() {
    for window in [None, Some(3)] {
        assert_gradients(&inputs(9, 4, 2, 4), 4e-3, |run, t| {
            let op = packed(&[0..6, 6..9], attend(4, 0.5, window));
            run.op(op, &[&t[0], &t[1], &t[2]])
        });
    }
}

#[test]
fn its_gradients_agree_with_those_of_masked_softmax_over_many_blocks() {
    let ranges = [0..140, 140..150];
    let inputs = inputs(150, 4, 2, 8);
    let vars = inputs
        .each_ref()
        .map(|input| Var::from_tensor(&tensor(input)).unwrap());
    let seed = noise((150, 4 * 8), 1.0, 9);
    for window in [None, Some(70)] {
        let attend = attend(8, 0.3, window);
        let (_, found) = gradients(&inputs, &seed, |run, t| {
            run.op(packed(&ranges, attend), &[&t[0], &t[1], &t[2]])
        })
        .unwrap();
        let oracle = plain(vars.each_ref().map(Var::as_tensor), &ranges, attend).unwrap();
        let oracle = (oracle * tensor(&seed)).unwrap();
        let oracle = oracle.sum_all().unwrap().backward().unwrap();
        for ((name, found), var) in ["q", "k", "v"].iter().zip(&found).zip(&vars) {
            let wanted = oracle.get(var).unwrap();
            assert_close(found.as_ref().unwrap(), wanted, 2e-5, name);
        }
    }
}

#[test]
fn rows_outside_every_record_are_zero_and_records_must_ascend() {
    let inputs = inputs(6, 2, 2, 4);
    let run =
        |ranges: &[Range<usize>]| once(packed(ranges, attend(4, 1.0, None)), &inputs.each_ref());
    let out = run(std::slice::from_ref(&(1..3))).unwrap();
    let is_zero: Vec<bool> = out
        .values()
        .chunks_exact(8)
        .map(|row| row.iter().all(|value| *value == 0.0))
        .collect();
    assert_eq!(is_zero, [true, false, false, true, true, true]);
    assert!(run(&[0..3, 2..6]).is_err());
    assert!(run(std::slice::from_ref(&(0..7))).is_err());
}
