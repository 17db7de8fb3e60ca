//! What the handle and the worker share: where things are kept, which job runs, and how it is controlled.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, watch};

use super::create::PARENT;
use super::fault::Fault;
use super::plan::Parent;
use super::served::Served;
use crate::adapter::peft;
use crate::adapter::{Fit, Precision};
use crate::device::{Budget, Part, Turns};
use crate::domain::{JobEvent, JobId, Reason};
use crate::model::Base;
use crate::registry::Registry;
use crate::store::{Artefacts, JobRow, Jobs, Uploads};

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
    pub control: Control,
    pub served: Served,
    /// Changes with every job that the worker has put away.
    pub settled: watch::Sender<()>,
    /// What the job that runs holds, by part.
    pub memory: Mutex<Option<Budget>>,
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

    /// What adapters of this base are read under when they are served.
    pub fn fit(&self) -> Fit<'_> {
        self.base.fit(usize::MAX, self.registry.precision())
    }

    /// The adapter that a job continues, as it was when the job was created.
    pub fn parent(&self, job: &JobRow) -> Result<Option<Parent>, Fault> {
        if job.view.recipe.from.is_none() {
            return Ok(None);
        }
        let kept = Artefacts::within(&self.job_folder(&job.view.id));
        let mut files = peft::Files::new();
        let config = kept.read(PARENT, peft::CONFIG_FILE, u64::MAX)?;
        files.insert(peft::CONFIG_FILE.to_owned(), config.into());
        let weights = peft::WEIGHTS_FILES.into_iter();
        for name in weights.chain([peft::ENCODER_FILE]) {
            match kept.read(PARENT, name, u64::MAX) {
                Ok(bytes) => drop(files.insert(name.to_owned(), bytes.into())),
                // Each adapter has some of them; what it lacks is missed when it is read.
                Err(fault) if fault.kind() == ErrorKind::NotFound => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        let adapter = peft::read(&files, &self.base.fit(usize::MAX, Precision::Exact))
            .map_err(|fault| Reason::adapter(format!("from.{}", fault.field), fault.why))?;
        Ok(Some(Parent {
            adapter: Arc::new(adapter),
            generation: job.parent,
        }))
    }

    fn memory(&self) -> MutexGuard<'_, Option<Budget>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on a job holds this, or none.
    pub fn holds(&self, budget: Option<Budget>) {
        *self.memory() = budget;
    }

    /// Bytes that training holds, by part.
    pub fn held(&self) -> Vec<(Part, u64)> {
        let budget = self.memory();
        budget
            .as_ref()
            .map_or_else(Vec::new, |budget| budget.totals().to_vec())
    }

    pub fn broadcast(&self, events: Vec<JobEvent>) {
        // Fails only where there are no listeners.
        events
            .into_iter()
            .for_each(|event| drop(self.live.send(event)));
    }
}

/// Tells the worker what to do. It needs no runtime.
#[derive(Default)]
pub struct Control {
    state: Mutex<State>,
    condition: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    current: Option<(JobId, Arc<AtomicBool>)>,
    /// Jobs to be paused once their progress is saved.
    pausing: HashSet<JobId>,
    /// There may be something to do.
    notified: bool,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends one wait: the one under way, or else the next.
    pub fn notify(&self) {
        self.state().notified = true;
        self.condition.notify_all();
    }

    /// Waits for a notification.
    pub fn wait(&self, longest: Duration) {
        let state = self.state();
        let waited = self
            .condition
            .wait_timeout_while(state, longest, |state| !state.notified);
        waited.unwrap_or_else(PoisonError::into_inner).0.notified = false;
    }

    /// Interrupts whatever runs and takes no further job.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some((_, interrupted)) = &self.state().current {
            interrupted.store(true, Ordering::Relaxed);
        }
        self.notify();
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
        let control = Control::default();
        let (a, b) = (JobId::new("a"), JobId::new("b"));
        let running = control.begin(&a);
        control.pause(&b);
        assert!(!running.load(Ordering::Relaxed));
        control.pause(&a);
        assert!(running.load(Ordering::Relaxed));
        control.end();
        assert!(control.begin(&b).load(Ordering::Relaxed));
        control.unpause(&b);
        assert!(!control.is_pausing(&b) && control.is_pausing(&a));
        assert!(!control.begin(&b).load(Ordering::Relaxed));
    }

    #[test]
    fn a_notification_before_the_wait_ends_it_and_no_other() {
        let control = Control::default();
        control.notify();
        control.wait(Duration::MAX);
        assert!(!control.state().notified);
    }
}
