//! What the handle and the workers share: where things are kept, which jobs run, and how they are controlled.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, watch};

use super::create::PARENT;
use super::data::Length;
use super::fault::Fault;
use super::plan::{Parent, Plan};
use super::room::{Held, Room};
use super::served::Served;
use crate::adapter::peft;
use crate::adapter::{Fit, Precision};
use crate::device::{Budget, Part, Turns, machine};
use crate::domain::{JobEvent, JobId, Reason, Recipe};
use crate::kernels;
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
    /// Changes with every job that a worker has put away.
    pub settled: watch::Sender<()>,
    /// What the jobs that run hold, and what they may come to hold.
    pub memory: Mutex<HashMap<JobId, Held>>,
    /// Workers that have not ended.
    pub workers: watch::Sender<usize>,
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

    pub fn memory(&self) -> MutexGuard<'_, HashMap<JobId, Held>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that training holds, by part.
    pub fn held(&self) -> Vec<(Part, u64)> {
        let mut all: Vec<(Part, u64)> = Vec::new();
        for held in self.memory().values() {
            for (part, bytes) in held.budget.totals() {
                match all.iter_mut().find(|(of, _)| *of == part) {
                    Some((_, sum)) => *sum += bytes,
                    None => all.push((part, bytes)),
                }
            }
        }
        all
    }

    /// Memory for a job that begins, with training rows of these lengths; `None` where others that run have not left enough.
    ///
    /// # Errors
    /// As [`Plan::check_room`], where no other job runs.
    pub fn begin(
        &self,
        id: &JobId,
        plan: &Plan,
        rows: &[Length],
    ) -> Result<Option<Budget>, Reason> {
        let mut memory = self.memory();
        let (left, held) = (left(), held(&memory));
        let owed: u64 = memory.values().map(Held::owed).sum();
        let alone = Room::of(&plan.recipe, left.map(|left| left + held));
        let room = Room::of(&plan.recipe, left.map(|left| left.saturating_sub(owed)));
        let bytes_of = |room: Option<Room>| room.map_or(u64::MAX, |room| room.bytes);
        let bytes = bytes_of(room);
        let asked = plan.asked(&self.base, rows);
        if asked.min(bytes_of(alone)) > bytes {
            return Ok(None);
        }
        plan.check_room(&self.base, rows, room)?;
        let held = Held {
            budget: Budget::new(bytes),
            promised: asked.min(bytes),
        };
        let budget = held.budget.clone();
        memory.insert(id.clone(), held);
        Ok(Some(budget))
    }

    /// What a job may take that waits for its turn: what the jobs that run now hold will be free then.
    pub fn room(&self, recipe: &Recipe) -> Option<Room> {
        let held = held(&self.memory());
        Room::of(recipe, left().map(|left| left + held))
    }

    pub fn broadcast(&self, events: Vec<JobEvent>) {
        // Fails only where there are no listeners.
        events
            .into_iter()
            .for_each(|event| drop(self.live.send(event)));
    }
}

/// Bytes that could be taken, by the system's account or from what was freed here and is kept.
fn left() -> Option<u64> {
    machine::available().map(|left| left + kernels::kept_bytes())
}

/// Bytes that these jobs hold.
fn held(jobs: &HashMap<JobId, Held>) -> u64 {
    jobs.values().map(Held::held).sum()
}

/// Tells the workers what to do. It needs no runtime.
#[derive(Default)]
pub struct Control {
    state: Mutex<State>,
    condition: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Each with what becomes `true` to interrupt it.
    running: HashMap<JobId, Arc<AtomicBool>>,
    /// Jobs to be paused once their progress is saved.
    pausing: HashSet<JobId>,
    /// Times that there was something new to do.
    news: u64,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every wait for what comes after the news until now.
    pub fn notify(&self) {
        self.state().news += 1;
        self.condition.notify_all();
    }

    /// The number of the newest notification.
    pub fn news(&self) -> u64 {
        self.state().news
    }

    /// Waits for a notification after this one.
    pub fn wait(&self, heard: u64, longest: Duration) {
        let state = self.state();
        let waited = self
            .condition
            .wait_timeout_while(state, longest, |state| state.news == heard);
        drop(waited);
    }

    /// Interrupts whatever runs and takes no further job.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for interrupted in self.state().running.values() {
            interrupted.store(true, Ordering::Relaxed);
        }
        self.notify();
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Interrupts the job if it runs.
    pub fn interrupt(&self, id: &JobId) {
        self.state().interrupt(id);
        self.notify();
    }

    /// Interrupts the job, now or when it begins, to be paused.
    pub fn pause(&self, id: &JobId) {
        let mut state = self.state();
        state.pausing.insert(id.clone());
        state.interrupt(id);
        drop(state);
        self.notify();
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
        state.running.insert(id.clone(), interrupted.clone());
        interrupted
    }

    /// The job no longer runs.
    pub fn end(&self, id: &JobId) {
        self.state().running.remove(id);
    }
}

impl State {
    fn interrupt(&self, id: &JobId) {
        if let Some(interrupted) = self.running.get(id) {
            interrupted.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_reaches_jobs_that_run_and_those_about_to() {
        let control = Control::default();
        let (a, b) = (JobId::new("a"), JobId::new("b"));
        let running = control.begin(&a);
        control.pause(&b);
        assert!(!running.load(Ordering::Relaxed));
        control.pause(&a);
        assert!(running.load(Ordering::Relaxed));
        control.end(&a);
        assert!(control.begin(&b).load(Ordering::Relaxed));
        control.unpause(&b);
        assert!(!control.is_pausing(&b) && control.is_pausing(&a));
        assert!(!control.begin(&b).load(Ordering::Relaxed));
    }

    #[test]
    fn a_notification_before_the_wait_ends_it_for_all_who_have_not_heard_it() {
        let control = Control::default();
        let heard = control.news();
        control.notify();
        control.wait(heard, Duration::MAX);
        control.wait(heard, Duration::MAX);
        let began = std::time::Instant::now();
        control.wait(control.news(), Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn stopping_reaches_every_job_that_runs() {
        let control = Control::default();
        let both = ["a", "b"].map(|id| control.begin(&JobId::new(id)));
        control.stop();
        assert!(both.iter().all(|flag| flag.load(Ordering::Relaxed)));
    }
}
