//! telemetry: logs and metrics. Observes; never decides.

mod collector;
mod doors;
#[cfg(any(test, feature = "otlp"))]
mod families;
mod labels;
mod log;
mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
mod process;
#[cfg(any(test, feature = "otlp"))]
mod spans;

pub use collector::{Collector, follow_jobs};
pub use log::start as start_log;
pub use metrics::{Gauges, Metrics};
