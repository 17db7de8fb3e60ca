//! Moving a name between versions it has. What takes time, reading and loading, comes before the write lock, so that
//! no other change waits for it.

use std::sync::Arc;
use std::time::Instant;

use super::{CanaryEnd, Expected, Registry, resident};
use crate::domain::{Action, AdapterName, AdapterView, Generation, Reason};
use crate::store::{Entry, NamedVersion};

#[derive(Clone)]
enum Direction {
    Promote(Generation),
    Rollback,
    /// To the canary, while it runs.
    Canary(CanaryEnd),
}

impl Direction {
    fn target(&self, entry: &Entry) -> Result<Generation, Reason> {
        let nothing = || {
            let name = &entry.name;
            Reason::WrongState(format!(
                "adapter `{name}` has no earlier generation to go back to"
            ))
        };
        match self {
            Self::Promote(to) => entry.find(*to).map(|held| held.generation()),
            Self::Rollback => entry.previous.ok_or_else(nothing),
            Self::Canary(end) => super::rollout::running(entry, end.of),
        }
    }
}

impl Registry {
    /// Points the name to any generation it still has.
    pub async fn promote(
        &self,
        name: &AdapterName,
        to: Generation,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        let is_kept = |held: &Arc<NamedVersion>| held.generation() == to;
        if self.snapshot().unserved(name).iter().any(is_kept) {
            return self.raise(name, to, expected).await;
        }
        self.shift(name, Direction::Promote(to), expected).await
    }

    /// Points the name to its canary.
    pub async fn promote_canary(
        &self,
        name: &AdapterName,
        end: CanaryEnd,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.shift(name, Direction::Canary(end), expected).await
    }

    /// Points a name that points to nothing to a version kept under it.
    async fn raise(
        &self,
        name: &AdapterName,
        to: Generation,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.carry_through(name, move |registry, name| async move {
            let contents = registry.shared.contents.clone();
            let read = move || contents.read(to);
            registry.shared.background.run(read).await?;
            let _writing = registry.shared.write.lock().await;
            let snapshot = registry.snapshot();
            snapshot.check(&name, expected)?;
            registry.check_base(snapshot.choose(&name, Some(&to.into()))?)?;
            if let Some(entry) = snapshot.get(&name) {
                // Pointed elsewhere meanwhile.
                return Err(Reason::GenerationMismatch {
                    name: name.to_string(),
                    expected: "none".into(),
                    actual: Some(entry.generation()),
                });
            }
            let entry = registry
                .shared
                .names
                .raise(&registry.actor, &name, to)
                .await?;
            registry.replace(&name, Some(entry.clone()));
            let view = registry.view(&entry);
            let _ = registry.shared.changes.send(view.clone());
            tracing::info!(adapter = %name, generation = %to, "served from now on");
            Ok(view)
        })
        .await
    }

    /// Points the name to what it pointed to before.
    pub async fn rollback(
        &self,
        name: &AdapterName,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.shift(name, Direction::Rollback, expected).await
    }

    async fn shift(
        &self,
        name: &AdapterName,
        direction: Direction,
        expected: Expected,
    ) -> Result<AdapterView, Reason> {
        self.carry_through(name, move |registry, name| async move {
            loop {
                let seen = registry.snapshot().find_at(&name, expected)?.clone();
                let to = direction.target(&seen)?;
                registry.check_base(seen.find(to)?)?;
                if seen.generation() == to {
                    return Ok(registry.view(&seen));
                }
                let ready = match registry.ready(&seen, to).await {
                    Ok(ready) => ready,
                    Err(reason) => {
                        // Its files may be gone because the name, or the version, is; or something else is meant by now.
                        let entry = registry.snapshot().find_at(&name, expected)?.clone();
                        if direction.target(&entry)? == to {
                            return Err(reason);
                        }
                        continue;
                    }
                };
                let writing = registry.shared.write.lock().await;
                let entry = registry.snapshot().find_at(&name, expected)?.clone();
                if entry.pinned != seen.pinned
                    || entry.generation() == to
                    || direction.target(&entry)? != to
                {
                    // Changed meanwhile: what is right now, and what has to be ready for it, may be something else.
                    continue;
                }
                let moved = registry.point(&entry, to, &direction).await?;
                drop(writing);
                // What was replaced no longer keeps its place; only a request that still holds it does.
                if moved.pinned && ready.is_none() && registry.hold(&moved.current).await.is_err() {
                    tracing::warn!(adapter = %name, generation = %to, "pinned, and loaded by the next request that finds room");
                }
                return Ok(registry.view(&moved));
            }
        })
        .await
    }

    /// Reads what the name is to lead to: what cannot be read cannot be served. A pinned name's is loaded, where there is
    /// room beside what it replaces.
    async fn ready(&self, entry: &Entry, to: Generation) -> Result<Option<resident::Held>, Reason> {
        let contents = self.shared.contents.clone();
        self.shared
            .background
            .run(move || contents.read(to))
            .await?;
        if !entry.pinned {
            return Ok(None);
        }
        let held = entry.find(to)?;
        self.check_pinned(&entry.name, &held.version)?;
        Ok(self.hold(held).await.ok())
    }

    /// The change itself. Only under the write lock.
    async fn point(
        &self,
        entry: &Entry,
        to: Generation,
        direction: &Direction,
    ) -> Result<Entry, Reason> {
        let started = Instant::now();
        let (name, from) = (&entry.name, entry.generation());
        if entry.pinned {
            self.check_pinned(name, &entry.find(to)?.version)?;
        }
        let (names, keep) = (&self.shared.names, self.shared.keep_versions);
        let actor = &self.actor;
        let (action, entry) = match direction {
            Direction::Promote(_) => {
                let line = (Action::AdapterPromote, None);
                (
                    line.0,
                    names.promote(actor, name, (from, to), line, keep).await?,
                )
            }
            Direction::Canary(end) => {
                let line = (Action::AdapterCanaryPromote, end.why.as_deref());
                (
                    line.0,
                    names.promote(actor, name, (from, to), line, keep).await?,
                )
            }
            Direction::Rollback => (
                Action::AdapterRollback,
                names.roll_back(actor, name, from, to).await?,
            ),
        };
        self.replace(name, Some(entry.clone()));
        let _ = self.shared.changes.send(self.view(&entry));
        self.shared.observe.swapped(started.elapsed().as_secs_f64());
        tracing::info!(adapter = %name, %from, %to, action = action.as_str(), "moved");
        Ok(entry)
    }
}
