use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const ALL: [GgmlDType; 14] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
    GgmlDType::Q8K,
];

fn random(rows: usize, width: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(11);
    (0..rows * width)
        .map(|_| rng.random_range(-1.0..1.0f32))
        .collect()
}

fn raw(values: &[f32], width: usize) -> Raw<'static> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Raw {
        name: "t",
        bytes: bytes.into(),
        dtype: GgmlDType::F32,
        rows: values.len() / width,
        width,
    }
}

fn deviation(a: &[f32], b: &[f32]) -> f32 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / a.len() as f32).sqrt()
}

#[test]
fn quantizing_by_chunks_equals_quantizing_at_once() {
    let (rows, width) = (1_200, 256);
    let values = random(rows, width);
    let whole = Tensor::from_vec(values.clone(), (rows, width), &Device::Cpu).unwrap();
    for dtype in [
        GgmlDType::Q8_0,
        GgmlDType::Q4K,
        GgmlDType::Q4_0,
        GgmlDType::Q6K,
    ] {
        let at_once = QTensor::quantize(&whole, dtype).unwrap();
        assert_eq!(
            raw(&values, width).quantized(dtype).unwrap(),
            &*at_once.data().unwrap(),
            "{dtype:?}"
        );
    }
}

#[test]
fn each_format_deviates_no_more_than_its_bits_explain() {
    let values = random(8, 256);
    for (quant, bound) in [
        (Quant::AsStored, 0.0),
        (Quant::F32, 0.0),
        (Quant::F16, 3e-4),
        (Quant::Bf16, 2e-3),
        (Quant::Q8_0, 5e-3),
        (Quant::Q4K, 0.05),
        (Quant::Q4_0, 0.06),
    ] {
        let matrix = raw(&values, 256)
            .into_matrix(wanted(quant, GgmlDType::F32, false))
            .unwrap();
        let found = deviation(&matrix.rows(0..8).unwrap(), &values);
        assert!(found <= bound, "{quant:?} deviates by {found}");
    }
}

#[test]
fn a_row_width_that_a_format_cannot_hold_takes_the_nearest_that_can() {
    assert_eq!(fitting(GgmlDType::Q4K, GgmlDType::F32, 512), GgmlDType::Q4K);
    assert_eq!(fitting(GgmlDType::Q4K, GgmlDType::F32, 96), GgmlDType::Q5_0);
    assert_eq!(fitting(GgmlDType::Q6K, GgmlDType::F32, 96), GgmlDType::Q8_0);
    assert_eq!(
        fitting(GgmlDType::Q8_0, GgmlDType::BF16, 40),
        GgmlDType::BF16
    );
    assert_eq!(fitting(GgmlDType::Q4_0, GgmlDType::F32, 40), GgmlDType::F32);
    assert_eq!(fitting(GgmlDType::F32, GgmlDType::BF16, 41), GgmlDType::F32);
}

#[test]
fn a_bad_scale_is_found_in_every_format() {
    let values = random(2, 256);
    for dtype in ALL {
        let bytes = if dtype == GgmlDType::F32 {
            raw(&values, 256).bytes.into_owned()
        } else {
            raw(&values, 256).quantized(dtype).unwrap()
        };
        let of = |bytes: Vec<u8>| Raw {
            name: "t",
            bytes: bytes.into(),
            dtype,
            rows: 2,
            width: 256,
        };
        of(bytes.clone())
            .check_finite()
            .unwrap_or_else(|e| panic!("{dtype:?}: {e}"));
        // Values whose largest is infinite have an infinite scale, wherever the format keeps it.
        let mut infinite = values.clone();
        infinite[300] = f32::INFINITY;
        if let Ok(tensor) = Tensor::from_vec(infinite, (2, 256), &Device::Cpu)
            .and_then(|t| QTensor::quantize(&t, dtype))
        {
            let bad = tensor.data().unwrap().into_owned();
            let dense = tensor
                .dequantize(&Device::Cpu)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            assert!(
                dense.iter().all(|v| v.is_finite()) || of(bad).check_finite().is_err(),
                "{dtype:?}"
            );
        }
    }
}

#[test]
fn a_value_too_large_for_f16_is_refused_rather_than_made_infinite() {
    let mut values = random(1, 64);
    values[3] = 1e6;
    assert!(raw(&values, 64).into_matrix(GgmlDType::F16).is_err());
    assert!(raw(&values, 64).into_matrix(GgmlDType::BF16).is_ok());
}

#[test]
fn bytes_that_lie_unaligned_are_read_all_the_same() {
    let values = random(2, 64);
    let aligned = raw(&values, 64);
    let mut shifted = vec![0u8];
    shifted.extend(&*aligned.bytes);
    let raw = Raw {
        name: "t",
        bytes: Cow::Borrowed(&shifted[1..]),
        dtype: GgmlDType::F32,
        rows: 2,
        width: 64,
    };
    assert_eq!(
        raw.into_matrix(GgmlDType::F32).unwrap().rows(0..2).unwrap(),
        values
    );
}
