mod packing;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Factors, LowRank, Matrix, Output, Precision, Rows, RowsMut, Segment, SegmentError, add_with,
    through,
};
use crate::kernels::quant;
use crate::kernels::simd::{self, Tier};

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
    let (a, b) = (numbers(rng, rank * inputs), numbers(rng, rank * outputs));
    let precision = if short {
        Precision::Bf16
    } else {
        Precision::Exact
    };
    let (a, b) = (bytes(&a), bytes(&b));
    let shape = (rank, inputs, outputs);
    pack(shape, Matrix::F32(&a), Matrix::F32(&b), precision).unwrap()
}

/// Adds what one layer's segments say.
fn add_to(
    tier: Tier,
    x: Rows<'_>,
    y: RowsMut<'_>,
    segments: &[Segment<'_>],
) -> Result<(), SegmentError> {
    add_with(tier, x, &mut [Output { y, segments }])
}

fn lora(x: Rows<'_>, y: RowsMut<'_>, segments: &[Segment<'_>]) -> Result<(), SegmentError> {
    add_to(simd::tier(), x, y, segments)
}

/// In f64, straight from the definition.
fn expected(x: &[f32], y: &[f32], weights: &LowRank) -> Vec<f32> {
    let (a, b) = (weights.a(), weights.b());
    let (rank, inputs) = (weights.rank(), weights.inputs());
    let hidden: Vec<f64> = (0..rank)
        .map(|r| {
            (0..inputs)
                .map(|k| f64::from(x[k]) * f64::from(a[r * inputs + k]))
                .sum::<f64>()
        })
        .collect();
    let add = |n: usize| {
        (0..rank)
            .map(|r| hidden[r] * f64::from(b[n * rank + r]))
            .sum::<f64>()
    };
    y.iter()
        .enumerate()
        .map(|(n, y)| (f64::from(*y) + f64::from(weights.scale()) * add(n)) as f32)
        .collect()
}

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    inputs: usize,
    outputs: usize,
    /// (rows, rank, 16-bit) of each segment; rank 0 leaves base rows.
    segments: Vec<(usize, usize, bool)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let segment = (1usize..22, 0usize..20, any::<bool>());
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
    let weights = case.segments.iter().map(|(_, rank, short)| {
        (*rank > 0).then(|| weights(&mut rng, *rank, case.inputs, case.outputs, *short))
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
                            for (want, got) in want.iter().zip(got) {
                                prop_assert!((want - got).abs() <= 1e-4 * (1.0 + want.abs()), "{:?}: {} {}", tier, want, got);
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
fn a_batch_large_enough_for_many_threads_equals_the_same_rows_in_small_calls() {
    let case = Case {
        seed: 7,
        inputs: 128,
        outputs: 192,
        segments: vec![(100, 16, false), (1, 8, true), (77, 64, false)],
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
            .all(|(want, got)| (want - got).abs() < 1e-4)
    );
}

#[test]
fn segments_outside_the_batch_or_out_of_order_are_refused_before_anything_changes() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let weights = weights(&mut rng, 2, 8, 8, false);
    let x = vec![1f32; 4 * 8];
    let out_of_order = [
        [0..5, 5..5],
        [2..4, 0..1],
        [0..2, 1..3],
        [0..usize::MAX, 0..0],
    ];
    for ranges in out_of_order {
        let mut y = vec![0f32; 4 * 8];
        let segments: Vec<_> = ranges
            .into_iter()
            .map(|rows| Segment {
                rows,
                weights: &weights,
            })
            .collect();
        assert!(
            lora(
                Rows {
                    data: &x,
                    stride: 8
                },
                RowsMut {
                    data: &mut y,
                    stride: 8
                },
                &segments
            )
            .is_err()
        );
        assert!(y.iter().all(|value| *value == 0.0));
    }
}

#[test]
fn layers_that_read_the_same_rows_share_a_call_and_change_nothing_for_each_other() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (inputs, rows) = (200, 11);
    let x = numbers(&mut rng, rows * inputs);
    let x = Rows {
        data: &x,
        stride: inputs,
    };
    let shapes = [(16, 130, true), (3, 64, false), (9, 700, true)];
    let layers = shapes.map(|(rank, outputs, short)| {
        let weights = weights(&mut rng, rank, inputs, outputs, short);
        (numbers(&mut rng, rows * outputs), weights)
    });
    let segments = layers
        .iter()
        .map(|(_, weights)| [0..1, 2..7, 7..11].map(|rows| Segment { rows, weights }))
        .collect::<Vec<_>>();
    for tier in tiers() {
        let mut together: Vec<Vec<f32>> = layers.iter().map(|(y, _)| y.clone()).collect();
        let outputs = together.iter_mut().zip(&layers).zip(&segments);
        let mut outputs: Vec<_> = outputs
            .map(|((y, (_, weights)), segments)| {
                let stride = weights.outputs();
                Output {
                    y: RowsMut { data: y, stride },
                    segments,
                }
            })
            .collect();
        add_with(tier, x, &mut outputs).unwrap();
        for ((together, (y, weights)), segments) in together.iter().zip(&layers).zip(&segments) {
            let mut alone = y.clone();
            let stride = weights.outputs();
            let y = RowsMut {
                data: &mut alone,
                stride,
            };
            add_to(tier, x, y, segments).unwrap();
            assert_eq!(together, &alone, "{tier:?}");
        }
    }
}

#[test]
fn updates_of_layers_are_the_same_whenever_they_are_added() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let inputs = 64;
    // Outputs that end in a wide block, in narrow ones, and within one.
    let outputs = [640, 100, 49];
    let matrices = outputs.map(|n| {
        let weight = Tensor::randn(0f32, 1.0, (n, inputs), &Device::Cpu).unwrap();
        Arc::new(quant::Matrix::quantize(&weight, quant::Format::Q8_0).unwrap())
    });
    let adapters: Vec<_> = [3, 16, 9]
        .into_iter()
        .map(|rank| outputs.map(|n| weights(&mut rng, rank, inputs, n, rank == 16)))
        .collect();
    // Some rows are of no adapter; few rows of each adapter, and many.
    for (rows, parts) in [(5, [0..1, 2..3, 3..4]), (90, [0..40, 41..50, 50..83])] {
        let x = Tensor::from_vec(
            numbers(&mut rng, rows * inputs),
            (rows, inputs),
            &Device::Cpu,
        );
        let x = x.unwrap();
        let layers = matrices
            .each_ref()
            .map(|weight| quant::Layer { weight, bias: None });
        let segments = |layer: usize| -> Vec<_> {
            let parts = parts.iter().cloned().zip(&adapters);
            parts
                .map(|(rows, weights)| Segment {
                    rows,
                    weights: &weights[layer],
                })
                .collect()
        };
        let each: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(at, layer)| (layer, segments(at)))
            .collect();
        let found = through(&x, &each).unwrap();
        let flat = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (at, found) in found.iter().enumerate() {
            let y = layers[at].forward(&x).unwrap().flatten_all().unwrap();
            let mut y = y.to_vec1::<f32>().unwrap();
            let before = y.clone();
            let rows_of_x = Rows {
                data: &flat,
                stride: inputs,
            };
            let rows_of_y = RowsMut {
                data: &mut y,
                stride: outputs[at],
            };
            lora(rows_of_x, rows_of_y, &segments(at)).unwrap();
            assert_ne!(y, before);
            assert_eq!(
                found.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                y,
                "layer {at}"
            );
        }
    }
}
