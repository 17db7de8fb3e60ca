//! What answers with a form to keep cost.

use prometheus::{Histogram, HistogramOpts, IntCounter, Registry};

use super::Metrics;
use crate::text::grammar::Observe;

/// Seconds of compiling, up to where it is given up, and of finding what may come next.
const COMPILING: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];
const MASKS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.1,
];

pub struct Grammar {
    compiling: Histogram,
    masks: Histogram,
    queries: IntCounter,
    hits: IntCounter,
}

impl Grammar {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let made = Histogram::with_opts(options)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let counter = |name: &str, help: &str| {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        Ok(Self {
            compiling: histogram(
                "adapterd_grammar_compile_seconds",
                "Compiling a schema, an expression or a grammar",
                COMPILING,
            )?,
            masks: histogram(
                "adapterd_grammar_mask_seconds",
                "Finding the tokens that may come next in one answer, beside the model's own work",
                MASKS,
            )?,
            queries: counter(
                "adapterd_grammar_cache_queries_total",
                "Prompts whose answers must have a form",
            )?,
            hits: counter(
                "adapterd_grammar_cache_hits_total",
                "Of these, those whose form was found compiled",
            )?,
        })
    }

    pub fn compiled(&self, seconds: f64) {
        self.compiling.observe(seconds);
    }

    pub fn masked(&self, seconds: f64) {
        self.masks.observe(seconds);
    }

    pub fn looked_up(&self, found: bool) {
        self.queries.inc();
        self.hits.inc_by(found.into());
    }
}

impl Observe for Metrics {
    fn compiled(&self, seconds: f64) {
        self.grammar.compiled(seconds);
    }

    fn looked_up(&self, found: bool) {
        self.grammar.looked_up(found);
    }
}
