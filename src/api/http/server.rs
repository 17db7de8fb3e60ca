//! The accept loop: a cap on connections, a limit on slow headers, and a drain that lets running answers end.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use super::dispatch::router;

/// After an accept that failed (out of descriptors, say), before the next.
const BREATH: Duration = Duration::from_millis(50);
/// Request line and headers together.
const HEAD_BYTES: usize = 64 << 10;

/// Serves until `stop`, then accepts nothing more and returns when every running answer has ended. The caller sets
/// the deadline for that.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: CancellationToken) {
    let seats = Arc::new(Semaphore::new(app.config.connections.max(1)));
    let open = TaskTracker::new();
    while let Some((socket, seat)) = next(&listener, &seats, &stop).await {
        open.spawn(connection(socket, app.clone(), stop.clone(), seat));
    }
    drop(listener);
    open.close();
    open.wait().await;
}

/// A seat first: beyond the cap, connections wait in the kernel's queue rather than in memory here.
async fn next(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accepting = async {
        let seat = seats.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((socket, _)) => return Some((socket, seat)),
                Err(fault) => {
                    tracing::warn!(%fault, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accepting => accepted,
        () = stop.cancelled() => None,
    }
}

async fn connection(
    socket: TcpStream,
    app: Arc<App>,
    stop: CancellationToken,
    _seat: OwnedSemaphorePermit,
) {
    // Streams of small chunks must not wait for each other.
    let _ = socket.set_nodelay(true);
    let patience = app.config.header_patience;
    let service = TowerToHyperService::new(router(app));
    // Without a timer the header timeout would be silently inert.
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(HEAD_BYTES);
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
