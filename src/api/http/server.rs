//! The accept loop: a cap on connections, a few more for probes, limits on slow headers and slow readers, and a drain
//! that lets running answers end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use super::dispatch::{probes, router};
use crate::api::socket::Socket;

/// After an accept that failed (out of descriptors, say), before the next.
const BREATH: Duration = Duration::from_millis(50);
/// Request line and headers together.
const HEAD_BYTES: usize = 64 << 10;
/// How long a connection beyond the cap may take over its one request.
const SPARE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until `stop`, then accepts nothing more and returns when every running answer has ended. The caller sets
/// the deadline for that.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let config = &app.config;
    let regular = Service {
        router: router(app.clone()),
        seats: Arc::new(Semaphore::new(config.limits.connections.max(1))),
        header_timeout: config.header_timeout,
        write_timeout: config.limits.pace.timeout,
        keep_alive: true,
    };
    let spare = Service {
        router: probes(app.clone()),
        seats: Arc::new(Semaphore::new(config.spare_connections.max(1))),
        header_timeout: SPARE_TIMEOUT.min(config.header_timeout),
        write_timeout: SPARE_TIMEOUT,
        keep_alive: false,
    };
    let open = TaskTracker::new();
    while let Some(socket) = accept(&listener, &stop).await {
        let Some((service, seat)) = seated(&regular, &spare, &stop).await else {
            break;
        };
        open.spawn(service.connection(socket, seat, stop.clone()));
    }
    drop(listener);
    open.close();
    open.wait().await;
}

async fn accept(listener: &TcpListener, stop: &CancellationToken) -> Option<TcpStream> {
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => return socket,
                Err(fault) => {
                    tracing::warn!(%fault, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accepting => Some(accepted),
        () = stop.cancelled() => None,
    }
}

/// A seat for a connection: a spare one where all others are taken. Beyond those too, connections wait in the kernel's
/// queue rather than in memory here.
async fn seated(
    regular: &Service,
    spare: &Service,
    stop: &CancellationToken,
) -> Option<(Service, OwnedSemaphorePermit)> {
    if let Ok(seat) = regular.seats.clone().try_acquire_owned() {
        return Some((regular.clone(), seat));
    }
    tokio::select! {
        seat = spare.seats.clone().acquire_owned() => Some((spare.clone(), seat.ok()?)),
        () = stop.cancelled() => None,
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
}

impl Service {
    async fn connection(
        self,
        socket: TcpStream,
        seat: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) {
        let socket = Socket::new(socket, self.write_timeout, seat);
        // Without a timer the header timeout would be silently inert.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .keep_alive(self.keep_alive)
            .max_buf_size(HEAD_BYTES);
        let service = TowerToHyperService::new(self.router);
        let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(socket), service));
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(fault) = ended {
            tracing::debug!(%fault, "a connection broke");
        }
    }
}
