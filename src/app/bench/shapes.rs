//! The shapes of published models, as their `config.json` files give them.

use serde_json::{Value, json};

/// A model whose sizes are copied while its weights are drawn at random: speed depends on the sizes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    #[value(name = "qwen2.5-0.5b")]
    Qwen25Half,
    #[value(name = "qwen2.5-1.5b")]
    Qwen25OneAndHalf,
    #[value(name = "qwen2.5-7b")]
    Qwen25Seven,
    #[value(name = "qwen3-0.6b")]
    Qwen3,
    #[value(name = "llama-3.2-1b")]
    Llama32One,
    #[value(name = "llama-3.2-3b")]
    Llama32Three,
    #[value(name = "llama-3.1-8b")]
    Llama31Eight,
    #[value(name = "mistral-7b")]
    Mistral,
}

impl Shape {
    pub fn config(self) -> Value {
        let qwen25 = |hidden, inner, layers, heads, kv, vocab, tied| {
            decoder(
                "qwen2",
                [hidden, inner, layers, heads, kv, hidden / heads, vocab],
                json!({"rope_theta": 1e6, "rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "tie_word_embeddings": tied}),
            )
        };
        let llama = |sizes, factor: f64, tied| {
            decoder(
                "llama",
                sizes,
                json!({
                    "rope_theta": 5e5, "rms_norm_eps": 1e-5, "max_position_embeddings": 131_072, "tie_word_embeddings": tied,
                    "rope_scaling": {
                        "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 8192,
                    },
                }),
            )
        };
        match self {
            Self::Qwen25Half => qwen25(896, 4864, 24, 14, 2, 151_936, true),
            Self::Qwen25OneAndHalf => qwen25(1536, 8960, 28, 12, 2, 151_936, true),
            Self::Qwen25Seven => qwen25(3584, 18_944, 28, 28, 4, 152_064, false),
            Self::Qwen3 => decoder(
                "qwen3",
                [1024, 3072, 28, 16, 8, 128, 151_936],
                json!({"rope_theta": 1e6, "rms_norm_eps": 1e-6, "max_position_embeddings": 40_960, "tie_word_embeddings": true}),
            ),
            Self::Llama32One => llama([2048, 8192, 16, 32, 8, 64, 128_256], 32.0, true),
            Self::Llama32Three => llama([3072, 8192, 28, 24, 8, 128, 128_256], 32.0, true),
            Self::Llama31Eight => llama([4096, 14_336, 32, 32, 8, 128, 128_256], 8.0, false),
            Self::Mistral => decoder(
                "mistral",
                [4096, 14_336, 32, 32, 8, 128, 32_768],
                json!({
                    "rope_theta": 1e6, "rms_norm_eps": 1e-5, "max_position_embeddings": 32_768, "tie_word_embeddings": false,
                    "sliding_window": null,
                }),
            ),
        }
    }
}

/// `sizes`: width, width of the feed-forward, layers, heads, key heads, width of a head, vocabulary.
fn decoder(family: &str, sizes: [u64; 7], others: Value) -> Value {
    let [hidden, inner, layers, heads, kv_heads, head_dim, vocab] = sizes;
    let mut config = json!({
        "model_type": family, "hidden_act": "silu", "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "head_dim": head_dim, "vocab_size": vocab, "torch_dtype": "bfloat16",
    });
    if let (Some(config), Value::Object(others)) = (config.as_object_mut(), others) {
        config.extend(others);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::super::spelled;
    use super::*;
    use crate::model::weights::synthetic;

    #[test]
    fn shapes_have_the_parameters_their_names_promise() {
        for (shape, billions) in [
            (Shape::Qwen25Half, 0.494),
            (Shape::Qwen25OneAndHalf, 1.544),
            (Shape::Qwen25Seven, 7.616),
            (Shape::Qwen3, 0.596),
            (Shape::Llama32One, 1.236),
            (Shape::Llama32Three, 3.213),
            (Shape::Llama31Eight, 8.030),
            (Shape::Mistral, 7.248),
        ] {
            let parameters = synthetic::parameters(&shape.config()).unwrap() as f64;
            let found = (parameters / 1e6).round() / 1e3;
            assert_eq!(found, billions, "{}", spelled(shape));
        }
    }
}
