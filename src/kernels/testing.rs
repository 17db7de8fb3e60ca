//! What kernel tests share: seeded noise, comparison, and the finite-difference check of a backward.

use candle_core::{Device, Result, Tensor, Var};

/// Values in ±`scale`, the same for the same seed.
pub fn noise(shape: &[usize], scale: f32, seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * scale
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a shape of that many values")
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor
        .flatten_all()
        .and_then(|flat| flat.to_vec1())
        .expect("an f32 tensor")
}

/// Element by element: |found − wanted| ≤ tolerance · max(1, |wanted|).
#[track_caller]
pub fn assert_close(found: &Tensor, wanted: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(found.dims(), wanted.dims(), "{what}");
    for (at, (found, wanted)) in flat(found).into_iter().zip(flat(wanted)).enumerate() {
        let bound = tolerance * wanted.abs().max(1.0);
        assert!(
            (found - wanted).abs() <= bound,
            "{what}: element {at} is {found}, not {wanted}"
        );
    }
}

/// Compares the gradient that `f`'s backward gives each input with central differences of a random projection of `f`.
#[track_caller]
pub fn assert_gradients(
    inputs: &[Tensor],
    tolerance: f32,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let vars: Vec<Var> = inputs
        .iter()
        .map(|input| Var::from_tensor(input).expect("a variable"))
        .collect();
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tracked).expect("forward");
    let seed = noise(y.dims(), 1.0, 77);
    let project = |y: &Tensor| -> f64 {
        flat(y)
            .iter()
            .zip(flat(&seed))
            .map(|(y, s)| f64::from(*y) * f64::from(s))
            .sum()
    };
    let grads = (&y * &seed)
        .and_then(|p| p.sum_all())
        .and_then(|p| p.backward())
        .expect("backward");
    for (which, input) in inputs.iter().enumerate() {
        let found = flat(
            grads
                .get(&tracked[which])
                .unwrap_or_else(|| panic!("input {which} has no gradient")),
        );
        let values = flat(input);
        for at in 0..values.len() {
            let mut difference = 0.0;
            let step = 1e-2f32;
            for sign in [1.0, -1.0] {
                let mut moved = values.clone();
                moved[at] += sign * step;
                let mut all = inputs.to_vec();
                all[which] =
                    Tensor::from_vec(moved, input.dims(), &Device::Cpu).expect("same shape");
                difference += f64::from(sign) * project(&f(&all).expect("forward"));
            }
            let wanted = (difference / f64::from(2.0 * step)) as f32;
            let bound = tolerance * wanted.abs().max(1.0);
            assert!(
                (found[at] - wanted).abs() <= bound,
                "input {which}, element {at}: backward says {}, differences say {wanted}",
                found[at]
            );
        }
    }
}
