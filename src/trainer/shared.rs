//! What the handle and the worker share: where things are kept, which job runs, and what is asked of it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, watch};

use crate::device::Turns;
use crate::domain::{JobEvent, JobId};
use crate::model::Base;
use crate::registry::Registry;
use crate::store::{Jobs, Uploads};

pub struct Shared {
    pub store: Jobs,
    pub base: Arc<Base>,
    pub registry: Registry,
    pub turns: Turns,
    pub uploads: Uploads,
    /// A folder for each job.
    pub jobs: PathBuf,
    pub live: broadcast::Sender<JobEvent>,
    /// Jobs whose data may be read and checked at the same time.
    pub checks: Arc<Semaphore>,
    pub asked: Asked,
    /// Changes with every job that the worker has put away.
    pub settled: watch::Sender<()>,
    /// `true` once the worker has ended.
    pub ended: watch::Sender<bool>,
}

impl Shared {
    pub fn job_folder(&self, id: &JobId) -> PathBuf {
        self.jobs.join(id.as_str())
    }

    /// 64 hex digits.
    pub fn base_digest(&self) -> String {
        blake3::Hash::from_bytes(self.base.digest).to_string()
    }

    pub fn tell(&self, events: Vec<JobEvent>) {
        // Nobody listening is no fault.
        events
            .into_iter()
            .for_each(|event| drop(self.live.send(event)));
    }
}

/// What is asked of the worker. It needs no runtime.
#[derive(Default)]
pub struct Asked {
    state: Mutex<State>,
    bell: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    current: Option<(JobId, Arc<AtomicBool>)>,
    /// Jobs to be paused once their progress is saved.
    pausing: HashSet<JobId>,
    /// There may be something to do.
    rung: bool,
}

impl Asked {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Heard once, by whoever waits now or next.
    pub fn ring(&self) {
        self.state().rung = true;
        self.bell.notify_all();
    }

    /// Waits for the bell.
    pub fn wait(&self, longest: Duration) {
        let state = self.state();
        let waited = self
            .bell
            .wait_timeout_while(state, longest, |state| !state.rung);
        waited.unwrap_or_else(PoisonError::into_inner).0.rung = false;
    }

    /// Interrupts whatever runs and takes no further job.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some((_, interrupted)) = &self.state().current {
            interrupted.store(true, Ordering::Relaxed);
        }
        self.ring();
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Interrupts the job if it is the one that runs.
    pub fn interrupt(&self, id: &JobId) {
        self.state().interrupt(id);
    }

    /// Interrupts the job, now or when it begins, to be paused.
    pub fn pause(&self, id: &JobId) {
        let mut state = self.state();
        state.pausing.insert(id.clone());
        state.interrupt(id);
    }

    /// Takes a pause back that has not happened yet.
    pub fn unpause(&self, id: &JobId) {
        self.state().pausing.remove(id);
    }

    pub fn is_pausing(&self, id: &JobId) -> bool {
        self.state().pausing.contains(id)
    }

    /// The job runs from here on; what is returned becomes `true` to interrupt it.
    pub fn begin(&self, id: &JobId) -> Arc<AtomicBool> {
        let mut state = self.state();
        let interrupted = Arc::new(AtomicBool::new(state.pausing.contains(id)));
        state.current = Some((id.clone(), interrupted.clone()));
        interrupted
    }

    /// The job no longer runs.
    pub fn end(&self) {
        self.state().current = None;
    }
}

impl State {
    fn interrupt(&self, id: &JobId) {
        if let Some((current, interrupted)) = &self.current
            && current == id
        {
            interrupted.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_reaches_the_job_that_runs_and_the_one_about_to() {
        let asked = Asked::default();
        let (a, b) = (JobId::new("a"), JobId::new("b"));
        let running = asked.begin(&a);
        asked.pause(&b);
        assert!(!running.load(Ordering::Relaxed));
        asked.pause(&a);
        assert!(running.load(Ordering::Relaxed));
        asked.end();
        assert!(asked.begin(&b).load(Ordering::Relaxed));
        asked.unpause(&b);
        assert!(!asked.is_pausing(&b) && asked.is_pausing(&a));
        assert!(!asked.begin(&b).load(Ordering::Relaxed));
    }

    #[test]
    fn a_bell_rung_before_anybody_waits_is_heard_once() {
        let asked = Asked::default();
        asked.ring();
        asked.wait(Duration::MAX);
        assert!(!asked.state().rung);
    }
}
