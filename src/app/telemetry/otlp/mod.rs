//! otlp: sends traces of requests, and the metrics that Prometheus reads, to a collector of OpenTelemetry. A request hands
//! over its spans and goes on: a collector that is slow or away costs spans, which are counted, and never time.

mod messages;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use self::target::Target;
use super::families::families;
use super::spans::{Clock, Names, Span, is_kept, spans_of};
use crate::api::{Ended, Traces};
use crate::app::settings::Telemetry;

/// Requests whose spans may wait; beyond, they are lost.
const WAITING: usize = 2048;
/// Spans of one message, about.
const BATCH: usize = 512;
const PAUSES: Pauses = Pauses {
    spans: Duration::from_secs(5),
    metrics: Duration::from_secs(60),
    // Together less than a daemon waits for what ends beside its listeners.
    answer: Duration::from_secs(3),
    last: Duration::from_millis(1500),
    warnings: Duration::from_secs(60),
};

/// How long things wait.
#[derive(Debug, Clone, Copy)]
struct Pauses {
    /// Spans for others of their message.
    spans: Duration,
    /// Between two messages of metrics.
    metrics: Duration,
    /// For the collector's answer.
    answer: Duration,
    /// At the end of the process, for all of it.
    last: Duration,
    /// Between two warnings.
    warnings: Duration,
}

/// Takes spans of requests.
#[derive(Debug)]
struct Spans {
    share: f64,
    out: mpsc::Sender<Vec<Span>>,
    lost: Arc<AtomicU64>,
}

/// Sends what was taken.
pub struct Exporter {
    coming: mpsc::Receiver<Vec<Span>>,
    lost: Arc<AtomicU64>,
    target: Target,
    resource: Resource,
    pauses: Pauses,
    started: u64,
    warned: Option<Instant>,
}

/// What takes spans and what sends them; `None` where the settings name no collector.
///
/// # Errors
/// Where a collector cannot be asked as the settings and `variable` say.
pub fn open(
    settings: &Telemetry,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<(Arc<dyn Traces>, Exporter)>> {
    if settings.otlp.trim().is_empty() {
        return Ok(None);
    }
    let target = Target::new(settings.otlp.trim(), variable(target::HEADERS).as_deref())?;
    let more = variable(target::RESOURCE).unwrap_or_default();
    let more = target::pairs(target::RESOURCE, &more)?;
    let (out, coming) = mpsc::channel(WAITING);
    let lost = Arc::<AtomicU64>::default();
    let spans = Spans {
        share: settings.otlp_sample,
        out,
        lost: lost.clone(),
    };
    let exporter = Exporter {
        coming,
        lost,
        target,
        resource: messages::resource(&settings.service_name, more),
        pauses: PAUSES,
        started: unix_nanos(),
        warned: None,
    };
    Ok(Some((Arc::new(spans), exporter)))
}

impl Traces for Spans {
    fn ended(&self, request: &Ended<'_>) {
        if !is_kept(request.arrival.parent.as_ref(), self.share, rand::random()) {
            return;
        }
        // A place first: where there is none, nothing is drawn.
        let Ok(place) = self.out.try_reserve() else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let clock = Clock {
            at: Instant::now(),
            unix_nanos: unix_nanos(),
        };
        let names = Names {
            trace: named(),
            next: named,
        };
        place.send(spans_of(request, clock, names));
    }

    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// By chance; all zeros are no name.
fn named<const N: usize>() -> [u8; N] {
    loop {
        let mut name = [0; N];
        rand::fill(&mut name[..]);
        if name != [0; N] {
            return name;
        }
    }
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

impl Exporter {
    /// Sends until `stop`, and then what is left. `metrics` tells them as Prometheus reads them.
    pub async fn run(
        mut self,
        metrics: impl Fn() -> String + Send + Sync,
        stop: CancellationToken,
    ) {
        let mut batch = Vec::new();
        let mut flushes = interval(self.pauses.spans);
        let first = tokio::time::Instant::now() + self.pauses.metrics;
        let mut reports = interval_at(first, self.pauses.metrics);
        for ticks in [&mut flushes, &mut reports] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                spans = self.coming.recv() => match spans {
                    Some(spans) => {
                        batch.extend(spans);
                        if batch.len() >= BATCH {
                            self.send_spans(&mut batch).await;
                        }
                    }
                    None => break,
                },
                _ = flushes.tick() => self.send_spans(&mut batch).await,
                _ = reports.tick() => self.send_metrics(&metrics()).await,
            }
        }
        while let Ok(spans) = self.coming.try_recv() {
            batch.extend(spans);
        }
        let limit = self.pauses.last;
        let last = async {
            self.send_spans(&mut batch).await;
            self.send_metrics(&metrics()).await;
        };
        if timeout(limit, last).await.is_err() {
            tracing::warn!("the OpenTelemetry collector did not take the last of it in time");
        }
    }

    async fn send_spans(&mut self, batch: &mut Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let spans = std::mem::take(batch);
        // Counted as the requests they were of.
        let requests = spans.iter().filter(|span| !span.is_inner).count() as u64;
        let message = ExportTraceServiceRequest {
            resource_spans: vec![messages::spans(&self.resource, spans)],
        };
        let request = self.request(message);
        let mut client = TraceServiceClient::new(self.target.channel.clone());
        let answer = timeout(self.pauses.answer, client.export(request)).await;
        let answer = answer.map_err(|_| late()).and_then(|answer| answer);
        let told = match answer {
            Ok(answer) => answer.into_inner().partial_success,
            Err(status) => {
                self.lost.fetch_add(requests, Ordering::Relaxed);
                return self.warn("traces", status.message());
            }
        };
        if let Some(told) = told.filter(|told| told.rejected_spans > 0) {
            self.lost.fetch_add(requests, Ordering::Relaxed);
            self.warn("traces", &told.error_message);
        }
    }

    async fn send_metrics(&mut self, text: &str) {
        let (started, now) = (self.started, unix_nanos());
        let message = ExportMetricsServiceRequest {
            resource_metrics: vec![messages::metrics(
                &self.resource,
                families(text),
                started,
                now,
            )],
        };
        let request = self.request(message);
        let mut client = MetricsServiceClient::new(self.target.channel.clone());
        let answer = timeout(self.pauses.answer, client.export(request)).await;
        match answer.map_err(|_| late()).and_then(|answer| answer) {
            Err(status) => self.warn("metrics", status.message()),
            Ok(answer) => {
                let told = answer.into_inner().partial_success;
                if let Some(told) = told.filter(|told| told.rejected_data_points > 0) {
                    self.warn("metrics", &told.error_message);
                }
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.target.headers.clone();
        request.set_timeout(self.pauses.answer);
        request
    }

    /// Once in a while: a collector may be away for days.
    fn warn(&mut self, what: &'static str, why: &str) {
        let is_due = { self.warned }.is_none_or(|at| at.elapsed() >= self.pauses.warnings);
        if is_due {
            self.warned = Some(Instant::now());
            let why: String = why.chars().take(200).collect();
            let lost = self.lost.load(Ordering::Relaxed);
            tracing::warn!(
                what,
                why,
                lost,
                "the OpenTelemetry collector did not take them"
            );
        }
    }
}

fn late() -> Status {
    Status::deadline_exceeded("it did not answer in time")
}
