//! Moving names between versions, pinning, loading and removing. Each change is one transaction and is carried through
//! even if the caller goes away.

use std::future::Future;
use std::time::Instant;

use super::snapshot::{Entry, Version};
use super::{Expected, Registry, blocking, database, fault, names};
use crate::domain::{AdapterName, AdapterView, Generation, Reason};

impl Registry {
    /// Points the name to any generation it has had.
    pub async fn promote(
        &self,
        name: &AdapterName,
        to: Generation,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.change(name, move |registry, name| async move {
            let entry = registry.snapshot().find_at(&name, expected)?.clone();
            let held = entry.find(to)?;
            registry.check_base(held)?;
            if entry.generation() == to {
                return Ok(());
            }
            registry.shift(&entry, to, Direction::Promote).await
        })
        .await
    }

    /// Points the name to what it pointed to before.
    pub async fn rollback(
        &self,
        name: &AdapterName,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.change(name, move |registry, name| async move {
            let entry = registry.snapshot().find_at(&name, expected)?.clone();
            let nothing = || {
                Reason::WrongState(format!(
                    "adapter `{name}` has no earlier generation to go back to"
                ))
            };
            let to = entry.previous.ok_or_else(nothing)?;
            registry.check_base(entry.find(to)?)?;
            registry.shift(&entry, to, Direction::Rollback).await
        })
        .await
    }

    /// A pinned adapter is loaded, and stays loaded until it is unpinned.
    pub async fn set_pinned(
        &self,
        name: &AdapterName,
        pinned: bool,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.change(name, move |registry, name| async move {
            let snapshot = registry.snapshot();
            let entry = snapshot.find_at(&name, expected)?;
            if entry.pinned == pinned {
                return Ok(());
            }
            if pinned {
                registry.check_pinned(&name, &entry.current.version)?;
            }
            // Held until it is pinned, so that it is not evicted in between.
            let _held = if pinned {
                Some(registry.hold(&entry.current).await?)
            } else {
                None
            };
            let mut transaction = database::begin(&registry.shared.pool).await?;
            names::set_pinned(&mut transaction, &name, pinned).await?;
            let line = names::Audit {
                action: if pinned { "pin" } else { "unpin" },
                name: &name,
                generation: Some(entry.generation()),
                previous: None,
                source: None,
            };
            names::audit(&mut transaction, line).await?;
            let entry = names::read_one(&mut transaction, &name).await?;
            transaction.commit().await.map_err(fault::sql)?;
            registry.replace(&name, Some(entry));
            Ok(())
        })
        .await
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
        retired.extend(
            entry
                .had
                .iter()
                .map(|held| held.generation())
                .filter(|generation| !used(*generation)),
        );
        retired.retain(|generation| self.shared.residency.retire(*generation));
        self.announce(&retired);
        self.show(name).await
    }

    /// The name is gone at once. Versions no other name has had are deleted; requests that hold one finish from memory.
    pub async fn remove(&self, name: &AdapterName, expected: Expected) -> Result<(), Reason> {
        let (registry, name) = (self.clone(), name.clone());
        let task = async move {
            let _writing = registry.shared.write.lock().await;
            let entry = registry.snapshot().find_at(&name, expected)?.clone();
            let mut transaction = database::begin(&registry.shared.pool).await?;
            let orphans = names::remove(&mut transaction, &name).await?;
            let line = names::Audit {
                action: "remove",
                name: &name,
                generation: None,
                previous: Some(entry.generation()),
                source: None,
            };
            names::audit(&mut transaction, line).await?;
            transaction.commit().await.map_err(fault::sql)?;
            registry.replace(&name, None);
            for generation in &orphans {
                registry.shared.residency.retire(*generation);
            }
            let _ = registry.shared.changes.send(registry.view(&entry));
            tracing::info!(adapter = %name, "removed");
            registry.discard(orphans).await;
            Ok(())
        };
        tokio::spawn(task).await.map_err(fault::join)?
    }

    /// Contents without a row are garbage: one that cannot be removed now goes at the next start.
    async fn discard(&self, generations: Vec<Generation>) {
        let store = self.shared.store.clone();
        let outcome = blocking(move || {
            generations
                .into_iter()
                .try_for_each(|generation| store.discard(generation))
        });
        if let Err(reason) = outcome.await {
            tracing::warn!(%reason, "contents of a removed adapter are left until the next start");
        }
    }

    /// Runs a change of one name under the write lock, to its end.
    async fn change<F>(
        &self,
        name: &AdapterName,
        work: impl FnOnce(Registry, AdapterName) -> F + Send + 'static,
    ) -> Result<AdapterView, Reason>
    where
        F: Future<Output = Result<(), Reason>> + Send,
    {
        let (registry, name) = (self.clone(), name.clone());
        let task = async move {
            let _writing = registry.shared.write.lock().await;
            work(registry.clone(), name.clone()).await?;
            let view = registry.show(&name).await?;
            let _ = registry.shared.changes.send(view.clone());
            Ok(view)
        };
        tokio::spawn(task).await.map_err(fault::join)?
    }

    async fn shift(
        &self,
        entry: &Entry,
        to: Generation,
        direction: Direction,
    ) -> Result<(), Reason> {
        let started = Instant::now();
        let (name, from, held) = (&entry.name, entry.generation(), entry.find(to)?);
        let store = self.shared.store.clone();
        // Before the name leads there: what cannot be read cannot be served.
        self.shared.quiet.run(move || store.read(to)).await?;
        let mut ready = None;
        if entry.pinned {
            self.check_pinned(name, &held.version)?;
            ready = self.hold(held).await.ok();
        }
        let mut transaction = database::begin(&self.shared.pool).await?;
        let action = match direction {
            Direction::Promote => {
                names::point(&mut transaction, name, Some(from), to).await?;
                "promote"
            }
            Direction::Rollback => {
                names::step_back(&mut transaction, name, from, to).await?;
                "rollback"
            }
        };
        let line = names::Audit {
            action,
            name,
            generation: Some(to),
            previous: Some(from),
            source: None,
        };
        names::audit(&mut transaction, line).await?;
        let entry = names::read_one(&mut transaction, name).await?;
        transaction.commit().await.map_err(fault::sql)?;
        let pinned = entry.pinned;
        self.replace(name, Some(entry));
        self.shared.observe.swapped(started.elapsed().as_secs_f64());
        tracing::info!(adapter = %name, %from, %to, action, "moved");
        // What was replaced no longer keeps its place; only a request that still holds it does.
        if pinned && ready.is_none() && self.hold(held).await.is_err() {
            tracing::warn!(adapter = %name, generation = %to, "pinned, and loaded by the next request that finds room");
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Promote,
    Rollback,
}
