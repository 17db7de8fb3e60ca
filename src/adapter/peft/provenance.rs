//! `adapterd.json`: where an adapter comes from. PEFT ignores the file; it ties an adapter to the base it was made on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::PROVENANCE_FILE;
use crate::adapter::AdapterFault;
use crate::domain::{Generation, lfs_pointer};

/// Digests are 64 hex digits. Keys of other versions are kept out of the way, not refused: nothing here changes what
/// an adapter computes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_generation: Option<Generation>,
    /// Of what it was blended, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blend: Option<Value>,
}

impl Provenance {
    pub fn parse(bytes: &[u8]) -> Result<Self, AdapterFault> {
        if let Some(why) = lfs_pointer(bytes) {
            return Err(AdapterFault::new(PROVENANCE_FILE, why));
        }
        // An object first: a list would be read field by field, and an empty one as "nothing is known".
        serde_json::from_slice(bytes)
            .and_then(|keys: Map<String, Value>| serde_json::from_value(Value::Object(keys)))
            .map_err(|error| AdapterFault::new(PROVENANCE_FILE, format!("cannot be read: {error}")))
    }

    /// Refuses an adapter that says it was made on another base; one that does not say only has to fit by its shapes.
    pub fn check_base(&self, digest: &[u8; 32]) -> Result<(), AdapterFault> {
        let Some(recorded) = &self.base_digest else {
            return Ok(());
        };
        let ours = blake3::Hash::from_bytes(*digest).to_hex();
        if recorded.eq_ignore_ascii_case(&ours) {
            return Ok(());
        }
        let name = self.base.as_deref().unwrap_or("another base");
        Err(AdapterFault::new(
            "base_digest",
            format!("the adapter was made on {name} ({recorded}), not on this base ({ours})"),
        ))
    }
}
