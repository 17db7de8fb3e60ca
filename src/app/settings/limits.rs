//! What requests may ask for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::Rates;

/// A setting that is a table: of adapters, with their limits.
pub const LIMITS_OF_ADAPTERS: &str = "limits.adapters";

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
        }
    }
}
