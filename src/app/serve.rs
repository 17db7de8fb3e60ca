//! serve: the order in which the parts start, what a signal does, and the order in which they end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::assemble::Parts;
use super::command::SettingFlags;
use super::settings::{AuthMode, Place, Settings, Values};
use super::systemd::Manager;
use super::telemetry::{self, Collector, follow_jobs};
use super::upkeep;
use crate::api::{Common, Limits, Memory, grpc, http};
use crate::cli::Failure;
use crate::domain::Scope;
use crate::gateway::Gateway;
use crate::kernels;
use crate::model::Base;
use crate::store::{create_folder, now};

/// Between a signal and the first refusal, balancers see that this daemon is not ready.
const NOTICE: Duration = Duration::from_millis(500);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
/// Between two looks at what canaries have come to; an answer that fails is looked at at once.
const ROUTES: Duration = Duration::from_secs(5);
const RETURN_MEMORY: Duration = Duration::from_secs(60);
/// Of the address for what operates the daemon.
const ADMIN_CONNECTIONS: usize = 64;

#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    flags: SettingFlags,
}

/// Runs the daemon until a signal; a second signal ends it at once.
pub async fn run(args: &ServeArgs) -> Result<(), Failure> {
    let settings = args.flags.load()?;
    let place = settings.place().map_err(super::unusable)?;
    telemetry::start_log(&settings.values.telemetry);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(dir = %place.dir.display(), chosen_by = place.why, "state is kept here");
    let daemon = Daemon::start(&settings).await.map_err(Failure::failed)?;
    let manager = Manager::of(|name| std::env::var_os(name));
    manager.ready(&format!(
        "serves {} on {}",
        daemon.base().name,
        daemon.http()
    ));
    let gateway = daemon.parts.gateway.clone();
    let lives = move || gateway.health().live.is_ok();
    let ended = CancellationToken::new();
    let watch = tokio::spawn(manager.clone().watch(lives, ended.clone()));
    stop_signal().await?;
    manager.stopping("running requests end, then running jobs are saved");
    tracing::info!("stopping: running requests end first; a second signal ends at once");
    let stopped = tokio::select! {
        () = daemon.stop(NOTICE) => Ok(()),
        again = stop_signal() => again.and(Err(Failure::failed("ended before running requests had"))),
    };
    ended.cancel();
    // It ends with the token; that it has is not waited for where the engine has gone.
    watch.abort();
    stopped
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
    parts: Parts,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    http: SocketAddr,
    drain: Duration,
    /// Held for its drop: one daemon a data directory.
    _lock: std::fs::File,
}

impl Daemon {
    /// Returns when both addresses are open and the first request would be answered.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let began = Instant::now();
        let values = &settings.values;
        let place = settings.place().map_err(super::unusable)?;
        let lock = claim(place)?;
        // Addresses first: a port that is taken should not cost a model load.
        let listeners = listen(values).await?;
        let (http, grpc) = (listeners.http.local_addr()?, listeners.grpc.local_addr()?);
        let admin = listeners.admin.as_ref().map(TcpListener::local_addr);
        let admin = admin.transpose()?.map(tracing::field::display);
        let common = upkeep::common(settings)?;
        let has_tls = common.tls.is_some();
        let parts = Parts::open(settings, &place.dir).await?;
        let stop = CancellationToken::new();
        let servers = serve(&parts, values, listeners, common, &stop)?;
        for group in parts.base.model.weight_groups() {
            tracing::info!(bytes = group.bytes, "weights of {group}");
        }
        tracing::info!(
            model = %parts.base.name,
            %http,
            %grpc,
            admin,
            tls = has_tls,
            data_dir = %place.dir.display(),
            seconds = began.elapsed().as_secs_f32(),
            "ready"
        );
        Ok(Self {
            parts,
            stop,
            servers,
            http,
            drain: Duration::from_secs(values.server.drain_seconds),
            _lock: lock,
        })
    }

    pub fn base(&self) -> &Base {
        &self.parts.base
    }

    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Says that it takes no more requests, takes none, lets running ones end, saves the running job, then ends. Both
    /// addresses stay open till then, for probes. `notice`: how long the first of these comes before the second.
    pub async fn stop(self, notice: Duration) {
        self.parts.gateway.close();
        tokio::time::sleep(notice).await;
        self.parts.scheduler.drain(self.drain).await;
        self.parts.feedback.settle().await;
        self.parts.trainer.shutdown().await;
        self.stop.cancel();
        let ended = futures::future::join_all(self.servers);
        if tokio::time::timeout(Duration::from_secs(5), ended)
            .await
            .is_err()
        {
            tracing::warn!("some connections were still open");
        }
        // A copy that is not done is made again by the next start; it is only nicer to end it.
        let copies = tokio::time::timeout(Duration::from_secs(5), self.parts.registry.finish());
        let _ = copies.await;
        tracing::info!("stopped");
    }
}

/// Starts what answers on the two addresses, and what goes on beside it, until `stop`.
fn serve(
    parts: &Parts,
    values: &Values,
    listeners: Listeners,
    common: Common,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let Parts {
        gateway,
        trainer,
        registry,
        ..
    } = parts;
    #[cfg(feature = "otlp")]
    let (common, exporter) = traced(values, common)?;
    let collector = Arc::new(Collector {
        metrics: parts.metrics.clone(),
        base: parts.base.clone(),
        registry: registry.clone(),
        scheduler: parts.scheduler.clone(),
        turns: parts.turns.clone(),
        trainer: trainer.clone(),
        gateway: gateway.clone(),
        max_adapters: values.engine.rows,
        jobs: Mutex::default(),
        common: common.clone(),
    });
    let limits = limits(values);
    let has_admin = listeners.admin.is_some();
    let http_config = http::Config {
        limits: limits.clone(),
        part: if has_admin {
            http::Part::Public
        } else {
            http::Part::All
        },
        common: common.clone(),
        origins: http::Origins::parse(&values.server.cors_origins)
            .map_err(|wrong| anyhow::anyhow!("server.cors_origins: {}", wrong.join("; ")))?,
        open_metrics: values.auth.opens_metrics(&values.server),
        ..http::Config::default()
    };
    let admin_config = http::Config {
        limits: Limits {
            connections: limits.connections.min(ADMIN_CONNECTIONS),
            ..limits.clone()
        },
        part: http::Part::Admin,
        ..http_config.clone()
    };
    let app = http::App::new(gateway.clone(), http_config, collector.clone());
    let admin = listeners.admin.map(|listener| {
        let app = http::App::new(gateway.clone(), admin_config, collector.clone());
        http::serve(listener, app, stop.clone())
    });
    let grpc_config = grpc::Config {
        limits,
        telemetry: collector.clone(),
        common: common.clone(),
        is_public: has_admin,
    };
    let grpc = serve_grpc(listeners.grpc, gateway.clone(), grpc_config, stop.clone());
    let keep_days = values.storage.keep_audit_days;
    if values.auth.mode == AuthMode::Keys && parts.keys.is_empty() {
        tracing::warn!(
            "nobody has a key yet: make one with `adapterd key create --name me --scopes admin`, with the same --data-dir"
        );
    }
    if values.auth.mode == AuthMode::Keys {
        let keys = parts.keys.list();
        let admins = keys.iter().filter(|key| key.scopes.allow(Scope::Admin));
        let admins: Vec<&str> = admins.map(|key| key.name.as_str()).collect();
        // One that was made while nobody was asked for a key is seen here.
        tracing::info!(keys = keys.len(), ?admins, "callers need a key");
    }
    let uses = parts.keys.clone().keep_uses(ticks(MINUTE, stop.clone()));
    let audit = registry.clone().keep_audit(keep_days, daily(stop.clone()));
    // They were read when the settings were checked.
    let rules = values.retrain.iter().filter_map(|rule| rule.read().ok());
    let retraining =
        { gateway.clone() }.retrain_by(rules.collect(), stop.clone().cancelled_owned());
    let routes = parts.routes.clone().keep(ticks(ROUTES, stop.clone()));
    let memory = values.limits.memory().map_err(anyhow::Error::msg)?;
    let weighing = upkeep::weigh(gateway.pressure().clone(), memory, stop.clone());
    #[cfg(feature = "otlp")]
    let exporting = exporter.map(|exporter| {
        let collector = collector.clone();
        exporter.run(
            move || http::Telemetry::exposition(&*collector),
            stop.clone(),
        )
    });
    let mut running = vec![
        tokio::spawn(http::serve(listeners.http, app, stop.clone())),
        tokio::spawn(grpc),
        tokio::spawn(follow_jobs(collector, trainer.clone(), stop.clone())),
        tokio::spawn(audit),
        tokio::spawn(uses),
        tokio::spawn(retraining),
        tokio::spawn(routes),
        tokio::spawn(return_memory(stop.clone())),
        tokio::spawn(upkeep::renew(common, stop.clone())),
        tokio::spawn(weighing),
    ];
    running.extend(admin.map(tokio::spawn));
    #[cfg(feature = "otlp")]
    running.extend(exporting.map(tokio::spawn));
    Ok(running)
}

/// Has traces drawn, where the settings say who is sent them.
#[cfg(feature = "otlp")]
fn traced(
    values: &Values,
    common: Common,
) -> anyhow::Result<(Common, Option<super::telemetry::otlp::Exporter>)> {
    let variable = |name: &str| std::env::var(name).ok();
    let opened = super::telemetry::otlp::open(&values.telemetry, variable)?;
    let (traces, exporter) = opened.unzip();
    Ok((Common { traces, ..common }, exporter))
}

/// Returns freed memory to the system now and then, until `stop`.
async fn return_memory(stop: CancellationToken) {
    let mut ticks = tokio::time::interval(RETURN_MEMORY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let done = tokio::task::spawn_blocking(kernels::return_freed_pages).await;
        if done.is_err() {
            return;
        }
    }
}

/// The time of day in Unix seconds: now, and then once a day until `stop`.
fn daily(stop: CancellationToken) -> impl Stream<Item = i64> {
    ticks(DAY, stop).map(|()| now())
}

/// Now, and then once every so often until `stop`.
fn ticks(every: Duration, stop: CancellationToken) -> impl Stream<Item = ()> {
    let ticks = stream::unfold(tokio::time::interval(every), |mut interval| async move {
        interval.tick().await;
        Some(((), interval))
    });
    ticks.take_until(stop.cancelled_owned())
}

/// The same for both protocols.
fn limits(values: &Values) -> Limits {
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let max_file_bytes = bytes(values.limits.max_file_bytes);
    let max_adapter_bytes = bytes(values.limits.max_adapter_bytes);
    Limits {
        connections: values.server.max_connections,
        max_request_bytes: values.limits.max_body_bytes,
        max_file_bytes,
        max_adapter_bytes,
        // Training files go to disk as they come.
        memory: Memory::new(max_adapter_bytes.saturating_mul(2)),
        connections_per_address: values.server.max_connections_per_address,
        max_header_bytes: values.server.max_header_bytes,
        streams: values.server.max_streams,
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

struct Listeners {
    http: TcpListener,
    grpc: TcpListener,
    admin: Option<TcpListener>,
}

/// Every address, or what is wrong with each.
async fn listen(values: &Values) -> anyhow::Result<Listeners> {
    let open = async |address: SocketAddr, setting: &str| {
        TcpListener::bind(address).await.map_err(|error| {
            format!("cannot listen on {address}: {error}; choose another address with --{setting} (server.{setting})")
        })
    };
    let http = open(values.server.http, "http").await;
    let grpc = open(values.server.grpc, "grpc").await;
    let admin = match values.server.admin().map_err(anyhow::Error::msg)? {
        Some(address) => open(address, "admin").await.map(Some),
        None => Ok(None),
    };
    match (http, grpc, admin) {
        (Ok(http), Ok(grpc), Ok(admin)) => Ok(Listeners { http, grpc, admin }),
        (http, grpc, admin) => {
            let wrong = [http.err(), grpc.err(), admin.err()];
            let wrong: Vec<String> = wrong.into_iter().flatten().collect();
            Err(anyhow::anyhow!(wrong.join("\n")))
        }
    }
}

/// Two daemons on one data directory would undo each other's work.
pub fn claim(place: &Place) -> anyhow::Result<std::fs::File> {
    let shown = place.dir.display();
    try_claim(place)?.ok_or_else(|| {
        anyhow::anyhow!("another adapterd uses {shown}; stop it or choose another --data-dir")
    })
}

/// `None`: another process has it.
pub fn try_claim(place: &Place) -> anyhow::Result<Option<std::fs::File>> {
    let shown = place.dir.display();
    let unusable = |error: std::io::Error| {
        anyhow::anyhow!(
            "data directory {shown} (chosen by {}): {error}; --data-dir names another",
            place.why
        )
    };
    create_folder(&place.dir).map_err(unusable)?;
    let file = std::fs::File::create(place.dir.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(unusable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_daemon_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            dir: dir.path().join("state"),
            why: "a test".to_owned(),
        };
        let first = claim(&place).unwrap();
        let second = claim(&place).unwrap_err().to_string();
        assert!(second.contains("another adapterd uses"), "{second}");
        drop(first);
        claim(&place).unwrap();
    }
}
