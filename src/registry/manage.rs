//! Pinning, loading and removing. Each change is one transaction and is carried through even if the caller goes away.

use std::future::Future;

use super::{Expected, Registry, resident};
use crate::domain::{AdapterName, AdapterView, Reason};
use crate::store::{Entry, Version, joined};

impl Registry {
    /// A pinned adapter is loaded, and stays loaded until it is unpinned.
    pub async fn set_pinned(
        &self,
        name: &AdapterName,
        pinned: bool,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.carry_through(name, move |registry, name| async move {
            loop {
                let seen = registry.snapshot().find_at(&name, expected)?.clone();
                // Held until it is pinned, so that it is not evicted in between. Other changes do not wait for a place in
                // memory.
                let held = if pinned && !seen.pinned {
                    registry.check_pinned(&name, &seen.current.version)?;
                    match registry.hold(&seen.current).await {
                        Ok(held) => Some(held),
                        // Its files may be gone because another version is there now.
                        Err(_) if registry.has_moved(&seen)? => continue,
                        Err(reason) => return Err(reason),
                    }
                } else {
                    None
                };
                let _writing = registry.shared.write.lock().await;
                let entry = registry.snapshot().find_at(&name, expected)?.clone();
                if entry.pinned == pinned {
                    return Ok(registry.view(&entry));
                }
                let is_held =
                    |held: &resident::Held| held.adapter().generation() == entry.generation();
                if pinned {
                    if !held.as_ref().is_some_and(is_held) {
                        // Changed meanwhile: another version has to be in memory.
                        continue;
                    }
                    registry.check_pinned(&name, &entry.current.version)?;
                }
                return registry.mark_pinned(&entry, pinned).await;
            }
        })
        .await
    }

    /// The change itself. Only under the write lock.
    async fn mark_pinned(&self, entry: &Entry, pinned: bool) -> Result<AdapterView, Reason> {
        let name = &entry.name;
        let marked = self
            .shared
            .names
            .set_pinned(&self.actor, name, entry.generation(), pinned);
        let entry = marked.await?;
        self.replace(name, Some(entry.clone()));
        let view = self.view(&entry);
        let _ = self.shared.changes.send(view.clone());
        Ok(view)
    }

    /// Whether the name points elsewhere by now; an error where it is gone.
    pub(super) fn has_moved(&self, seen: &Entry) -> Result<bool, Reason> {
        Ok(self.snapshot().find(&seen.name)?.generation() != seen.generation())
    }

    /// Whether `name`, pinned, could point to `version`: all that is pinned must fit into memory together.
    pub(super) fn check_pinned(&self, name: &AdapterName, version: &Version) -> Result<(), Reason> {
        let wanted = self.snapshot().pinned_bytes_with(name, version);
        let budget = self.shared.residency.budget();
        if wanted <= budget {
            return Ok(());
        }
        Err(Reason::WrongState(format!(
            "pinned adapters would take {wanted} bytes in memory; {budget} are allowed"
        )))
    }

    /// Brings what the name points to into memory.
    pub async fn load(
        &self,
        name: &AdapterName,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        let entry = self.snapshot().find_at(name, expected)?.clone();
        drop(self.hold(&entry.current).await?);
        self.show(name).await
    }

    /// Lets go of the name's versions in memory: at once, or with the last request that uses them. The next request
    /// loads them again. Older versions that another name points to stay.
    pub async fn unload(
        &self,
        name: &AdapterName,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        let snapshot = self.snapshot();
        let entry = snapshot.find_at(name, expected)?;
        if entry.pinned {
            return Err(Reason::WrongState(format!(
                "adapter `{name}` is pinned; unpin it first"
            )));
        }
        let mut retired = vec![entry.generation()];
        let used = |generation| {
            snapshot
                .entries()
                .any(|other| other.generation() == generation)
        };
        retired.extend(entry.generations().filter(|generation| !used(*generation)));
        retired.retain(|generation| self.shared.residency.retire(*generation));
        self.announce(&retired);
        self.show(name).await
    }

    /// The name is gone at once. Versions that no other name has are deleted; requests that hold one finish from memory.
    pub async fn remove(&self, name: &AdapterName, expected: Expected) -> Result<(), Reason> {
        let (registry, name) = (self.clone(), name.clone());
        let task = async move {
            let writing = registry.shared.write.lock().await;
            let snapshot = registry.snapshot();
            let entry = match snapshot.unserved(&name) {
                [] => Some(snapshot.find_at(&name, expected)?),
                _ => None,
            };
            snapshot.check(&name, expected)?;
            let had = registry.history(&name).await?;
            let at = entry.map(|entry| entry.generation());
            let orphans = registry
                .shared
                .names
                .remove(&registry.actor, &name, &had, at)
                .await?;
            registry.replace(&name, None);
            if let Some(entry) = entry {
                let _ = registry.shared.changes.send(registry.view(entry));
            }
            tracing::info!(adapter = %name, "removed");
            let discarded = registry.discard(orphans).await;
            drop(writing);
            discarded.clear().await;
            Ok(())
        };
        joined(tokio::spawn(task)).await
    }

    /// Runs a change of one name to its end, even if the caller goes away.
    pub(super) async fn carry_through<F>(
        &self,
        name: &AdapterName,
        work: impl FnOnce(Registry, AdapterName) -> F + Send + 'static,
    ) -> Result<AdapterView, Reason>
    where
        F: Future<Output = Result<AdapterView, Reason>> + Send + 'static,
    {
        let (registry, name) = (self.clone(), name.clone());
        joined(tokio::spawn(work(registry, name))).await
    }
}
