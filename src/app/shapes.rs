//! The shapes of published models, as their `config.json` files give them.

use clap::ValueEnum;
use serde_json::{Value, json};

/// A model whose sizes are copied while its weights are drawn at random: speed depends on the sizes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    #[value(name = "qwen2.5-0.5b")]
    Qwen25Half,
    #[value(name = "qwen2.5-1.5b")]
    Qwen25OneAndHalf,
    #[value(name = "qwen2.5-3b")]
    Qwen25Three,
    #[value(name = "qwen2.5-7b")]
    Qwen25Seven,
    #[value(name = "qwen2.5-14b")]
    Qwen25Fourteen,
    #[value(name = "qwen3-0.6b")]
    Qwen3,
    #[value(name = "qwen3-1.7b")]
    Qwen3OneAndMore,
    #[value(name = "qwen3-4b")]
    Qwen3Four,
    #[value(name = "qwen3-8b")]
    Qwen3Eight,
    #[value(name = "llama-2-7b")]
    Llama2Seven,
    #[value(name = "llama-2-13b")]
    Llama2Thirteen,
    #[value(name = "llama-3.2-1b")]
    Llama32One,
    #[value(name = "llama-3.2-3b")]
    Llama32Three,
    #[value(name = "llama-3.1-8b")]
    Llama31Eight,
    #[value(name = "tinyllama-1.1b")]
    TinyLlama,
    #[value(name = "smollm2-135m")]
    Smol135,
    #[value(name = "smollm2-360m")]
    Smol360,
    #[value(name = "smollm2-1.7b")]
    Smol1700,
    #[value(name = "mistral-7b")]
    Mistral,
}

impl Shape {
    /// As it is written on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

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
        let plain_llama = |sizes, theta: f64, context: u64, tied| {
            decoder(
                "llama",
                sizes,
                json!({"rope_theta": theta, "rms_norm_eps": 1e-5, "max_position_embeddings": context, "tie_word_embeddings": tied}),
            )
        };
        let qwen3 = |hidden, inner, layers, heads, tied| {
            decoder(
                "qwen3",
                [hidden, inner, layers, heads, 8, 128, 151_936],
                json!({"rope_theta": 1e6, "rms_norm_eps": 1e-6, "max_position_embeddings": 40_960, "tie_word_embeddings": tied}),
            )
        };
        match self {
            Self::Qwen25Half => qwen25(896, 4864, 24, 14, 2, 151_936, true),
            Self::Qwen25OneAndHalf => qwen25(1536, 8960, 28, 12, 2, 151_936, true),
            Self::Qwen25Three => qwen25(2048, 11_008, 36, 16, 2, 151_936, true),
            Self::Qwen25Fourteen => qwen25(5120, 13_824, 48, 40, 8, 152_064, false),
            Self::Qwen25Seven => qwen25(3584, 18_944, 28, 28, 4, 152_064, false),
            Self::Qwen3 => qwen3(1024, 3072, 28, 16, true),
            Self::Qwen3OneAndMore => qwen3(2048, 6144, 28, 16, true),
            Self::Qwen3Four => qwen3(2560, 9728, 36, 32, true),
            Self::Qwen3Eight => qwen3(4096, 12_288, 36, 32, false),
            Self::Llama2Seven => {
                plain_llama([4096, 11_008, 32, 32, 32, 128, 32_000], 1e4, 4096, false)
            }
            Self::Llama2Thirteen => {
                plain_llama([5120, 13_824, 40, 40, 40, 128, 32_000], 1e4, 4096, false)
            }
            Self::TinyLlama => plain_llama([2048, 5632, 22, 32, 4, 64, 32_000], 1e4, 2048, false),
            Self::Smol135 => plain_llama([576, 1536, 30, 9, 3, 64, 49_152], 1e5, 8192, true),
            Self::Smol360 => plain_llama([960, 2560, 32, 15, 5, 64, 49_152], 1e5, 8192, true),
            Self::Smol1700 => plain_llama([2048, 8192, 24, 32, 32, 64, 49_152], 1.3e5, 8192, true),
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
    use super::*;
    use crate::model::weights::synthetic;

    #[test]
    fn shapes_have_the_parameters_their_names_promise() {
        for (shape, billions) in [
            (Shape::Smol135, 0.135),
            (Shape::Smol360, 0.362),
            (Shape::Smol1700, 1.711),
            (Shape::TinyLlama, 1.1),
            (Shape::Llama2Seven, 6.738),
            (Shape::Llama2Thirteen, 13.016),
            (Shape::Qwen25Three, 3.086),
            (Shape::Qwen25Fourteen, 14.77),
            (Shape::Qwen3OneAndMore, 1.721),
            (Shape::Qwen3Four, 4.022),
            (Shape::Qwen3Eight, 8.191),
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
            assert_eq!(found, billions, "{}", shape.name());
        }
    }
}
