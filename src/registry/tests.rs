mod audit;
mod copies;
mod crash;
mod life;
mod residency;
mod retention;
mod routes;
mod stress;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::adapter::NoWeights;
use crate::adapter::testing::{BASE_DIGEST, sites, specimen};
use crate::domain::AdapterChoice;

const LAYERS: usize = 1;
/// Versions a name keeps.
const KEEP: usize = 3;

/// A registry on a folder of its own, for a base of one layer.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    async fn open(&self) -> Registry {
        open(
            self.dir.path(),
            1 << 30,
            BASE_DIGEST,
            Arc::new(NoFailpoints),
        )
        .await
    }

    /// With room for `adapters` of the specimen's size.
    async fn open_small(&self, adapters: u64) -> Registry {
        open(
            self.dir.path(),
            adapters * size(),
            BASE_DIGEST,
            Arc::new(NoFailpoints),
        )
        .await
    }

    /// With room for so many of the specimen's size, for which requests wait a minute.
    async fn open_waiting(&self, adapters: u64) -> Registry {
        let config = Config {
            room_wait: Duration::from_secs(60),
            ..config(self.dir.path(), adapters * size())
        };
        open_as(config, BASE_DIGEST, Arc::new(NoFailpoints)).await
    }

    /// Another view of the same tables.
    async fn database(&self) -> Database {
        database(self.dir.path()).await
    }

    /// The folder of a stored version.
    fn content(&self, seed: u64) -> PathBuf {
        let adapters = self.dir.path().join("adapters");
        adapters.join(generation(seed).to_string())
    }

    fn contents(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("adapters"))
            .unwrap()
            .count()
    }

    fn staged(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("staging"))
            .unwrap()
            .count()
    }
}

async fn open(
    dir: &Path,
    resident_bytes: u64,
    digest: [u8; 32],
    failpoints: Arc<dyn Failpoints>,
) -> Registry {
    let config = config(dir, resident_bytes);
    open_as(config, digest, failpoints).await
}

fn config(dir: &Path, resident_bytes: u64) -> Config {
    Config {
        dir: dir.to_owned(),
        root: dir.join("incoming"),
        resident_bytes,
        max_rank: 64,
        precision: Precision::Exact,
        max_file_bytes: 1 << 20,
        keep_versions: KEEP,
        room_wait: Duration::ZERO,
        turns: Turns::default(),
    }
}

async fn open_as(config: Config, digest: [u8; 32], failpoints: Arc<dyn Failpoints>) -> Registry {
    let database = database(&config.dir).await;
    let base = BaseIdentity {
        name: "base".into(),
        digest,
        sites: sites(LAYERS),
        weights: Arc::new(NoWeights),
    };
    Registry::open_with(database, base, config, Arc::new(Unobserved), failpoints)
        .await
        .unwrap()
}

async fn database(dir: &Path) -> Database {
    Database::open(&dir.join("state.db")).await.unwrap()
}

fn name(text: &str) -> AdapterName {
    text.parse().unwrap()
}

fn files(seed: u64) -> Files {
    specimen(LAYERS, seed)
}

fn generation(seed: u64) -> Generation {
    peft::generation(&files(seed))
}

/// Bytes of one specimen in memory.
fn size() -> u64 {
    let sites = sites(LAYERS);
    peft::read(
        &files(0),
        &Fit {
            sites: &sites,
            base_digest: BASE_DIGEST,
            weights: &NoWeights,
            max_rank: 64,
            precision: Precision::Exact,
        },
    )
    .unwrap()
    .bytes()
}

fn at(seed: u64) -> Expected {
    Some(Some(generation(seed)))
}

fn choice(text: &str) -> AdapterChoice {
    match text.split_once('@') {
        None => AdapterChoice::Named {
            name: name(text),
            pin: None,
        },
        Some((text, pin)) => AdapterChoice::Named {
            name: name(text),
            pin: Some(pin.parse().unwrap()),
        },
    }
}

async fn publish(registry: &Registry, text: &str, seed: u64) -> AdapterView {
    registry
        .publish(&name(text), files(seed), None, "upload")
        .await
        .unwrap()
}

async fn lease(registry: &Registry, text: &str) -> Result<Lease, Reason> {
    registry
        .lease(&choice(text))
        .await
        .map(|lease| lease.expect("a named adapter"))
}
