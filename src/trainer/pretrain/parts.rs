//! The pieces of a pass: products, norms, softmax, rotary turns, each beside its way back.

use super::network::{Shape, Tensor};
use super::pass::Lesson;
use crate::kernels::gemm::{View, parallel};

/// Sines and cosines of every token's position in its record.
pub struct Turns {
    half: usize,
    /// [tokens, half] each.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Turns {
    pub fn new(shape: &Shape, lesson: &Lesson) -> Self {
        let half = shape.head_width / 2;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in lesson.records.iter().flat_map(|record| 0..record.len()) {
            for at in 0..half {
                let angle = position as f32 * shape.theta.powf(-(at as f32) / half as f32);
                cos.push(angle.cos());
                sin.push(angle.sin());
            }
        }
        Self { half, cos, sin }
    }

    /// Rotates the halves of every head; `way` −1 turns back.
    pub fn apply(&self, x: &mut [f32], way: f32) {
        let row = x.len() * self.half / self.cos.len().max(1);
        for (at, row) in x.chunks_mut(row.max(1)).enumerate() {
            let cos = &self.cos[at * self.half..][..self.half];
            let sin = &self.sin[at * self.half..][..self.half];
            for head in row.chunks_mut(2 * self.half) {
                let (low, high) = head.split_at_mut(self.half);
                for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                    (*a, *b) = (*a * c - *b * s * way, *b * c + *a * s * way);
                }
            }
        }
    }
}

pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Replaces scores by their softmax; gives the largest score and the sum of the exponentials of the distances to it.
pub fn softmax(row: &mut [f32]) -> (f32, f32) {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - top).exp();
        sum += *value;
    }
    let share = sum.recip();
    row.iter_mut().for_each(|value| *value *= share);
    (top, sum)
}

pub fn add(into: &mut [f32], other: &[f32]) {
    into.iter_mut().zip(other).for_each(|(a, b)| *a += b);
}

/// x·Wᵀ.
pub fn linear(x: &[f32], weight: &Tensor) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / weight.columns * weight.rows];
    add_linear(x, weight, &mut out);
    out
}

pub fn add_linear(x: &[f32], weight: &Tensor, out: &mut [f32]) {
    let x = View::dense(x, x.len() / weight.columns, weight.columns);
    let weight = View::dense(&weight.data, weight.rows, weight.columns);
    parallel(x, weight.transposed(), out, 1.0, 1.0);
}

/// Adds to `dx` and to `d_weight`.
pub fn linear_back(x: &[f32], weight: &Tensor, dy: &[f32], dx: &mut [f32], d_weight: &mut Tensor) {
    let (rows, columns) = (weight.rows, weight.columns);
    let count = x.len() / columns;
    let dy = View::dense(dy, count, rows);
    parallel(dy, View::dense(&weight.data, rows, columns), dx, 1.0, 1.0);
    parallel(
        dy.transposed(),
        View::dense(x, count, columns),
        &mut d_weight.data,
        1.0,
        1.0,
    );
}

/// RMS norm, and by what each row was scaled.
pub fn norm(x: &[f32], weight: &Tensor, epsilon: f32) -> (Vec<f32>, Vec<f32>) {
    let width = weight.columns;
    let mut out = Vec::with_capacity(x.len());
    let mut scales = Vec::with_capacity(x.len() / width);
    for row in x.chunks(width) {
        let square: f32 = row.iter().map(|v| v * v).sum();
        let scale = (square / width as f32 + epsilon).sqrt().recip();
        out.extend(row.iter().zip(&weight.data).map(|(v, w)| v * scale * w));
        scales.push(scale);
    }
    (out, scales)
}

/// Adds to `dx` and to `d_weight`.
pub fn norm_back(
    x: &[f32],
    weight: &Tensor,
    scales: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    d_weight: &mut Tensor,
) {
    let width = weight.columns;
    let rows = x
        .chunks(width)
        .zip(dy.chunks(width))
        .zip(dx.chunks_mut(width))
        .zip(scales);
    for (((x, dy), dx), &scale) in rows {
        let mut along = 0.0;
        for (((x, dy), w), dw) in x.iter().zip(dy).zip(&weight.data).zip(&mut d_weight.data) {
            along += dy * w * x;
            *dw += dy * x * scale;
        }
        let pull = along * scale * scale * scale / width as f32;
        for (((dx, x), dy), w) in dx.iter_mut().zip(x).zip(dy).zip(&weight.data) {
            *dx += dy * w * scale - x * pull;
        }
    }
}
