//! The settings themselves, with their defaults and what each may be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::auth::Auth;
use super::feedback::{self, Feedback, Retrain};
use super::limits::{LIMITS_OF_ADAPTERS, Limits};
use super::server::Server;
use super::telemetry::Telemetry;
use super::training::Training;
use crate::adapter::Precision;
use crate::gateway::{AdapterRates, Hub, Weighed};
use crate::kernels::quant::Format;
use crate::model::{KvKind, Origin, Quant, Surroundings, locate};
use crate::text::Syntax;

/// Every section and key of a settings file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    pub server: Server,
    pub model: Model,
    pub engine: Engine,
    pub adapters: Adapters,
    pub training: Training,
    pub storage: Storage,
    pub auth: Auth,
    pub limits: Limits,
    pub telemetry: Telemetry,
    pub feedback: Feedback,
    pub retrain: Vec<Retrain>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A folder, a `.gguf` file, a Hugging Face id, `ollama:NAME[:TAG]`, or `embedded`.
    pub path: String,
    /// `auto` quantizes safetensors to q8_0 and keeps a GGUF's own types.
    pub quant: String,
    /// With `int8`: features of activations as large as this keep all their bits; 0 lets none.
    pub int8_threshold: f32,
    pub kv: String,
    /// Positions of a sequence, prompt and answer; 0 is as many as the model's files say.
    pub max_len: usize,
    /// How the model writes calls of functions: `auto` (what its chat template says), hermes, llama3, mistral, qwen3-coder
    /// or json.
    pub tool_parser: String,
    pub device: String,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            path: "embedded".into(),
            quant: "auto".into(),
            int8_threshold: 6.0,
            kv: "auto".into(),
            max_len: 0,
            tool_parser: "auto".into(),
            device: "auto".into(),
        }
    }
}

impl Model {
    /// Where the model lies.
    pub fn origin(&self) -> Result<Origin, String> {
        locate(&self.path, &Surroundings::of_process())
    }

    /// `None` lets the chat template decide.
    pub fn tool_parser(&self) -> Result<Option<Syntax>, String> {
        match self.tool_parser.as_str() {
            "auto" => Ok(None),
            name => name.parse().map(Some),
        }
    }

    /// `None` lets the file's kind decide.
    pub fn quant(&self) -> Result<Option<Quant>, String> {
        match self.quant.as_str() {
            "auto" => Ok(None),
            "none" => Ok(Some(Quant::AsStored)),
            "int8" => match self.int8_threshold {
                threshold if threshold.is_finite() && threshold >= 0.0 => {
                    Ok(Some(Quant::Int8 { threshold }))
                }
                other => Err(format!("an int8_threshold of {other}")),
            },
            name => match Format::from_name(name) {
                Some(format) => Ok(Some(Quant::To(format))),
                None => {
                    let known: Vec<_> = Format::all().map(Format::name).collect();
                    Err(format!(
                        "`{name}` is none of auto, none, int8, {}",
                        known.join(", ")
                    ))
                }
            },
        }
    }

    pub fn kv(&self) -> Result<KvKind, String> {
        match self.kv.as_str() {
            "auto" => Ok(KvKind::Auto),
            "f32" => Ok(KvKind::F32),
            "f16" => Ok(KvKind::F16),
            "q8" => Ok(KvKind::Q8),
            other => Err(format!("`{other}` is none of auto, f32, f16, q8")),
        }
    }

    pub fn check_device(&self) -> Result<(), String> {
        match self.device.as_str() {
            "auto" | "cpu" => Ok(()),
            other if other == "cuda" || other.starts_with("cuda:") => {
                Err(format!("`{other}`: this binary was built without CUDA"))
            }
            other => Err(format!("`{other}` is none of cpu, cuda[:N], auto")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Compute threads; 0 is one for each core.
    pub threads: usize,
    /// Answers that run at once.
    pub rows: usize,
    /// Tokens of one step over all requests.
    pub step_tokens: usize,
    pub kv_bytes: u64,
    pub block_size: usize,
    /// Requests that begin alike share what is computed of it.
    pub prefix_cache: bool,
    pub speculation: Speculation,
}

/// Whether steps verify guesses at the next tokens, read from an answer's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speculation {
    /// Where it is likely to pay.
    Auto,
    Off,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            threads: 0,
            rows: 64,
            step_tokens: 512,
            kv_bytes: 512 << 20,
            block_size: 16,
            prefix_cache: true,
            speculation: Speculation::Auto,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapters {
    /// The only tree a path in a request may name; empty is `incoming/` in the data directory.
    pub root: PathBuf,
    /// Publish the ready-made adapters at the first start on the embedded base.
    pub bundled: bool,
    pub resident_bytes: u64,
    pub max_rank: usize,
    /// Versions a name keeps, to be asked for by their generation and to go back to; a publication removes the oldest.
    pub keep_versions: usize,
    /// Of adapters in memory: auto, stored (every number as it came), bf16.
    pub precision: String,
    /// What adapters get beside others where not all get what they ask for, as `legal=2,none=0.5`; others have 1.
    pub weights: String,
    /// The model hub that adapters may be fetched from; empty is none.
    pub hub: String,
    /// What the hub asks for to show what not everybody may see; never shown.
    pub hub_token: String,
}

impl Default for Adapters {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            bundled: true,
            resident_bytes: 1 << 30,
            max_rank: 256,
            keep_versions: 8,
            precision: "auto".into(),
            weights: String::new(),
            hub: "https://huggingface.co".into(),
            hub_token: String::new(),
        }
    }
}

impl Adapters {
    /// By itself an adapter is rounded where the base is: to 16 bits, unless the base has 32.
    pub fn precision(&self, base_has_32_bits: bool) -> Result<Precision, String> {
        match self.precision.as_str() {
            "auto" if base_has_32_bits => Ok(Precision::Exact),
            "auto" | "bf16" => Ok(Precision::Bf16),
            "stored" => Ok(Precision::Exact),
            other => Err(format!("`{other}` is none of auto, stored, bf16")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Empty is the first place that can be used: `adapterd` in the XDG state directory, in the account's, `/var/lib/adapterd`.
    pub data_dir: PathBuf,
    /// Days for which it is known who changed what; 0 is for ever.
    pub keep_audit_days: u32,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::new(),
            keep_audit_days: 90,
        }
    }
}

/// Positions that a sequence may be given; no model was made for so many.
const MOST_POSITIONS: usize = 1 << 28;

impl Values {
    /// Everything that is wrong with the values themselves: `(key, why)`.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut say = |key: &str, why: String| found.push((key.to_owned(), why));
        if let Err(why) = self.model.origin() {
            say("model.path", why);
        }
        if let Err(why) = self.model.quant() {
            say("model.quant", why);
        }
        if self.model.quant != "int8"
            && self.model.int8_threshold != Model::default().int8_threshold
        {
            say(
                "model.int8_threshold",
                "has no meaning but with `model.quant` int8".into(),
            );
        }
        if let Err(why) = self.model.kv() {
            say("model.kv", why);
        }
        if let Err(why) = self.model.tool_parser() {
            say("model.tool_parser", why);
        }
        if let Err(why) = self.adapters.precision(false) {
            say("adapters.precision", why);
        }
        for (key, weights) in [
            ("adapters.weights", &self.adapters.weights),
            ("auth.weights", &self.auth.weights),
        ] {
            if let Err(why) = weights.parse::<Weighed>() {
                say(key, why);
            }
        }
        if let Err(why) = AdapterRates::read(&self.limits.adapters) {
            say(LIMITS_OF_ADAPTERS, why);
        }
        if let Err(why) = Hub::address(&self.adapters.hub) {
            say("adapters.hub", why);
        }
        for (key, why) in self.training.mistakes() {
            say(key, why);
        }
        for (key, why) in self.auth.mistakes(&self.server) {
            say(key, why);
        }
        for (key, why) in self.feedback.mistakes(self.auth.mode) {
            say(key, why);
        }
        for (key, why) in feedback::mistakes(&self.retrain) {
            say(&key, why);
        }
        for (key, why) in self.server.mistakes() {
            say(key, why);
        }
        if let Err(why) = self.model.check_device() {
            say("model.device", why);
        }
        for (key, value, least, most) in [
            ("model.max_len", self.model.max_len, 0, MOST_POSITIONS),
            ("engine.threads", self.engine.threads, 0, 1024),
            ("engine.rows", self.engine.rows, 1, 4096),
            ("engine.step_tokens", self.engine.step_tokens, 1, 1 << 16),
            ("engine.block_size", self.engine.block_size, 1, 1024),
            ("adapters.max_rank", self.adapters.max_rank, 1, 4096),
            (
                "adapters.keep_versions",
                self.adapters.keep_versions,
                2,
                1 << 20,
            ),
            (
                "storage.keep_audit_days",
                self.storage.keep_audit_days as usize,
                0,
                36_500,
            ),
            ("limits.queue", self.limits.queue, 1, 1 << 20),
            ("limits.max_n", self.limits.max_n as usize, 1, 1024),
            (
                "limits.max_body_bytes",
                self.limits.max_body_bytes,
                1024,
                1 << 32,
            ),
        ] {
            if !(least..=most).contains(&value) {
                say(key, format!("{value} is not within {least} to {most}"));
            }
        }
        for (key, why) in self.telemetry.mistakes() {
            say(key, why);
        }
        if let Err(why) = self.limits.memory() {
            say("limits.memory", why);
        }
        found
    }
}
