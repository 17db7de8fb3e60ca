//! What registry and scheduler tell.

use super::{KINDS, Metrics};
use crate::domain::Usage;
use crate::{registry, scheduler};

impl registry::Observe for Metrics {
    fn loaded(&self, seconds: f64) {
        self.adapter_load.observe(seconds);
    }

    fn swapped(&self, seconds: f64) {
        self.swap.observe(seconds);
    }
}

impl scheduler::Observe for Metrics {
    fn step(&self, seconds: f64, rows: usize, adapters: usize) {
        self.step_seconds.observe(seconds);
        self.batch_rows.observe(rows as f64);
        self.batch_adapters.observe(adapters as f64);
    }

    fn sliced(&self, seconds: f64) {
        self.sharing.sliced(seconds);
    }

    fn first_token(&self, seconds: f64) {
        self.first_token.observe(seconds);
    }

    fn inter_token(&self, seconds: f64) {
        self.inter_token.observe(seconds);
    }

    fn reused(&self, prompt: usize, found: usize) {
        self.prefix_queries.inc_by(prompt as u64);
        self.prefix_hits.inc_by(found as u64);
    }

    fn speculated(&self, drafted: usize, accepted: usize) {
        self.drafted.inc_by(drafted as u64);
        self.accepted.inc_by(accepted as u64);
    }

    fn masked(&self, seconds: f64) {
        self.grammar.masked(seconds);
    }

    fn request(&self, seconds: f64, adapter: Option<&str>, usage: Usage) {
        self.request_duration.observe(seconds);
        let adapter = adapter.map_or("none", |name| self.adapters.of(name));
        let counts = [usage.prompt, usage.generated, usage.cached];
        for (kind, count) in KINDS.into_iter().zip(counts) {
            self.tokens
                .with_label_values(&[adapter, kind])
                .inc_by(count as u64);
        }
    }
}
