//! The base while it is learned: dense f32 weights of a Llama decoder, and where everything of them lies.

/// Sizes of the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub vocabulary: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_width: usize,
    pub ffn: usize,
    pub theta: f32,
    pub epsilon: f32,
}

impl Shape {
    /// The embedded base.
    pub const BASE: Self = Self {
        vocabulary: super::tokenizer::VOCABULARY,
        width: 256,
        layers: 4,
        heads: 8,
        kv_heads: 4,
        head_width: 32,
        ffn: 768,
        theta: 100_000.0,
        epsilon: 1e-5,
    };

    pub fn queries(&self) -> usize {
        self.heads * self.head_width
    }

    pub fn keys(&self) -> usize {
        self.kv_heads * self.head_width
    }
}

/// A tensor of rows; a vector is one row.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub rows: usize,
    pub columns: usize,
    pub data: Vec<f32>,
}

impl Tensor {
    pub fn full(rows: usize, columns: usize, value: f32) -> Self {
        Self {
            rows,
            columns,
            data: vec![value; rows * columns],
        }
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let at = row * self.columns;
        &mut self.data[at..at + self.columns]
    }

    pub fn set(&mut self, row: usize, column: usize, value: f32) {
        self.data[row * self.columns + column] = value;
    }
}

/// One decoder block, as weights or as their gradients.
#[derive(Debug, Clone)]
pub struct Layer {
    pub norm1: Tensor,
    pub q: Tensor,
    pub k: Tensor,
    pub v: Tensor,
    pub o: Tensor,
    pub norm2: Tensor,
    pub gate: Tensor,
    pub up: Tensor,
    pub down: Tensor,
}

/// All weights, or all gradients.
#[derive(Debug, Clone)]
pub struct Network {
    pub embedding: Tensor,
    pub layers: Vec<Layer>,
    pub norm: Tensor,
    pub head: Tensor,
}

/// What a tensor is to the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Maps hidden states to hidden states: Muon's.
    Hidden,
    /// Embedding, head, norm weights: AdamW's.
    Edge,
}

impl Network {
    /// Every element `value`; norm weights too.
    pub fn full(shape: &Shape, value: f32) -> Self {
        let (width, queries, keys, ffn) = (shape.width, shape.queries(), shape.keys(), shape.ffn);
        let layer = Layer {
            norm1: Tensor::full(1, width, value),
            q: Tensor::full(queries, width, value),
            k: Tensor::full(keys, width, value),
            v: Tensor::full(keys, width, value),
            o: Tensor::full(width, queries, value),
            norm2: Tensor::full(1, width, value),
            gate: Tensor::full(ffn, width, value),
            up: Tensor::full(ffn, width, value),
            down: Tensor::full(width, ffn, value),
        };
        Self {
            embedding: Tensor::full(shape.vocabulary, width, value),
            layers: vec![layer; shape.layers],
            norm: Tensor::full(1, width, value),
            head: Tensor::full(shape.vocabulary, width, value),
        }
    }

    /// Every tensor with its Hugging Face name, always in the same order.
    pub fn tensors(&mut self) -> Vec<(String, Role, &mut Tensor)> {
        let mut all = vec![(
            "model.embed_tokens.weight".to_owned(),
            Role::Edge,
            &mut self.embedding,
        )];
        for (at, layer) in self.layers.iter_mut().enumerate() {
            let name = |part: &str| format!("model.layers.{at}.{part}.weight");
            all.extend([
                (name("input_layernorm"), Role::Edge, &mut layer.norm1),
                (name("self_attn.q_proj"), Role::Hidden, &mut layer.q),
                (name("self_attn.k_proj"), Role::Hidden, &mut layer.k),
                (name("self_attn.v_proj"), Role::Hidden, &mut layer.v),
                (name("self_attn.o_proj"), Role::Hidden, &mut layer.o),
                (
                    name("post_attention_layernorm"),
                    Role::Edge,
                    &mut layer.norm2,
                ),
                (name("mlp.gate_proj"), Role::Hidden, &mut layer.gate),
                (name("mlp.up_proj"), Role::Hidden, &mut layer.up),
                (name("mlp.down_proj"), Role::Hidden, &mut layer.down),
            ]);
        }
        all.push(("model.norm.weight".to_owned(), Role::Edge, &mut self.norm));
        all.push(("lm_head.weight".to_owned(), Role::Edge, &mut self.head));
        all
    }

    pub fn clear(&mut self) {
        for (_, _, tensor) in self.tensors() {
            tensor.data.fill(0.0);
        }
    }
}
