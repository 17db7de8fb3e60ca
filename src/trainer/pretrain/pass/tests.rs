use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const TINY: Shape = Shape {
    vocabulary: 11,
    width: 8,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    head_width: 4,
    ffn: 12,
    theta: 100.0,
    epsilon: 1e-5,
};

fn random(seed: u64) -> Network {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut network = Network::full(&TINY, 0.0);
    for (_, _, tensor) in network.tensors() {
        tensor
            .data
            .iter_mut()
            .for_each(|value| *value = rng.random_range(-0.8..0.8));
    }
    network
}

fn lesson() -> Lesson {
    Lesson {
        tokens: vec![1, 4, 7, 4, 9, 2, 2, 10, 3],
        records: vec![0..5, 5..9],
        rows: vec![1, 2, 3, 5, 7],
    }
}

#[test]
fn the_gradient_of_every_tensor_is_the_slope_of_the_loss() {
    let (pass, lesson) = (Pass::new(TINY), lesson());
    let mut network = random(1);
    let mut gradient = Network::full(&TINY, 0.0);
    pass.learn(&network, &lesson, &mut gradient);
    let sizes: Vec<usize> = network
        .tensors()
        .iter()
        .map(|(_, _, t)| t.data.len())
        .collect();
    for (nth, size) in sizes.into_iter().enumerate() {
        // One direction a tensor: its gradient's own, where the slope is steepest and rounding matters least.
        let (name, _, steep) = gradient.tensors().swap_remove(nth);
        let steep = steep.data.clone();
        let length = steep.iter().map(|g| g * g).sum::<f32>().sqrt();
        assert!(length > 1e-4, "{name} of {size} values gets no gradient");
        let mut at = |way: f32| {
            let shift = |network: &mut Network, way: f32| {
                let (_, _, tensor) = network.tensors().swap_remove(nth);
                tensor
                    .data
                    .iter_mut()
                    .zip(&steep)
                    .for_each(|(w, g)| *w += way * g / length);
            };
            shift(&mut network, way);
            let loss = pass.learn(&network, &lesson, &mut Network::full(&TINY, 0.0));
            shift(&mut network, -way);
            loss
        };
        let slope = (at(5e-3) - at(-5e-3)) / 1e-2;
        assert!(
            (slope - length).abs() < 0.02 * length + 1e-3,
            "{name}: slope {slope}, gradient {length}"
        );
    }
}

#[test]
fn records_do_not_see_each_other() {
    let pass = Pass::new(TINY);
    let network = random(2);
    let mut together = Network::full(&TINY, 0.0);
    let both = pass.learn(&network, &lesson(), &mut together);
    let first = Lesson {
        tokens: vec![1, 4, 7, 4, 9],
        records: vec![0..5],
        rows: vec![1, 2, 3],
    };
    let second = Lesson {
        tokens: vec![2, 2, 10, 3],
        records: vec![0..4],
        rows: vec![0, 2],
    };
    let mut apart = Network::full(&TINY, 0.0);
    let sum = 3.0 * pass.learn(&network, &first, &mut apart)
        + 2.0 * pass.learn(&network, &second, &mut apart);
    assert!((both - sum / 5.0).abs() < 1e-5, "{both} {sum}");
}
