mod bottlenecks;
mod layers;
mod packing;
mod segments;

use std::ops::Range;

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::work::Call;
use super::{
    Factors, LowRank, Matrix, Numbers, Precision, Rows, RowsMut, Segment, SegmentError, check,
};
use crate::kernels::simd::{self, Tier};
use crate::kernels::unit;

fn tiers() -> impl Iterator<Item = Tier> {
    [Tier::Portable, Tier::Avx2, Tier::Avx512]
        .into_iter()
        .filter(|tier| *tier <= simd::tier())
}

fn numbers(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn bytes(values: &[f32]) -> Vec<[u8; 4]> {
    values.iter().map(|value| value.to_le_bytes()).collect()
}

fn pack(
    (rank, inputs, outputs): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
    precision: Precision,
) -> Option<LowRank> {
    let factors = Factors {
        rank,
        inputs,
        outputs,
        scale: 0.5,
        a,
        b,
    };
    LowRank::pack(&[factors], precision).map(|mut packed| packed.remove(0))
}

fn weights(
    rng: &mut ChaCha8Rng,
    rank: usize,
    inputs: usize,
    outputs: usize,
    short: bool,
) -> LowRank {
    let kind = if short {
        Numbers::Bf16Pairs
    } else {
        Numbers::F32
    };
    weights_of(rng, (rank, inputs, outputs), kind)
}

fn weights_of(rng: &mut ChaCha8Rng, shape: (usize, usize, usize), kind: Numbers) -> LowRank {
    let (rank, inputs, outputs) = shape;
    let (a, b) = (numbers(rng, rank * inputs), numbers(rng, rank * outputs));
    if kind == Numbers::Bf16 {
        let [a, b] = [a, b].map(|values| {
            let stored = values.iter().map(|v| half::bf16::from_f32(*v));
            stored.map(|v| v.to_le_bytes()).collect::<Vec<_>>()
        });
        return pack(shape, Matrix::Bf16(&a), Matrix::Bf16(&b), Precision::Exact).unwrap();
    }
    let precision = match kind {
        Numbers::F32 => Precision::Exact,
        _ => Precision::Bf16,
    };
    let (a, b) = (bytes(&a), bytes(&b));
    pack(shape, Matrix::F32(&a), Matrix::F32(&b), precision).unwrap()
}

/// What one layer made of the rows, and whose rows they are.
struct Output<'a> {
    y: RowsMut<'a>,
    segments: &'a [Segment<'a>],
}

/// Adds every segment's product to its rows, for layers that read the same `x`: the plain twin of `through`, on a tier of
/// choice.
fn add_each<'a>(tier: Tier, x: Rows<'a>, outputs: Vec<Output<'a>>) -> Result<(), SegmentError> {
    for Output { y, segments } in &outputs {
        check(x, (y.data.len(), y.stride), segments)?;
    }
    let call = Call::new(tier, x, outputs.iter().map(|output| output.segments));
    let mut rows: Vec<_> = outputs.into_iter().map(|output| output.y).collect();
    call.run(&mut rows);
    Ok(())
}

/// Adds what one layer's segments say.
fn add_to(
    tier: Tier,
    x: Rows<'_>,
    y: RowsMut<'_>,
    segments: &[Segment<'_>],
) -> Result<(), SegmentError> {
    add_each(tier, x, vec![Output { y, segments }])
}

fn lora(x: Rows<'_>, y: RowsMut<'_>, segments: &[Segment<'_>]) -> Result<(), SegmentError> {
    add_to(simd::tier(), x, y, segments)
}

/// In f64, straight from the definition, and how far from it a sum may be that rounds x and what A makes of it to bf16.
fn expected(x: &[f32], y: &[f32], weights: &LowRank) -> Vec<(f32, f32)> {
    /// One part in 256 at most, and a little for what the second rounding makes of the first.
    const ROUNDED: f64 = 1.01 / 256.0;
    let (a, b) = (weights.a(), weights.b());
    let (rank, inputs) = (weights.rank(), weights.inputs());
    let hidden: Vec<(f64, f64)> = (0..rank)
        .map(|r| {
            let products = x.iter().zip(&a[r * inputs..][..inputs]);
            let products = products.map(|(x, a)| f64::from(*x) * f64::from(*a));
            let sum = products.clone().sum::<f64>();
            (
                sum,
                ROUNDED * (products.map(f64::abs).sum::<f64>() + sum.abs()),
            )
        })
        .collect();
    let add = |n: usize| {
        hidden
            .iter()
            .zip(&b[n * rank..])
            .fold((0.0, 0.0), |(sum, off), (hidden, b)| {
                let b = f64::from(*b);
                (sum + hidden.0 * b, off + hidden.1 * b.abs())
            })
    };
    let scale = f64::from(weights.scale());
    y.iter()
        .enumerate()
        .map(|(n, y)| {
            let (sum, off) = add(n);
            ((f64::from(*y) + scale * sum) as f32, (scale * off) as f32)
        })
        .collect()
}

/// Whether this tier rounds the rows that meet such weights.
fn rounds(tier: Tier, weights: &LowRank) -> bool {
    tier == Tier::Avx512 && unit::multiplies_pairs() && weights.form().numbers == Numbers::Bf16Pairs
}

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    inputs: usize,
    outputs: usize,
    /// (rows, rank, numbers) of each segment; rank 0 leaves base rows.
    segments: Vec<(usize, usize, Numbers)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = vec![Numbers::F32, Numbers::Bf16, Numbers::Bf16Pairs];
    let segment = (1usize..22, 0usize..20, prop::sample::select(kinds));
    (
        any::<u64>(),
        1usize..90,
        1usize..150,
        prop::collection::vec(segment, 1..6),
    )
        .prop_map(|(seed, inputs, outputs, segments)| Case {
            seed,
            inputs,
            outputs,
            segments,
        })
}

struct Batch {
    x: Vec<f32>,
    y: Vec<f32>,
    weights: Vec<Option<LowRank>>,
}

fn batch(case: &Case) -> Batch {
    let mut rng = ChaCha8Rng::seed_from_u64(case.seed);
    let rows: usize = case.segments.iter().map(|segment| segment.0).sum();
    let (x, y) = (
        numbers(&mut rng, rows * case.inputs),
        numbers(&mut rng, rows * case.outputs),
    );
    let weights = case.segments.iter().map(|(_, rank, kind)| {
        let shape = (*rank, case.inputs, case.outputs);
        (*rank > 0).then(|| weights_of(&mut rng, shape, *kind))
    });
    Batch {
        weights: weights.collect(),
        x,
        y,
    }
}

fn run(tier: Tier, case: &Case, batch: &Batch) -> Vec<f32> {
    let (mut y, mut at, mut segments) = (batch.y.clone(), 0, Vec::new());
    for ((rows, ..), weights) in case.segments.iter().zip(&batch.weights) {
        segments.extend(weights.as_ref().map(|weights| Segment {
            rows: at..at + rows,
            weights,
        }));
        at += rows;
    }
    let x = Rows {
        data: &batch.x,
        stride: case.inputs,
    };
    add_to(
        tier,
        x,
        RowsMut {
            data: &mut y,
            stride: case.outputs,
        },
        &segments,
    )
    .unwrap();
    y
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_tier_agrees_with_the_definition_and_leaves_base_rows_alone(case in cases()) {
        let batch = batch(&case);
        for tier in tiers() {
            let got = run(tier, &case, &batch);
            let mut row = 0;
            for ((rows, ..), weights) in case.segments.iter().zip(&batch.weights) {
                for row in row..row + rows {
                    let y = &batch.y[row * case.outputs..][..case.outputs];
                    let got = &got[row * case.outputs..][..case.outputs];
                    match weights {
                        None => prop_assert_eq!(y, got),
                        Some(weights) => {
                            let want = expected(&batch.x[row * case.inputs..][..case.inputs], y, weights);
                            for ((want, off), got) in want.iter().zip(got) {
                                let off = if rounds(tier, weights) { *off } else { 0.0 };
                                prop_assert!((want - got).abs() <= off + 1e-4 * (1.0 + want.abs()), "{:?}: {} {}", tier, want, got);
                            }
                        }
                    }
                }
                row += rows;
            }
        }
    }

    #[test]
    fn a_row_is_the_same_bit_for_bit_alone_and_in_any_batch(case in cases()) {
        let batch = batch(&case);
        for tier in tiers() {
            let together = run(tier, &case, &batch);
            let mut row = 0;
            for ((rows, ..), weights) in case.segments.iter().zip(&batch.weights) {
                for row in row..row + rows {
                    let Some(weights) = weights else { continue };
                    let mut alone = batch.y[row * case.outputs..][..case.outputs].to_vec();
                    let x = Rows { data: &batch.x[row * case.inputs..][..case.inputs], stride: case.inputs };
                    let y = RowsMut { data: &mut alone, stride: case.outputs };
                    add_to(tier, x, y, &[Segment { rows: 0..1, weights }]).unwrap();
                    prop_assert_eq!(&alone, &together[row * case.outputs..][..case.outputs]);
                }
                row += rows;
            }
        }
    }
}

#[test]
fn rows_of_few_digits_lose_nothing_to_rounding() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    // Ranks and inputs that end within pairs, blocks and panels.
    for (rank, inputs, outputs) in [(1, 1, 1), (7, 33, 70), (16, 64, 128), (19, 50, 90)] {
        let weights = weights(&mut rng, rank, inputs, outputs, true);
        for rows in 1..9 {
            // One number of A is what each row becomes, and it has 16 bits.
            let mut x = vec![0f32; rows * inputs];
            let places: Vec<_> = (0..rows).map(|_| rng.random_range(0..inputs)).collect();
            for (row, place) in places.iter().enumerate() {
                x[row * inputs + place] = 1.0;
            }
            for tier in tiers() {
                let mut y = vec![0f32; rows * outputs];
                let rows_of_x = Rows {
                    data: &x,
                    stride: inputs,
                };
                let rows_of_y = RowsMut {
                    data: &mut y,
                    stride: outputs,
                };
                let segment = Segment {
                    rows: 0..rows,
                    weights: &weights,
                };
                add_to(tier, rows_of_x, rows_of_y, &[segment]).unwrap();
                let (x, y) = (x.chunks(inputs), y.chunks(outputs));
                for (x, y) in x.zip(y) {
                    let want = expected(x, &vec![0.0; outputs], &weights);
                    for ((want, _), got) in want.iter().zip(y) {
                        assert!((want - got).abs() <= 1e-5, "{tier:?}: {want} {got}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_batch_large_enough_for_many_threads_equals_the_same_rows_in_small_calls() {
    let case = Case {
        seed: 7,
        inputs: 128,
        outputs: 192,
        segments: vec![
            (100, 16, Numbers::F32),
            (1, 8, Numbers::Bf16),
            (77, 63, Numbers::Bf16Pairs),
        ],
    };
    let batch = batch(&case);
    let together = run(simd::tier(), &case, &batch);
    let weights = batch.weights[2].as_ref().unwrap();
    for row in 101..178 {
        let mut alone = batch.y[row * 192..][..192].to_vec();
        let x = Rows {
            data: &batch.x[row * 128..][..128],
            stride: 128,
        };
        lora(
            x,
            RowsMut {
                data: &mut alone,
                stride: 192,
            },
            &[Segment {
                rows: 0..1,
                weights,
            }],
        )
        .unwrap();
        assert_eq!(alone, together[row * 192..][..192]);
    }
}

#[test]
fn rows_may_lie_apart() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let weights = weights(&mut rng, 4, 20, 33, false);
    let (x, mut y) = (numbers(&mut rng, 2 * 25 + 20), vec![0f32; 2 * 40 + 33]);
    let segment = Segment {
        rows: 1..3,
        weights: &weights,
    };
    lora(
        Rows {
            data: &x,
            stride: 25,
        },
        RowsMut {
            data: &mut y,
            stride: 40,
        },
        &[segment],
    )
    .unwrap();
    assert!(
        y[..40].iter().chain(&y[73..80]).all(|value| *value == 0.0),
        "rows and gaps outside stay as they were"
    );
    let want = expected(&x[50..70], &[0.0; 33], &weights);
    assert!(
        want.iter()
            .zip(&y[80..])
            .all(|((want, _), got)| (want - got).abs() < 1e-4)
    );
}
