//! What kernel tests share: seeded noise, comparison, and the finite-difference check of a backward.

use std::collections::HashMap;

use candle_core::{Device as Cpu, Tensor};

use super::op::{Op, Run, Value, Wants};
use super::tape::{Parameter, Tape};
use crate::device::{Array, Device, Result};

/// Values in ±`scale`, the same for the same seed.
pub fn noise((rows, width): (usize, usize), scale: f32, seed: u64) -> Array {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values: Vec<f32> = (0..rows * width)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0) * scale
        })
        .collect();
    Array::new(values, (rows, width)).expect("sizes of that many values")
}

/// One row of [`noise`].
pub fn numbers(len: usize, scale: f32, seed: u64) -> Vec<f32> {
    noise((1, len), scale, seed).into_values()
}

/// For the oracle, candle.
pub fn tensor(array: &Array) -> Tensor {
    Tensor::from_slice(array.values(), array.dims(), &Cpu::Cpu).expect("a matrix")
}

/// What an operation makes of these, unrecorded.
pub fn once<O: Op>(op: O, inputs: &[&Array]) -> Result<Array> {
    Ok(op.forward(inputs, Wants::default())?.0)
}

/// Element by element: |found − wanted| ≤ tolerance · max(1, |wanted|).
#[track_caller]
pub fn assert_close(found: &Array, wanted: &Tensor, tolerance: f32, what: &str) {
    let wanted = wanted.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
    let wanted = wanted.expect("an f32 tensor");
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (at, (found, wanted)) in found.values().iter().zip(wanted).enumerate() {
        let bound = tolerance * wanted.abs().max(1.0);
        assert!(
            (found - wanted).abs() <= bound,
            "{what}: element {at} is {found}, not {wanted}"
        );
    }
}

/// The result of `f` for parameters that start as `inputs`, and the gradients of its projection on `seed`; `None` for a
/// parameter that got none.
pub fn gradients(
    inputs: &[Array],
    seed: &Array,
    f: impl Fn(Run<'_, '_>, &[Value]) -> Result<Value>,
) -> Result<(Array, Vec<Option<Array>>)> {
    let parameters: Vec<Parameter> = inputs.iter().cloned().map(Parameter::new).collect();
    let tape = Tape::new(&Device::Host);
    let values: Vec<Value> = parameters
        .iter()
        .map(|parameter| tape.run().parameter(parameter))
        .collect();
    let y = f(tape.run(), &values)?;
    let mut found = HashMap::new();
    let result = (*y).clone();
    tape.backward(&y, seed.clone(), &mut found)?;
    let grads = parameters.iter().map(|p| found.remove(&p.id())).collect();
    Ok((result, grads))
}

/// Compares the gradient that `f`'s backward gives each input with central differences of a random projection of `f`.
#[track_caller]
pub fn assert_gradients(
    inputs: &[Array],
    tolerance: f32,
    f: impl Fn(Run<'_, '_>, &[Value]) -> Result<Value>,
) {
    let plain = |inputs: &[Array]| {
        let values: Vec<Value> = inputs.iter().cloned().map(Value::from).collect();
        f(Run::host(), &values).expect("forward").into_array()
    };
    let seed = noise(plain(inputs).dims(), 1.0, 77);
    let project = |y: &Array| -> f64 {
        let pairs = y.values().iter().zip(seed.values());
        pairs.map(|(y, s)| f64::from(*y) * f64::from(*s)).sum()
    };
    let (_, grads) = gradients(inputs, &seed, &f).expect("backward");
    for (which, input) in inputs.iter().enumerate() {
        let Some(found) = &grads[which] else {
            panic!("input {which} has no gradient")
        };
        assert_eq!(found.dims(), input.dims(), "the gradient of input {which}");
        for at in 0..input.len() {
            let mut difference = 0.0;
            let step = 1e-2f32;
            for sign in [1.0, -1.0] {
                let mut all = inputs.to_vec();
                all[which].values_mut()[at] += sign * step;
                difference += f64::from(sign) * project(&plain(&all));
            }
            let wanted = (difference / f64::from(2.0 * step)) as f32;
            let found = found.values()[at];
            let bound = tolerance * wanted.abs().max(1.0);
            assert!(
                (found - wanted).abs() <= bound,
                "input {which}, element {at}: backward says {found}, differences say {wanted}"
            );
        }
    }
}
