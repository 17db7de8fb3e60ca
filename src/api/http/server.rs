//! The accept loop: a cap on connections, a few more for probes, limits on slow headers and slow readers, and a drain
//! that lets running answers end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use super::connection::Connected;
use super::dispatch::{probes, router};
use crate::api::door::{Door, Line, Peer, Seat};
use crate::api::socket::Socket;
use crate::api::tls::Offer;
use crate::api::{LOCAL_ERROR_RESETS, PENDING_RESETS, PING, PONG};
use crate::gateway::Pressure;

/// How long a connection beyond the cap may take over its one request.
const SPARE_TIMEOUT: Duration = Duration::from_secs(2);
/// While memory is short, it is looked this often whether it still is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Serves until `stop`, then accepts nothing more and returns when every running answer has ended. The caller sets
/// the deadline for that.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let config = &app.config;
    let common = &config.common;
    let counts = common.traffic.of(config.part.door()).clone();
    let door = Door::new(&config.limits, counts, common.tls.clone(), Offer::Http);
    let regular = Service {
        router: router(app.clone()),
        seats: door.seats.clone(),
        header_timeout: config.header_timeout,
        write_timeout: config.limits.pace.timeout,
        keep_alive: true,
        head_bytes: config.limits.max_header_bytes,
        streams: config.limits.streams,
        door: door.clone(),
    };
    let spare = Service {
        router: probes(app.clone()),
        seats: Arc::new(Semaphore::new(config.spare_connections.max(1))),
        header_timeout: SPARE_TIMEOUT.min(config.header_timeout),
        write_timeout: SPARE_TIMEOUT,
        keep_alive: false,
        ..regular.clone()
    };
    // Who operates the daemon is let in however short memory is.
    let pressure = (!config.part.is_admin()).then(|| app.gateway.pressure());
    let open = TaskTracker::new();
    loop {
        let accepted = stop.run_until_cancelled(door.accept(&listener)).await;
        let Some((socket, address, place)) = accepted else {
            break;
        };
        let Some((service, permit)) = seated(&regular, &spare, pressure, &stop).await else {
            break;
        };
        let peer = Peer::plain(address);
        let seat = door.seat(permit, place);
        open.spawn(service.connection(socket, peer, seat, stop.clone()));
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// A seat for a connection: a spare one where all others are taken, or memory is short. Beyond those too, connections wait
/// in the kernel's queue rather than in memory here.
async fn seated(
    regular: &Service,
    spare: &Service,
    pressure: Option<&Pressure>,
    stop: &CancellationToken,
) -> Option<(Service, OwnedSemaphorePermit)> {
    loop {
        let is_short = pressure.is_some_and(Pressure::holds_connections);
        if !is_short && let Ok(permit) = regular.seats.clone().try_acquire_owned() {
            return Some((regular.clone(), permit));
        }
        tokio::select! {
            permit = spare.seats.clone().acquire_owned() => {
                return Some((spare.clone(), permit.ok()?));
            }
            // Memory may have been given back while all spare seats were taken.
            () = tokio::time::sleep(LOOK_AGAIN), if is_short => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// How connections of one class are served.
#[derive(Clone)]
struct Service {
    router: Router,
    seats: Arc<Semaphore>,
    header_timeout: Duration,
    write_timeout: Duration,
    keep_alive: bool,
    head_bytes: usize,
    streams: u32,
    door: Door,
}

impl Service {
    async fn connection(self, socket: TcpStream, peer: Peer, seat: Seat, stop: CancellationToken) {
        let socket = Socket::new(socket, self.write_timeout, seat);
        let opened = stop.run_until_cancelled(self.door.open(socket, peer.address));
        let Some(Some((line, peer))) = opened.await else {
            return;
        };
        let ended = match line.is_h2() {
            true => self.http2(line, peer, &stop).await,
            false => self.http1(line, peer, &stop).await,
        };
        if let Err(fault) = ended {
            if fault.is_parse_too_large() {
                self.door.counts.refused_head.more();
            }
            tracing::debug!(%fault, "a connection broke");
        }
    }

    async fn http1(&self, line: Line, peer: Peer, stop: &CancellationToken) -> hyper::Result<()> {
        // Without a timer the header timeout would be silently inert.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .keep_alive(self.keep_alive)
            .max_buf_size(self.head_bytes);
        let service = Connected::new(self.router.clone(), peer, self.door.counts.clone());
        let service = TowerToHyperService::new(service);
        let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(line), service));
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    }

    async fn http2(&self, line: Line, peer: Peer, stop: &CancellationToken) -> hyper::Result<()> {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(self.streams)
            .max_header_list_size(u32::try_from(self.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_ERROR_RESETS)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        let service = Connected::new(self.router.clone(), peer, self.door.counts.clone());
        let quiet = service.quiet(self.header_timeout);
        let service = TowerToHyperService::new(service);
        let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(line), service));
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = quiet => {}
                }
            } => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    }
}
