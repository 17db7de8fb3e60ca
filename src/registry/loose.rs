//! Adapters that no name points to and that are not stored: whoever knows their files has them in memory, under the same
//! budget and evicted like any other.

use std::sync::Arc;
use std::time::Instant;

use super::{Files, Lease, Registry};
use crate::domain::{AdapterName, Generation, Reason, STEP};

impl Registry {
    /// A lease, counted for `name`, on a version that is in memory.
    pub fn lease_resident(&self, name: &AdapterName, generation: Generation) -> Option<Lease> {
        let held = self.shared.residency.hold(generation)?;
        Some(Lease::of_one(name.clone(), held))
    }

    /// As if others had needed its place.
    #[cfg(test)]
    pub(crate) fn let_go(&self, generation: Generation) {
        self.shared.residency.retire(generation);
    }

    /// Checks files against the base and brings what they hold into memory, where it stays until others need its place.
    pub async fn lease_files(&self, name: &AdapterName, files: Files) -> Result<Lease, Reason> {
        let started = Instant::now();
        let (adapter, _) = self.check(files).await?;
        let shared = &self.shared;
        let room = shared.room_queue.pass(&shared.residency, adapter.bytes());
        let (room, evicted) = room.await?;
        self.announce(&evicted);
        let held = shared.residency.admit(room, Arc::new(adapter));
        shared.observe.loaded(started.elapsed().as_secs_f64());
        Ok(Lease::of_one(name.clone(), held))
    }
}

/// Checkpoints are known to the trainer, which lends them as files; none is a version.
pub(super) fn unknown(name: &AdapterName, step: u64) -> Reason {
    Reason::NoSuchGeneration {
        name: name.to_string(),
        generation: format!("{STEP}{step}"),
    }
}
