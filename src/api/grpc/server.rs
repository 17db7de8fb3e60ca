//! The gRPC listener: a cap on connections, health that follows the gateway's, reflection, and a drain.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::counted::Counted;
use super::guard::Guarded;
use super::{Config, Doors, Telemetry};
use crate::api::socket::Socket;
use crate::gateway::Gateway;
use crate::pb;
use crate::pb::adapters_server::AdaptersServer;
use crate::pb::audit_server::AuditServer;
use crate::pb::feedback_server::FeedbackServer;
use crate::pb::inference_server::InferenceServer;
use crate::pb::keys_server::KeysServer;
use crate::pb::training_server::TrainingServer;

const SERVICES: [&str; 7] = [
    "",
    "adapterd.v1.Inference",
    "adapterd.v1.Adapters",
    "adapterd.v1.Training",
    "adapterd.v1.Keys",
    "adapterd.v1.Audit",
    "adapterd.v1.Feedback",
];
/// How often health is looked at.
const PULSE: Duration = Duration::from_millis(500);
/// After an accept that failed (out of descriptors, say), before the next.
const BREATH: Duration = Duration::from_millis(50);
/// A peer that does not answer a ping is gone.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);

/// Serves until `stop`, then returns when every running call has ended. The caller sets the deadline for that.
///
/// # Errors
/// When the transport fails as a whole, or the compiled descriptors cannot be read.
pub async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    config: Config,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (reporter, health) = tonic_health::server::health_reporter();
    // Before the first request: the service's own first state is set without asking the gateway.
    let serving = gateway.health().ready.is_ok();
    say(&reporter, serving).await;
    let watching = tokio::spawn(report(reporter, serving, gateway.clone(), stop.clone()));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let Config {
        limits,
        streams,
        telemetry,
    } = config;
    let most = limits.max_request_bytes;
    let seats = Arc::new(Semaphore::new(limits.connections.max(1)));
    let incoming = accepted(listener, seats, limits.pace.timeout);
    let doors = Doors::new(limits);
    // The limit holds for what a compressed message unpacks to as well.
    let inference = InferenceServer::new(doors.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(most);
    let adapters = AdaptersServer::new(doors.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(most);
    let keys = KeysServer::new(doors.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(most);
    let audit = AuditServer::new(doors.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(most);
    let feedback = FeedbackServer::new(doors.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(most);
    let training = TrainingServer::new(doors)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(most);
    let served = Server::builder()
        .max_concurrent_streams(streams)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PONG))
        .add_service(health)
        .add_service(Guarded::new(reflection().build_v1()?, gateway.clone()))
        .add_service(Guarded::new(reflection().build_v1alpha()?, gateway.clone()))
        .add_service(door(inference, &gateway, &telemetry))
        .add_service(door(adapters, &gateway, &telemetry))
        .add_service(door(training, &gateway, &telemetry))
        .add_service(door(keys, &gateway, &telemetry))
        .add_service(door(audit, &gateway, &telemetry))
        .add_service(door(feedback, &gateway, &telemetry))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned())
        .await;
    watching.abort();
    Ok(served?)
}

/// A service whose callers are let in, and whose calls are counted.
fn door<S>(service: S, gateway: &Gateway, telemetry: &Arc<dyn Telemetry>) -> Counted<Guarded<S>> {
    Counted::new(Guarded::new(service, gateway.clone()), telemetry.clone())
}

/// Keeps the health service, which says `said`, at what the gateway says, and at "not serving" from the stop on.
async fn report(
    reporter: HealthReporter,
    mut said: bool,
    gateway: Gateway,
    stop: CancellationToken,
) {
    loop {
        let stopped = stop.is_cancelled();
        let serving = !stopped && gateway.health().ready.is_ok();
        if said != serving {
            said = serving;
            say(&reporter, serving).await;
        }
        if stopped {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(PULSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn say(reporter: &HealthReporter, serving: bool) {
    let status = if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

fn accepted(
    listener: TcpListener,
    seats: Arc<Semaphore>,
    timeout: Duration,
) -> impl futures::Stream<Item = io::Result<Socket>> {
    stream::unfold((listener, seats), move |(listener, seats)| async move {
        let seat = seats.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    let socket = Socket::new(socket, timeout, seat);
                    return Some((Ok(socket), (listener, seats)));
                }
                Err(fault) => {
                    tracing::warn!(%fault, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    })
}
