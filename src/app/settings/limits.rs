//! What requests may ask for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{Bytes, Rates};

/// A setting that is a table: of adapters, with their limits.
pub const LIMITS_OF_ADAPTERS: &str = "limits.adapters";

/// Below this nothing works.
const LEAST_MEMORY: u64 = 64 << 20;

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
    /// What adapters may be asked, whoever asks: `{ legal = { requests_per_minute = 60 }, "team-*" = { concurrent = 4 } }`;
    /// each adapter that fits a pattern has all of it, and `none` is the base.
    pub adapters: BTreeMap<String, Rates>,
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
            adapters: BTreeMap::new(),
            memory: "auto".into(),
        }
    }
}

impl Limits {
    /// Bytes; `None` is what the machine or the control group allows.
    pub fn memory(&self) -> Result<Option<u64>, String> {
        let text = self.memory.trim();
        if text == "auto" {
            return Ok(None);
        }
        match Bytes::from_text(text).count() {
            Ok(bytes) if bytes < LEAST_MEMORY => Err(format!("`{text}` is not at least 64 MiB")),
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => Err(format!(
                "`{text}` is neither auto nor a size as 512M, 24G or 24GiB"
            )),
        }
    }
}
