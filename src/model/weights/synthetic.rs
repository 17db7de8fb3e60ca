//! A base of random weights as a Hugging Face folder: every size is real, no answer means anything. For measuring.

use std::borrow::Cow;
use std::path::Path;

use half::bf16;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, View};
use serde_json::Value;

use super::{WeightError, config, names};

/// Writes `config.json` and `model.safetensors` (bf16; matrices uniform with a deviation of 0.02, norms 1, biases 0).
/// One tensor is in memory at a time.
pub fn write(dir: &Path, config: &Value, seed: u64) -> Result<(), WeightError> {
    let failed =
        |file: &str, error: &dyn std::fmt::Display| WeightError::new(file, error.to_string());
    let text = config.to_string();
    let spec = config::parse(&text)?;
    std::fs::write(dir.join("config.json"), &text).map_err(|e| failed("config.json", &e))?;
    let tensors = names::expected(&spec)
        .into_iter()
        .enumerate()
        .map(|(index, (name, shape))| {
            let values = Values::of(&name);
            let seed = seed.wrapping_add(index as u64);
            (
                name,
                Drawn {
                    shape,
                    values,
                    seed,
                },
            )
        });
    safetensors::serialize_to_file(tensors, None, &dir.join("model.safetensors"))
        .map_err(|e| failed("model.safetensors", &e))
}

/// Parameters of a base with this `config.json`.
pub fn parameters(config: &Value) -> Result<u64, WeightError> {
    let spec = config::parse(&config.to_string())?;
    let tensors = names::expected(&spec).into_iter();
    Ok(tensors
        .map(|(_, shape)| shape.iter().product::<usize>() as u64)
        .sum())
}

/// A tensor whose values are made when they are written.
struct Drawn {
    shape: Vec<usize>,
    values: Values,
    seed: u64,
}

enum Values {
    Random,
    All(f32),
}

impl Values {
    fn of(name: &str) -> Self {
        match name {
            _ if name.ends_with("norm.weight") => Self::All(1.0),
            _ if name.ends_with(".bias") => Self::All(0.0),
            _ => Self::Random,
        }
    }
}

/// A uniform value in ±limit has a deviation of limit/√3.
const LIMIT: f32 = 0.02 * 1.732_050_8;

impl View for Drawn {
    fn dtype(&self) -> Dtype {
        Dtype::BF16
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        match self.values {
            Values::Random => {
                ChaCha8Rng::seed_from_u64(self.seed).fill_bytes(&mut bytes);
                for pair in bytes.as_chunks_mut::<2>().0 {
                    let share = f32::from(i16::from_le_bytes(*pair)) / 32_768.0;
                    *pair = bf16::from_f32(share * LIMIT).to_le_bytes();
                }
            }
            Values::All(value) => {
                bytes
                    .as_chunks_mut::<2>()
                    .0
                    .fill(bf16::from_f32(value).to_le_bytes());
            }
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        2 * self.shape.iter().product::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{Folder, Quant, Source};
    use super::*;
    use crate::kernels::quant::Format;

    #[test]
    fn a_synthetic_folder_opens_as_a_base_of_its_shape() {
        let dir = tempfile::tempdir().unwrap();
        let config = config("llama", serde_json::json!({}));
        write(dir.path(), &config, 7).unwrap();
        let mut folder = Folder::open(dir.path(), Quant::To(Format::Q8_0)).unwrap();
        assert_eq!(folder.spec().hidden, 64);
        assert!(folder.matrix("model.layers.1.mlp.down_proj.weight").is_ok());
        let norm = folder.vector("model.norm.weight").unwrap();
        assert_eq!(norm, vec![1.0; 64]);
    }
}
