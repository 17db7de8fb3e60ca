//! Publication: a content becomes durable, then a name moves to it, then readers see it.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::resident::Room;
use super::{Expected, Files, Registry};
use crate::adapter::Adapter;
use crate::adapter::peft::{PROVENANCE_FILE, Provenance, WEIGHTS_FILE, WEIGHTS_FILES};
use crate::domain::rollout::Publish;
use crate::domain::{AdapterName, AdapterView, Generation, Reason};
use crate::store::{Entry, Landed, Landing, NamedVersion, Staged, Version, blocking, joined, now};

/// A publication, checked.
struct Candidate {
    name: AdapterName,
    expected: Expected,
    held: NamedVersion,
    adapter: Arc<Adapter>,
    staged: Staged,
    publish: Publish,
}

impl Registry {
    /// Checks everything, stores the version durably, moves the name. Content the name already points to is a success
    /// that changes nothing, except that it repairs stored files that are damaged or missing. Once begun it is carried
    /// through, even if the caller goes away.
    ///
    /// `source` tells where the files came from: `upload`, `path:…`, `job:ftjob-…`, `bundled`. What an evaluation said
    /// is taken from their record of origin.
    pub async fn publish(
        &self,
        name: &AdapterName,
        files: Files,
        expected: Expected,
        source: &str,
    ) -> Result<AdapterView, Reason> {
        let published = self.publish_as(name, files, expected, source, Publish::Now);
        let missing = || Reason::NoSuchAdapter(name.to_string());
        published.await?.ok_or_else(missing)
    }

    /// As [`publish`](Self::publish), but that the name may stay where it is, with the version among those it has or as its
    /// canary. `None`: the name points to nothing, and the version is kept under it.
    pub async fn publish_as(
        &self,
        name: &AdapterName,
        files: Files,
        expected: Expected,
        source: &str,
        publish: Publish,
    ) -> Result<Option<AdapterView>, Reason> {
        let (registry, name, source) = (self.clone(), name.clone(), source.to_owned());
        let task = async move {
            if name.as_str() == registry.shared.base.name {
                return Err(Reason::field(
                    "name",
                    format!("`{name}` is the name of the base model"),
                ));
            }
            registry.snapshot().check(&name, expected)?;
            let (adapter, files) = registry.check(files).await?;
            let generation = adapter.generation();
            let contents = registry.shared.contents.clone();
            if let Some(entry) = registry.already(&name, expected, &adapter)? {
                let stored = contents.clone();
                let read = move || stored.read(generation);
                if registry.shared.background.run(read).await.is_ok() {
                    return Ok(Some(registry.view(&entry)));
                }
                tracing::warn!(adapter = %name, %generation, "its stored files are damaged and are replaced");
            }
            let evaluation = evaluation(&files);
            let staging = move || contents.stage(&files);
            let staged = registry.shared.background.run(staging).await?;
            let held = registry.held(&adapter, source, evaluation);
            let candidate = Candidate {
                name,
                expected,
                held,
                adapter: Arc::new(adapter),
                staged,
                publish,
            };
            let writing = registry.shared.write.lock().await;
            let (view, surplus) = registry.commit(candidate).await?;
            let discarded = registry.discard(surplus).await;
            drop(writing);
            discarded.clear().await;
            Ok(view)
        };
        joined(tokio::spawn(task)).await
    }

    /// Whether `name` was ever given this version from there, even if it is forgotten by now.
    pub async fn has_published(
        &self,
        name: &AdapterName,
        generation: Generation,
        source: &str,
    ) -> Result<bool, Reason> {
        let audit = &self.shared.audit;
        audit.has_published(name, generation, source).await
    }

    pub(super) async fn check(&self, files: Files) -> Result<(Adapter, Files), Reason> {
        let shared = self.shared.clone();
        let check = move || {
            // What it takes to train it further is read again when it is trained.
            let adapter = shared.read(&files, shared.precision)?.to_serve();
            let (bytes, budget) = (adapter.bytes(), shared.residency.budget());
            if bytes > budget {
                let why = format!(
                    "takes {bytes} bytes in memory; all adapters together may take {budget}"
                );
                let mut names = WEIGHTS_FILES.into_iter();
                let file = names.find(|name| files.contains_key(*name));
                return Err(Reason::adapter(file.unwrap_or(WEIGHTS_FILE), why));
            }
            Ok((adapter, files))
        };
        self.shared.background.run(check).await
    }

    /// The entry, if the name already points to this content.
    fn already(
        &self,
        name: &AdapterName,
        expected: Expected,
        adapter: &Adapter,
    ) -> Result<Option<Arc<Entry>>, Reason> {
        let snapshot = self.snapshot();
        snapshot.check(name, expected)?;
        let same = |entry: &&Arc<Entry>| {
            entry.generation() == adapter.generation()
                && entry.current.base_digest == self.shared.base.digest
        };
        Ok(snapshot.get(name).filter(same).cloned())
    }

    fn held(&self, adapter: &Adapter, source: String, evaluation: Option<Value>) -> NamedVersion {
        let version = Version {
            generation: adapter.generation(),
            kind: adapter.kind().to_owned(),
            rank: adapter.rank(),
            bytes: adapter.bytes(),
            created_at: now(),
        };
        let (base_name, base_digest) = (self.shared.base.name.clone(), self.shared.base.digest);
        NamedVersion {
            version,
            source,
            evaluation,
            base_name,
            base_digest,
        }
    }

    /// Returns the contents that no name keeps any more, too. Only under the write lock.
    async fn commit(
        &self,
        candidate: Candidate,
    ) -> Result<(Option<AdapterView>, Vec<Generation>), Reason> {
        let Candidate {
            name,
            expected,
            held,
            adapter,
            staged,
            publish,
        } = candidate;
        let started = Instant::now();
        let contents = self.shared.contents.clone();
        let generation = adapter.generation();
        if let Some(entry) = self.already(&name, expected, &adapter)? {
            blocking(move || contents.place(generation, staged)).await?;
            return Ok((Some(self.view(&entry)), Vec::new()));
        }
        let before = self.snapshot().get(&name).cloned();
        let landing = match &publish {
            Publish::Now => Landing::Now,
            Publish::Manual => Landing::Keep,
            Publish::Canary(ask) => {
                let entry = self.snapshot().find(&name)?.clone();
                Landing::Canary(super::rollout::canary(
                    &entry,
                    generation,
                    ask.clone(),
                    now(),
                )?)
            }
        };
        let moves = matches!(landing, Landing::Now);
        if moves && before.as_ref().is_some_and(|entry| entry.pinned) {
            self.check_pinned(&name, &held.version)?;
        }
        // A place in memory is welcome, so that the first request need not load, but not needed.
        let is_asked_for = !matches!(landing, Landing::Keep);
        let room = { is_asked_for }.then(|| self.make_room(&adapter)).flatten();
        let stamp = blocking(move || {
            contents.place(generation, staged)?;
            contents.stamp(generation)
        })
        .await?;
        let from = before.map(|entry| entry.generation());
        let (names, keep) = (&self.shared.names, self.shared.keep_versions);
        let landed = names.publish(&self.actor, &name, &held, from, &landing, keep);
        let (landed, surplus) = match landed.await {
            Ok(published) => published,
            Err(reason) => {
                if !self.snapshot().knows(generation) {
                    // A content without a name.
                    self.discard(vec![generation]).await.clear().await;
                }
                return Err(reason);
            }
        };
        let waiting = match room {
            Some(room) => {
                drop(self.shared.residency.admit(room, adapter));
                None
            }
            None => Some(adapter).filter(|_| is_asked_for),
        };
        match landed {
            Landed::Named(entry) => self.replace(&name, Some(*entry)),
            Landed::Unserved(kept) => {
                let next = self.snapshot().keeping(&name, kept);
                self.shared.snapshot.store(Arc::new(next));
                tracing::info!(adapter = %name, %generation, "kept; the name points to nothing");
                return Ok((None, surplus));
            }
        }
        // What was replaced no longer counts as pinned: its place may have become free.
        if let Some((adapter, room)) =
            waiting.and_then(|a| self.make_room(&a).map(|room| (a, room)))
        {
            drop(self.shared.residency.admit(room, adapter));
        }
        if moves {
            self.shared.observe.swapped(started.elapsed().as_secs_f64());
        }
        self.copy_later(generation, stamp);
        let view = self.show(&name).await?;
        let _ = self.shared.changes.send(view.clone());
        tracing::info!(adapter = %name, %generation, source = held.source, way = %publish, "published");
        Ok((Some(view), surplus))
    }

    fn make_room(&self, adapter: &Adapter) -> Option<Room> {
        let (room, evicted) = self.shared.residency.reserve(adapter.bytes()).ok()?;
        self.announce(&evicted);
        Some(room)
    }

    /// Lets readers see what has been committed. Only under the write lock.
    pub(super) fn replace(&self, name: &AdapterName, entry: Option<Entry>) {
        let next = self.snapshot().with(name, entry);
        self.shared.residency.set_pinned(next.pinned());
        self.shared.snapshot.store(Arc::new(next));
    }
}

/// What the record of origin says of held-out rows, where there is one.
fn evaluation(files: &Files) -> Option<Value> {
    Provenance::parse(files.get(PROVENANCE_FILE)?)
        .ok()?
        .evaluation
}
