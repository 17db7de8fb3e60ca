//! One pass forward and back through the network being learned, over records laid end to end: attention stays within a
//! record, so nothing is spent on padding. Written out by hand on slices; the gradient is checked by finite differences.

use std::ops::Range;

use super::network::{Layer, Network, Shape};
use super::parts::{
    Turns, add, add_linear, linear, linear_back, norm, norm_back, sigmoid, softmax,
};
use crate::kernels::gemm::{View, product};

/// Records end to end, and the tokens to be predicted.
#[derive(Debug, Clone, Default)]
pub struct Lesson {
    pub tokens: Vec<u32>,
    pub records: Vec<Range<usize>>,
    /// Flat rows from which the next token of the same record is to be predicted.
    pub rows: Vec<usize>,
}

impl Lesson {
    /// The tokens to be predicted at `rows`.
    fn targets(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(|&row| self.tokens[row + 1] as usize)
    }
}

/// What the way back needs of one block's way forward.
struct Trace {
    x: Vec<f32>,
    normed1: Vec<f32>,
    scale1: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// Record after record, head after head, [n, n].
    weights: Vec<f32>,
    mixed: Vec<f32>,
    middle: Vec<f32>,
    normed2: Vec<f32>,
    scale2: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    acted: Vec<f32>,
}

/// The hidden states after the last norm at the rows that predict, and what led to them.
struct Forward {
    traces: Vec<Trace>,
    last: Vec<f32>,
    scale: Vec<f32>,
    hidden: Vec<f32>,
}

/// Runs lessons through a network.
pub struct Pass {
    shape: Shape,
}

impl Pass {
    pub fn new(shape: Shape) -> Self {
        Self { shape }
    }

    /// Mean loss over the predicted tokens; its gradient is added to `gradient`.
    pub fn learn(&self, network: &Network, lesson: &Lesson, gradient: &mut Network) -> f32 {
        let turns = Turns::new(&self.shape, lesson);
        let forward = self.forward(network, lesson, &turns);
        let (loss, d_logits) = self.loss(network, lesson, &forward.hidden);
        self.backward(network, lesson, &turns, forward, &d_logits, gradient);
        loss
    }

    /// Whether the likeliest token is the right one, for each predicted token.
    pub fn right(&self, network: &Network, lesson: &Lesson) -> Vec<bool> {
        let turns = Turns::new(&self.shape, lesson);
        let forward = self.forward(network, lesson, &turns);
        let logits = self.logits(network, &forward.hidden);
        logits
            .chunks(self.shape.vocabulary)
            .zip(lesson.targets())
            .map(|(row, target)| {
                row.iter()
                    .enumerate()
                    .all(|(at, &value)| at == target || value < row[target])
            })
            .collect()
    }

    fn forward(&self, network: &Network, lesson: &Lesson, turns: &Turns) -> Forward {
        let (shape, count) = (&self.shape, lesson.tokens.len());
        let width = shape.width;
        let mut x = Vec::with_capacity(count * width);
        for &token in &lesson.tokens {
            let at = token as usize * width;
            x.extend_from_slice(&network.embedding.data[at..at + width]);
        }
        let mut traces = Vec::with_capacity(shape.layers);
        for layer in &network.layers {
            let (normed1, scale1) = norm(&x, &layer.norm1, shape.epsilon);
            let mut q = linear(&normed1, &layer.q);
            let mut k = linear(&normed1, &layer.k);
            let v = linear(&normed1, &layer.v);
            turns.apply(&mut q, 1.0);
            turns.apply(&mut k, 1.0);
            let (weights, mixed) = self.attend(lesson, &q, &k, &v);
            let mut middle = x.clone();
            add_linear(&mixed, &layer.o, &mut middle);
            let (normed2, scale2) = norm(&middle, &layer.norm2, shape.epsilon);
            let gate = linear(&normed2, &layer.gate);
            let up = linear(&normed2, &layer.up);
            let acted: Vec<f32> = gate
                .iter()
                .zip(&up)
                .map(|(&g, &u)| g * sigmoid(g) * u)
                .collect();
            let mut next = middle.clone();
            add_linear(&acted, &layer.down, &mut next);
            traces.push(Trace {
                x: std::mem::replace(&mut x, next),
                normed1,
                scale1,
                q,
                k,
                v,
                weights,
                mixed,
                middle,
                normed2,
                scale2,
                gate,
                up,
                acted,
            });
        }
        let last: Vec<f32> = lesson
            .rows
            .iter()
            .flat_map(|row| &x[row * width..(row + 1) * width])
            .copied()
            .collect();
        let (hidden, scale) = norm(&last, &network.norm, shape.epsilon);
        Forward {
            traces,
            last,
            scale,
            hidden,
        }
    }

    fn logits(&self, network: &Network, hidden: &[f32]) -> Vec<f32> {
        linear(hidden, &network.head)
    }

    /// Mean cross entropy and its gradient by the logits.
    fn loss(&self, network: &Network, lesson: &Lesson, hidden: &[f32]) -> (f32, Vec<f32>) {
        let mut logits = self.logits(network, hidden);
        let share = 1.0 / lesson.rows.len().max(1) as f32;
        let mut loss = 0.0_f64;
        for (row, target) in logits
            .chunks_mut(self.shape.vocabulary)
            .zip(lesson.targets())
        {
            let wanted = row[target];
            let (top, sum) = softmax(row);
            loss += f64::from(top + sum.ln() - wanted);
            row.iter_mut().for_each(|p| *p *= share);
            row[target] -= share;
        }
        ((loss * f64::from(share)) as f32, logits)
    }

    fn backward(
        &self,
        network: &Network,
        lesson: &Lesson,
        turns: &Turns,
        forward: Forward,
        d_logits: &[f32],
        gradient: &mut Network,
    ) {
        let (width, count) = (self.shape.width, lesson.tokens.len());
        let mut d_hidden = vec![0.0; forward.hidden.len()];
        linear_back(
            &forward.hidden,
            &network.head,
            d_logits,
            &mut d_hidden,
            &mut gradient.head,
        );
        let mut d_last = vec![0.0; d_hidden.len()];
        norm_back(
            &forward.last,
            &network.norm,
            &forward.scale,
            &d_hidden,
            &mut d_last,
            &mut gradient.norm,
        );
        let mut dx = vec![0.0; count * width];
        for (row, d) in lesson.rows.iter().zip(d_last.chunks(width)) {
            dx[row * width..(row + 1) * width].copy_from_slice(d);
        }
        for ((trace, layer), into) in forward
            .traces
            .iter()
            .zip(&network.layers)
            .zip(&mut gradient.layers)
            .rev()
        {
            self.block_back(layer, lesson, turns, trace, &mut dx, into);
        }
        for (&token, d) in lesson.tokens.iter().zip(dx.chunks(width)) {
            add(gradient.embedding.row_mut(token as usize), d);
        }
    }

    /// Turns the gradient after a block, `dx`, into that before it.
    fn block_back(
        &self,
        layer: &Layer,
        lesson: &Lesson,
        turns: &Turns,
        trace: &Trace,
        dx: &mut [f32],
        into: &mut Layer,
    ) {
        let mut d_acted = vec![0.0; trace.acted.len()];
        linear_back(&trace.acted, &layer.down, dx, &mut d_acted, &mut into.down);
        let mut d_gate = d_acted;
        let mut d_up = vec![0.0; trace.up.len()];
        for (((dg, du), &g), &u) in d_gate
            .iter_mut()
            .zip(&mut d_up)
            .zip(&trace.gate)
            .zip(&trace.up)
        {
            let (d, s) = (*dg, sigmoid(g));
            *du = d * g * s;
            *dg = d * u * s * (1.0 + g * (1.0 - s));
        }
        let mut d_normed = vec![0.0; trace.normed2.len()];
        linear_back(
            &trace.normed2,
            &layer.gate,
            &d_gate,
            &mut d_normed,
            &mut into.gate,
        );
        linear_back(
            &trace.normed2,
            &layer.up,
            &d_up,
            &mut d_normed,
            &mut into.up,
        );
        norm_back(
            &trace.middle,
            &layer.norm2,
            &trace.scale2,
            &d_normed,
            dx,
            &mut into.norm2,
        );

        let mut d_mixed = vec![0.0; trace.mixed.len()];
        linear_back(&trace.mixed, &layer.o, dx, &mut d_mixed, &mut into.o);
        let (mut dq, mut dk, dv) = self.attend_back(lesson, trace, &d_mixed);
        turns.apply(&mut dq, -1.0);
        turns.apply(&mut dk, -1.0);
        d_normed.fill(0.0);
        linear_back(&trace.normed1, &layer.q, &dq, &mut d_normed, &mut into.q);
        linear_back(&trace.normed1, &layer.k, &dk, &mut d_normed, &mut into.k);
        linear_back(&trace.normed1, &layer.v, &dv, &mut d_normed, &mut into.v);
        norm_back(
            &trace.x,
            &layer.norm1,
            &trace.scale1,
            &d_normed,
            dx,
            &mut into.norm1,
        );
    }

    /// Attention weights and the values they mix.
    fn attend(&self, lesson: &Lesson, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let room = lesson
            .records
            .iter()
            .map(|record| record.len() * record.len())
            .sum::<usize>();
        let mut weights = vec![0.0; room * self.shape.heads];
        let mut mixed = vec![0.0; q.len()];
        let scale = (self.shape.head_width as f32).sqrt().recip();
        self.each_head(lesson, |n, at, from, to| {
            let scores = &mut weights[at..at + n * n];
            product(
                self.view(q, n, from, true),
                self.view(k, n, to, false).transposed(),
                scores,
                n,
                0.0,
                scale,
            );
            for (row, scores) in scores.chunks_mut(n).enumerate() {
                softmax(&mut scores[..=row]);
                scores[row + 1..].fill(0.0);
            }
            let queries = self.shape.queries();
            product(
                View::dense(scores, n, n),
                self.view(v, n, to, false),
                &mut mixed[from..],
                queries,
                0.0,
                1.0,
            );
        });
        (weights, mixed)
    }

    fn attend_back(
        &self,
        lesson: &Lesson,
        trace: &Trace,
        d_mixed: &[f32],
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let mut dq = vec![0.0; trace.q.len()];
        let mut dk = vec![0.0; trace.k.len()];
        let mut dv = vec![0.0; trace.v.len()];
        let mut d_scores = Vec::new();
        let scale = (self.shape.head_width as f32).sqrt().recip();
        let (queries, keys) = (self.shape.queries(), self.shape.keys());
        self.each_head(lesson, |n, at, from, to| {
            let weights = &trace.weights[at..at + n * n];
            let d_out = self.view(d_mixed, n, from, true);
            d_scores.resize(n * n, 0.0);
            product(
                View::dense(weights, n, n).transposed(),
                d_out,
                &mut dv[to..],
                keys,
                1.0,
                1.0,
            );
            product(
                d_out,
                self.view(&trace.v, n, to, false).transposed(),
                &mut d_scores,
                n,
                0.0,
                1.0,
            );
            for (d, w) in d_scores.chunks_mut(n).zip(weights.chunks(n)) {
                let mean: f32 = d.iter().zip(w).map(|(d, w)| d * w).sum();
                d.iter_mut().zip(w).for_each(|(d, w)| *d = w * (*d - mean));
            }
            let d_scores = View::dense(&d_scores, n, n);
            product(
                d_scores,
                self.view(&trace.k, n, to, false),
                &mut dq[from..],
                queries,
                0.0,
                scale,
            );
            product(
                d_scores.transposed(),
                self.view(&trace.q, n, from, true),
                &mut dk[to..],
                keys,
                1.0,
                scale,
            );
        });
        (dq, dk, dv)
    }

    /// Calls `work(length, start of its weights, start of its queries, start of its keys)` for each head of each record.
    fn each_head(&self, lesson: &Lesson, mut work: impl FnMut(usize, usize, usize, usize)) {
        let shape = &self.shape;
        let mut at = 0;
        for record in &lesson.records {
            let n = record.len();
            for head in 0..shape.heads {
                let from = record.start * shape.queries() + head * shape.head_width;
                let group = head * shape.kv_heads / shape.heads;
                let to = record.start * shape.keys() + group * shape.head_width;
                work(n, at, from, to);
                at += n * n;
            }
        }
    }

    /// One head's rows of one record inside `data`.
    fn view<'a>(&self, data: &'a [f32], n: usize, start: usize, query: bool) -> View<'a> {
        let row = if query {
            self.shape.queries()
        } else {
            self.shape.keys()
        };
        View::new(&data[start..], (n, self.shape.head_width), (row, 1))
    }
}

#[cfg(test)]
mod tests;
