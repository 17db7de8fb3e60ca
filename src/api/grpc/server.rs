//! The gRPC listener: a cap on connections, health that follows the gateway's, reflection, and a drain.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::counted::{Counted, Telling};
use super::guard::Guarded;
use super::{Config, Doors, Telemetry};
use crate::api::Common;
use crate::api::door::{Door, DoorName, Line};
use crate::api::socket::Socket;
use crate::api::tls::Offer;
use crate::api::{LOCAL_ERROR_RESETS, PENDING_RESETS, PING, PONG};
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
/// While memory is short, it is looked this often whether it still is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Connections between handshake and service.
const READY: usize = 16;

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
        telemetry,
        common,
        is_public,
    } = config;
    let most = limits.max_request_bytes;
    let counts = common.traffic.of(DoorName::Grpc).clone();
    let way_in = Door::new(&limits, counts, common.tls.clone(), Offer::Grpc);
    let (ready, incoming) = mpsc::channel(READY);
    let timeout = limits.pace.timeout;
    let accepting = accept(listener, way_in.clone(), timeout, gateway.clone(), ready);
    let accepting = tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
    let incoming = ReceiverStream::new(incoming).map(Ok::<Line, Infallible>);
    let streams = limits.streams;
    let head_bytes = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    let doors = Doors::new(limits);
    let around = Around {
        gateway: gateway.clone(),
        telemetry,
        common,
        way_in,
        is_public,
    };
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
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS))
        .http2_max_header_list_size(head_bytes)
        .add_service(health)
        .add_service(around.guarded(reflection().build_v1()?))
        .add_service(around.guarded(reflection().build_v1alpha()?))
        .add_service(around.counted(inference))
        .add_service(around.counted(adapters))
        .add_service(around.counted(training))
        .add_service(around.counted(keys))
        .add_service(around.counted(audit))
        .add_service(around.counted(feedback))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned())
        .await;
    watching.abort();
    accepting.abort();
    Ok(served?)
}

/// What goes around every service.
struct Around {
    gateway: Gateway,
    telemetry: Arc<dyn Telemetry>,
    common: Common,
    way_in: Door,
    is_public: bool,
}

impl Around {
    /// A service whose callers are let in.
    fn guarded<S>(&self, service: S) -> Guarded<S> {
        let backoff = self.common.backoff.clone();
        Guarded::new(service, self.gateway.clone(), backoff, self.is_public)
    }

    /// The same, and its calls are counted.
    fn counted<S>(&self, service: S) -> Counted<Guarded<S>> {
        Counted::new(
            self.guarded(service),
            Telling {
                telemetry: self.telemetry.clone(),
                open: self.way_in.counts.requests.clone(),
                common: self.common.clone(),
            },
        )
    }
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

/// Hands over connections that have shaken hands; those that have not come to that hold up no others.
async fn accept(
    listener: TcpListener,
    door: Door,
    timeout: Duration,
    gateway: Gateway,
    ready: mpsc::Sender<Line>,
) {
    loop {
        while gateway.pressure().holds_connections() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let Ok(permit) = door.seats.clone().acquire_owned().await else {
            return;
        };
        let (socket, address, place) = door.accept(&listener).await;
        let socket = Socket::new(socket, timeout, door.seat(permit, place));
        let (door, ready) = (door.clone(), ready.clone());
        tokio::spawn(async move {
            let opened = tokio::select! {
                opened = door.open(socket, address) => opened,
                // Nobody serves it any more.
                () = ready.closed() => None,
            };
            if let Some((line, _)) = opened {
                // Fails where the server has ended meanwhile.
                let _ = ready.send(line).await;
            }
        });
    }
}
