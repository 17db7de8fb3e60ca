use std::sync::Arc;

use half::bf16;

use super::super::testing::{assert_close, assert_gradients, noise, once, tensor};
use super::*;

/// All of a matrix as plain numbers.
fn shown(matrix: &Matrix) -> Array {
    Array::new(matrix.rows(0..matrix.n).unwrap(), matrix.dims()).unwrap()
}

fn weight(n: usize, k: usize) -> Array {
    noise((n, k), 0.3, 1)
}

#[test]
fn every_format_multiplies_by_the_weight_its_rows_show() {
    let (n, k) = (48, 512);
    for format in Format::all() {
        let matrix = Matrix::quantize(&weight(n, k), format).unwrap();
        let dense = tensor(&shown(&matrix));
        for m in [1, 3, 40] {
            let x = noise((m, k), 1.0, 2);
            let mut seen = x.clone();
            if format == Format::Bf16 && paired::Paired::is_available() {
                let values = seen.values_mut().iter_mut();
                values.for_each(|x| *x = bf16::from_f32(*x).to_f32());
            }
            let oracle = tensor(&seen).matmul(&dense.t().unwrap()).unwrap();
            // Block formats round activations to int8 too.
            let tolerance = if format.is_dense() { 1e-4 } else { 0.25 };
            let found = matrix.forward(&x).unwrap();
            assert_close(&found, &oracle, tolerance, &format!("{format}, {m} rows"));
        }
    }
}

#[test]
fn a_row_that_is_not_finite_gives_outputs_that_are_not_and_spoils_no_other() {
    let (n, k) = (48, 512);
    for format in Format::all() {
        let matrix = Matrix::quantize(&weight(n, k), format).unwrap();
        for (m, bad) in [
            (1, f32::NAN),
            (3, f32::INFINITY),
            (9, f32::NEG_INFINITY),
            (16, f32::NAN),
        ] {
            let (clean, row) = (noise((m, k), 1.0, 2), m / 2);
            let mut x = clean.clone();
            x.values_mut()[row * k + 300] = bad;
            let [found, oracle] = [&x, &clean].map(|x| matrix.forward(x).unwrap());
            for at in 0..m {
                let part = at * n..(at + 1) * n;
                let found = &found.values()[part.clone()];
                if at == row {
                    let all = found.iter().all(|y| !y.is_finite());
                    assert!(all, "{format}, {bad}: {found:?}");
                } else {
                    assert_eq!(found, &oracle.values()[part], "{format}, row {at} of {m}");
                }
            }
        }
    }
}

#[test]
fn rounding_to_a_format_keeps_the_weight_within_its_step() {
    for (format, tolerance) in [
        (Format::F32, 0.0),
        (Format::F16, 2e-4),
        (Format::Bf16, 2e-3),
        (Format::Q8_0, 2e-3),
        (Format::Q4K, 0.03),
    ] {
        let w = weight(16, 256);
        let matrix = Matrix::quantize(&w, format).unwrap();
        assert_close(&shown(&matrix), &tensor(&w), tolerance, format.name());
        // k-quants have their six-bit multiples in bytes.
        let stored = (16 * 256 / format.block() * format.bytes_of_block()) as u64;
        let most = if format == Format::Q4K {
            stored / 36
        } else {
            0
        };
        assert!(
            (stored..=stored + most).contains(&matrix.bytes()),
            "{format}"
        );
    }
}

#[test]
fn gathered_rows_are_the_weights_rows() {
    for format in Format::all() {
        let matrix = Matrix::quantize(&weight(9, 256), format).unwrap();
        let picked = matrix.gather(&[8, 0, 8, 3]).unwrap();
        let oracle = shown(&matrix).select_rows(&[8, 0, 8, 3]).unwrap();
        assert_eq!(picked, oracle, "{format}");
        assert!(matrix.gather(&[9]).is_err(), "a row that is not there");
    }
}

#[test]
fn the_backward_product_uses_the_rows_a_matrix_shows() {
    let (n, k) = (301, 256);
    for format in Format::all() {
        let matrix = Matrix::quantize(&weight(n, k), format).unwrap();
        let dy = noise((5, n), 1.0, 3);
        let oracle = tensor(&dy).matmul(&tensor(&shown(&matrix))).unwrap();
        let found = matrix.backward_input(&dy).unwrap();
        assert_close(&found, &oracle, 1e-4, format.name());
    }
}

#[test]
fn a_frozen_product_has_a_bias_and_a_gradient_that_follows_differences() {
    let weight = Arc::new(Matrix::quantize(&weight(24, 64), Format::F32).unwrap());
    let bias = noise((1, 24), 1.0, 4);
    let x = noise((6, 64), 1.0, 5);
    let op = || Frozen {
        weight: weight.clone(),
        bias: Some(bias.values().into()),
    };
    let oracle = tensor(&x).matmul(&tensor(&shown(&weight)).t().unwrap());
    let oracle = oracle.unwrap().broadcast_add(&tensor(&bias)).unwrap();
    assert_close(&once(op(), &[&x]).unwrap(), &oracle, 1e-5, "forward");
    assert_gradients(&[x], 2e-3, |run, t| run.op(op(), &[&t[0]]));
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    assert!(
        Matrix::quantize(&weight(4, 100), Format::Q8_0).is_err(),
        "100 is not whole blocks of 32"
    );
    let matrix = Matrix::quantize(&weight(4, 64), Format::Q8_0).unwrap();
    assert!(matrix.forward(&noise((2, 65), 1.0, 7)).is_err());
    assert!(matrix.backward_input(&noise((2, 5), 1.0, 7)).is_err());
    assert!(matrix.rows(3..5).is_err());
}

#[test]
fn what_a_weight_will_hold_is_known_without_it() {
    for (n, k) in [(48, 512), (33, 256)] {
        for format in Format::all() {
            let matrix = Matrix::quantize(&weight(n, k), format).unwrap();
            let known = Matrix::bytes_held(Some(format), (n, k));
            assert_eq!(known, matrix.bytes(), "{format} [{n}, {k}]");
        }
        let values = weight(n, k);
        let rows = |rows: Range<usize>| {
            let part = values.values()[rows.start * k..rows.end * k].to_vec();
            Ok::<_, crate::device::Error>(part)
        };
        let matrix = Matrix::int8((n, k), 6.0, rows).unwrap();
        assert_eq!(Matrix::bytes_held(None, (n, k)), matrix.bytes());
    }
}

#[test]
fn what_a_turned_product_needs_is_bounded() {
    let plain = |dims| Matrix::bytes_turned(dims, 2048, None);
    assert_eq!(plain((100_000, 1024)), 2 << 20);
    assert_eq!(plain((100, 1024)), 100 * 1024 * 4);
    assert_eq!(plain((8, 1 << 20)), 2 << 22);
    let half = |dims, rows| Matrix::bytes_turned(dims, rows, Some(Half::Bf16));
    match paired::Paired::learns() {
        // Numbers of W, and of the rows.
        true => {
            let blocks = |most: usize, k: u64| pool::threads().min(most) as u64 * 32 * k * 4;
            assert_eq!(
                half((1024, 512), 100),
                (512 + 100) * 1024 * 2 + blocks(32, 512)
            );
            let part = (1024 + 100) * (16 << 10) * 2 + blocks(512, 1024);
            assert_eq!(half((100_000, 1024), 100), part + 100 * 1024 * 4);
        }
        false => assert_eq!(half((1024, 512), 100), plain((1024, 512))),
    }
}
