//! Probes and metrics.

use serde_json::json;

use super::call::Call;
use super::dispatch::Outcome;
use super::respond::{bytes_response, json_response};

/// The engine goes round its loop.
pub(super) async fn live(call: Call) -> Outcome {
    call.request.gateway().health().live?;
    Ok(json_response(200, &json!({"status": "ok"})))
}

/// New requests are taken.
pub(super) async fn ready(call: Call) -> Outcome {
    call.request.gateway().health().ready?;
    Ok(json_response(200, &json!({"status": "ok"})))
}

/// Sockets open only after everything else has started.
pub(super) async fn started(_call: Call) -> Outcome {
    Ok(json_response(200, &json!({"status": "ok"})))
}

pub(super) async fn metrics(call: Call) -> Outcome {
    let text = call.request.app.telemetry.exposition();
    Ok(bytes_response(
        200,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    ))
}
