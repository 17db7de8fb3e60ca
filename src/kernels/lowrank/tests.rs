use candle_core::{Device, Var};

use super::*;
use crate::kernels::quant::{Format, Matrix};

fn matrix(rows: usize, columns: usize, seed: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * columns)
        .map(|i| ((i * 31 + seed * 17) % 23) as f32 / 11.0 - 1.0)
        .collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn variables<const N: usize>(shapes: [(usize, usize, usize); N]) -> [Var; N] {
    shapes.map(|(rows, columns, seed)| Var::from_tensor(&matrix(rows, columns, seed)).unwrap())
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

const DROPPED: Dropout = Dropout {
    key: [3; 32],
    rate: 0.3,
};

/// The update in candle's own operations.
fn plain(x: &Tensor, a: &Tensor, b: &Tensor, setting: Setting) -> Tensor {
    let (tokens, inputs) = x.dims2().unwrap();
    let mut mask = vec![1.0; tokens * inputs];
    if let Some(dropout) = setting.dropout {
        dropout.apply(&mut mask, inputs);
    }
    let mask = Tensor::from_vec(mask, (tokens, inputs), &Device::Cpu).unwrap();
    let low = (x * mask).unwrap().matmul(&a.t().unwrap()).unwrap();
    (low.matmul(&b.t().unwrap()).unwrap() * f64::from(setting.scale)).unwrap()
}

/// Values, and the gradients of `vars` where the result is weighted by something uneven.
fn agree(found: &Tensor, wanted: &Tensor, vars: &[&Var]) {
    close(found, wanted);
    let (rows, columns) = found.dims2().unwrap();
    let weight = matrix(rows, columns, 9);
    let back = |y: &Tensor| {
        (y * &weight)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap()
    };
    let (found, wanted) = (back(found), back(wanted));
    for var in vars {
        close(found.get(var).unwrap(), wanted.get(var).unwrap());
    }
}

#[test]
fn an_update_is_that_of_plain_operations() {
    let [y, x, a, b] = variables([(37, 19, 1), (37, 24, 2), (5, 24, 3), (19, 5, 4)]);
    for dropout in [None, Some(DROPPED)] {
        let setting = Setting {
            scale: 0.5,
            dropout,
        };
        let wanted = (y.as_tensor() + plain(&x, &a, &b, setting)).unwrap();
        agree(
            &update(&y, &x, (&a, &b), setting).unwrap(),
            &wanted,
            &[&y, &x, &a, &b],
        );
    }
}

#[test]
fn a_layer_with_its_update_is_that_of_plain_operations() {
    let [x, a, b] = variables([(37, 24, 2), (5, 24, 3), (19, 5, 4)]);
    let (w, bias) = (matrix(19, 24, 5), matrix(1, 19, 6));
    let weight = Arc::new(Matrix::quantize(&w, Format::F32).unwrap());
    let values: Arc<[f32]> = bias.flatten_all().unwrap().to_vec1::<f32>().unwrap().into();
    for dropout in [None, Some(DROPPED)] {
        let setting = Setting {
            scale: 0.5,
            dropout,
        };
        let layer = Layer {
            weight: &weight,
            bias: Some(&values),
        };
        let base = x
            .matmul(&w.t().unwrap())
            .unwrap()
            .broadcast_add(&bias)
            .unwrap();
        let wanted = (base + plain(&x, &a, &b, setting)).unwrap();
        agree(
            &through(&x, &layer, (&a, &b), setting).unwrap(),
            &wanted,
            &[&x, &a, &b],
        );
    }
}

#[test]
fn only_what_learns_gets_a_gradient() {
    let [a, b] = variables([(2, 4, 1), (3, 2, 2)]);
    let (x, y, w) = (matrix(5, 4, 3), matrix(5, 3, 4), matrix(3, 4, 5));
    let weight = Arc::new(Matrix::quantize(&w, Format::F32).unwrap());
    let setting = Setting {
        scale: 1.0,
        dropout: None,
    };
    let layer = Layer {
        weight: &weight,
        bias: None,
    };
    for result in [
        update(&y, &x, (&a, &b), setting).unwrap(),
        through(&x, &layer, (&a, &b), setting).unwrap(),
    ] {
        let grads = result.sum_all().unwrap().backward().unwrap();
        assert!(grads.get(&a).is_some() && grads.get(&b).is_some());
        assert_eq!(grads.get_ids().count(), 2);
    }
}

#[test]
fn factors_that_do_not_fit_are_refused() {
    let (x, y) = (matrix(5, 4, 3), matrix(5, 3, 4));
    let weight = Arc::new(Matrix::quantize(&matrix(3, 4, 5), Format::F32).unwrap());
    let layer = Layer {
        weight: &weight,
        bias: None,
    };
    let setting = Setting {
        scale: 1.0,
        dropout: None,
    };
    for (a, b) in [((2, 5), (3, 2)), ((2, 4), (2, 2))] {
        let (a, b) = (matrix(a.0, a.1, 1), matrix(b.0, b.1, 2));
        assert!(update(&y, &x, (&a, &b), setting).is_err());
        assert!(through(&x, &layer, (&a, &b), setting).is_err());
    }
}
