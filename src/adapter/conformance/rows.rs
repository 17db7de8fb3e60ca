//! Rows of many adapters in one batch.

use std::sync::Arc;

use super::{LAYERS, accepted, specimens};
use crate::adapter::peft::Files;
use crate::adapter::testing::{Weights, bottleneck_specimen, sites, specimen};
use crate::adapter::{
    Adapt, Adapter, BaseNorm, BaseWeights, NormAt, Outer, Part, Routed, Sublayer, Uniform,
};
use crate::device::Array;
use crate::domain::Placement;
use crate::kernels::op::{Run, Value as Passed};
use crate::kernels::quant::{Format, Layer, Matrix};

#[test]
fn rows_of_a_mixed_batch_equal_the_same_rows_alone_and_base_rows_stay() {
    let of = |files: &Files| Arc::new(accepted(files));
    let mut adapters: Vec<Arc<Adapter>> = specimens().iter().map(|(_, files)| of(files)).collect();
    adapters.push(of(&specimen(LAYERS, 2)));
    for shape in sites(LAYERS) {
        let values = |dims: (usize, usize), step: f32| {
            let values = (0..dims.0 * dims.1).map(|i| (i as f32 * step).sin());
            Array::new(values.collect(), dims).unwrap()
        };
        let x = values((3 * adapters.len(), shape.inputs), 0.7);
        let weight = values((shape.outputs, shape.inputs), 0.3);
        let weight = Arc::new(Matrix::quantize(&weight, Format::F32).unwrap());
        let layer = Layer {
            weight: &weight,
            bias: None,
        };
        let through = |adapters: &Routed, x: Array| {
            let x = x.into();
            let run = Run::host();
            adapters.through(run, shape.site, &x, &layer).unwrap()
        };
        let ranges: Vec<_> = (0..adapters.len()).map(|at| 3 * at..3 * at + 2).collect();
        let together = Routed {
            segments: ranges
                .iter()
                .cloned()
                .zip(adapters.iter().cloned())
                .collect(),
        };
        let mixed = through(&together, x.clone());
        let before = through(&Routed::base(), x.clone());
        for row in 0..x.rows() {
            let of_row = |array: &Array| array.select_rows(&[row]).unwrap();
            let (mixed, before) = (of_row(&mixed), of_row(&before));
            let Some(owner) = ranges.iter().position(|range| range.contains(&row)) else {
                assert_eq!(mixed, before, "a base row");
                continue;
            };
            let alone = Routed {
                segments: vec![(0..1, adapters[owner].clone())],
            };
            assert_eq!(*through(&alone, of_row(&x)), mixed);
            let adapts = adapters[owner].sites().any(|site| site == shape.site);
            assert_eq!(mixed != before, adapts);
        }
    }
}

#[test]
fn what_is_added_behind_a_sublayer_is_the_same_alone_and_in_a_mixed_batch() {
    let of = |files: &Files| Arc::new(accepted(files));
    let mut adapters: Vec<Arc<Adapter>> = specimens().iter().map(|(_, files)| of(files)).collect();
    for placement in [
        Placement::Sequential,
        Placement::Parallel,
        Placement::Double,
    ] {
        adapters.push(of(&bottleneck_specimen(LAYERS, placement, 9)));
    }
    let values = |step: f32| {
        let values = (0..16 * 3 * adapters.len()).map(|i| (i as f32 * step).sin());
        Array::new(values.collect(), (3 * adapters.len(), 16)).unwrap()
    };
    let (x, y) = (values(0.7), values(0.3));
    for layer in 0..LAYERS {
        for part in [Part::Attention, Part::FeedForward] {
            let at = Sublayer { layer, part };
            let after = |adapters: &Routed, x: Array, y: Array| {
                let (x, y) = (Passed::from(x), Passed::from(y));
                let after = adapters.residual(Run::host(), at, &x, &y);
                after.unwrap().into_array()
            };
            let ranges: Vec<_> = (0..adapters.len()).map(|at| 3 * at..3 * at + 2).collect();
            let segments = ranges.iter().cloned().zip(adapters.iter().cloned());
            let together = Routed {
                segments: segments.collect(),
            };
            let mixed = after(&together, x.clone(), y.clone());
            let before = after(&Routed::base(), x.clone(), y.clone());
            for row in 0..x.rows() {
                let of_row = |array: &Array| array.select_rows(&[row]).unwrap();
                let owner = ranges.iter().position(|range| range.contains(&row));
                let Some(adapter) = owner.map(|owner| &adapters[owner]) else {
                    assert_eq!(of_row(&mixed), of_row(&before), "a base row");
                    continue;
                };
                let alone = Routed {
                    segments: vec![(0..1, adapter.clone())],
                };
                assert_eq!(after(&alone, of_row(&x), of_row(&y)), of_row(&mixed));
                let acts = adapter.change().and_then(|change| change.inserted(at));
                assert_eq!(of_row(&mixed) != of_row(&before), acts.is_some());
            }
        }
    }
}

#[test]
fn what_is_done_around_blocks_is_the_same_in_a_mixed_batch_as_alone() {
    let adapters = specimens();
    let adapters: Vec<_> = { adapters.iter() }
        .map(|(kind, files)| (*kind, Arc::new(accepted(files))))
        .collect();
    // Others act between layers, or on virtual tokens, which none of these rows is.
    let changed = |(kind, adapter): &(&str, Arc<Adapter>)| {
        adapter.change().is_some() && ["lora", "dora", "dense"].contains(kind)
    };
    assert!(adapters.iter().filter(|pair| changed(pair)).count() >= 4);
    let rows = 3 * adapters.len();
    let values = |width: usize, step: f32| {
        let values = (0..rows * width).map(|i| (i as f32 * step).sin());
        Array::new(values.collect(), (rows, width)).unwrap()
    };
    let (x, head) = (values(16, 0.7), Weights.outer(Outer::Head).unwrap());
    let tokens: Vec<u32> = (0..rows as u32).map(|at| at % 32).collect();
    let embedding = Weights.outer(Outer::Embedding).unwrap();
    let ones = Array::row(vec![1.0; 16]).into();
    let norm = BaseNorm {
        at: NormAt::Last,
        norm: crate::kernels::norm::RmsNorm { eps: 1e-5 },
        weight: &ones,
    };
    let all = |adapt: &dyn Adapt, x: &Array, tokens: &[u32]| {
        let (run, x) = (Run::host(), x.clone().into());
        let layer = Layer {
            weight: &head,
            bias: None,
        };
        let embedded = embedding.gather(tokens).unwrap().into();
        [
            adapt.embedded(run, tokens, embedded).unwrap(),
            adapt.norm(run, norm, &x).unwrap(),
            adapt.head(run, &x, &layer).unwrap(),
        ]
    };
    let together = Routed {
        segments: { adapters.iter().enumerate() }
            .map(|(at, (_, adapter))| (3 * at..3 * at + 2, adapter.clone()))
            .collect(),
    };
    let (mixed, before) = (
        all(&together, &x, &tokens),
        all(&Routed::base(), &x, &tokens),
    );
    for row in 0..rows {
        let of_row = |array: &Array| array.select_rows(&[row]).unwrap();
        let alone = match row % 3 {
            2 => Routed::base(),
            _ => Routed {
                segments: vec![(0..1, adapters[row / 3].1.clone())],
            },
        };
        let alone = all(&alone, &of_row(&x), &tokens[row..=row]);
        for (mixed, alone) in mixed.iter().zip(alone) {
            assert_eq!(of_row(mixed), *alone, "row {row}");
        }
    }
    for (at, pair) in adapters
        .iter()
        .enumerate()
        .filter(|(_, pair)| changed(pair))
    {
        let of = |values: &Array| values.select_rows(&[3 * at, 3 * at + 1]).unwrap();
        let moved = mixed
            .iter()
            .zip(&before)
            .filter(|(mixed, before)| of(mixed) != of(before));
        assert!(moved.count() >= 2, "{}", pair.0);
        // Losses go through the same head as logits do.
        let uniform = Uniform {
            adapter: pair.1.clone(),
        };
        let targets: Vec<u32> = (0..rows as u32).map(|at| at * 5 % 32).collect();
        let hidden = x.clone().into();
        let losses = uniform
            .token_losses(Run::host(), &hidden, &targets, &head)
            .unwrap();
        let layer = Layer {
            weight: &head,
            bias: None,
        };
        let logits = uniform.head(Run::host(), &hidden, &layer).unwrap();
        let log_probs = crate::kernels::loss::log_softmax(logits.into_array());
        for (row, (loss, target)) in losses.values().iter().zip(targets).enumerate() {
            let wanted = -log_probs.values()[row * 32 + target as usize];
            assert!(
                (loss - wanted).abs() < 1e-4,
                "{}: {loss} for {wanted}",
                pair.0
            );
        }
    }
}
