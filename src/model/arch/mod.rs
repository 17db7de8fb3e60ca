//! arch: the families of decoders whose wiring is known. A new one is a file here and a row below; readers of files,
//! shared layers and everything above ask its [`Family`] and name none.

mod llama;
mod mistral;
mod qwen2;
mod qwen3;

pub use llama::LLAMA;
pub use mistral::MISTRAL;
pub use qwen2::QWEN2;
pub use qwen3::QWEN3;

use super::layers::Block;
use super::spec::Biases;
use super::supply::At;
use super::weights::{Fields, WeightError};

/// Of families that share a name in GGUF files, the first is taken.
pub static CATALOGUE: [&Family; 4] = [&LLAMA, &MISTRAL, &QWEN2, &QWEN3];

/// What sets one family of decoders apart from the others: how its files describe it, and how a block is wired.
pub struct Family {
    /// `model_type` in a `config.json`.
    pub name: &'static str,
    /// Its entry in `architectures` of a `config.json`.
    pub class: &'static str,
    pub gguf: Gguf,
    /// What an absent key of a `config.json` stands for.
    pub defaults: Defaults,
    /// Biases that are there whatever a file says.
    pub biases: Biases,
    /// RMSNorm over each head of q and k before the rotation.
    pub head_norm: bool,
    /// Biases a `config.json` switches on.
    pub(super) switches: fn(&mut Fields<'_>) -> Result<Biases, WeightError>,
    /// The window of each of `layers` layers, from a `config.json`.
    pub(super) windows: fn(&mut Fields<'_>, usize) -> Result<Windows, WeightError>,
    /// Builds one block.
    pub(super) block: fn(&mut At<'_>) -> Result<Block, WeightError>,
}

/// As `Spec::windows`.
type Windows = Vec<Option<usize>>;

/// How GGUF files hold a family.
pub struct Gguf {
    /// `general.architecture`
    pub name: &'static str,
    /// Rows of q and k lie in the order of rotation by neighbouring pairs, not by halves.
    pub paired: bool,
    /// A sliding window, if there is one, holds in every layer.
    pub one_window: bool,
}

pub struct Defaults {
    /// `None`: as many as query heads.
    pub kv_heads: Option<usize>,
    /// `None`: width by heads.
    pub head_dim: Option<usize>,
    pub context: usize,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const NO_BIAS: Biases = Biases {
    qkv: false,
    o: false,
    mlp: false,
};

/// No key switches a bias on.
fn fixed(_: &mut Fields<'_>) -> Result<Biases, WeightError> {
    Ok(NO_BIAS)
}

/// One key switches the biases of all four attention products.
fn attention_bias(fields: &mut Fields<'_>) -> Result<Biases, WeightError> {
    let on = fields.flag_or("attention_bias", false)?;
    Ok(Biases {
        qkv: on,
        o: on,
        mlp: false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_families_answer_to_one_name() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|family| family.name).collect();
        let classes: BTreeSet<_> = CATALOGUE.iter().map(|family| family.class).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        assert_eq!(classes.len(), CATALOGUE.len());
    }
}
