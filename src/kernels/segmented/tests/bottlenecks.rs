use super::super::bottleneck::{Bottleneck, add_on};
use super::*;
use crate::device::Array;
use crate::kernels::nonlinear::Activation;

const ACTIVATIONS: [Activation; 4] = [
    Activation::Relu,
    Activation::Gelu,
    Activation::Silu,
    Activation::Tanh,
];

const SCALE: f32 = 1.5;

/// As it was packed, and its biases.
struct Made {
    bottleneck: Bottleneck,
    weights: LowRank,
    activation: Activation,
    down: Vec<f32>,
    up: Vec<f32>,
}

fn made(rng: &mut ChaCha8Rng, shape: (usize, usize, usize), kind: Numbers, at: usize) -> Made {
    let (rank, inputs, outputs) = shape;
    let (a, b) = (numbers(rng, rank * inputs), numbers(rng, rank * outputs));
    let precision = match kind {
        Numbers::F32 => Precision::Exact,
        _ => Precision::Bf16,
    };
    let (a, b) = (bytes(&a), bytes(&b));
    let factors = Factors {
        rank,
        inputs,
        outputs,
        scale: 1.0,
        a: Matrix::F32(&a),
        b: Matrix::F32(&b),
    };
    let weights = LowRank::pack(&[factors], precision).unwrap().remove(0);
    let (down, up) = (numbers(rng, rank), numbers(rng, outputs));
    let activation = ACTIVATIONS[at % ACTIVATIONS.len()];
    let biases = [down.clone(), up.clone()];
    let bottleneck = Bottleneck::new(weights.clone(), activation, SCALE, biases).unwrap();
    Made {
        bottleneck,
        weights,
        activation,
        down,
        up,
    }
}

/// In f64, straight from the definition, and how far from it rounding to bf16 may lead.
fn defined(x: &[f32], y: &[f32], made: &Made) -> Vec<(f32, f32)> {
    /// Of x, and of what comes before and behind a function whose slope is below 1.13 everywhere.
    const ROUNDED: f64 = 1.2 / 256.0;
    let (a, b) = (made.weights.a(), made.weights.b());
    let (rank, inputs) = (made.weights.rank(), made.weights.inputs());
    let hidden: Vec<(f64, f64)> = (0..rank)
        .map(|r| {
            let products = x.iter().zip(&a[r * inputs..][..inputs]);
            let products = products.map(|(x, a)| f64::from(*x) * f64::from(*a));
            let sum = products.clone().sum::<f64>();
            let value = f64::from(made.activation.of((sum as f32) + made.down[r]));
            let off = products.map(f64::abs).sum::<f64>() + sum.abs() + value.abs();
            (value, ROUNDED * off)
        })
        .collect();
    let scale = f64::from(SCALE);
    let add = |n: usize| {
        hidden
            .iter()
            .zip(&b[n * rank..])
            .fold((0.0, 0.0), |(sum, off), (hidden, b)| {
                let b = f64::from(*b);
                (sum + hidden.0 * b, off + hidden.1 * b.abs())
            })
    };
    let each = y.iter().zip(&made.up).enumerate();
    each.map(|(n, (y, up))| {
        let (sum, off) = add(n);
        let value = f64::from(*y) + scale * (sum + f64::from(*up));
        (value as f32, (scale * off) as f32)
    })
    .collect()
}

fn array(values: Vec<f32>, width: usize) -> Array {
    let rows = values.len() / width;
    Array::new(values, (rows, width)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_tier_agrees_with_the_definition_and_a_row_is_the_same_alone(case in cases()) {
        let mut rng = ChaCha8Rng::seed_from_u64(case.seed);
        let (mut all, mut at) = (Vec::new(), 0);
        for (index, (rows, rank, kind)) in case.segments.iter().enumerate() {
            let shape = (*rank, case.inputs, case.outputs);
            let made = (*rank > 0).then(|| made(&mut rng, shape, *kind, index));
            all.push((at..at + rows, made));
            at += rows;
        }
        let x = array(numbers(&mut rng, at * case.inputs), case.inputs);
        let before = array(numbers(&mut rng, at * case.outputs), case.outputs);
        for tier in tiers() {
            let each: Vec<_> = all
                .iter()
                .filter_map(|(rows, made)| Some((rows.clone(), &made.as_ref()?.bottleneck)))
                .collect();
            let mut together = before.clone();
            add_on(tier, &x, &mut together, &each).unwrap();
            for (rows, made) in &all {
                for row in rows.clone() {
                    let of_row = |array: &Array| array.select_rows(&[row]).unwrap();
                    let (x, before, found) = (of_row(&x), of_row(&before), of_row(&together));
                    let Some(made) = made else {
                        prop_assert_eq!(&before, &found);
                        continue;
                    };
                    let mut alone = before.clone();
                    add_on(tier, &x, &mut alone, &[(0..1, &made.bottleneck)]).unwrap();
                    prop_assert_eq!(&alone, &found);
                    let wanted = defined(x.values(), before.values(), made);
                    for ((want, off), got) in wanted.iter().zip(found.values()) {
                        let off = if rounds(tier, &made.weights) { *off } else { 0.0 };
                        prop_assert!((want - got).abs() <= off + 2e-4 * (1.0 + want.abs()), "{:?}: {} {}", tier, want, got);
                    }
                }
            }
        }
    }
}

#[test]
fn a_batch_for_many_threads_equals_its_rows_alone_and_sizes_have_to_fit() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (rows, width) = (700, 192);
    let made = made(&mut rng, (31, width, width), Numbers::Bf16Pairs, 2);
    let x = array(numbers(&mut rng, rows * width), width);
    let before = array(numbers(&mut rng, rows * width), width);
    let mut together = before.clone();
    add_on(
        simd::tier(),
        &x,
        &mut together,
        &[(1..rows, &made.bottleneck)],
    )
    .unwrap();
    for row in [0, 1, 33, 350, rows - 1] {
        let of_row = |array: &Array| array.select_rows(&[row]).unwrap();
        let mut alone = of_row(&before);
        if row > 0 {
            let each = [(0..1, &made.bottleneck)];
            add_on(simd::tier(), &of_row(&x), &mut alone, &each).unwrap();
        }
        assert_eq!(alone, of_row(&together), "row {row}");
    }
    let beyond = [(0..rows + 1, &made.bottleneck)];
    assert!(add_on(simd::tier(), &x, &mut together, &beyond).is_err());
    let mut narrow = Array::zeros((rows, width - 1));
    let one = [(0..1, &made.bottleneck)];
    assert!(add_on(simd::tier(), &x, &mut narrow, &one).is_err());
    let biases = [vec![0.0; 30], vec![0.0; width]];
    assert!(Bottleneck::new(made.weights.clone(), Activation::Relu, 1.0, biases).is_none());
}
