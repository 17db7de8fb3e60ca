//! Leases: a version in memory for the life of a request, loaded first where needed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt, Shared as SharedFuture};
use tokio::sync::Semaphore;

use super::Registry;
use super::resident::{self, Residency, Room};
use crate::adapter::Adapter;
use crate::domain::rollout::Arm;
use crate::domain::{AdapterChoice, AdapterName, Generation, Member, Pin, Reason};
use crate::store::{NamedVersion, blocking, disk_fault, joined};

/// A load that takes longer has met a disk that does not answer.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Holds one version, or the members of a blend, loaded, for the life of a request. Dropping it gives it back.
pub struct Lease {
    /// One, but for a blend.
    names: Arc<[AdapterName]>,
    /// The member of a blend that weighs most.
    first: usize,
    /// As a blend is written.
    blend: Option<Arc<str>>,
    held: Vec<resident::Held>,
    adapter: Arc<Adapter>,
    /// As whose part of a route it answers; `None` where no route decided.
    arm: Option<Arm>,
}

/// What blends are called where names are counted: there are too many of them to tell them apart. No adapter can have it.
pub const BLENDS: &str = "(blend)";

impl Lease {
    pub(super) fn of_one(name: AdapterName, held: resident::Held) -> Self {
        Self {
            names: Arc::new([name]),
            first: 0,
            blend: None,
            adapter: held.adapter().clone(),
            held: vec![held],
            arm: None,
        }
    }

    /// Chosen by a route.
    pub fn on(self, arm: Arm) -> Self {
        let arm = Some(arm);
        Self { arm, ..self }
    }

    pub fn arm(&self) -> Option<Arm> {
        self.arm
    }

    /// Of the members of a blend, in any order.
    pub(super) fn of_blend(members: Vec<(Member, resident::Held)>) -> Self {
        let text = members.iter().map(|(member, _)| member.to_string());
        let text = text.collect::<Vec<_>>().join(",");
        let weight = |at: &usize| members[*at].0.weight.get().abs();
        let heaviest = (0..members.len()).reduce(|most, at| match weight(&at) > weight(&most) {
            true => at,
            false => most,
        });
        let mut parts: Vec<_> = members
            .iter()
            .map(|(member, held)| (held.adapter().clone(), member.weight.get()))
            .collect();
        // What is added first is a matter of the contents: names are no part of a digest.
        parts.sort_by(|(a, one), (b, other)| {
            let order = a.generation().cmp(&b.generation());
            order.then(one.total_cmp(other))
        });
        let adapter = Adapter::blended(blend_digest(&parts), &parts);
        let (names, held): (Vec<_>, _) = members
            .into_iter()
            .map(|(member, held)| (member.name, held))
            .unzip();
        Self {
            names: names.into(),
            first: heaviest.unwrap_or(0),
            blend: Some(text.into()),
            held,
            adapter: adapter.into(),
            arm: None,
        }
    }

    /// The adapter that a request counts for where adapters share the machine: of a blend, what weighs most in it.
    pub fn name(&self) -> &AdapterName {
        &self.names[self.first]
    }

    /// Every adapter that takes part.
    pub fn names(&self) -> &[AdapterName] {
        &self.names
    }

    /// What is written as the answer's model.
    pub fn shown(&self) -> &str {
        self.blend.as_deref().unwrap_or(self.name().as_str())
    }

    /// As [`shown`](Self::shown), of few values.
    pub fn label(&self) -> &str {
        match self.blend {
            Some(_) => BLENDS,
            None => self.name().as_str(),
        }
    }

    /// Of a blend, the digest of its members' generations and weights.
    pub fn generation(&self) -> Generation {
        self.adapter.generation()
    }

    pub fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    /// Another lease on the same versions, whatever has become of the names.
    pub fn again(&self) -> Self {
        Self {
            names: self.names.clone(),
            first: self.first,
            blend: self.blend.clone(),
            held: self.held.iter().map(resident::Held::again).collect(),
            adapter: self.adapter.clone(),
            arm: self.arm,
        }
    }
}

/// `parts` in the order in which they are added.
fn blend_digest(parts: &[(Arc<Adapter>, f64)]) -> Generation {
    let mut hasher = blake3::Hasher::new_derive_key("adapterd blend of adapters v1");
    for (adapter, weight) in parts {
        hasher.update(adapter.generation().bytes());
        hasher.update(&weight.to_le_bytes());
    }
    Generation::new(*hasher.finalize().as_bytes())
}

#[cfg(test)]
impl Lease {
    /// Of an adapter no registry knows, for tests of what holds leases.
    pub fn apart(name: AdapterName, adapter: Adapter) -> Self {
        let residency = resident::Residency::new(u64::MAX);
        let (room, _) = residency
            .reserve(adapter.bytes())
            .expect("there is no limit");
        let held = residency.admit(room, Arc::new(adapter));
        Self::of_one(name, held)
    }
}

/// Loads under way, each shared by all who wait for it.
#[derive(Default)]
pub(super) struct Loading {
    running: Mutex<HashMap<Generation, Load>>,
}

/// Where loads wait for a place in memory: one at a time, in the order they came.
pub(super) struct RoomQueue {
    timeout: Duration,
    waiting: Semaphore,
    first: Semaphore,
}

/// Loads that may wait in the queue.
const WAITING: usize = 256;
/// After so long at the head of the queue, a load makes one of those in memory leave when its requests have ended.
const FAIR: Duration = Duration::from_millis(100);

impl RoomQueue {
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            waiting: Semaphore::new(WAITING),
            first: Semaphore::new(1),
        }
    }

    /// Sets room aside, waiting for requests to end where all that is in memory is in use.
    pub(super) async fn pass(
        &self,
        residency: &Residency,
        bytes: u64,
    ) -> Result<(Room, Vec<Generation>), Reason> {
        let full = Reason::Overloaded { retry_after: 1 };
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(full);
        };
        let passed = async {
            let _first = self.first.acquire().await.map_err(|_| Reason::Draining)?;
            loop {
                match residency.reserve(bytes) {
                    Err(Reason::Overloaded { .. }) => {}
                    decided => return decided,
                }
                if tokio::time::timeout(FAIR, residency.freed()).await.is_err() {
                    residency.make_one_leave(bytes);
                }
            }
        };
        let passed = tokio::time::timeout(self.timeout, passed).await;
        passed.unwrap_or_else(|_| {
            residency.let_stay();
            Err(full)
        })
    }
}

/// Versions whose packed copies are about to be made.
#[derive(Default)]
pub(super) struct Copying {
    of: Mutex<HashSet<Generation>>,
}

/// One of them, until this is dropped.
struct Begun {
    copying: Arc<Copying>,
    generation: Generation,
}

impl Copying {
    /// `None` where that has begun already.
    fn begin(copying: &Arc<Self>, generation: Generation) -> Option<Begun> {
        let is_new = copying.lock().insert(generation);
        is_new.then(|| Begun {
            copying: copying.clone(),
            generation,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Generation>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.copying.lock().remove(&self.generation);
    }
}

type Load = SharedFuture<BoxFuture<'static, Result<Arc<resident::Held>, Reason>>>;

impl Registry {
    /// What a request needs: one snapshot load finds the version; it is loaded from disk where it is not in memory.
    /// The base needs nothing (`None`).
    pub async fn lease(&self, choice: &AdapterChoice) -> Result<Option<Lease>, Reason> {
        match choice {
            AdapterChoice::Base => Ok(None),
            AdapterChoice::Named { name, pin } => {
                let held = self.hold_named(name, pin.as_ref()).await?;
                Ok(Some(Lease::of_one(name.clone(), held)))
            }
            AdapterChoice::Checkpoint { name, step } => Err(super::loose::unknown(name, *step)),
            AdapterChoice::Blend(blend) => self.lease_blend(blend).await.map(Some),
        }
    }

    /// Takes hold of what a name, or one of its generations, means.
    pub(super) async fn hold_named(
        &self,
        name: &AdapterName,
        pin: Option<&Pin>,
    ) -> Result<resident::Held, Reason> {
        loop {
            let version = self.snapshot().choose(name, pin)?.clone();
            match self.hold(&version).await {
                Ok(held) => return Ok(held),
                // The files may be gone because the name is, or what it meant: then it means something else by now.
                Err(reason) => {
                    let meant = self.snapshot().choose(name, pin)?.clone();
                    if meant.generation() == version.generation() {
                        return Err(reason);
                    }
                }
            }
        }
    }

    /// Takes hold of a version, loading it once however many ask.
    pub(super) async fn hold(&self, version: &Arc<NamedVersion>) -> Result<resident::Held, Reason> {
        self.check_base(version)?;
        let generation = version.generation();
        if let Some(held) = self.shared.residency.hold(generation) {
            return Ok(held);
        }
        let load = {
            let mut running = self
                .shared
                .loading
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // A load may have ended while we waited for the lock.
            if let Some(held) = self.shared.residency.hold(generation) {
                return Ok(held);
            }
            running
                .entry(generation)
                .or_insert_with(|| self.start_load(version.clone()))
                .clone()
        };
        let late = |_| {
            Reason::Storage(format!(
                "loading adapter {generation} took longer than {LOAD_TIMEOUT:?}"
            ))
        };
        let loaded = tokio::time::timeout(LOAD_TIMEOUT, load)
            .await
            .map_err(late)??;
        Ok(loaded.again())
    }

    /// On a task of its own: a waiter that goes away must not stop it for the others.
    fn start_load(&self, version: Arc<NamedVersion>) -> Load {
        let registry = self.clone();
        let task = tokio::spawn(async move {
            let outcome = registry.load_version(&version).await;
            let mut running = registry
                .shared
                .loading
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            running.remove(&version.generation());
            outcome.map(Arc::new)
        });
        joined(task).boxed().shared()
    }

    async fn load_version(&self, version: &NamedVersion) -> Result<resident::Held, Reason> {
        let shared = &self.shared;
        let bytes = version.version.bytes;
        let (mut room, mut evicted) = shared.room_queue.pass(&shared.residency, bytes).await?;
        let _turn = shared.loads.acquire().await.map_err(|_| Reason::Draining)?;
        let started = Instant::now();
        let generation = version.generation();
        let shared = self.shared.clone();
        let fetched = blocking(move || shared.fetch(generation)).await;
        // It was registered under another precision, perhaps.
        let fitted = fetched.and_then(|(adapter, uncopied)| {
            evicted.extend(room.grow_to(adapter.bytes())?);
            Ok((adapter, uncopied))
        });
        self.announce(&evicted);
        let (adapter, uncopied) = fitted?;
        let held = self.shared.residency.admit(room, Arc::new(adapter));
        if !self.snapshot().knows(generation) {
            // Forgotten meanwhile: it goes with those who asked for it.
            self.shared.residency.retire(generation);
        }
        if let Some(stamp) = uncopied {
            self.copy_later(generation, stamp);
        }
        let seconds = started.elapsed().as_secs_f64();
        self.shared.observe.loaded(seconds);
        tracing::debug!(%generation, seconds, "loaded an adapter");
        self.announce(&[generation]);
        Ok(held)
    }

    /// Makes the packed copy that the next load of a version reads, beside whatever is going on. Given up where the version
    /// has left memory by then: the load after that asks again.
    pub(super) fn copy_later(&self, generation: Generation, stamp: String) {
        let Some(begun) = Copying::begin(&self.shared.copying, generation) else {
            return;
        };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let of = shared.clone();
            let write = move || {
                // Before the file is there: a load that misses it from now on asks again.
                drop(begun);
                let Some(adapter) = of.residency.peek(generation) else {
                    return Ok(());
                };
                // A copy holds products and scales; what else there is, is read from its folder.
                if adapter.change().is_some() {
                    return Ok(());
                }
                let copies = of.contents.copies();
                let written = copies.write(&adapter, &stamp, &of.fit(of.precision));
                // Removed meanwhile: nothing else would remove the copy.
                if !of.contents.holds(generation) {
                    copies.discard(generation);
                }
                written.map_err(|error| disk_fault("writing a packed copy", &error))
            };
            if let Err(reason) = shared.copy_writers.run(write).await
                && reason != Reason::Draining
            {
                tracing::warn!(%generation, %reason, "an adapter stays without a packed copy, and loads slowly");
            }
        });
    }

    /// A version registered for another base is not applied to this one, even where its shapes would fit.
    pub(super) fn check_base(&self, version: &NamedVersion) -> Result<(), Reason> {
        if version.base_digest == self.shared.base.digest {
            return Ok(());
        }
        let why = format!(
            "was registered for base `{}`, which is not the one being served",
            version.base_name
        );
        Err(Reason::adapter("adapter", why))
    }

    /// Brings pinned versions into memory in the background; one that cannot be loaded is logged and stays on disk.
    pub(super) fn load_pinned(&self) {
        let pinned: Vec<_> = self
            .snapshot()
            .entries()
            .filter(|entry| entry.pinned)
            .cloned()
            .collect();
        for entry in pinned {
            let registry = self.clone();
            tokio::spawn(async move {
                if let Err(reason) = registry.hold(&entry.current).await {
                    tracing::warn!(adapter = %entry.name, %reason, "a pinned adapter cannot be loaded");
                }
            });
        }
    }
}
