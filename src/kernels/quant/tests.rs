use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};

use super::super::testing::{assert_close, noise};
use super::*;

/// All of a matrix as a plain tensor.
fn shown(matrix: &Matrix) -> Result<Tensor> {
    values::tensor(matrix.rows(0..matrix.n)?, (matrix.n, matrix.k))
}

fn weight(n: usize, k: usize) -> Tensor {
    noise(&[n, k], 0.3, 1)
}

#[test]
fn every_format_multiplies_by_the_weight_its_rows_show() -> Result<()> {
    let (n, k) = (48, 512);
    for format in Format::all() {
        let matrix = Matrix::quantize(&weight(n, k), format)?;
        let dense = shown(&matrix)?;
        for m in [1, 3, 40] {
            let x = noise(&[m, k], 1.0, 2);
            let seen = match format {
                Format::Bf16 if paired::Paired::is_available() => {
                    x.to_dtype(DType::BF16)?.to_dtype(DType::F32)?
                }
                _ => x.clone(),
            };
            let oracle = seen.matmul(&dense.t()?)?;
            // Block formats round activations to int8 too.
            let tolerance = if format.is_dense() { 1e-4 } else { 0.25 };
            assert_close(
                &matrix.forward(&x)?,
                &oracle,
                tolerance,
                &format!("{format}, {m} rows"),
            );
        }
    }
    Ok(())
}

#[test]
fn a_row_that_is_not_finite_gives_outputs_that_are_not_and_spoils_no_other() -> Result<()> {
    let (n, k) = (48, 512);
    for format in Format::all() {
        let matrix = Matrix::quantize(&weight(n, k), format)?;
        for (m, bad) in [
            (1, f32::NAN),
            (3, f32::INFINITY),
            (9, f32::NEG_INFINITY),
            (16, f32::NAN),
        ] {
            let (clean, row) = (noise(&[m, k], 1.0, 2), m / 2);
            let mut x = clean.flatten_all()?.to_vec1::<f32>()?;
            x[row * k + 300] = bad;
            let x = Tensor::from_vec(x, (m, k), &Device::Cpu)?;
            let (found, oracle) = (matrix.forward(&x)?, matrix.forward(&clean)?);
            for at in 0..m {
                let found = found.get(at)?.to_vec1::<f32>()?;
                if at == row {
                    assert!(
                        found.iter().all(|y| !y.is_finite()),
                        "{format}, {bad}: {found:?}"
                    );
                } else {
                    let clean = oracle.get(at)?.to_vec1::<f32>()?;
                    assert_eq!(found, clean, "{format}, row {at} of {m}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn rounding_to_a_format_keeps_the_weight_within_its_step() -> Result<()> {
    for (format, tolerance) in [
        (Format::F32, 0.0),
        (Format::F16, 2e-4),
        (Format::Bf16, 2e-3),
        (Format::Q8_0, 2e-3),
        (Format::Q4K, 0.03),
    ] {
        let w = weight(16, 256);
        let matrix = Matrix::quantize(&w, format)?;
        assert_close(&shown(&matrix)?, &w, tolerance, format.name());
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
    Ok(())
}

#[test]
fn gathered_rows_are_the_weights_rows() -> Result<()> {
    for format in Format::all() {
        let matrix = Matrix::quantize(&weight(9, 256), format)?;
        let all = shown(&matrix)?;
        let picked = matrix.gather(&[8, 0, 8, 3])?;
        let oracle = all.index_select(&Tensor::new(&[8u32, 0, 8, 3], &Device::Cpu)?, 0)?;
        assert_close(&picked, &oracle, 0.0, format.name());
        assert!(matrix.gather(&[9]).is_err(), "a row that is not there");
    }
    Ok(())
}

#[test]
fn the_backward_product_uses_the_rows_a_matrix_shows() -> Result<()> {
    let (n, k) = (301, 256);
    for format in Format::all() {
        let matrix = Matrix::quantize(&weight(n, k), format)?;
        let dy = noise(&[5, n], 1.0, 3);
        let oracle = dy.matmul(&shown(&matrix)?)?;
        assert_close(&matrix.backward_input(&dy)?, &oracle, 1e-4, format.name());
    }
    Ok(())
}

#[test]
fn a_frozen_product_gives_its_input_the_gradient_of_a_plain_one() -> Result<()> {
    let matrix = Arc::new(Matrix::quantize(&weight(24, 64), Format::F32)?);
    let bias: Arc<[f32]> = noise(&[24], 1.0, 4).to_vec1::<f32>()?.into();
    let x = Var::from_tensor(&noise(&[2, 3, 64], 1.0, 5))?;
    let y = frozen(&x, &matrix, Some(&bias))?;
    assert_eq!(y.dims(), [2, 3, 24]);
    let seed = noise(&[2, 3, 24], 1.0, 6);
    let grads = (&y * &seed)?.sum_all()?.backward()?;

    let plain = Var::from_tensor(&x.flatten(0, 1)?)?;
    let w = shown(&matrix)?;
    let oracle = plain
        .matmul(&w.t()?)?
        .broadcast_add(&Tensor::new(&bias[..], &Device::Cpu)?)?;
    assert_close(&y.flatten(0, 1)?, &oracle, 1e-5, "forward");
    let oracle_grads = (oracle * seed.flatten(0, 1)?)?.sum_all()?.backward()?;
    let found = grads.get(&x).expect("the input is tracked").flatten(0, 1)?;
    assert_close(
        &found,
        oracle_grads.get(&plain).expect("oracle"),
        1e-5,
        "gradient",
    );
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_errors() -> Result<()> {
    assert!(
        Matrix::quantize(&weight(4, 100), Format::Q8_0).is_err(),
        "100 is not whole blocks of 32"
    );
    let matrix = Matrix::quantize(&weight(4, 64), Format::Q8_0)?;
    assert!(matrix.forward(&noise(&[2, 65], 1.0, 7)).is_err());
    assert!(matrix.rows(3..5).is_err());
    Ok(())
}
