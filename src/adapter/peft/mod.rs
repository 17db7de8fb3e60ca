//! peft: adapter folders as PEFT and AdapterHub's library write them, to checked weights and back.
//! Every byte is checked before anything is returned; what cannot be honoured exactly is refused by name.

mod bottleneck;
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
mod writer;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Outer, Site};

pub use bottleneck::{
    BottleneckResume, BottleneckSettings, BottleneckWeights, Bottlenecks, HUB_NAME, HUB_PREFIX,
    bottleneck_names, is_of_hub,
};
pub use config::ConfigFile;
pub use dense::{DenseSettings, dense_files};
pub use generation::generation;
pub use ia3::{Ia3, Ia3Settings, Ia3Site, factor_name};
pub use lora::{
    LoraOuter, LoraResume, LoraSettings, LoraSite, OuterFactors, Product, Saved, TokenRows, scale,
};
pub use prompt_learning::{
    ENCODER_NAMES, Encoder, PROMPT_EMBEDDINGS, PrefixResume, PromptResume, parse_prefix,
    parse_prompt, prefix_files, prompt_files,
};
pub use provenance::Provenance;
pub use read::{read, read_known};
pub use targets::{Selection, WholePath};
pub use tensors::{Tensors, check_numbers};
pub use write::{Beside, Lora, write};

pub const CONFIG_FILE: &str = "adapter_config.json";
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";
/// Weights in AdapterHub's layout.
pub const HUB_WEIGHTS_FILE: &str = "adapter.safetensors";
pub const PROVENANCE_FILE: &str = "adapterd.json";
/// What made a prefix, where it was trained through a projection: PEFT stores only the result.
pub const ENCODER_FILE: &str = "prefix_encoder.safetensors";
/// All of them; a folder has the first and one with weights.
pub const FOLDER_FILES: [&str; 5] = [
    CONFIG_FILE,
    WEIGHTS_FILE,
    HUB_WEIGHTS_FILE,
    PROVENANCE_FILE,
    ENCODER_FILE,
];

/// The names that weights may have, PEFT's first.
pub const WEIGHTS_FILES: [&str; 2] = [WEIGHTS_FILE, HUB_WEIGHTS_FILE];

/// Pickled weights run code when they are opened, so they never are. Each name with what is read in its place, and how to
/// get that.
pub const PICKLED: [(&str, &str); 3] = [
    (
        "adapter_model.bin",
        "holds pickled weights; only adapter_model.safetensors is read: save the adapter with safetensors",
    ),
    (
        "adapter_model.pt",
        "holds pickled weights; only adapter_model.safetensors is read: save the adapter with safetensors",
    ),
    (
        "pytorch_adapter.bin",
        "holds pickled weights; only adapter.safetensors is read: save the adapter with `use_safetensors=True`",
    ),
];

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
    magnitude_at(&site.path())
}

fn magnitude_at(path: &str) -> String {
    format!("base_model.model.{path}.lora_magnitude_vector")
}

/// The names of A, B and magnitudes of the embedding or the head.
pub fn outer_names(outer: Outer) -> [String; 3] {
    let path = outer.path();
    let [a, b] = match outer {
        Outer::Embedding => ["lora_embedding_A", "lora_embedding_B"],
        Outer::Head => ["lora_A.weight", "lora_B.weight"],
    };
    [
        format!("base_model.model.{path}.{a}"),
        format!("base_model.model.{path}.{b}"),
        magnitude_at(path),
    ]
}

/// The name of a layer's bias, which lies below the layer's adapter where it is `adapted`.
pub fn bias_name(site: Site, adapted: bool) -> String {
    let below = if adapted { ".base_layer" } else { "" };
    format!("base_model.model.{}{below}.bias", site.path())
}
