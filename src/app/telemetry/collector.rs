//! What HTTP and gRPC see of telemetry: a scrape collects the parts' numbers, an answer is counted.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{Gauges, Metrics, doors, process};
use crate::api::{Common, grpc, http};
use crate::device::{Part, Turns};
use crate::domain::JobStatus;
use crate::gateway::Gateway;
use crate::model::Base;
use crate::registry::Registry;
use crate::scheduler::Scheduler;
use crate::trainer::Trainer;

pub struct Collector {
    pub metrics: Arc<Metrics>,
    pub base: Arc<Base>,
    pub registry: Registry,
    pub scheduler: Scheduler,
    pub turns: Turns,
    pub trainer: Trainer,
    pub gateway: Gateway,
    /// Adapters that one step can hold.
    pub max_adapters: usize,
    /// Read from the store now and then; a scrape must not wait for a database.
    pub jobs: Mutex<Vec<(JobStatus, u64)>>,
    /// Of all listeners.
    pub common: Common,
}

impl Collector {
    fn gauges(&self) -> Gauges {
        let load = self.scheduler.load();
        let (adapters, _) = self.registry.resident_bytes();
        let kv = load.kv_total as u64 * self.base.model.block_bytes(load.block_size);
        let resident: Vec<_> = self
            .registry
            .resident()
            .into_iter()
            .map(|(name, _, bytes, pinned)| (name.to_string(), pinned, bytes))
            .collect();
        Gauges {
            memory: self.memory(kv, adapters),
            max_adapters: self.max_adapters,
            jobs: self
                .jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            shares: self.turns.shares(),
            load,
            resident,
            limit_refusals: self.gateway.limit_refusals(),
        }
    }
}

impl Collector {
    /// Bytes by part: what serves, and what training holds beside it.
    fn memory(&self, kv: u64, adapters: u64) -> Vec<(&'static str, u64)> {
        let training = self.trainer.memory();
        let of_part = |part: Part| {
            let serves = match part {
                Part::Base => self.base.model.weight_bytes(),
                Part::Kv => kv,
                Part::Adapters => adapters,
                _ => 0,
            };
            let trains = training.iter().find(|(held, _)| *held == part);
            (part.name(), serves + trains.map_or(0, |(_, bytes)| *bytes))
        };
        Part::ALL.map(of_part).to_vec()
    }
}

impl http::Telemetry for Collector {
    fn exposition(&self) -> String {
        self.metrics
            .forget_adapters(|name| name.parse().is_ok_and(|name| self.registry.knows(&name)));
        let text = self.metrics.render(&self.gauges()).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics cannot be rendered");
            String::new()
        });
        text + &doors::exposition(&self.common, self.gateway.pressure()) + &process::exposition()
    }

    fn answered(&self, route: &'static str, code: u16, _took: Duration) {
        self.metrics.answered(route, &code.to_string());
    }
}

impl grpc::Telemetry for Collector {
    fn called(&self, route: &str, code: &'static str) {
        self.metrics.answered(route, code);
    }
}

/// Keeps the training metrics and job counts current.
pub async fn follow_jobs(collector: Arc<Collector>, trainer: Trainer, stop: CancellationToken) {
    let metrics = &collector.metrics;
    let mut events = trainer.watch();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut following = true;
    let mut training = HashSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                let counts = trainer.counts().await;
                *collector.jobs.lock().unwrap_or_else(PoisonError::into_inner) = counts;
                let mut ended = Vec::new();
                for job in &training {
                    if trainer.job(job).await.is_ok_and(|job| job.status.is_final()) {
                        metrics.job_ended(job.as_str());
                        ended.push(job.clone());
                    }
                }
                ended.iter().for_each(|job| { training.remove(job); });
            }
            event = events.recv(), if following => match event {
                Ok(event) => {
                    metrics.trained(&event);
                    training.insert(event.job);
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => following = false,
            },
        }
    }
}
