//! What a decoder is made of: its sizes and switches, as read from a `config.json` or a GGUF header.
//! Everything that changes the result of a forward pass is here; nothing else is.

use std::f64::consts::PI;

use super::arch::Family;
use crate::adapter::BaseShape;

/// A decoder-only transformer with pre-norm, rotary positions, grouped-query attention and a gated SiLU feed-forward.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub arch: &'static Family,
    pub hidden: usize,
    pub layers: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    pub kv_heads: usize,
    /// Even. Not always `hidden / heads`.
    pub head_dim: usize,
    pub intermediate: usize,
    /// Rows of the embedding; can exceed the tokenizer's vocabulary by padding.
    pub vocab: usize,
    /// Epsilon of every RMSNorm.
    pub norm_eps: f64,
    pub rope: Rope,
    /// For each layer the number of positions a query sees, itself included; `None` sees all before it.
    pub windows: Vec<Option<usize>>,
    pub bias: Biases,
    /// RMSNorm over each head of q and k before the rotation (`self_attn.q_norm`, `self_attn.k_norm`).
    pub head_norm: bool,
    /// The output head is the embedding matrix; there is no `lm_head.weight`.
    pub tied: bool,
    /// Positions the model was made for, by its scaling beyond those it was first trained on.
    pub context: usize,
}

impl Spec {
    /// What adapters must fit.
    pub fn shape(&self) -> BaseShape {
        BaseShape {
            layers: self.layers,
            hidden: self.hidden,
            heads: self.heads,
            key_heads: self.kv_heads,
            key_width: self.kv_heads * self.head_dim,
            vocab: self.vocab,
            tied: self.tied,
            context: self.context,
        }
    }
}

/// Which linear layers add a bias.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Biases {
    pub qkv: bool,
    pub o: bool,
    pub mlp: bool,
}

impl Biases {
    /// Those of either.
    pub const fn or(self, other: Self) -> Self {
        Self {
            qkv: self.qkv || other.qkv,
            o: self.o || other.o,
            mlp: self.mlp || other.mlp,
        }
    }
}

/// Rotary positions: pair `i` of a head (elements `i` and `i + head_dim/2`) turns by `position · frequency[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    pub theta: f64,
    pub scaling: Scaling,
}

/// How frequencies are stretched beyond the positions a model was first trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    None,
    /// All frequencies divided by `factor` (position interpolation).
    Linear {
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, a ramp between (Llama 3.1).
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: usize,
    },
    /// NTK-by-parts (arXiv 2309.00071); `attention_factor` multiplies sine and cosine.
    Yarn {
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        original_context: usize,
        attention_factor: f64,
        truncate: bool,
    },
    /// No scaling within `original_context` tokens; the base of a longer text grows with its length (dynamic NTK).
    Dynamic {
        factor: f64,
        original_context: usize,
    },
    /// Each frequency divided by its own number (arXiv 2402.13753), `head_dim / 2` of them: `short` for texts within
    /// `original_context` tokens, `long` for longer ones. `attention_factor` multiplies sine and cosine of both.
    LongRope {
        original_context: usize,
        short: Vec<f32>,
        long: Vec<f32>,
        attention_factor: f64,
    },
    /// Each frequency divided by its own number, `head_dim / 2` of them (`rope_freqs.weight` of a GGUF file).
    Divisors(Vec<f32>),
}

/// `head_dim / 2` frequencies without scaling.
fn plain(theta: f64, head_dim: usize) -> impl Iterator<Item = f64> {
    (0..head_dim / 2).map(move |i| 1.0 / theta.powf(2.0 * i as f64 / head_dim as f64))
}

/// Each frequency divided by its own number.
fn divided(frequencies: impl Iterator<Item = f64>, by: &[f32]) -> Vec<f32> {
    frequencies
        .zip(by)
        .map(|(f, d)| (f / f64::from(*d)) as f32)
        .collect()
}

impl Rope {
    /// The length beyond which a text has other frequencies than [`frequencies`](Self::frequencies), where there is one.
    pub fn longest_alike(&self) -> Option<usize> {
        match self.scaling {
            Scaling::Dynamic {
                original_context, ..
            }
            | Scaling::LongRope {
                original_context, ..
            } => Some(original_context),
            _ => None,
        }
    }

    /// The frequencies of a text of `length` tokens.
    pub fn frequencies_of(&self, head_dim: usize, length: usize) -> Vec<f32> {
        match &self.scaling {
            Scaling::Dynamic {
                factor,
                original_context,
            } if length > *original_context => {
                let (dim, stretch) = (head_dim as f64, length as f64 / *original_context as f64);
                let growth = (factor * stretch - (factor - 1.0)).powf(dim / (dim - 2.0));
                plain(self.theta * growth, head_dim)
                    .map(|f| f as f32)
                    .collect()
            }
            Scaling::LongRope {
                original_context,
                long,
                ..
            } if length > *original_context => divided(plain(self.theta, head_dim), long),
            _ => self.frequencies(head_dim),
        }
    }

    /// `head_dim / 2` frequencies, radians a position, f32 as the reference implementations hold them; those of texts
    /// within the original context, where longer ones have others.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = plain(self.theta, head_dim);
        match &self.scaling {
            Scaling::None | Scaling::Dynamic { .. } => plain.map(|f| f as f32).collect(),
            Scaling::Linear { factor } => plain.map(|f| (f / factor) as f32).collect(),
            Scaling::Divisors(by) => divided(plain, by),
            Scaling::LongRope { short, .. } => divided(plain, short),
            Scaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let old = *original_context as f64;
                plain
                    .map(|f| {
                        let turns = old * f / (2.0 * PI);
                        let keep = if turns < *low_freq_factor {
                            0.0
                        } else if turns > *high_freq_factor {
                            1.0
                        } else {
                            (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
                        };
                        ((1.0 - keep) * f / factor + keep * f) as f32
                    })
                    .collect()
            }
            Scaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_context,
                truncate,
                ..
            } => {
                // The pair that turns `rotations` times within the original context.
                let pair = |rotations: f64| {
                    head_dim as f64 * (*original_context as f64 / (rotations * 2.0 * PI)).ln()
                        / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (pair(*beta_fast), pair(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let low = low.max(0.0);
                let mut high = high.min(head_dim as f64 - 1.0);
                if low == high {
                    // A ramp of no width would divide by zero.
                    high += 0.001;
                }
                plain
                    .enumerate()
                    .map(|(i, f)| {
                        let interpolate = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        (interpolate * f / factor + (1.0 - interpolate) * f) as f32
                    })
                    .collect()
            }
        }
    }

    /// Multiplies sine and cosine: 1 except under YaRN and LongRoPE.
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn {
                attention_factor, ..
            }
            | Scaling::LongRope {
                attention_factor, ..
            } => attention_factor as f32,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f32], expected: &[(usize, f32)]) {
        for &(i, want) in expected {
            assert!(
                (found[i] - want).abs() <= want * 2e-6,
                "frequency {i}: {} is not {want}",
                found[i]
            );
        }
    }

    #[test]
    fn unscaled_frequencies_fall_from_one_by_powers_of_theta() {
        let rope = Rope {
            theta: 10_000.0,
            scaling: Scaling::None,
        };
        close(
            &rope.frequencies(8),
            &[(0, 1.0), (1, 0.1), (2, 0.01), (3, 0.001)],
        );
    }

    // Reference values: the rotary initialisation functions of transformers.

    #[test]
    fn llama3_scaling_keeps_fast_pairs_and_slows_the_rest() {
        let scaling = Scaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        let found = Rope {
            theta: 500_000.0,
            scaling,
        }
        .frequencies(64);
        close(
            &found,
            &[
                (0, 1.0),
                (5, 0.128_687_38),
                (12, 0.007_292_665),
                (18, 7.784_655_5e-5),
                (31, 3.767_322_6e-7),
            ],
        );
    }

    #[test]
    fn yarn_scaling_ramps_between_kept_and_interpolated_pairs() {
        let scaling = Scaling::Yarn {
            factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_context: 32_768,
            attention_factor: 1.138_629_4,
            truncate: true,
        };
        let rope = Rope {
            theta: 1_000_000.0,
            scaling,
        };
        close(
            &rope.frequencies(64),
            &[
                (5, 0.115_478_2),
                (12, 0.005_154_795_5),
                (18, 1.757_068_7e-4),
                (20, 4.445_698_5e-5),
                (31, 3.849_816_3e-7),
            ],
        );
        assert_eq!(rope.attention_factor(), 1.138_629_4);
    }

    #[test]
    fn yarn_without_truncation_places_the_ramp_between_pairs() {
        let scaling = Scaling::Yarn {
            factor: 8.0,
            beta_fast: 16.0,
            beta_slow: 2.0,
            original_context: 4096,
            attention_factor: 1.0,
            truncate: false,
        };
        let found = Rope {
            theta: 10_000.0,
            scaling,
        }
        .frequencies(64);
        close(
            &found,
            &[
                (5, 0.237_137_36),
                (18, 0.002_136_700_3),
                (20, 4.355_756e-4),
                (24, 1.25e-4),
            ],
        );
    }

    #[test]
    fn linear_scaling_divides_every_frequency() {
        let found = Rope {
            theta: 10_000.0,
            scaling: Scaling::Linear { factor: 2.5 },
        }
        .frequencies(64);
        close(&found, &[(0, 0.4), (5, 0.094_854_94), (31, 5.334_086e-5)]);
    }

    #[test]
    fn dynamic_scaling_grows_the_base_with_the_length_beyond_the_original_context() {
        let rope = Rope {
            theta: 10_000.0,
            scaling: Scaling::Dynamic {
                factor: 4.0,
                original_context: 2048,
            },
        };
        let plain = rope.frequencies(64);
        assert_eq!(rope.frequencies_of(64, 2048), plain);
        // Base 10000 · (4 · 3000/2048 - 3)^(64/62)
        let base: f64 = 10_000.0 * (4.0 * 3000.0 / 2048.0 - 3.0f64).powf(64.0 / 62.0);
        close(
            &rope.frequencies_of(64, 3000),
            &[
                (0, 1.0),
                (16, base.powf(-0.5) as f32),
                (31, base.powf(-62.0 / 64.0) as f32),
            ],
        );
        assert!(rope.frequencies_of(64, 3001)[31] < rope.frequencies_of(64, 3000)[31]);
    }
}
