use std::sync::Arc;

use crate::device::Array;
use crate::kernels::op::Run;
use crate::kernels::testing::noise;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Output, add_each, add_to, lora, numbers, tiers, weights};
use crate::kernels::quant;
use crate::kernels::segmented::{Rows, RowsMut, Segment, through};

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
        let outputs: Vec<_> = outputs
            .map(|((y, (_, weights)), segments)| {
                let stride = weights.outputs();
                Output {
                    y: RowsMut { data: y, stride },
                    segments,
                }
            })
            .collect();
        add_each(tier, x, outputs).unwrap();
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
fn updates_of_layers_are_the_same_whenever_they_are_added_with_a_bias_and_without() {
    use quant::Format;
    for format in [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::Q8_0,
        Format::Q4K,
        Format::Q6K,
    ] {
        fused_as_apart(format);
    }
}

fn fused_as_apart(format: quant::Format) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let inputs = 256;
    // Outputs that end in a wide block, in narrow ones, and within one.
    let outputs = [640, 100, 49];
    let matrices = outputs.map(|n| {
        let weight = noise((n, inputs), 1.0, n as u64);
        Arc::new(quant::Matrix::quantize(&weight, format).unwrap())
    });
    let biases: [Option<Arc<[f32]>>; 3] =
        [0, 1, 2].map(|at| (at != 1).then(|| numbers(&mut rng, outputs[at]).into()));
    let adapters: Vec<_> = [3, 16, 9]
        .into_iter()
        .map(|rank| outputs.map(|n| weights(&mut rng, rank, inputs, n, rank == 16)))
        .collect();
    // Some rows are of no adapter; few rows of each adapter, and many.
    for (rows, parts) in [(5, [0..1, 2..3, 3..4]), (90, [0..40, 41..50, 50..83])] {
        let x = numbers(&mut rng, rows * inputs);
        let x = Array::new(x, (rows, inputs)).unwrap();
        let layers = [0, 1, 2].map(|at| quant::Layer {
            weight: &matrices[at],
            bias: biases[at].as_ref(),
        });
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
        for (at, found) in found.iter().enumerate() {
            let plain = layers[at].forward(Run::host(), &x.clone().into());
            let mut y = plain.unwrap().into_array().into_values();
            let before = y.clone();
            let rows_of_x = Rows {
                data: x.values(),
                stride: inputs,
            };
            let rows_of_y = RowsMut {
                data: &mut y,
                stride: outputs[at],
            };
            lora(rows_of_x, rows_of_y, &segments(at)).unwrap();
            assert_ne!(y, before);
            assert_eq!(found.values(), y, "{format:?} {rows} rows, layer {at}");
        }
    }
}
