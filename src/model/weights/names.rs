//! The tensors a spec calls for: names and shapes.

use crate::model::spec::Spec;

pub const EMBEDDING: &str = "model.embed_tokens.weight";
pub const FINAL_NORM: &str = "model.norm.weight";
pub const HEAD: &str = "lm_head.weight";

/// Every tensor of a base and its shape: [outputs, inputs] of a matrix, [n] of a norm or bias.
pub fn expected(spec: &Spec) -> Vec<(String, Vec<usize>)> {
    let (queries, keys) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let (hidden, inner) = (spec.hidden, spec.intermediate);
    let mut all = vec![
        (EMBEDDING.to_owned(), vec![spec.vocab, hidden]),
        (FINAL_NORM.to_owned(), vec![hidden]),
    ];
    if !spec.tied {
        all.push((HEAD.to_owned(), vec![spec.vocab, hidden]));
    }
    for layer in 0..spec.layers {
        let mut add = |name: &str, shape: Vec<usize>| {
            all.push((format!("model.layers.{layer}.{name}"), shape))
        };
        add("input_layernorm.weight", vec![hidden]);
        add("post_attention_layernorm.weight", vec![hidden]);
        for (name, outputs, inputs, bias) in [
            ("self_attn.q_proj", queries, hidden, spec.bias.qkv),
            ("self_attn.k_proj", keys, hidden, spec.bias.qkv),
            ("self_attn.v_proj", keys, hidden, spec.bias.qkv),
            ("self_attn.o_proj", hidden, queries, spec.bias.o),
            ("mlp.gate_proj", inner, hidden, spec.bias.mlp),
            ("mlp.up_proj", inner, hidden, spec.bias.mlp),
            ("mlp.down_proj", hidden, inner, spec.bias.mlp),
        ] {
            add(&format!("{name}.weight"), vec![outputs, inputs]);
            if bias {
                add(&format!("{name}.bias"), vec![outputs]);
            }
        }
        if spec.head_norm {
            add("self_attn.q_norm.weight", vec![spec.head_dim]);
            add("self_attn.k_norm.weight", vec![spec.head_dim]);
        }
    }
    all
}

/// Buffers that older checkpoints carry and that are computed anew.
pub fn ignorable(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}
