use super::super::quant::Format;
use super::super::testing::{assert_close, assert_gradients, noise};
use super::*;
use candle_core::{D, Device, Var};

fn plain_log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

fn plain(hidden: &Tensor, weight: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let picked = Tensor::new(targets, &Device::Cpu)?.unsqueeze(1)?;
    plain_log_softmax(&hidden.matmul(&weight.t()?)?)?
        .gather(&picked, 1)?
        .squeeze(1)?
        .neg()
}

#[test]
fn both_heads_agree_with_log_softmax_in_loss_and_gradient() -> Result<()> {
    // One chunk, and more rows than a chunk holds.
    for rows in [40, 150] {
        compare_heads(rows, 8, 20_000)?;
    }
    Ok(())
}

fn compare_heads(rows: usize, width: usize, vocabulary: usize) -> Result<()> {
    let targets: Vec<u32> = (0..rows as u32)
        .map(|i| (i * 131) % vocabulary as u32)
        .collect();
    let hidden = Var::from_tensor(&noise(&[rows, width], 2.0, 1))?;
    let weight = Var::from_tensor(&noise(&[vocabulary, width], 1.0, 2))?;
    let frozen = Arc::new(Matrix::quantize(&weight, Format::F32)?);
    let factors = noise(&[rows], 1.0, 3);
    let oracle = plain(&hidden, &weight, &targets)?;
    let oracle_grads = (&oracle * &factors)?.sum_all()?.backward()?;
    for head in [Head::Frozen(&frozen), Head::Learning(&weight)] {
        let found = token_losses(&hidden, head, &targets)?;
        assert_close(&found, &oracle, 1e-5, "losses");
        let grads = (found * &factors)?.sum_all()?.backward()?;
        assert_close(
            grads.get(&hidden).unwrap(),
            oracle_grads.get(&hidden).unwrap(),
            1e-5,
            "to hidden",
        );
        match head {
            Head::Frozen(_) => assert!(grads.get(&weight).is_none()),
            Head::Learning(_) => {
                assert_close(
                    grads.get(&weight).unwrap(),
                    oracle_grads.get(&weight).unwrap(),
                    1e-5,
                    "to the head",
                );
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_follow_differences() -> Result<()> {
    let inputs = [noise(&[3, 4], 1.0, 1), noise(&[7, 4], 1.0, 2)];
    assert_gradients(&inputs, 4e-3, |t| {
        token_losses(&t[0], Head::Learning(&t[1]), &[6, 0, 2])
    });
    let frozen = Arc::new(Matrix::quantize(&inputs[1], Format::F32)?);
    assert_gradients(&inputs[..1], 4e-3, |t| {
        token_losses(&t[0], Head::Frozen(&frozen), &[6, 0, 2])
    });
    Ok(())
}

#[test]
fn log_softmax_agrees_with_the_written_out_formula() -> Result<()> {
    let logits = noise(&[5, 301], 9.0, 4);
    assert_close(
        &log_softmax(&logits)?,
        &plain_log_softmax(&logits)?,
        1e-5,
        "log softmax",
    );
    Ok(())
}

#[test]
fn targets_are_checked() {
    let (hidden, weight) = (noise(&[2, 4], 1.0, 1), noise(&[7, 4], 1.0, 2));
    assert!(token_losses(&hidden, Head::Learning(&weight), &[1, 7]).is_err());
    assert!(token_losses(&hidden, Head::Learning(&weight), &[1]).is_err());
}
