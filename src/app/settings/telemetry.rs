//! What the daemon tells of itself, and whom.

use axum::http::Uri;
use serde::{Deserialize, Serialize};

use crate::api::LogPlace;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// A tracing filter: `info`, `adapterd=debug,warn`, …
    pub log: String,
    pub format: LogFormat,
    /// Adapters with metric labels of their own; the rest are `other`.
    pub adapter_labels: usize,
    /// A JSON line for each request: off, stdout, or a file that is added to.
    pub access_log: String,
    /// Where traces and metrics are sent by OTLP over gRPC, as `http://127.0.0.1:4317`; empty sends none.
    pub otlp: String,
    /// Share of requests whose spans are sent, 0 to 1, where their caller does not say whether it keeps the trace.
    pub otlp_sample: f64,
    /// What this daemon is called there.
    pub service_name: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log: "info".into(),
            format: LogFormat::Text,
            adapter_labels: 64,
            access_log: "off".into(),
            otlp: String::new(),
            otlp_sample: 1.0,
            service_name: "adapterd".into(),
        }
    }
}

impl Telemetry {
    /// Where the access log goes, if there is one.
    pub fn access_log(&self) -> Option<LogPlace> {
        match self.access_log.trim() {
            "" | "off" => None,
            "stdout" => Some(LogPlace::Stdout),
            path => Some(LogPlace::File(path.into())),
        }
    }

    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.log.parse::<tracing_subscriber::EnvFilter>().is_err() {
            let why = format!("`{}` is not a log filter", self.log);
            found.push(("telemetry.log", why));
        }
        let otlp = otlp(self.otlp.trim(), cfg!(feature = "otlp"));
        found.extend(otlp.err().map(|why| ("telemetry.otlp", why)));
        if !(0.0..=1.0).contains(&self.otlp_sample) {
            let why = format!("{} is not within 0 to 1", self.otlp_sample);
            found.push(("telemetry.otlp_sample", why));
        }
        let name = self.service_name.trim();
        if name.is_empty() || name.len() > 255 || name.contains(char::is_control) {
            let why = "is a name of 1 to 255 bytes";
            found.push(("telemetry.service_name", why.into()));
        }
        found
    }
}

/// Whether traces can be sent to an address by a program that was built with what sends them, or without.
fn otlp(address: &str, built: bool) -> Result<(), String> {
    if address.is_empty() {
        return Ok(());
    }
    if !built {
        let how = "build one with `cargo build --release --features otlp`";
        return Err(format!("this program has no feature `otlp`; {how}"));
    }
    let wrong = || format!("`{address}` is no address as http://127.0.0.1:4317");
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_bare = uri.path() == "/" && uri.query().is_none();
    // A user's name and password would be shown with the settings.
    let has_host = { uri.authority() }.is_some_and(|host| !host.as_str().contains('@'));
    match has_scheme && is_bare && has_host {
        true => Ok(()),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_traces_needs_the_feature_and_nothing_but_a_host() {
        assert_eq!(otlp("", false), Ok(()));
        let without = otlp("http://127.0.0.1:4317", false).unwrap_err();
        assert!(without.contains("`otlp`"), "{without}");
        for address in ["http://127.0.0.1:4317", "https://collector.example/"] {
            assert_eq!(otlp(address, true), Ok(()), "{address}");
        }
        for address in [
            "127.0.0.1:4317",
            "grpc://127.0.0.1:4317",
            "http://",
            "http://a/v1/traces",
            "http://a?key=b",
            "http://user:word@a",
            "no address",
        ] {
            assert!(otlp(address, true).is_err(), "{address}");
        }
    }

    #[test]
    fn a_share_and_a_name_are_looked_at() {
        let keys = |telemetry: Telemetry| {
            let mistakes = telemetry.mistakes().into_iter();
            mistakes.map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(Telemetry::default()), Vec::<&str>::new());
        for share in [-0.1, 1.1, f64::NAN] {
            let telemetry = Telemetry {
                otlp_sample: share,
                service_name: " ".into(),
                ..Telemetry::default()
            };
            let wrong = ["telemetry.otlp_sample", "telemetry.service_name"];
            assert_eq!(keys(telemetry), wrong);
        }
    }
}
