//! Connections, certificates and memory, as lines of the exposition.

use std::fmt::Write;

use crate::api::{Common, Counts, DoorName};
use crate::gateway::Pressure;

/// A metric's name, type and meaning, and how one listener's is read.
type Row = (&'static str, &'static str, &'static str, fn(&Counts) -> u64);

const ROWS: &[Row] = &[
    (
        "adapterd_connections",
        "gauge",
        "Connections that are open",
        |counts| counts.connections.now() as u64,
    ),
    (
        "adapterd_connections_max",
        "gauge",
        "Connections that may be open",
        |counts| counts.most.now() as u64,
    ),
    (
        "adapterd_connection_addresses",
        "gauge",
        "Addresses with an open connection",
        |counts| counts.addresses.now() as u64,
    ),
    (
        "adapterd_handshakes",
        "gauge",
        "TLS handshakes under way",
        |counts| counts.handshakes.now() as u64,
    ),
    (
        "adapterd_requests_open",
        "gauge",
        "Requests being answered",
        |counts| counts.requests.now() as u64,
    ),
    (
        "adapterd_connections_refused_total",
        "counter",
        "Connections closed because their address had too many",
        |counts| counts.refused_address.now(),
    ),
    (
        "adapterd_handshakes_failed_total",
        "counter",
        "TLS handshakes that failed or took too long",
        |counts| counts.refused_handshake.now(),
    ),
    (
        "adapterd_heads_refused_total",
        "counter",
        "Requests whose line and headers were too large",
        |counts| counts.refused_head.now(),
    ),
];

pub fn exposition(common: &Common, pressure: &Pressure) -> String {
    let mut text = String::new();
    for (name, kind, help, read) in ROWS {
        head(&mut text, name, kind, help);
        for door in DoorName::ALL {
            let value = read(common.traffic.of(door));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}{{door=\"{}\"}} {value}", door.as_str());
        }
    }
    let mut one = |name: &str, kind: &str, help: &str, value: String| {
        head(&mut text, name, kind, help);
        let _ = writeln!(text, "{name} {value}");
    };
    one(
        "adapterd_memory_pressure",
        "gauge",
        "Share of the memory this process may take that it has, 0 to 1",
        pressure.taken().to_string(),
    );
    if let Some(tls) = &common.tls {
        one(
            "adapterd_tls_certificate_expires_seconds",
            "gauge",
            "Seconds until the certificate expires; negative once it has",
            tls.expires_in().to_string(),
        );
        one(
            "adapterd_tls_reload_failures_total",
            "counter",
            "New certificates that could not be used",
            tls.failures().to_string(),
        );
    }
    if let Some(log) = &common.log {
        one(
            "adapterd_access_log_lost_total",
            "counter",
            "Lines of the access log that were not written",
            log.lost().to_string(),
        );
    }
    if let Some(traces) = &common.traces {
        one(
            "adapterd_otlp_lost_total",
            "counter",
            "Requests whose spans reached no collector",
            traces.lost().to_string(),
        );
    }
    let name = "adapterd_shed_total";
    head(
        &mut text,
        name,
        "counter",
        "Work refused because memory was short",
    );
    for (work, count) in pressure.shed() {
        let _ = writeln!(text, "{name}{{kind=\"{}\"}} {count}", work.as_str());
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_a_listener_has_a_gauge_and_memory_too() {
        let pressure = Pressure::default();
        pressure.tell(95, 100);
        let text = exposition(&Common::default(), &pressure);
        for line in [
            "adapterd_connections{door=\"http\"} 0",
            "adapterd_connections_max{door=\"grpc\"} 0",
            "adapterd_requests_open{door=\"admin\"} 0",
            "adapterd_memory_pressure 0.95",
            "adapterd_shed_total{kind=\"background\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
        assert!(!text.contains("tls"), "there is none");
    }
}
