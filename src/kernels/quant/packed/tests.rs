use candle_core::Device;
use candle_core::quantized::{GgmlDType, QTensor};

use super::super::super::testing::{noise, numbers, tensor};
use super::super::layouts;
use super::*;

/// Runs a check for every block format that has kernels.
macro_rules! for_each_layout {
    ($check:ident) => {
        $check::<layouts::Q8_0>(GgmlDType::Q8_0);
        $check::<layouts::Q5_1>(GgmlDType::Q5_1);
        $check::<layouts::Q5_0>(GgmlDType::Q5_0);
        $check::<layouts::Q4_1>(GgmlDType::Q4_1);
        $check::<layouts::Q4_0>(GgmlDType::Q4_0);
        $check::<layouts::Q6K>(GgmlDType::Q6K);
        $check::<layouts::Q5K>(GgmlDType::Q5K);
        $check::<layouts::Q4K>(GgmlDType::Q4K);
        $check::<layouts::Q3K>(GgmlDType::Q3K);
    };
}

fn weight<L: Layout>(ggml: GgmlDType, n: usize, k: usize) -> (QTensor, Weight<L>) {
    let stored = QTensor::quantize(&tensor(&noise((n, k), 0.7, 1)), ggml).unwrap();
    let packed = Weight::pack(&stored.data().unwrap(), n, k).unwrap();
    (stored, packed)
}

/// x·Wᵀ by one unit, in pieces of five tiles and some rows.
fn product<L: Layout>(weight: &Weight<L>, n: usize, unit: Unit, x: &Rounded) -> Vec<f32> {
    let rows = x.rows();
    let mut y = vec![std::mem::MaybeUninit::new(f32::NAN); rows * n];
    let out = Output::new(&mut y, rows, n, None);
    let tiles = n.div_ceil(LANES);
    for start in (0..tiles).step_by(5) {
        // As products do where the cache is to keep rows of x.
        let height = if unit == Unit::Avx512Vnni {
            2 * PANEL
        } else {
            rows.max(1)
        };
        for down in (0..rows).step_by(height) {
            let part = down..(down + height).min(rows);
            weight.tiles_with(unit, start..(start + 5).min(tiles), part, x, &out);
        }
    }
    // SAFETY: numbers from the start.
    y.into_iter().map(|y| unsafe { y.assume_init() }).collect()
}

/// (m, n, k), with k in whole blocks of `L`.
fn shapes<L: Layout>() -> impl Iterator<Item = (usize, usize, usize)> {
    let unit = 32 * L::Scaling::SPAN;
    [
        (1, 16, 1),
        (1, 33, 3),
        (2, 32, 2),
        (3, 48, 1),
        (5, 7, 2),
        (7, 80, 2),
        (13, 64, 3),
        (40, 100, 2),
    ]
    .into_iter()
    .map(move |(m, n, blocks)| (m, n, blocks * unit))
}

#[test]
fn packing_loses_nothing() {
    fn check<L: Layout>(ggml: GgmlDType) {
        for (_, n, k) in shapes::<L>() {
            let (stored, packed) = weight::<L>(ggml, n, k);
            let dense = stored.dequantize(&Device::Cpu).unwrap();
            let wanted: Vec<f32> = dense.flatten_all().unwrap().to_vec1().unwrap();
            let mut found = vec![0.0; n * k];
            packed.unpack(0..n, &mut found).unwrap();
            for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                // The order of multiplications may differ, the numbers do not.
                assert!(
                    (found - wanted).abs() <= 2e-7 * wanted.abs().max(1.0),
                    "{ggml:?} {n}x{k} at {at}: {found}, not {wanted}"
                );
            }
            let mut some = vec![0.0; k];
            packed.unpack(n - 1..n, &mut some).unwrap();
            assert_eq!(some, found[(n - 1) * k..]);
        }
    }
    for_each_layout!(check);
}

#[test]
fn every_unit_gives_the_exact_sum_of_rounded_numbers() {
    fn check<L: Layout>(ggml: GgmlDType) {
        for (m, n, k) in shapes::<L>() {
            let (_, packed) = weight::<L>(ggml, n, k);
            let x = numbers(m * k, 2.0, 2);
            let rounded = Rounded::of(&x, k);
            let mut w = vec![0.0; n * k];
            packed.unpack(0..n, &mut w).unwrap();
            for unit in Unit::available() {
                let y = product(&packed, n, unit, &rounded);
                for (at, y) in y.iter().enumerate() {
                    let (row, out) = (at / n, at % n);
                    let wanted: f64 = (0..k)
                        .map(|i| {
                            let at = rounded.at(row, i / BLOCK);
                            let q = rounded.q[at][i % BLOCK];
                            let x = f64::from(rounded.scales[at]) * f64::from(q);
                            x * f64::from(w[out * k + i])
                        })
                        .sum();
                    assert!(
                        (f64::from(*y) - wanted).abs() < 2e-4,
                        "{ggml:?} by {unit:?} {m}x{n}x{k} at {at}: {y}, not {wanted}"
                    );
                }
            }
        }
    }
    for_each_layout!(check);
}

#[test]
fn a_row_is_the_same_bit_for_bit_alone_and_in_any_batch() {
    fn check<L: Layout>(ggml: GgmlDType) {
        let (n, k) = (150, 256);
        let (_, packed) = weight::<L>(ggml, n, k);
        for m in [2, 3, 5, 7, 8, 21, 37] {
            let x = numbers(m * k, 2.0, 3);
            for unit in Unit::available() {
                let together = product(&packed, n, unit, &Rounded::of(&x, k));
                for row in 0..m {
                    let x = Rounded::of(&x[row * k..(row + 1) * k], k);
                    let alone = product(&packed, n, unit, &x);
                    assert_eq!(
                        alone,
                        together[row * n..(row + 1) * n],
                        "{ggml:?} by {unit:?}, row {row} of {m}"
                    );
                }
            }
        }
    }
    for_each_layout!(check);
}

/// Codes and multiples at their extremes, which random weights hardly reach.
#[test]
fn the_largest_codes_do_not_overflow() {
    fn check<L: Layout>(ggml: GgmlDType) {
        let (n, k) = (LANES, 256);
        let bytes = n * k / (32 * L::Scaling::SPAN) * L::STORED;
        for (fill, sign) in [(0x7f, 1.0), (0x3b, -1.0), (0x80, 1.0), (0x00, -1.0)] {
            let packed = Weight::<L>::pack(&vec![fill; bytes], n, k).unwrap();
            let mut w = vec![0.0; n * k];
            packed.unpack(0..n, &mut w).unwrap();
            if w.iter().any(|w| !w.is_finite()) {
                continue;
            }
            let rounded = Rounded::of(&vec![sign; k], k);
            let wanted: f64 = w[..k].iter().map(|w| f64::from(*w)).sum::<f64>() * f64::from(sign);
            for unit in Unit::available() {
                let y = product(&packed, n, unit, &rounded);
                assert!(
                    (f64::from(y[0]) - wanted).abs() <= 1e-4 * wanted.abs().max(1e-3),
                    "{ggml:?} by {unit:?}, bytes of {fill}: {}, not {wanted}",
                    y[0]
                );
            }
        }
    }
    for_each_layout!(check);
}
