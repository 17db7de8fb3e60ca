//! How the base starts: random, except that the circuit which copies is laid in place.
//!
//! Learning to copy from random weights costs such a model millions of tokens, so training begins with what it would end
//! with. Heads of the first block look one and two tokens back, by position alone: a constant component of every
//! embedding makes a query and a key that rotary turns to fit best at that distance. They write the token they see beside
//! the current one. Heads of the second block compare their token with what stands beside earlier ones, in the slow
//! rotary components, and so find where it occurred before; they carry over the token that followed. All of it is
//! ordinary weights which training changes like the others.

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::network::{Network, Shape, Tensor};

/// Components of the residual stream at the start: the token itself, in blocks a head is wide; then the tokens one back
/// (two blocks) and two back (one block); the last component is the same for every token.
const TOKEN_BLOCKS: usize = 4;
const CONSTANT: f32 = 4.0;
/// Rotary components slower than this, in radians a token, hardly turn within a record.
const SLOW: f32 = 0.015;
/// Rotary components that tell neighbours apart.
const FAST: usize = 6;
/// Sharpness of the look back and of the comparison; strength of the copy.
const BACK: f32 = 6.5;
const MATCH: f32 = 1.15;
const COPY: f32 = 3.0;

/// A network of `shape` with seeded weights.
///
/// # Panics
/// When `shape` is not at least two blocks of at least four key heads, each with two query heads, or too narrow for the
/// components above.
pub fn network(shape: &Shape, seed: u64) -> Network {
    let token = TOKEN_BLOCKS * shape.head_width;
    let besides = token + 3 * shape.head_width;
    assert!(
        besides < shape.width && shape.layers >= 2,
        "room for the copying circuit"
    );
    assert!(
        shape.kv_heads == TOKEN_BLOCKS && shape.heads == 2 * shape.kv_heads,
        "heads of the copying circuit"
    );
    let mut normal = Normal(ChaCha8Rng::seed_from_u64(seed));
    let mut network = Network::full(shape, 0.0);
    for (name, _, tensor) in network.tensors() {
        let width = (tensor.columns as f32).sqrt().recip();
        let deep = 0.02 / (2.0 * shape.layers as f32).sqrt();
        let spread = match name.rsplit('.').nth(1).unwrap_or_default() {
            "embed_tokens" => 0.1,
            "lm_head" => 0.02,
            "q_proj" | "k_proj" => 0.3 * width,
            "v_proj" => 0.5 * width,
            "gate_proj" | "up_proj" => 0.7 * width,
            "o_proj" | "down_proj" => deep,
            _ => 0.0,
        };
        if spread == 0.0 {
            tensor.data.fill(1.0);
        } else {
            normal.fill(tensor, spread);
        }
    }
    tokens(shape, &mut network, &mut normal, token, besides);
    let scale = ((token as f32 + CONSTANT * CONSTANT) / shape.width as f32).sqrt();
    look_back(shape, &mut network, scale);
    find_again(shape, &mut network, scale);
    for layer in network.layers.iter_mut().skip(2) {
        alike(shape, &mut layer.q, &mut layer.k, &mut normal);
    }
    network
}

/// The same random direction, block by block of equal length, stands for a token in the embedding and in the head.
fn tokens(shape: &Shape, network: &mut Network, normal: &mut Normal, token: usize, besides: usize) {
    for id in 0..shape.vocabulary {
        let (embedding, head) = (network.embedding.row_mut(id), network.head.row_mut(id));
        embedding[token..besides]
            .iter_mut()
            .for_each(|value| *value *= 0.2);
        embedding[shape.width - 1] = CONSTANT;
        for at in (0..token).step_by(shape.head_width) {
            let block = at..at + shape.head_width;
            let values: Vec<f32> = block.clone().map(|_| normal.next()).collect();
            let length =
                (shape.head_width as f32 / values.iter().map(|v| v * v).sum::<f32>()).sqrt();
            for (at, value) in block.zip(values) {
                embedding[at] = value * length;
                head[at] = value * length * 0.08;
            }
        }
    }
}

fn look_back(shape: &Shape, network: &mut Network, scale: f32) {
    let (wide, half, constant) = (shape.head_width, shape.head_width / 2, shape.width - 1);
    let token = TOKEN_BLOCKS * wide;
    let layer = &mut network.layers[0];
    for group in 0..2 {
        for at in 0..wide {
            layer.k.row_mut(group * wide + at).fill(0.0);
            layer.v.row_mut(group * wide + at).fill(0.0);
            layer.v.set(group * wide + at, group * wide + at, 1.0);
        }
        for back in 0..2 {
            let head = 2 * group + back;
            for at in 0..half {
                let sharp = if at < FAST { BACK } else { 0.1 * BACK } * scale / CONSTANT;
                let angle = frequency(shape, at) * (1 + back) as f32;
                layer.k.set(group * wide + at, constant, sharp);
                layer.q.row_mut(head * wide + at).fill(0.0);
                layer.q.row_mut(head * wide + half + at).fill(0.0);
                layer.q.set(head * wide + at, constant, sharp * angle.cos());
                layer
                    .q
                    .set(head * wide + half + at, constant, -sharp * angle.sin());
            }
            for row in 0..shape.width {
                layer.o.row_mut(row)[head * wide..(head + 1) * wide].fill(0.0);
            }
        }
    }
    // Heads 0 and 2 look one back for two blocks of the token, head 1 two back for one.
    for (block, head) in [0, 2, 1].into_iter().enumerate() {
        for at in 0..wide {
            layer
                .o
                .set(token + block * wide + at, head * wide + at, scale);
        }
    }
}

fn find_again(shape: &Shape, network: &mut Network, scale: f32) {
    let (wide, half) = (shape.head_width, shape.head_width / 2);
    let token = TOKEN_BLOCKS * wide;
    let slow: Vec<usize> = (0..half)
        .filter(|&at| frequency(shape, at) < SLOW)
        .collect();
    let slow: Vec<usize> = slow
        .iter()
        .copied()
        .chain(slow.iter().map(|at| at + half))
        .collect();
    let layer = &mut network.layers[1];
    for group in 0..shape.kv_heads {
        let head = 2 * group;
        for at in 0..wide {
            layer.k.row_mut(group * wide + at).fill(0.0);
            layer.v.row_mut(group * wide + at).fill(0.0);
            layer.q.row_mut(head * wide + at).fill(0.0);
            layer.v.set(group * wide + at, group * wide + at, 1.0);
        }
        for (nth, &at) in slow.iter().enumerate() {
            // The last group compares two tokens at once, the others one.
            let (mine, theirs) = if group + 1 < shape.kv_heads {
                let component = (group * slow.len() + nth) % (2 * wide);
                (component, token + component)
            } else if nth % 2 == 0 {
                (nth, token + nth)
            } else {
                (token + nth, token + 2 * wide + nth)
            };
            layer.q.set(head * wide + at, mine, MATCH);
            layer.k.set(group * wide + at, theirs, 1.4 * MATCH);
        }
        for row in 0..shape.width {
            layer.o.row_mut(row)[head * wide..(head + 1) * wide].fill(0.0);
        }
        for at in 0..wide {
            layer
                .o
                .set(group * wide + at, head * wide + at, COPY * scale);
        }
    }
}

/// Queries and keys of the later blocks start alike, so that like attends to like.
fn alike(shape: &Shape, q: &mut Tensor, k: &mut Tensor, normal: &mut Normal) {
    let spread = 1.5 / (shape.width as f32).sqrt();
    for group in 0..shape.kv_heads {
        for at in 0..shape.head_width {
            let head = group * shape.heads / shape.kv_heads;
            for column in 0..shape.width {
                let value = normal.next() * spread;
                q.row_mut(head * shape.head_width + at)[column] += value;
                k.row_mut(group * shape.head_width + at)[column] += value;
            }
        }
    }
}

fn frequency(shape: &Shape, at: usize) -> f32 {
    shape
        .theta
        .powf(-(at as f32) / (shape.head_width / 2) as f32)
}

/// Normal values by Box and Muller.
struct Normal(ChaCha8Rng);

impl Normal {
    fn next(&mut self) -> f32 {
        let (radius, angle): (f32, f32) = (1.0 - self.0.random::<f32>(), self.0.random::<f32>());
        (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
    }

    fn fill(&mut self, tensor: &mut Tensor, spread: f32) {
        tensor
            .data
            .iter_mut()
            .for_each(|value| *value = self.next() * spread);
    }
}

#[cfg(test)]
mod tests {
    use super::super::lesson::repeated;
    use super::super::pass::Pass;
    use super::*;

    #[test]
    fn an_untrained_base_already_repeats_what_it_saw() {
        let network = network(&Shape::BASE, 1);
        let right = Pass::new(Shape::BASE).right(&network, &repeated(3, 20, 40));
        let share = right.iter().filter(|&&right| right).count() as f32 / right.len() as f32;
        assert!(share > 0.8, "{share}");
    }
}
