//! telemetry: logs and metrics. Observes; never decides.

mod collector;
mod doors;
mod labels;
mod log;
mod metrics;
mod process;

pub use collector::{Collector, follow_jobs};
pub use log::start as start_log;
pub use metrics::{Gauges, Metrics};
