//! How training and serving share the processor.

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, Registry};

use crate::device::Shares;

/// Seconds of slices, from what is hardly worth waking for to what is paid of a share that was owed.
const SLICES: &[f64] = &[
    0.000_25, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25,
];

pub struct Sharing {
    slice: Histogram,
    share: Gauge,
    longest: Gauge,
    yields: IntCounter,
}

impl Sharing {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let slice = HistogramOpts::new(
            "adapterd_train_slice_seconds",
            "Training between two serving steps",
        );
        let made = Self {
            slice: Histogram::with_opts(slice.buckets(SLICES.to_vec()))?,
            share: Gauge::new(
                "adapterd_train_share",
                "Of the last seconds, what training had of the processor, 0 to 1",
            )?,
            longest: Gauge::new(
                "adapterd_train_longest_slice_seconds",
                "What training may now add to a gap between two tokens, at most",
            )?,
            yields: IntCounter::new(
                "adapterd_train_yields_total",
                "Times a thread of training stopped for a serving step",
            )?,
        };
        registry.register(Box::new(made.slice.clone()))?;
        registry.register(Box::new(made.share.clone()))?;
        registry.register(Box::new(made.longest.clone()))?;
        registry.register(Box::new(made.yields.clone()))?;
        Ok(made)
    }

    pub fn sliced(&self, seconds: f64) {
        self.slice.observe(seconds);
    }

    pub fn show(&self, now: &Shares) {
        self.share.set(now.training);
        self.longest.set(now.longest_slice.as_secs_f64());
        self.yields
            .inc_by(now.yields.saturating_sub(self.yields.get()));
    }
}
