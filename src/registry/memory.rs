//! What adapters take in memory, and what they may.

use super::Registry;
use crate::adapter::Precision;
use crate::domain::{AdapterName, Generation};

impl Registry {
    /// Names whose current version is in memory: generation, bytes, pinned.
    pub fn resident(&self) -> Vec<(AdapterName, Generation, u64, bool)> {
        let snapshot = self.snapshot();
        snapshot
            .entries()
            .filter_map(|entry| {
                let generation = entry.generation();
                let bytes = self.shared.residency.bytes_of(generation)?;
                Some((entry.name.clone(), generation, bytes, entry.pinned))
            })
            .collect()
    }

    /// What the numbers of adapters are rounded to in memory.
    pub fn precision(&self) -> Precision {
        self.shared.precision
    }

    /// Whether an adapter of such sizes can be stored and served at all.
    ///
    /// # Errors
    /// What it needs, and the setting that limits it.
    pub fn check_room(&self, file: u64, memory: u64) -> Result<(), String> {
        let (_, most) = self.resident_bytes();
        let limits = [
            (
                file,
                self.shared.sizes.weights,
                "a weights file",
                "limits.max_adapter_bytes",
            ),
            (memory, most, "memory", "adapters.resident_bytes"),
        ];
        for (needed, allowed, what, setting) in limits {
            if needed > allowed {
                return Err(format!(
                    "makes an adapter of {needed} bytes of {what}, and {setting} allows {allowed}"
                ));
            }
        }
        Ok(())
    }

    /// Bytes of adapters in memory (leased, loading and not yet released ones included), and the budget.
    pub fn resident_bytes(&self) -> (u64, u64) {
        (self.shared.residency.used(), self.shared.residency.budget())
    }
}
