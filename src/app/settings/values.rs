//! The settings themselves, with their defaults and what each may be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::auth::Auth;
use super::server::Server;
use super::training::Training;
use crate::adapter::Precision;
use crate::api::LogPlace;
use crate::gateway::Weighed;
use crate::kernels::quant::Format;
use crate::model::{KvKind, Origin, Quant};

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
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A folder, a `.gguf` file, a Hugging Face id, or `embedded`.
    pub path: String,
    /// `auto` quantizes safetensors to q8_0 and keeps a GGUF's own types.
    pub quant: String,
    /// With `int8`: features of activations as large as this keep all their bits; 0 lets none.
    pub int8_threshold: f32,
    pub kv: String,
    /// Positions of a sequence, prompt and answer; 0 is as many as the model's files say.
    pub max_len: usize,
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
            device: "auto".into(),
        }
    }
}

impl Model {
    pub fn origin(&self) -> Result<Origin, String> {
        if self.path == "embedded" {
            return Ok(Origin::Embedded);
        }
        let path = PathBuf::from(&self.path);
        if path.is_dir() {
            return Ok(Origin::Folder(path));
        }
        if path.is_file() {
            return match path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
            {
                true => Ok(Origin::Gguf(path)),
                false => Err(format!("`{}` is a file, but not a `.gguf` one", self.path)),
            };
        }
        let parts: Vec<&str> = self.path.split('/').collect();
        let hub_id = parts.len() == 2
            && parts.iter().all(|part| {
                !part.is_empty()
                    && !part.starts_with('.')
                    && part
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            });
        match hub_id {
            true => Ok(Origin::Hub(self.path.clone())),
            false => Err(format!(
                "`{}` is no folder or file here, and no `OWNER/NAME` of a model hub",
                self.path
            )),
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
    /// Days for which it is known who changed which adapter; 0 is for ever.
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests that may wait for the engine; more get a 429. Beside other callers, one may take as many of these as it
    /// leaves free.
    pub queue: usize,
    /// `n` of one request.
    pub max_n: u32,
    pub max_body_bytes: usize,
    /// Of one training file, as it is sent and as it unpacks.
    pub max_file_bytes: u64,
    pub max_adapter_bytes: u64,
    /// What this process may take: auto (what its control group, or the machine, has) or a size as 24G. Above 92 % of it work
    /// is refused, the cheapest to lose first.
    pub memory: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 256,
            max_n: 16,
            max_body_bytes: 8 << 20,
            max_file_bytes: 16 << 30,
            max_adapter_bytes: 2 << 30,
            memory: "auto".into(),
        }
    }
}

impl Limits {
    /// Bytes; `None` is what the machine or the control group allows.
    pub fn memory(&self) -> Result<Option<u64>, String> {
        match self.memory.trim() {
            "auto" => Ok(None),
            size => size_of(size).map(Some),
        }
    }
}

/// A size as people write it.
fn size_of(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is neither auto nor a size as 512M, 24G or 24GiB");
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes >= 64 << 20)
    {
        Some(bytes) => Ok(bytes),
        None => Err(format!("`{text}` is not at least 64 MiB")),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// A tracing filter: `info`, `adapterd=debug,warn`, …
    pub log: String,
    pub format: LogFormat,
    /// Adapters with metric labels of their own; the rest are `other`.
    pub adapter_labels: usize,
    /// A JSON line for each request: off, stdout, or a file that is added to.
    pub access_log: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log: "info".into(),
            format: LogFormat::Text,
            adapter_labels: 64,
            access_log: "off".into(),
        }
    }
}

impl Telemetry {
    /// Where the access log goes, if there is one.
    pub fn access_log(&self) -> Option<LogPlace> {
        match self.access_log.trim() {
            "" | "off" => None,
            "stdout" => Some(LogPlace::Stdout),
            path => Some(LogPlace::File(path.into())),
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
        for (key, why) in self.training.mistakes() {
            say(key, why);
        }
        for (key, why) in self.auth.mistakes(&self.server) {
            say(key, why);
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
        if self
            .telemetry
            .log
            .parse::<tracing_subscriber::EnvFilter>()
            .is_err()
        {
            say(
                "telemetry.log",
                format!("`{}` is not a log filter", self.telemetry.log),
            );
        }
        if let Err(why) = self.limits.memory() {
            say("limits.memory", why);
        }
        found
    }
}
