//! registry: which adapter versions exist, what names point to, and which are loaded.
//! Knows no sockets but those to the hub that settings name, and checks no caller's rights.
//!
//! A version is immutable and named by the hash of its content. A name moves from version to version by one
//! transaction, after the content is on disk for good; readers see it by one snapshot load. A request holds its version
//! for its life, whatever happens to the name meanwhile.

mod audit;
mod background;
mod blend;
mod contents;
mod copies;
mod discard;
mod folder;
mod hub;
mod lease;
mod loose;
mod manage;
mod memory;
mod observe;
mod publish;
mod resident;
mod rollout;
mod shift;
mod snapshot;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, broadcast};

use crate::adapter::packed::Origin;
use crate::adapter::peft::{self, ENCODER_FILE, WEIGHTS_FILES};
use crate::adapter::{Adapter, AdapterFault, BaseWeights, Fit, Precision, SiteShape};
use crate::device::Turns;
use crate::domain::{Actor, AdapterChoice, AdapterName, AdapterView, Generation, Reason, Tier};
use crate::store::{Audit, Database, Entry, Failpoints, Names, NoFailpoints, blocking};
use background::Background;
use contents::Contents;
use resident::Residency;
use snapshot::Snapshot;

pub use crate::adapter::peft::Files;
pub use hub::Hub;
pub use lease::{BLENDS, Lease};
pub use observe::{Observe, Unobserved};
pub use rollout::CanaryEnd;

/// `None`: no condition. `Some(None)`: the name must not exist. `Some(Some(g))`: it must point to `g`.
pub type Expected = Option<Option<Generation>>;

/// What the registry needs to know of the base.
pub struct BaseIdentity {
    /// As served; no adapter may have this name.
    pub name: String,
    pub digest: [u8; 32],
    pub sites: Vec<SiteShape>,
    pub weights: Arc<dyn BaseWeights>,
}

pub struct Config {
    /// Contents go to `dir/adapters/<generation>/`, staging to `dir/staging/`.
    pub dir: PathBuf,
    /// The only tree a request's path may name.
    pub root: PathBuf,
    /// For all adapters in memory, leased ones included.
    pub resident_bytes: u64,
    pub max_rank: usize,
    /// Of weights in memory; what is stored is as it came.
    pub precision: Precision,
    /// Of one weights file.
    pub max_file_bytes: u64,
    /// Versions a name keeps; a publication removes older ones, but neither what the name pointed to last nor what it points
    /// to.
    pub keep_versions: usize,
    /// How long a request waits for a place in memory while all are in use.
    pub room_wait: Duration,
    /// Of the device: what is done with adapters stands back behind its steps.
    pub turns: Turns,
}

/// How large the files of an adapter may be.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    weights: u64,
}

impl Sizes {
    /// Configurations and records of origin are short texts.
    const TEXT: u64 = 4 << 20;

    fn of(self, name: &str) -> u64 {
        if WEIGHTS_FILES.contains(&name) || name == ENCODER_FILE {
            self.weights
        } else {
            Self::TEXT
        }
    }
}

/// Loads at the same time: enough to overlap disk and checking, few enough to leave the processor to requests.
const LOADS: usize = 2;
/// Publications and other work on stored adapters at the same time.
const WORKERS: u32 = 2;
/// Packed copies that are made at the same time.
const COPIES: u32 = 1;
/// Changes a slow follower may lag behind before it has to look again.
const CHANGES: usize = 256;

/// Cheap handle.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
    /// Who changes what is changed through this handle.
    actor: Actor,
}

struct Shared {
    base: BaseIdentity,
    max_rank: usize,
    precision: Precision,
    root: PathBuf,
    sizes: Sizes,
    keep_versions: usize,
    names: Names,
    audit: Audit,
    contents: Contents,
    snapshot: ArcSwap<Snapshot>,
    residency: Residency,
    loading: lease::Loading,
    loads: Semaphore,
    room_queue: lease::RoomQueue,
    background: Background,
    /// Of packed copies, which no request waits for.
    copy_writers: Background,
    copying: Arc<lease::Copying>,
    /// Held while an adapter is made of others.
    blending: tokio::sync::Mutex<()>,
    /// Held by a request that loads the members of its blend.
    gathering: tokio::sync::Mutex<()>,
    /// Held for every change of names or stored contents.
    write: tokio::sync::Mutex<()>,
    changes: broadcast::Sender<AdapterView>,
    observe: Arc<dyn Observe>,
}

impl Registry {
    /// Removes what interrupted publications left, reads what exists, and starts loading what is pinned.
    pub async fn open(
        database: Database,
        base: BaseIdentity,
        config: Config,
        observe: Arc<dyn Observe>,
    ) -> Result<Self, Reason> {
        Self::open_with(database, base, config, observe, Arc::new(NoFailpoints)).await
    }

    async fn open_with(
        database: Database,
        base: BaseIdentity,
        config: Config,
        observe: Arc<dyn Observe>,
        failpoints: Arc<dyn Failpoints>,
    ) -> Result<Self, Reason> {
        let sizes = Sizes {
            weights: config.max_file_bytes,
        };
        let names = Names::new(database.clone(), failpoints.clone());
        let (entries, unserved) = names.read().await?;
        let snapshot = Snapshot::new(entries).with_unserved(unserved);
        let (snapshot, contents) = blocking(move || {
            let contents = Contents::open(&config.dir, sizes, failpoints)?;
            let known = snapshot.generations();
            let removed = contents.sweep(|generation| known.contains(&generation))?;
            if removed > 0 {
                tracing::info!(removed, "removed what interrupted publications had left");
            }
            for entry in snapshot.entries() {
                for generation in entry
                    .generations()
                    .filter(|generation| !contents.holds(*generation))
                {
                    tracing::error!(adapter = %entry.name, %generation, "its files are missing");
                }
            }
            Ok((snapshot, contents))
        })
        .await?;
        let residency = Residency::new(config.resident_bytes);
        residency.set_pinned(snapshot.pinned());
        let registry = Self {
            shared: Arc::new(Shared {
                base,
                max_rank: config.max_rank,
                precision: config.precision,
                root: config.root,
                sizes,
                // What is served and what a rollback leads to.
                keep_versions: config.keep_versions.max(2),
                names,
                audit: Audit::new(database),
                contents,
                snapshot: ArcSwap::from_pointee(snapshot),
                residency,
                loading: lease::Loading::default(),
                loads: Semaphore::new(LOADS),
                room_queue: lease::RoomQueue::new(config.room_wait),
                background: Background::new(config.turns.clone(), WORKERS),
                copy_writers: Background::new(config.turns, COPIES),
                copying: Arc::default(),
                blending: tokio::sync::Mutex::default(),
                gathering: tokio::sync::Mutex::default(),
                write: tokio::sync::Mutex::default(),
                changes: broadcast::channel(CHANGES).0,
                observe,
            }),
            actor: Actor::system(),
        };
        registry.load_pinned();
        Ok(registry)
    }

    pub fn knows(&self, name: &AdapterName) -> bool {
        self.snapshot().get(name).is_some()
    }

    /// Every name that can be asked for on this base, in alphabetical order.
    pub async fn servable(&self) -> Vec<AdapterView> {
        self.snapshot()
            .entries()
            .filter(|entry| entry.current.base_digest == self.shared.base.digest)
            .map(|entry| self.view(entry))
            .collect()
    }

    /// Every name, those of other bases too, in alphabetical order.
    pub async fn list(&self) -> Vec<AdapterView> {
        self.snapshot()
            .entries()
            .map(|entry| self.view(entry))
            .collect()
    }

    pub async fn show(&self, name: &AdapterName) -> Result<AdapterView, Reason> {
        self.snapshot().find(name).map(|entry| self.view(entry))
    }

    /// The generations a name has had and still has, the newest publication first.
    pub async fn history(&self, name: &AdapterName) -> Result<Vec<Generation>, Reason> {
        let snapshot = self.snapshot();
        match snapshot.unserved(name) {
            [] => Ok(snapshot.find(name)?.generations().collect()),
            kept => Ok(kept.iter().map(|held| held.generation()).collect()),
        }
    }

    /// The stored files of the version a name points to.
    pub async fn files(&self, name: &AdapterName) -> Result<Files, Reason> {
        let generation = self.snapshot().find(name)?.generation();
        let contents = self.shared.contents.clone();
        let read = move || contents.read(generation);
        self.shared.background.run(read).await
    }

    /// The adapter files of a folder beneath the root: regular files of bounded size, no links that lead outside.
    pub async fn read_folder(&self, path: &str) -> Result<Files, Reason> {
        let (shared, path) = (self.shared.clone(), path.to_owned());
        let read = move || folder::read(&shared.root, &path, shared.sizes);
        self.shared.background.run(read).await
    }

    /// Checks files against the base without storing anything; every number as it was given.
    pub async fn inspect(&self, files: Files) -> Result<Adapter, Reason> {
        let shared = self.shared.clone();
        let read = move || shared.read(&files, Precision::Exact);
        self.shared.background.run(read).await
    }

    /// The version a request for `choice` would be answered by, every number as it was given: to be trained further. The
    /// base has none (`None`).
    pub async fn original(&self, choice: &AdapterChoice) -> Result<Option<Adapter>, Reason> {
        let (name, pin) = match choice {
            AdapterChoice::Base => return Ok(None),
            AdapterChoice::Named { name, pin } => (name, pin),
            AdapterChoice::Checkpoint { name, step } => return Err(loose::unknown(name, *step)),
            AdapterChoice::Blend(_) => {
                let why = "is a blend of requests, which has no files; make an adapter of it with `adapter blend`";
                return Err(Reason::field("adapter", why));
            }
        };
        let version = self.snapshot().choose(name, pin.as_ref())?.clone();
        self.check_base(&version)?;
        let (shared, generation) = (self.shared.clone(), version.generation());
        let read = move || shared.load(generation, Precision::Exact);
        match self.shared.background.run(read).await {
            Ok(adapter) => Ok(Some(adapter)),
            Err(reason) => {
                // The files may be gone because the name is.
                self.snapshot().choose(name, Some(&generation.into()))?;
                Err(reason)
            }
        }
    }

    /// Whether there is what a request for `choice` would be answered by, on this base. Loads nothing.
    pub fn check_choice(&self, choice: &AdapterChoice) -> Result<(), Reason> {
        match choice {
            AdapterChoice::Base => Ok(()),
            AdapterChoice::Named { name, pin } => {
                self.check_base(self.snapshot().choose(name, pin.as_ref())?)
            }
            AdapterChoice::Checkpoint { name, step } => Err(loose::unknown(name, *step)),
            AdapterChoice::Blend(blend) => self.check_blend(blend),
        }
    }

    /// For the end of the process: resolves when no packed copy is being written any more.
    pub async fn finish(&self) {
        self.shared.copy_writers.finish().await;
    }

    /// How long the receiver of an adapter should rest after so much work on it, so that requests do not wait for that.
    pub fn rest(&self, worked: Duration) -> Duration {
        self.shared.background.rest(worked)
    }

    /// Fires after every change of a name or of where its weights are; `show` tells what holds now, or that the name is
    /// gone.
    pub fn changes(&self) -> broadcast::Receiver<AdapterView> {
        self.shared.changes.subscribe()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    fn view(&self, entry: &Entry) -> AdapterView {
        let resident = self.shared.residency.is_resident(entry.generation());
        entry.view(if resident { Tier::Resident } else { Tier::Disk })
    }

    /// Tells followers about every name that points to one of `generations`.
    fn announce(&self, generations: &[Generation]) {
        let snapshot = self.snapshot();
        let among = |entry: &&Arc<Entry>| generations.contains(&entry.generation());
        for entry in snapshot.entries().filter(among) {
            // Fails only where there are no followers.
            let _ = self.shared.changes.send(self.view(entry));
        }
    }
}

impl Shared {
    fn fit(&self, precision: Precision) -> Fit<'_> {
        Fit {
            sites: &self.base.sites,
            base_digest: self.base.digest,
            weights: &*self.base.weights,
            max_rank: self.max_rank,
            precision,
        }
    }

    /// What is stored under a generation, as it is served; and the content's stamp, where it has no good packed copy yet.
    fn fetch(&self, generation: Generation) -> Result<(Adapter, Option<String>), Reason> {
        let stamp = self.contents.stamp(generation)?;
        let origin = Origin {
            generation,
            stamp: &stamp,
        };
        let fit = self.fit(self.precision);
        match self.contents.copies().read(origin, &fit) {
            Some(adapter) => Ok((adapter, None)),
            None => {
                let adapter = self.load(generation, self.precision)?;
                Ok((adapter.to_serve(), Some(stamp)))
            }
        }
    }

    /// What is stored under a generation, which its files have just been compared with.
    fn load(&self, generation: Generation, precision: Precision) -> Result<Adapter, Reason> {
        let files = self.contents.read(generation)?;
        peft::read_known(&files, generation, &self.fit(precision)).map_err(invalid)
    }

    fn read(&self, files: &Files, precision: Precision) -> Result<Adapter, Reason> {
        for (name, bytes) in files.iter().filter(|(name, _)| contents::is_ours(name)) {
            let limit = self.sizes.of(name);
            if bytes.len() as u64 > limit {
                return Err(Reason::adapter(
                    name,
                    format!("is larger than {limit} bytes"),
                ));
            }
        }
        peft::read(files, &self.fit(precision)).map_err(invalid)
    }
}

fn invalid(AdapterFault { field, why }: AdapterFault) -> Reason {
    Reason::AdapterInvalid { field, why }
}
