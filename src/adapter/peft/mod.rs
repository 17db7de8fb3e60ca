//! peft: adapter folders as PEFT writes them, to checked weights and back.
//! Every byte is checked before anything is returned; what cannot be honoured exactly is refused by name.

mod config;
mod dense;
mod generation;
mod ia3;
mod lora;
mod prompt_learning;
mod provenance;
mod read;
mod targets;
mod tensors;
mod write;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Site;

pub use config::ConfigFile;
pub use dense::{DenseSettings, dense_files};
pub use generation::generation;
pub use ia3::{Ia3, Ia3Settings, Ia3Site, factor_name};
pub use lora::{LoraResume, LoraSettings, LoraSite, scale};
pub use prompt_learning::{
    ENCODER_NAMES, Encoder, PROMPT_EMBEDDINGS, PrefixResume, PromptResume, parse_prefix,
    parse_prompt, prefix_files, prompt_files,
};
pub use provenance::Provenance;
pub use read::{read, read_known};
pub use targets::{Selection, WholePath};
pub use tensors::Tensors;
pub use write::{Lora, write};

pub const CONFIG_FILE: &str = "adapter_config.json";
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
pub const PROVENANCE_FILE: &str = "adapterd.json";
/// What made a prefix, where it was trained through a projection: PEFT stores only the result.
pub const ENCODER_FILE: &str = "prefix_encoder.safetensors";
/// All of them; the last two may be absent.
pub const FOLDER_FILES: [&str; 4] = [CONFIG_FILE, WEIGHTS_FILE, PROVENANCE_FILE, ENCODER_FILE];

/// A folder's files by name. Names other than those above are ignored. They may be parts of one upload, all of which
/// stays in memory as long as any of them.
pub type Files = BTreeMap<String, Bytes>;

/// The names of A and B of a site in a weights file.
pub fn tensor_names(site: Site) -> [String; 2] {
    let path = site.path();
    ["A", "B"].map(|matrix| format!("base_model.model.{path}.lora_{matrix}.weight"))
}

/// The name of a site's magnitudes in a weights file.
pub fn magnitude_name(site: Site) -> String {
    format!("base_model.model.{}.lora_magnitude_vector", site.path())
}
