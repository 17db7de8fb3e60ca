//! What 16 bits do to the gradients of every method.

use super::*;

/// The gradients of all that learns, one after the other.
fn flat(trainable: &dyn Trainable, found: &HashMap<ParameterId, Array>) -> Vec<f32> {
    let parameters = trainable.parameters().into_iter();
    let found = parameters.filter_map(|(_, parameter)| found.get(&parameter.id()));
    found
        .flat_map(|gradient| gradient.values().iter().copied())
        .collect()
}

#[test]
fn every_method_learns_in_16_bits_nearly_as_in_32() {
    for (model, quant) in [
        ("llama", Quant::To(Format::F32)),
        ("llama", Quant::To(Format::Q8_0)),
        // With biases.
        ("qwen2", Quant::To(Format::F32)),
        // With head norms.
        ("qwen3", Quant::To(Format::F32)),
    ] {
        let base = named(model, quant);
        for (method, trainable) in moved(&base) {
            let exact = flat(&*trainable, &gradients(&base, &*trainable, false));
            // Products of 8-bit weights round activations once more, and a number halfway goes the other way.
            let bounds = match quant {
                Quant::To(Format::Q8_0) => [0.2, 0.2],
                _ => [0.15, 0.03],
            };
            for (half, bound) in [Half::Bf16, Half::F16].into_iter().zip(bounds) {
                let what = format!("{model} {quant:?}: {method:?} in {half:?}");
                let [found, again] = [false, true]
                    .map(|recomputes| gradients_in(&base, &*trainable, Some(half), recomputes));
                let active = trainable.parameters().into_iter().zip(trainable.active());
                for ((name, parameter), _) in active.filter(|(_, active)| *active) {
                    let values = found[&parameter.id()].values();
                    assert!(values.iter().all(|g| g.is_finite()), "{what}: {name}");
                    assert!(values.iter().any(|g| *g != 0.0), "{what}: {name}");
                }
                let found = flat(&*trainable, &found);
                assert!(found == flat(&*trainable, &again), "{what}: computed again");
                let pairs = found.iter().zip(&exact);
                let off: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
                let length: f64 = exact.iter().map(|g| f64::from(*g).powi(2)).sum();
                let off = (off / length).sqrt();
                assert!(off > 0.0 && off < bound, "{what}: {off}");
            }
        }
    }
}
