use std::mem::MaybeUninit;

use super::super::super::testing::numbers;
use super::*;

fn weight(n: usize, k: usize) -> (Vec<bf16>, Paired) {
    let values = numbers(n * k, 1.0, 1);
    let values: Vec<bf16> = values.into_iter().map(bf16::from_f32).collect();
    let weight = Paired::new(&values, n, k);
    (values, weight)
}

fn product(weight: &Paired, n: usize, x: &[f32]) -> Vec<f32> {
    let rows = x.len() / weight.k;
    let input = Input::new(x, rows, weight.k);
    weight.prepare(&input);
    let mut y = vec![MaybeUninit::new(f32::NAN); rows * n];
    let out = Output::new(&mut y, rows, n, None);
    let tiles = n.div_ceil(LANES);
    for start in (0..tiles).step_by(3) {
        weight.tiles(start..(start + 3).min(tiles), 0..rows, &input, &out);
    }
    // SAFETY: numbers from the start.
    y.into_iter().map(|y| unsafe { y.assume_init() }).collect()
}

const SIZES: [(usize, usize, usize); 7] = [
    (1, 5, 3),
    (3, 16, 1),
    (7, 50, 33),
    (16, 48, 64),
    (21, 33, 95),
    (33, 70, 128),
    (64, 100, 70),
];

#[test]
fn every_product_agrees_with_the_sum_of_rounded_values_and_a_row_is_the_same_in_any_batch() {
    if Paired::is_available() {
        for (m, n, k) in SIZES {
            let (w, weight) = weight(n, k);
            let x = numbers(m * k, 2.0, 2);
            let y = product(&weight, n, &x);
            for (x, y) in x.chunks_exact(k).zip(y.chunks_exact(n)) {
                assert_eq!(product(&weight, n, x), y, "{m}x{n}x{k}");
                for (w, y) in w.chunks_exact(k).zip(y) {
                    let terms = w.iter().zip(x).map(|(w, x)| {
                        f64::from(w.to_f32()) * f64::from(bf16::from_f32(*x).to_f32())
                    });
                    let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| {
                        (sum + term, size + f64::abs(term))
                    });
                    assert!(
                        (f64::from(*y) - sum).abs() < 1e-6 * size + 1e-6,
                        "{y}, not {sum}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    if Paired::is_available() {
        let (_, weight) = weight(20, 40);
        let mut x = numbers(18 * 40, 1.0, 2);
        let whole = product(&weight, 20, &x);
        (x[3 * 40 + 7], x[17 * 40]) = (f32::NAN, f32::INFINITY);
        let y = product(&weight, 20, &x);
        for (row, (y, whole)) in y.chunks_exact(20).zip(whole.chunks_exact(20)).enumerate() {
            match row {
                3 | 17 => assert!(y.iter().all(|y| !y.is_finite())),
                _ => assert_eq!(y, whole),
            }
        }
    }
}

#[test]
fn rounding_is_that_of_the_library_for_every_kind_of_number() {
    let edges = [
        0u32,
        1,
        0x7fff,
        0x8000,
        0x8001,
        0x1_8000,
        0x3f80_8000,
        0x3f81_8000,
        0x7f7f_ffff,
        0x7f80_0000,
        0x7f80_0001,
        0x7fc0_0000,
        0x7fff_ffff,
    ];
    let x: Vec<f32> = edges
        .iter()
        .flat_map(|bits| [*bits, bits | 1 << 31])
        .chain((0..60_000).map(|at| at * 71_582))
        .map(f32::from_bits)
        .collect();
    let rows = Rows::of(&x, x.len());
    let rounded = &rows.row(0).as_flattened()[..x.len()];
    for (x, rounded) in x.iter().zip(rounded) {
        let wanted = bf16::from_f32(*x);
        assert!(
            wanted.to_bits() == rounded.to_bits() || (wanted.is_nan() && rounded.is_nan()),
            "{x}: {rounded}, not {wanted}"
        );
    }
}

#[test]
fn rows_come_back_as_they_were() {
    if Paired::is_available() {
        let (values, weight) = weight(37, 11);
        let mut rows = vec![0.0; 20 * 11];
        weight.unpack(13..33, &mut rows).unwrap();
        let wanted = values[13 * 11..33 * 11].iter().map(|value| value.to_f32());
        assert!(rows.into_iter().eq(wanted));
    }
}
