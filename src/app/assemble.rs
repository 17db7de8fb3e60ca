//! assemble: each part of a daemon from the settings, in the order in which they need one another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::bundled;
use super::serve::claim;
use super::settings::{AuthMode, Settings, Speculation, Values};
use super::telemetry::Metrics;
use crate::device::Turns;
use crate::gateway::{self, Feedback, Gateway, Keys, Routes};
use crate::kernels::pool;
use crate::model::{Base, Origin};
use crate::registry::{self, BaseIdentity, Registry};
use crate::scheduler::{self, Scheduler};
use crate::store::Database;
use crate::text::grammar::Grammars;
use crate::trainer::{self, Trainer};

/// How long a request waits for its adapter's place in memory while all are taken; then it is refused with
/// `retry-after`.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// Every part, running.
pub struct Parts {
    pub base: Arc<Base>,
    pub metrics: Arc<Metrics>,
    pub registry: Registry,
    pub scheduler: Scheduler,
    pub trainer: Trainer,
    pub keys: Keys,
    pub feedback: Feedback,
    pub routes: Routes,
    pub gateway: Gateway,
    pub turns: Turns,
}

impl Parts {
    /// On the state in `dir`.
    pub async fn open(settings: &Settings, dir: &Path) -> anyhow::Result<Self> {
        let values = &settings.values;
        let turns = Turns::new(values.training.sharing());
        if values.engine.threads > 0 {
            pool::configure(values.engine.threads);
        }
        let base = Arc::new(open_base(settings).await?);
        let metrics = Arc::new(Metrics::new(values.telemetry.adapter_labels)?);
        let (registry, database) = registry(settings, dir, &base, &turns, metrics.clone()).await?;
        let config = scheduler_config(values);
        let scheduler = Scheduler::start(base.clone(), turns.clone(), config, metrics.clone())?;
        let config = trainer::Config {
            dir: dir.to_owned(),
            max_file_bytes: values.limits.max_file_bytes,
            max_queued: values.training.max_queued,
            parallel_jobs: values.training.parallel_jobs,
            max_rank: values.adapters.max_rank,
        };
        let keys = Keys::open(database.clone()).await?;
        let audit = gateway::Audit::new(database.clone());
        let config_of_feedback = values.feedback.config().map_err(anyhow::Error::msg)?;
        let feedback = Feedback::open(database.clone(), config_of_feedback, metrics.clone());
        let trainer = Trainer::open(
            database,
            base.clone(),
            registry.clone(),
            turns.clone(),
            config,
        )
        .await?;
        let routes = Routes::new(registry.clone(), metrics.clone());
        let parts = gateway::Parts {
            base: base.clone(),
            registry: registry.clone(),
            scheduler: scheduler.clone(),
            trainer: trainer.clone(),
            keys: keys.clone(),
            audit,
            feedback: feedback.clone(),
            routes: routes.clone(),
            grammars: Arc::new(Grammars::new(
                base.tokenizer.clone(),
                base.model.vocab(),
                metrics.clone(),
            )),
        };
        let gateway = Gateway::new(parts, gateway_config(values)?);
        Ok(Self {
            base,
            metrics,
            registry,
            scheduler,
            trainer,
            keys,
            feedback,
            routes,
            gateway,
            turns,
        })
    }
}

/// The registry on the settings' data directory, without a daemon around it. The lock keeps daemons away while it is held.
pub async fn registry_alone(
    settings: &Settings,
    base: &Arc<Base>,
) -> anyhow::Result<(Registry, std::fs::File)> {
    let place = settings.place().map_err(super::unusable)?;
    let lock = claim(place)?;
    let metrics = Arc::new(Metrics::new(settings.values.telemetry.adapter_labels)?);
    let opened = registry(settings, &place.dir, base, &Turns::default(), metrics).await?;
    Ok((opened.0, lock))
}

/// On the state in `dir`, with the ready-made adapters of the embedded base.
async fn registry(
    settings: &Settings,
    dir: &Path,
    base: &Arc<Base>,
    turns: &Turns,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Registry, Database)> {
    let values = &settings.values;
    let database = database(dir).await?;
    let identity = BaseIdentity {
        name: base.name.clone(),
        digest: base.digest,
        sites: base.model.sites().to_vec(),
        weights: base.clone(),
    };
    let config = registry_config(settings, dir, base, turns)?;
    let registry = Registry::open(database.clone(), identity, config, metrics).await?;
    if values.adapters.bundled && values.model.origin() == Ok(Origin::Embedded) {
        bundled::offer(&registry, dir).await?;
    }
    Ok((registry, database))
}

/// All state of a data directory that is no file of its own.
pub async fn database(dir: &Path) -> anyhow::Result<Database> {
    Ok(Database::open(&dir.join("adapterd.sqlite")).await?)
}

pub async fn open_base(settings: &Settings) -> anyhow::Result<Base> {
    let model = &settings.values.model;
    let origin = model.origin().map_err(anyhow::Error::msg)?;
    let quant = model.quant().map_err(anyhow::Error::msg)?;
    let kv = model.kv().map_err(anyhow::Error::msg)?;
    let base = tokio::task::spawn_blocking(move || Base::open(&origin, quant, kv)).await??;
    Ok(base.with_max_len(model.max_len))
}

fn registry_config(
    settings: &Settings,
    dir: &Path,
    base: &Base,
    turns: &Turns,
) -> anyhow::Result<registry::Config> {
    let values = &settings.values;
    let root = settings.adapter_root(dir);
    std::fs::create_dir_all(&root)
        .map_err(|error| anyhow::anyhow!("adapters.root {}: {error}", root.display()))?;
    let precision = values.adapters.precision(base.model.has_32_bits());
    Ok(registry::Config {
        dir: dir.to_owned(),
        root,
        resident_bytes: values.adapters.resident_bytes,
        max_rank: values.adapters.max_rank,
        precision: precision.map_err(anyhow::Error::msg)?,
        max_file_bytes: values.limits.max_adapter_bytes,
        keep_versions: values.adapters.keep_versions,
        room_wait: ROOM_WAIT,
        turns: turns.clone(),
    })
}

/// What the engine may take and do.
pub fn scheduler_config(values: &Values) -> scheduler::Config {
    scheduler::Config {
        rows: values.engine.rows,
        step_tokens: values.engine.step_tokens,
        kv_bytes: values.engine.kv_bytes,
        block_size: values.engine.block_size,
        queue: values.limits.queue,
        max_n: values.limits.max_n,
        shortcuts: scheduler::Shortcuts {
            prefix_cache: values.engine.prefix_cache,
            speculation: match values.engine.speculation {
                Speculation::Auto => scheduler::Speculation::Auto,
                Speculation::Off => scheduler::Speculation::Off,
            },
        },
    }
}

fn gateway_config(values: &Values) -> anyhow::Result<gateway::Config> {
    let weighed = |text: &str| text.parse().map_err(anyhow::Error::msg);
    Ok(gateway::Config {
        shares: gateway::Shares {
            adapters: weighed(&values.adapters.weights)?,
            keys: weighed(&values.auth.weights)?,
        },
        needs_keys: values.auth.mode == AuthMode::Keys,
        adapter_rates: gateway::AdapterRates::read(&values.limits.adapters)
            .map_err(anyhow::Error::msg)?,
        hub: gateway::Hub::new(&values.adapters.hub, &values.adapters.hub_token)
            .map_err(anyhow::Error::msg)?,
        tool_parser: values.model.tool_parser().map_err(anyhow::Error::msg)?,
        ..gateway::Config::default()
    })
}
