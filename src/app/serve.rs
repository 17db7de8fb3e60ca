//! serve: the order in which the parts start, what a signal does, and the order in which they end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::command::SettingFlags;
use super::doors::Doors;
use super::settings::{Place, Settings, Speculation, Values};
use super::telemetry::{self, Metrics};
use super::{bundled, doors};
use crate::api::{Limits, Memory, grpc, http};
use crate::cli::Failure;
use crate::device::Turns;
use crate::gateway::{self, Gateway};
use crate::kernels::pool;
use crate::model::{Base, Origin};
use crate::registry::{self, BaseIdentity, Registry};
use crate::scheduler::{self, Scheduler};
use crate::store::{Database, now};
use crate::trainer::{self, Trainer};

/// Between a signal and the first refusal, balancers see that this daemon is not ready.
const NOTICE: Duration = Duration::from_millis(500);
/// How long a request waits for its adapter's place in memory while all are taken; others are told to come back.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    flags: SettingFlags,
}

/// Runs the daemon until a signal; a second signal ends it at once.
pub async fn run(args: &ServeArgs) -> Result<(), Failure> {
    let settings = args.flags.load()?;
    let place = settings.place().map_err(super::told)?;
    telemetry::start_log(&settings.values.telemetry);
    for doubt in &settings.doubts {
        tracing::warn!("{doubt}");
    }
    tracing::info!(dir = %place.dir.display(), chosen_by = place.why, "state is kept here");
    let daemon = Daemon::start(&settings).await.map_err(Failure::failed)?;
    stop_signal().await?;
    tracing::info!("stopping: running requests end first; a second signal ends at once");
    tokio::select! {
        () = daemon.stop(NOTICE) => Ok(()),
        again = stop_signal() => again.and(Err(Failure::failed("ended before running requests had"))),
    }
}

#[cfg(unix)]
async fn stop_signal() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> Result<(), Failure> {
    Ok(tokio::signal::ctrl_c().await?)
}

/// Every part, running.
pub struct Daemon {
    base: Arc<Base>,
    gateway: Gateway,
    registry: Registry,
    scheduler: Scheduler,
    trainer: Trainer,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    http: SocketAddr,
    drain: Duration,
    /// Held for its drop: one daemon a data directory.
    _lock: std::fs::File,
}

impl Daemon {
    /// Returns when both doors are open and the first request would be answered.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let began = Instant::now();
        let values = &settings.values;
        let place = settings.place().map_err(super::told)?;
        let data_dir = place.dir.clone();
        let lock = claim(place)?;
        // Addresses first: a port that is taken should not cost a model load.
        let (http_listener, grpc_listener) = listen(values).await?;

        let turns = Turns::default();
        if values.engine.threads > 0 {
            pool::configure(values.engine.threads);
        }
        let base = Arc::new(open_base(settings).await?);
        let metrics = Arc::new(Metrics::new(values.telemetry.adapter_labels)?);

        let database = Database::open(&data_dir.join("adapterd.sqlite")).await?;
        let identity = BaseIdentity {
            name: base.name.clone(),
            digest: base.digest,
            sites: base.model.sites().to_vec(),
        };
        let root = settings.adapter_root(&data_dir);
        std::fs::create_dir_all(&root)
            .map_err(|error| anyhow::anyhow!("adapters.root {}: {error}", root.display()))?;
        let precision = values.adapters.precision(base.model.has_32_bits());
        let precision = precision.map_err(anyhow::Error::msg)?;
        let config = registry::Config {
            dir: data_dir.clone(),
            root,
            resident_bytes: values.adapters.resident_bytes,
            max_rank: values.adapters.max_rank,
            precision,
            max_file_bytes: values.limits.max_adapter_bytes,
            keep_versions: values.adapters.keep_versions,
            room_patience: ROOM_PATIENCE,
            turns: turns.clone(),
        };
        let registry = Registry::open(database.clone(), identity, config, metrics.clone()).await?;
        if values.adapters.bundled && values.model.origin() == Ok(Origin::Embedded) {
            bundled::offer(&registry, &data_dir).await?;
        }

        let config = scheduler::Config {
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
        };
        let scheduler = Scheduler::start(base.clone(), turns.clone(), config, metrics.clone())?;
        let config = trainer::Config {
            dir: data_dir,
            max_file_bytes: values.limits.max_file_bytes,
            max_queued: values.training.max_queued,
            max_rank: values.adapters.max_rank,
        };
        let trainer =
            Trainer::open(database, base.clone(), registry.clone(), turns, config).await?;

        let gateway = Gateway::new(
            gateway::Parts {
                base: base.clone(),
                registry: registry.clone(),
                scheduler: scheduler.clone(),
                trainer: trainer.clone(),
            },
            gateway::Config {
                shares: gateway::Shares {
                    adapters: weighed(&values.adapters.weights)?,
                    keys: weighed(&values.auth.weights)?,
                },
                ..gateway::Config::default()
            },
        );
        let stop = CancellationToken::new();
        let (http, grpc_address) = (http_listener.local_addr()?, grpc_listener.local_addr()?);
        let doors = Arc::new(Doors {
            metrics: metrics.clone(),
            base: base.clone(),
            registry: registry.clone(),
            scheduler: scheduler.clone(),
            max_adapters: values.engine.rows,
            jobs: Mutex::default(),
        });
        let limits = door_limits(values);
        let config = http::Config {
            limits: limits.clone(),
            origins: http::Origins::parse(&values.server.cors_origins)
                .map_err(|wrong| anyhow::anyhow!("server.cors_origins: {}", wrong.join("; ")))?,
            ..http::Config::default()
        };
        let app = http::App::new(gateway.clone(), config, doors.clone());
        let config = grpc::Config {
            limits,
            telemetry: doors.clone(),
            ..grpc::Config::default()
        };
        let servers = vec![
            tokio::spawn(http::serve(http_listener, app, stop.clone())),
            tokio::spawn(serve_grpc(
                grpc_listener,
                gateway.clone(),
                config,
                stop.clone(),
            )),
            tokio::spawn(doors::follow_jobs(
                doors,
                metrics,
                trainer.clone(),
                stop.clone(),
            )),
            tokio::spawn(
                registry
                    .clone()
                    .keep_audit(values.storage.keep_audit_days, daily(stop.clone())),
            ),
        ];
        for group in base.model.weight_groups() {
            tracing::info!(bytes = group.bytes, "weights of {group}");
        }
        tracing::info!(
            model = %base.name,
            %http,
            grpc = %grpc_address,
            data_dir = %place.dir.display(),
            seconds = began.elapsed().as_secs_f32(),
            "ready"
        );
        let drain = Duration::from_secs(values.server.drain_seconds);
        Ok(Self {
            base,
            gateway,
            registry,
            scheduler,
            trainer,
            stop,
            servers,
            http,
            drain,
            _lock: lock,
        })
    }

    pub fn base(&self) -> &Base {
        &self.base
    }

    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Says that it takes no more requests, takes none, lets running ones end, saves the running job, then ends. The
    /// doors stay open till then, for probes. `notice`: how long the first of these comes before the second.
    pub async fn stop(self, notice: Duration) {
        self.gateway.close();
        tokio::time::sleep(notice).await;
        self.scheduler.drain(self.drain).await;
        self.trainer.shutdown().await;
        self.stop.cancel();
        let ended = futures::future::join_all(self.servers);
        if tokio::time::timeout(Duration::from_secs(5), ended)
            .await
            .is_err()
        {
            tracing::warn!("some connections were still open");
        }
        // A copy that is not done is made again by the next start; it is only nicer to end it.
        let copies = tokio::time::timeout(Duration::from_secs(5), self.registry.finish());
        let _ = copies.await;
        tracing::info!("stopped");
    }
}

/// The time of day in Unix seconds: now, and then once a day until `stop`.
fn daily(stop: CancellationToken) -> impl Stream<Item = i64> {
    let ticks = stream::unfold(tokio::time::interval(DAY), |mut interval| async move {
        interval.tick().await;
        Some((now(), interval))
    });
    ticks.take_until(stop.cancelled_owned())
}

fn weighed(text: &str) -> anyhow::Result<gateway::Weighed> {
    text.parse().map_err(anyhow::Error::msg)
}

/// The same for both doors.
fn door_limits(values: &Values) -> Limits {
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let max_file_bytes = bytes(values.limits.max_file_bytes);
    let max_adapter_bytes = bytes(values.limits.max_adapter_bytes);
    Limits {
        connections: values.server.max_connections,
        max_request_bytes: values.limits.max_body_bytes,
        max_file_bytes,
        max_adapter_bytes,
        memory: Memory::new(max_file_bytes.max(max_adapter_bytes).saturating_mul(2)),
        ..Limits::default()
    }
}

async fn serve_grpc(
    listener: TcpListener,
    gateway: Gateway,
    config: grpc::Config,
    stop: CancellationToken,
) {
    if let Err(error) = grpc::serve(listener, gateway, config, stop).await {
        tracing::error!(%error, "gRPC ended");
    }
}

/// Both addresses, or what is wrong with each.
async fn listen(values: &Values) -> anyhow::Result<(TcpListener, TcpListener)> {
    let open = async |address: SocketAddr, door: &str| {
        TcpListener::bind(address).await.map_err(|error| {
            format!("cannot listen on {address}: {error}; choose another address with --{door} (server.{door})")
        })
    };
    let http = open(values.server.http, "http").await;
    let grpc = open(values.server.grpc, "grpc").await;
    match (http, grpc) {
        (Ok(http), Ok(grpc)) => Ok((http, grpc)),
        (http, grpc) => {
            let wrong: Vec<String> = [http.err(), grpc.err()].into_iter().flatten().collect();
            Err(anyhow::anyhow!(wrong.join("\n")))
        }
    }
}

/// Two daemons on one data directory would undo each other's work.
fn claim(place: &Place) -> anyhow::Result<std::fs::File> {
    let shown = place.dir.display();
    let unusable = |error: std::io::Error| {
        anyhow::anyhow!(
            "data directory {shown} (chosen by {}): {error}; --data-dir names another",
            place.why
        )
    };
    std::fs::create_dir_all(&place.dir).map_err(unusable)?;
    let file = std::fs::File::create(place.dir.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(anyhow::anyhow!(
            "another adapterd uses {shown}; stop it or choose another --data-dir"
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

async fn open_base(settings: &Settings) -> anyhow::Result<Base> {
    let model = &settings.values.model;
    let origin = model.origin().map_err(anyhow::Error::msg)?;
    let quant = model.quant().map_err(anyhow::Error::msg)?;
    let kv = model.kv().map_err(anyhow::Error::msg)?;
    let base = tokio::task::spawn_blocking(move || Base::open(&origin, quant, kv)).await??;
    Ok(base.with_max_len(model.max_len))
}
