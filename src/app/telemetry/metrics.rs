//! The Prometheus metrics, by the names users rely on.

mod feedback;
mod grammar;
mod limits;
mod observe;
mod routes;
mod sharing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec,
    Opts, TextEncoder,
};

use self::feedback::Feedback;
use self::grammar::Grammar;
use self::limits::Limits;
use self::routes::Routes;
use self::sharing::Sharing;
use super::labels::Labels;
use crate::device::Shares;
use crate::domain::{AdapterName, EventData, JobEvent, JobStatus};
use crate::registry;
use crate::scheduler::Load;

/// What is read at the moment of a scrape rather than counted on the way.
pub struct Gauges {
    pub load: Load,
    pub shares: Shares,
    /// `(name, pinned, bytes)` of adapters in memory.
    pub resident: Vec<(String, bool, u64)>,
    pub max_adapters: usize,
    pub jobs: Vec<(JobStatus, u64)>,
    /// `(part, bytes)`
    pub memory: Vec<(&'static str, u64)>,
    /// `(limit, times)` that it was met.
    pub limit_refusals: Vec<(&'static str, u64)>,
}

/// Every metric of the process.
pub struct Metrics {
    registry: prometheus::Registry,
    adapters: Labels,
    requests: IntCounterVec,
    tokens: IntCounterVec,
    first_token: Histogram,
    inter_token: Histogram,
    request_duration: Histogram,
    batch_rows: Histogram,
    batch_adapters: Histogram,
    step_seconds: Histogram,
    queue_depth: Gauge,
    kv_blocks: IntGaugeVec,
    prefix_queries: IntCounter,
    prefix_hits: IntCounter,
    drafted: IntCounter,
    accepted: IntCounter,
    adapter_loaded: IntGaugeVec,
    adapter_load: Histogram,
    swap: Histogram,
    jobs: IntGaugeVec,
    memory: IntGaugeVec,
    train: Train,
    limits: Limits,
    sharing: Sharing,
    feedback: Feedback,
    routes: Routes,
    grammar: Grammar,
}

struct Train {
    step: GaugeVec,
    loss: GaugeVec,
    learning_rate: GaugeVec,
    tokens_total: IntCounterVec,
    tokens_per_second: GaugeVec,
    loss_scale: GaugeVec,
    skipped_steps_total: IntCounterVec,
}

/// What a token was, in the order of a request's usage.
const KINDS: [&str; 3] = ["prompt", "generated", "cached"];
const LATENCY: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
const COUNTS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

impl Metrics {
    /// `adapter_labels`: adapters with labels of their own.
    pub fn new(adapter_labels: usize) -> prometheus::Result<Self> {
        let registry = prometheus::Registry::new();
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let made =
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let counter = |name: &str, help: &str| {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let int_gauges = |name: &str, help: &str, labels: &[&str]| {
            let made = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let job_gauge = |name: &str, help: &str| {
            let made = GaugeVec::new(Opts::new(name, help), &["job"])?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let queue_depth = Gauge::new("adapterd_queue_depth", "Requests that wait for the engine")?;
        registry.register(Box::new(queue_depth.clone()))?;
        Ok(Self {
            adapters: Labels::new(adapter_labels),
            requests: counters(
                "adapterd_requests_total",
                "Requests answered",
                &["route", "code"],
            )?,
            tokens: counters(
                "adapterd_tokens_total",
                "Tokens by what they were",
                &["adapter", "kind"],
            )?,
            first_token: histogram(
                "adapterd_time_to_first_token_seconds",
                "From arrival to the first token",
                LATENCY,
            )?,
            inter_token: histogram(
                "adapterd_inter_token_latency_seconds",
                "Between two tokens of one answer",
                LATENCY,
            )?,
            request_duration: histogram(
                "adapterd_request_duration_seconds",
                "From arrival to the end of the answer",
                LATENCY,
            )?,
            batch_rows: histogram("adapterd_batch_rows", "Rows of a step", COUNTS)?,
            batch_adapters: histogram(
                "adapterd_batch_adapters",
                "Different adapters of a step",
                COUNTS,
            )?,
            step_seconds: histogram("adapterd_step_seconds", "Duration of a step", LATENCY)?,
            queue_depth,
            kv_blocks: int_gauges(
                "adapterd_kv_blocks",
                "Blocks of the key/value cache",
                &["state"],
            )?,
            prefix_queries: counter(
                "adapterd_prefix_cache_queries_tokens_total",
                "Prompt tokens of requests that began",
            )?,
            prefix_hits: counter(
                "adapterd_prefix_cache_hits_tokens_total",
                "Of these, those that were found computed",
            )?,
            drafted: counter(
                "adapterd_speculation_drafted_tokens_total",
                "Guessed tokens that steps verified",
            )?,
            accepted: counter(
                "adapterd_speculation_accepted_tokens_total",
                "Of these, those that were right",
            )?,
            adapter_loaded: int_gauges(
                "adapterd_adapter_loaded",
                "1 for each adapter in memory",
                &["adapter", "tier", "pinned"],
            )?,
            adapter_load: histogram(
                "adapterd_adapter_load_seconds",
                "From disk into memory, checks included",
                LATENCY,
            )?,
            swap: histogram(
                "adapterd_swap_seconds",
                "Moving a name to another version, until every request sees it",
                LATENCY,
            )?,
            jobs: int_gauges("adapterd_jobs", "Fine-tuning jobs", &["state"])?,
            memory: int_gauges(
                "adapterd_memory_bytes",
                "Memory by what it holds",
                &["part"],
            )?,
            train: Train {
                step: job_gauge("adapterd_train_step", "Optimizer steps done")?,
                loss: job_gauge("adapterd_train_loss", "Token mean of the newest step")?,
                learning_rate: job_gauge("adapterd_train_learning_rate", "Of the newest step")?,
                tokens_total: counters(
                    "adapterd_train_tokens_total",
                    "Tokens read by training, trained on or not",
                    &["job"],
                )?,
                tokens_per_second: job_gauge(
                    "adapterd_train_tokens_per_second",
                    "Of the newest step",
                )?,
                loss_scale: job_gauge("adapterd_train_loss_scale", "Of the newest step")?,
                skipped_steps_total: counters(
                    "adapterd_train_skipped_steps_total",
                    "Steps left out for a loss or gradient that was not finite",
                    &["job"],
                )?,
            },
            limits: Limits::register(&registry)?,
            sharing: Sharing::register(&registry)?,
            feedback: Feedback::register(&registry)?,
            routes: Routes::register(&registry)?,
            grammar: Grammar::register(&registry)?,
            registry,
        })
    }

    /// Counts an answered request. `route` is of a fixed set, never a caller's path; `code` is as its protocol says it.
    pub fn answered(&self, route: &str, code: &str) {
        self.requests.with_label_values(&[route, code]).inc();
    }

    /// Follows a job by its events.
    pub fn trained(&self, event: &JobEvent) {
        let EventData::Step(step) = &event.data else {
            return;
        };
        let job = [event.job.as_str()];
        let set = |gauge: &GaugeVec, value: Option<f64>| {
            if let Some(value) = value {
                gauge.with_label_values(&job).set(value);
            }
        };
        let train = &self.train;
        set(&train.step, Some(step.step as f64));
        set(&train.loss, step.train_loss);
        set(&train.learning_rate, Some(step.learning_rate));
        set(&train.tokens_per_second, Some(step.tokens_per_second));
        set(&train.loss_scale, step.loss_scale);
        let add = |counter: &IntCounterVec, more| counter.with_label_values(&job).inc_by(more);
        add(&train.tokens_total, step.tokens);
        add(&train.skipped_steps_total, step.skipped.into());
    }

    /// A finished job's series go, so that a long life does not collect them.
    pub fn job_ended(&self, job: &str) {
        let train = &self.train;
        let gauges = [
            &train.step,
            &train.loss,
            &train.learning_rate,
            &train.tokens_per_second,
            &train.loss_scale,
        ];
        // Removing what was never set is no mistake: a job may end before its first step.
        for gauge in gauges {
            let _ = gauge.remove_label_values(&[job]);
        }
        for counter in [&train.tokens_total, &train.skipped_steps_total] {
            let _ = counter.remove_label_values(&[job]);
        }
    }

    /// The label of an adapter.
    fn label<'a>(&self, name: &'a AdapterName) -> &'a str {
        self.adapters.of(name.as_str())
    }

    /// Adapters that are gone give their labels to others, and their series go.
    pub fn forget_adapters(&self, exists: impl Fn(&str) -> bool) {
        let exists = |name: &str| name == registry::BLENDS || exists(name);
        for name in self.adapters.release(exists) {
            self.feedback.forget(&name);
            self.routes.forget(&name);
            for kind in KINDS {
                // Absent where no request has ended yet.
                let _ = self.tokens.remove_label_values(&[name.as_str(), kind]);
            }
        }
    }

    /// The text exposition, with `now`'s gauges.
    pub fn render(&self, now: &Gauges) -> prometheus::Result<String> {
        self.queue_depth.set(now.load.waiting as f64);
        self.sharing.show(&now.shares);
        let kv = |state: &str, blocks: usize| {
            self.kv_blocks
                .with_label_values(&[state])
                .set(blocks as i64);
        };
        kv("used", now.load.kv_used);
        kv("cached", now.load.kv_cached);
        let taken = now.load.kv_used + now.load.kv_cached;
        kv("free", now.load.kv_total.saturating_sub(taken));
        self.adapter_loaded.reset();
        for (name, pinned, _) in &now.resident {
            let pinned = if *pinned { "true" } else { "false" };
            self.adapter_loaded
                .with_label_values(&[self.adapters.of(name), "resident", pinned])
                .set(1);
        }
        for (status, count) in &now.jobs {
            self.jobs
                .with_label_values(&[status.as_str()])
                .set(*count as i64);
        }
        self.limits.show(&now.limit_refusals);
        for (part, bytes) in &now.memory {
            self.memory.with_label_values(&[*part]).set(*bytes as i64);
        }
        let mut bytes = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut bytes)?;
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        gateway_names(&mut text, now, self.adapters.most());
        Ok(text)
    }
}

/// The names that inference gateways read from any engine. One series each, so that stale label sets never linger.
/// `most`: adapters one label lists.
fn gateway_names(text: &mut String, now: &Gauges, most: usize) {
    let load = &now.load;
    let usage = load.kv_used as f64 / load.kv_total.max(1) as f64;
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64());
    // The protocol's `running` means loaded and ready, busy or not; the busy ones matter most.
    let loaded = now.resident.iter().map(|(name, ..)| name);
    let ready = listed(load.running_adapters.iter().chain(loaded), most);
    let waiting = listed(load.waiting_adapters.iter(), most);
    let rows = [
        (
            "vllm:num_requests_waiting",
            "Requests that wait for the engine",
            String::new(),
            load.waiting as f64,
        ),
        (
            "vllm:num_requests_running",
            "Requests the engine works on",
            String::new(),
            load.running as f64,
        ),
        (
            "vllm:kv_cache_usage_perc",
            "Share of the key/value cache that requests hold, 0 to 1",
            String::new(),
            usage,
        ),
        (
            "vllm:cache_config_info",
            "Size of the key/value cache, in its labels",
            format!(
                "{{block_size=\"{}\",num_gpu_blocks=\"{}\"}}",
                load.block_size, load.kv_total
            ),
            1.0,
        ),
        (
            "vllm:lora_requests_info",
            "Adapters ready and waited for, in its labels; the value is the time of day",
            format!(
                "{{max_lora=\"{}\",running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\"}}",
                now.max_adapters, ready, waiting
            ),
            seconds,
        ),
    ];
    for (name, help, labels, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}"
        );
    }
}

/// The first `most` different names, in order.
fn listed<'a>(names: impl Iterator<Item = &'a String>, most: usize) -> String {
    let mut found = BTreeSet::new();
    for name in names {
        if found.len() == most {
            break;
        }
        found.insert(name.as_str());
    }
    found.into_iter().collect::<Vec<_>>().join(",")
}
