//! What becomes of versions that no name keeps.

use super::Registry;
use crate::domain::{Generation, Reason};
use crate::store::{Removed, blocking};

/// Contents on their way out, under no name any more.
#[must_use]
pub(super) struct Discarded(Option<Removed>);

impl Registry {
    /// Takes contents without a row away from memory, once nothing uses them, and from disk. One that cannot be taken away now
    /// goes at the next start. Only under the write lock: a publication may bring the same content back.
    pub(super) async fn discard(&self, generations: Vec<Generation>) -> Discarded {
        if generations.is_empty() {
            return Discarded(None);
        }
        for generation in &generations {
            self.shared.residency.retire(*generation);
        }
        let contents = self.shared.contents.clone();
        let taken = blocking(move || contents.discard(&generations)).await;
        Discarded(taken.inspect_err(warn).ok())
    }
}

impl Discarded {
    /// Removes the files, which may take a while and needs no lock.
    pub async fn clear(self) {
        if self.0.is_none() {
            return;
        }
        let cleared = blocking(move || {
            drop(self);
            Ok(())
        });
        if let Err(reason) = cleared.await {
            warn(&reason);
        }
    }
}

fn warn(reason: &Reason) {
    tracing::warn!(%reason, "contents without a name are left until the next start");
}
