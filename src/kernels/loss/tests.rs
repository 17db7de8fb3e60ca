use candle_core::{D, Device as Cpu, Tensor, Var};

use super::super::op::{Run, Value};
use super::super::quant::Format;
use super::super::testing::{assert_close, assert_gradients, gradients, noise, once, tensor};
use super::*;

fn plain_log_softmax(logits: &Tensor) -> candle_core::Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

fn plain(hidden: &Tensor, weight: &Tensor, targets: &[u32]) -> candle_core::Result<Tensor> {
    let picked = Tensor::new(targets, &Cpu::Cpu)?.unsqueeze(1)?;
    plain_log_softmax(&hidden.matmul(&weight.t()?)?)?
        .gather(&picked, 1)?
        .neg()
}

#[test]
fn both_heads_agree_with_log_softmax_in_loss_and_gradient() -> candle_core::Result<()> {
    // One chunk, and more rows than a chunk holds.
    for rows in [40, 150] {
        compare_heads(rows, 8, 20_000)?;
    }
    Ok(())
}

fn compare_heads(rows: usize, width: usize, vocabulary: usize) -> candle_core::Result<()> {
    let targets: Arc<[u32]> = (0..rows as u32)
        .map(|i| (i * 131) % vocabulary as u32)
        .collect();
    let inputs = [
        noise((rows, width), 2.0, 1),
        noise((vocabulary, width), 1.0, 2),
    ];
    let factors = noise((rows, 1), 1.0, 3);
    let hidden = Var::from_tensor(&tensor(&inputs[0]))?;
    let weight = Var::from_tensor(&tensor(&inputs[1]))?;
    let oracle = plain(&hidden, &weight, &targets)?;
    let oracle_grads = (&oracle * &tensor(&factors))?.sum_all()?.backward()?;
    let frozen = Arc::new(Matrix::quantize(&inputs[1], Format::F32).unwrap());
    type Head<'h> = &'h dyn Fn(Run<'_, '_>, &[Value]) -> Result<Value>;
    let heads: [Head<'_>; 2] = [
        &|run, t| {
            let op = FrozenHead {
                weight: frozen.clone(),
                targets: targets.clone(),
            };
            run.op(op, &[&t[0]])
        },
        &|run, t| {
            let op = LearningHead {
                targets: targets.clone(),
            };
            run.op(op, &[&t[0], &t[1]])
        },
    ];
    for (head, learns) in heads.into_iter().zip([false, true]) {
        let (found, grads) = gradients(&inputs, &factors, head).unwrap();
        assert_close(&found, &oracle, 1e-5, "losses");
        let to_hidden = grads[0].as_ref().unwrap();
        let wanted = oracle_grads.get(&hidden).unwrap();
        assert_close(to_hidden, wanted, 1e-5, "to hidden");
        assert_eq!(grads[1].is_some(), learns);
        if let Some(to_head) = &grads[1] {
            let wanted = oracle_grads.get(&weight).unwrap();
            assert_close(to_head, wanted, 1e-5, "to the head");
        }
    }
    Ok(())
}

#[test]
fn gradients_follow_differences() {
    let inputs = [noise((3, 4), 1.0, 1), noise((7, 4), 1.0, 2)];
    let targets: Arc<[u32]> = [6, 0, 2].into();
    assert_gradients(&inputs, 4e-3, |run, t| {
        let targets = targets.clone();
        run.op(LearningHead { targets }, &[&t[0], &t[1]])
    });
    let weight = Arc::new(Matrix::quantize(&inputs[1], Format::F32).unwrap());
    assert_gradients(&inputs[..1], 4e-3, |run, t| {
        let (weight, targets) = (weight.clone(), targets.clone());
        run.op(FrozenHead { weight, targets }, &[&t[0]])
    });
}

#[test]
fn log_softmax_agrees_with_the_written_out_formula() {
    let logits = noise((5, 301), 9.0, 4);
    let oracle = plain_log_softmax(&tensor(&logits)).unwrap();
    assert_close(&log_softmax(logits), &oracle, 1e-5, "log softmax");
}

#[test]
fn targets_are_checked() {
    let (hidden, weight) = (noise((2, 4), 1.0, 1), noise((7, 4), 1.0, 2));
    for targets in [&[1, 7][..], &[1]] {
        let targets = targets.into();
        assert!(once(LearningHead { targets }, &[&hidden, &weight]).is_err());
    }
}
