//! `adapter merge`: what it is asked.

use std::path::PathBuf;

#[derive(Debug, Clone, clap::Args)]
pub struct MergeArgs {
    /// A registered adapter, or a folder with a `/` in its path
    pub name: String,
    /// A folder or a .gguf file that does not exist yet
    pub out: PathBuf,
    /// hf (a Hugging Face folder) or gguf [default: gguf where OUT ends in .gguf, else hf]
    #[arg(long)]
    pub format: Option<String>,
    /// Weights of the result: none (as the base stores them), f32, f16, bf16; of a GGUF file also q8_0, q4_k, q4_0, … [default: none]
    #[arg(long, value_name = "FORMAT")]
    pub quant: Option<String>,
    /// Rows to compare log-probabilities on, before and after; built-in texts where absent
    #[arg(long, value_name = "FILE")]
    pub heldout: Option<PathBuf>,
    /// The base the adapter belongs to: a folder, a .gguf file, a Hugging Face id, or `embedded`; as settings say where absent
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE", env = "ADAPTERD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where adapters are kept, read where no daemon answers
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}
