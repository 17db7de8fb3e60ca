//! How the base starts: random, except that the circuit which copies is laid in place.
//!
//! Learning to copy from random weights costs such a model millions of tokens, so training begins with what it would end
//! with. Heads of the first block look one and two tokens back, by position alone: a constant component of every
//! embedding makes a query and a key that rotary turns to fit best at that distance. They write the token they see beside
//! the current one. Heads of the second block compare their token with what stands beside earlier ones, in the slow
//! rotary components, and so find where it occurred before; they carry over the token that followed. All of it is
//! ordinary weights which training changes like the others.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::spec::Spec;

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

/// A matrix while it is laid out; a norm's weight is one row.
pub struct Grid {
    columns: usize,
    pub data: Vec<f32>,
}

impl Grid {
    fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.columns..(row + 1) * self.columns]
    }

    fn set(&mut self, row: usize, column: usize, value: f32) {
        self.data[row * self.columns + column] = value;
    }
}

/// All weights by their paths.
pub struct Weights(pub BTreeMap<String, Grid>);

impl Weights {
    fn of(&mut self, path: &str) -> &mut Grid {
        self.0.get_mut(path).expect("a weight of this decoder")
    }

    fn in_layer(&mut self, layer: usize, part: &str) -> &mut Grid {
        self.of(&format!("model.layers.{layer}.{part}.weight"))
    }
}

const Q: &str = "self_attn.q_proj";
const K: &str = "self_attn.k_proj";
const V: &str = "self_attn.v_proj";
const O: &str = "self_attn.o_proj";

/// Paths and sizes in the order in which their random values are drawn.
fn sizes(spec: &Spec) -> Vec<(String, (usize, usize))> {
    let (width, inner) = (spec.hidden, spec.intermediate);
    let (queries, keys) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let outside = (spec.vocab, width);
    let mut all = vec![("model.embed_tokens.weight".to_owned(), outside)];
    for layer in 0..spec.layers {
        all.extend(
            [
                ("input_layernorm", (1, width)),
                (Q, (queries, width)),
                (K, (keys, width)),
                (V, (keys, width)),
                (O, (width, queries)),
                ("post_attention_layernorm", (1, width)),
                ("mlp.gate_proj", (inner, width)),
                ("mlp.up_proj", (inner, width)),
                ("mlp.down_proj", (width, inner)),
            ]
            .map(|(part, size)| (format!("model.layers.{layer}.{part}.weight"), size)),
        );
    }
    all.push(("model.norm.weight".to_owned(), (1, width)));
    all.push(("lm_head.weight".to_owned(), outside));
    all
}

/// Seeded weights of a decoder.
///
/// # Panics
/// When it is not at least two blocks of at least four key heads, each with two query heads, or too narrow for the
/// components above.
pub fn weights(spec: &Spec, seed: u64) -> Weights {
    let token = TOKEN_BLOCKS * spec.head_dim;
    let besides = token + 3 * spec.head_dim;
    assert!(
        besides < spec.hidden && spec.layers >= 2,
        "room for the copying circuit"
    );
    assert!(
        spec.kv_heads == TOKEN_BLOCKS && spec.heads == 2 * spec.kv_heads,
        "heads of the copying circuit"
    );
    let mut normal = Normal(ChaCha8Rng::seed_from_u64(seed));
    let mut weights = Weights(BTreeMap::new());
    for (name, (rows, columns)) in sizes(spec) {
        let width = (columns as f32).sqrt().recip();
        let deep = 0.02 / (2.0 * spec.layers as f32).sqrt();
        let spread = match name.rsplit('.').nth(1).unwrap_or_default() {
            "embed_tokens" => 0.1,
            "lm_head" => 0.02,
            "q_proj" | "k_proj" => 0.3 * width,
            "v_proj" => 0.5 * width,
            "gate_proj" | "up_proj" => 0.7 * width,
            "o_proj" | "down_proj" => deep,
            _ => 0.0,
        };
        let count = rows * columns;
        let data = match spread {
            0.0 => vec![1.0; count],
            spread => (0..count).map(|_| normal.next() * spread).collect(),
        };
        weights.0.insert(name, Grid { columns, data });
    }
    tokens(spec, &mut weights, &mut normal, token, besides);
    let scale = ((token as f32 + CONSTANT * CONSTANT) / spec.hidden as f32).sqrt();
    look_back(spec, &mut weights, scale);
    find_again(spec, &mut weights, scale);
    for layer in 2..spec.layers {
        alike(spec, &mut weights, layer, &mut normal);
    }
    weights
}

/// The same random direction, block by block of equal length, stands for a token in the embedding and in the head.
fn tokens(spec: &Spec, weights: &mut Weights, normal: &mut Normal, token: usize, besides: usize) {
    for id in 0..spec.vocab {
        let embedding = weights.of("model.embed_tokens.weight").row_mut(id);
        embedding[token..besides]
            .iter_mut()
            .for_each(|value| *value *= 0.2);
        embedding[spec.hidden - 1] = CONSTANT;
        for at in (0..token).step_by(spec.head_dim) {
            let block = at..at + spec.head_dim;
            let values: Vec<f32> = block.clone().map(|_| normal.next()).collect();
            let length = (spec.head_dim as f32 / values.iter().map(|v| v * v).sum::<f32>()).sqrt();
            let embedding = weights.of("model.embed_tokens.weight").row_mut(id);
            let places = embedding[block.clone()].iter_mut().zip(&values);
            places.for_each(|(place, value)| *place = value * length);
            let head = weights.of("lm_head.weight").row_mut(id);
            let places = head[block].iter_mut().zip(&values);
            places.for_each(|(place, value)| *place = value * length * 0.08);
        }
    }
}

fn look_back(spec: &Spec, weights: &mut Weights, scale: f32) {
    let (wide, half, constant) = (spec.head_dim, spec.head_dim / 2, spec.hidden - 1);
    let token = TOKEN_BLOCKS * wide;
    for group in 0..2 {
        for at in 0..wide {
            weights.in_layer(0, K).row_mut(group * wide + at).fill(0.0);
            weights.in_layer(0, V).row_mut(group * wide + at).fill(0.0);
            weights
                .in_layer(0, V)
                .set(group * wide + at, group * wide + at, 1.0);
        }
        for back in 0..2 {
            let head = 2 * group + back;
            for at in 0..half {
                let sharp = if at < FAST { BACK } else { 0.1 * BACK } * scale / CONSTANT;
                let angle = frequency(spec, at) * (1 + back) as f32;
                weights
                    .in_layer(0, K)
                    .set(group * wide + at, constant, sharp);
                weights.in_layer(0, Q).row_mut(head * wide + at).fill(0.0);
                weights
                    .in_layer(0, Q)
                    .row_mut(head * wide + half + at)
                    .fill(0.0);
                weights
                    .in_layer(0, Q)
                    .set(head * wide + at, constant, sharp * angle.cos());
                weights
                    .in_layer(0, Q)
                    .set(head * wide + half + at, constant, -sharp * angle.sin());
            }
            for row in 0..spec.hidden {
                weights.in_layer(0, O).row_mut(row)[head * wide..(head + 1) * wide].fill(0.0);
            }
        }
    }
    // Heads 0 and 2 look one back for two blocks of the token, head 1 two back for one.
    for (block, head) in [0, 2, 1].into_iter().enumerate() {
        for at in 0..wide {
            weights
                .in_layer(0, O)
                .set(token + block * wide + at, head * wide + at, scale);
        }
    }
}

fn find_again(spec: &Spec, weights: &mut Weights, scale: f32) {
    let (wide, half) = (spec.head_dim, spec.head_dim / 2);
    let token = TOKEN_BLOCKS * wide;
    let slow: Vec<usize> = (0..half).filter(|&at| frequency(spec, at) < SLOW).collect();
    let slow: Vec<usize> = slow
        .iter()
        .copied()
        .chain(slow.iter().map(|at| at + half))
        .collect();
    for group in 0..spec.kv_heads {
        let head = 2 * group;
        for at in 0..wide {
            weights.in_layer(1, K).row_mut(group * wide + at).fill(0.0);
            weights.in_layer(1, V).row_mut(group * wide + at).fill(0.0);
            weights.in_layer(1, Q).row_mut(head * wide + at).fill(0.0);
            weights
                .in_layer(1, V)
                .set(group * wide + at, group * wide + at, 1.0);
        }
        for (nth, &at) in slow.iter().enumerate() {
            // The last group compares two tokens at once, the others one.
            let (mine, theirs) = if group + 1 < spec.kv_heads {
                let component = (group * slow.len() + nth) % (2 * wide);
                (component, token + component)
            } else if nth % 2 == 0 {
                (nth, token + nth)
            } else {
                (token + nth, token + 2 * wide + nth)
            };
            weights.in_layer(1, Q).set(head * wide + at, mine, MATCH);
            weights
                .in_layer(1, K)
                .set(group * wide + at, theirs, 1.4 * MATCH);
        }
        for row in 0..spec.hidden {
            weights.in_layer(1, O).row_mut(row)[head * wide..(head + 1) * wide].fill(0.0);
        }
        for at in 0..wide {
            weights
                .in_layer(1, O)
                .set(group * wide + at, head * wide + at, COPY * scale);
        }
    }
}

/// Queries and keys of the later blocks start alike, so that like attends to like.
fn alike(spec: &Spec, weights: &mut Weights, layer: usize, normal: &mut Normal) {
    let spread = 1.5 / (spec.hidden as f32).sqrt();
    for group in 0..spec.kv_heads {
        for at in 0..spec.head_dim {
            let head = group * spec.heads / spec.kv_heads;
            for column in 0..spec.hidden {
                let value = normal.next() * spread;
                let query = weights
                    .in_layer(layer, Q)
                    .row_mut(head * spec.head_dim + at);
                query[column] += value;
                let key = weights
                    .in_layer(layer, K)
                    .row_mut(group * spec.head_dim + at);
                key[column] += value;
            }
        }
    }
}

fn frequency(spec: &Spec, at: usize) -> f32 {
    (spec.rope.theta as f32).powf(-(at as f32) / (spec.head_dim / 2) as f32)
}

/// Normal values by Box and Muller.
struct Normal(ChaCha8Rng);

impl Normal {
    fn next(&mut self) -> f32 {
        let (radius, angle): (f32, f32) = (1.0 - self.0.random::<f32>(), self.0.random::<f32>());
        (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::super::export::spec;
    use super::super::learn::right;
    use super::super::sampler::repeated;
    use super::super::state::fresh;

    #[test]
    fn an_untrained_base_already_repeats_what_it_saw() {
        let model = fresh(&spec(), 1).unwrap();
        let right = right(&model, &repeated(3, 20, 40)).unwrap();
        let share = right.iter().filter(|&&right| right).count() as f32 / right.len() as f32;
        assert!(share > 0.8, "{share}");
    }
}
