use candle_core::Tensor;

use super::*;
use crate::kernels::quant::Format;
use crate::kernels::testing::{assert_close, assert_gradients, gradients, noise, once, tensor};

const DROPPED: Dropout = Dropout {
    key: [3; 32],
    rate: 0.3,
};

/// The layer and its update in candle's own operations.
fn plain(op: &Through, w: &Array, [x, a, b]: [&Tensor; 3]) -> candle_core::Result<Tensor> {
    let (tokens, inputs) = x.dims2()?;
    let mut mask = vec![1.0; tokens * inputs];
    if let Some(dropout) = op.setting.dropout {
        dropout.apply(&mut mask, inputs);
    }
    let mask = Tensor::from_vec(mask, (tokens, inputs), x.device())?;
    let low = (x * mask)?.matmul(&a.t()?)?;
    let update = (low.matmul(&b.t()?)? * f64::from(op.setting.scale))?;
    let base = x.matmul(&tensor(w).t()?)?;
    match &op.bias {
        Some(bias) => (base + update)?.broadcast_add(&Tensor::new(&bias[..], x.device())?),
        None => base + update,
    }
}

fn through(w: &Array, bias: bool, dropout: Option<Dropout>) -> Through {
    Through {
        weight: Arc::new(Matrix::quantize(w, Format::F32).unwrap()),
        bias: bias.then(|| noise((1, w.rows()), 1.0, 6).into_values().into()),
        setting: Setting {
            scale: 0.5,
            dropout,
        },
    }
}

#[test]
fn a_layer_with_its_update_is_that_of_plain_operations() -> candle_core::Result<()> {
    let inputs = [
        noise((37, 24), 1.0, 2),
        noise((5, 24), 1.0, 3),
        noise((19, 5), 1.0, 4),
    ];
    let (w, seed) = (noise((19, 24), 1.0, 5), noise((37, 19), 1.0, 9));
    for (bias, dropout) in [(false, None), (true, None), (true, Some(DROPPED))] {
        let (found, grads) = gradients(&inputs, &seed, |run, t| {
            run.op(through(&w, bias, dropout), &[&t[0], &t[1], &t[2]])
        })
        .unwrap();
        let vars: Vec<_> = inputs
            .iter()
            .map(|input| candle_core::Var::from_tensor(&tensor(input)))
            .collect::<candle_core::Result<_>>()?;
        let [x, a, b] = &vars[..] else { unreachable!() };
        let wanted = plain(&through(&w, bias, dropout), &w, [x, a, b])?;
        assert_close(&found, &wanted, 2e-4, "the result");
        let wanted = (wanted * tensor(&seed))?.sum_all()?.backward()?;
        for (grad, var) in grads.iter().zip(&vars) {
            let grad = grad.as_ref().unwrap();
            assert_close(grad, wanted.get(var).unwrap(), 2e-4, "a gradient");
        }
    }
    Ok(())
}

#[test]
fn gradients_follow_differences() {
    let inputs = [
        noise((3, 4), 1.0, 2),
        noise((2, 4), 1.0, 3),
        noise((3, 2), 1.0, 4),
    ];
    let w = noise((3, 4), 1.0, 5);
    for dropout in [None, Some(DROPPED)] {
        assert_gradients(&inputs, 2e-3, |run, t| {
            run.op(through(&w, true, dropout), &[&t[0], &t[1], &t[2]])
        });
    }
}

#[test]
fn only_what_learns_gets_a_gradient() {
    let (x, w) = (noise((5, 4), 1.0, 3), noise((3, 4), 1.0, 5));
    let factors = [noise((2, 4), 1.0, 1), noise((3, 2), 1.0, 2)];
    let op = through(&w, false, None);
    let wants = Wants::of([false, true, true]);
    let (y, kept) = op.forward(&[&x, &factors[0], &factors[1]], wants).unwrap();
    let grads = op.backward(kept, y, wants).unwrap();
    assert!(grads[0].is_none() && grads[1].is_some() && grads[2].is_some());
}

#[test]
fn factors_that_do_not_fit_are_refused() {
    let (x, w) = (noise((5, 4), 1.0, 3), noise((3, 4), 1.0, 5));
    for (a, b) in [((2, 5), (3, 2)), ((2, 4), (2, 2)), ((2, 4), (3, 1))] {
        let (a, b) = (noise(a, 1.0, 1), noise(b, 1.0, 2));
        assert!(once(through(&w, false, None), &[&x, &a, &b]).is_err());
    }
}
