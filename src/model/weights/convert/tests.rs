use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

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
        format: Format::F32,
        rows: values.len() / width,
        width,
    }
}

fn deviation(a: &[f32], b: &[f32]) -> f32 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / a.len() as f32).sqrt()
}

#[test]
fn quantizing_by_chunks_equals_quantizing_at_once() {
    let width = 256;
    let values = random(1_200, width);
    for format in [Format::Q8_0, Format::Q4K, Format::Q4_0, Format::Q6K] {
        let at_once = encode(values.clone(), width, format).unwrap();
        let by_chunks = raw(&values, width).quantized(format).unwrap();
        assert_eq!(by_chunks, at_once, "{format}");
    }
}

#[test]
fn each_format_deviates_no_more_than_its_bits_explain() {
    let values = random(8, 256);
    for (quant, bound) in [
        (Quant::AsStored, 0.0),
        (Quant::To(Format::F32), 0.0),
        (Quant::To(Format::F16), 3e-4),
        (Quant::To(Format::Bf16), 2e-3),
        (Quant::To(Format::Q8_0), 5e-3),
        (Quant::To(Format::Q4K), 0.05),
        (Quant::To(Format::Q4_0), 0.06),
    ] {
        let matrix = raw(&values, 256)
            .into_matrix(wanted(quant, Format::F32, false))
            .unwrap();
        let found = deviation(&matrix.rows(0..8).unwrap(), &values);
        assert!(found <= bound, "{quant:?} deviates by {found}");
    }
}

#[test]
fn a_row_width_that_a_format_cannot_hold_takes_the_nearest_that_can() {
    assert_eq!(Format::Q4K.fitting(512), Some(Format::Q4K));
    assert_eq!(Format::Q4K.fitting(96), Some(Format::Q5_0));
    assert_eq!(Format::Q6K.fitting(96), Some(Format::Q8_0));
    assert_eq!(Format::F32.fitting(41), Some(Format::F32));
    assert_eq!(Format::Q8_0.fitting(40), None);
    let kept = raw(&random(2, 40), 40).into_matrix(Format::Q4_0).unwrap();
    assert_eq!(kept.format(), Some(Format::F32));
}

#[test]
fn embedding_and_head_keep_at_least_six_bits() {
    for format in Format::all() {
        let edge = wanted(Quant::To(format), Format::F32, true);
        assert!(edge.bits() >= Format::Q6K.bits(), "{format}");
        assert_eq!(wanted(Quant::To(format), Format::F32, false), format);
    }
    assert_eq!(wanted(Quant::AsStored, Format::Q4_0, true), Format::Q4_0);
}

#[test]
fn int8_is_for_what_lies_between_embedding_and_head() {
    let values = random(20, 250);
    let int8 = Quant::Int8 { threshold: 6.0 };
    let inner = raw(&values, 250).into_wanted(int8, false).unwrap();
    assert_eq!((inner.format(), inner.dims()), (None, (20, 250)));
    let found = deviation(&inner.rows(0..20).unwrap(), &values);
    assert!(found <= 5e-3, "deviates by {found}");
    assert_eq!(wanted(int8, Format::Bf16, true), Format::Q8_0);
    assert_eq!(wanted(int8, Format::Q6K, true), Format::Q6K);
    let mut bad = values;
    bad[7] = f32::NAN;
    assert!(raw(&bad, 250).into_wanted(int8, false).is_err());
}

#[test]
fn a_bad_scale_is_found_in_every_format() {
    let values = random(2, 256);
    for format in Format::all() {
        let bytes = if format == Format::F32 {
            raw(&values, 256).bytes.into_owned()
        } else {
            raw(&values, 256).quantized(format).unwrap()
        };
        let of = |bytes: Vec<u8>| Raw {
            name: "t",
            bytes: bytes.into(),
            format,
            rows: 2,
            width: 256,
        };
        of(bytes.clone())
            .check_finite()
            .unwrap_or_else(|e| panic!("{format}: {e}"));
        // Values whose largest is infinite have an infinite scale, wherever the format keeps it.
        let mut infinite = values.clone();
        infinite[300] = f32::INFINITY;
        if let Ok(bad) = encode(infinite, 256, format) {
            let stored = Stored {
                bytes: Cow::Borrowed(&bad),
                format,
                rows: 2,
                width: 256,
            };
            let dense = stored.decode().unwrap();
            assert!(
                dense.iter().all(|v| v.is_finite()) || of(bad).check_finite().is_err(),
                "{format}"
            );
        }
    }
}

#[test]
fn a_value_too_large_for_f16_is_refused_rather_than_made_infinite() {
    let mut values = random(1, 64);
    values[3] = 1e6;
    assert!(raw(&values, 64).into_matrix(Format::F16).is_err());
    assert!(raw(&values, 64).into_matrix(Format::Bf16).is_ok());
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
        format: Format::F32,
        rows: 2,
        width: 64,
    };
    assert_eq!(
        raw.into_matrix(Format::F32).unwrap().rows(0..2).unwrap(),
        values
    );
}
