//! Feedback on answers, and learning from it.
//!
//! Every answer is remembered beside its stream (`capture`, `follower`) and written down by one task (`writer`); what callers
//! do with feedback is in `giving`, what rows it makes in `rows`, and how a name learns from it in `retrain` and `rules`.

mod capture;
mod follower;
mod giving;
mod retrain;
mod rows;
mod rules;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::store::{self, Answered, Bounds, Database, Kept};

pub use capture::Capture;
pub use giving::ExportAsk;
pub use retrain::RetrainAsk;
pub use rules::RetrainRule;

/// What is told of feedback while it comes.
pub trait Observe: Send + Sync {
    /// `adapter` is `None` for the base; `kind` is `up`, `down` or `correction`.
    fn given(&self, _adapter: Option<&str>, _kind: &'static str) {}
    /// An answer was not kept that was to be.
    fn dropped(&self) {}
}

/// Tells nobody.
pub struct Unobserved;

impl Observe for Unobserved {}

#[derive(Debug, Clone)]
pub struct Config {
    pub capture: Capture,
    /// For how long anything is kept.
    pub keep: Duration,
    /// Of prompts, answers and feedback, in bytes.
    pub max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capture: Capture::default(),
            keep: Duration::from_secs(30 * 86_400),
            max_bytes: 256 << 20,
        }
    }
}

/// Answers that are remembered without prompt and text, so that a score still counts for its generation.
const REMEMBERED: u64 = 200_000;
/// Answers that wait to be written down.
const WAITING: usize = 4096;
/// Texts that wait to be written down, in units of [`UNIT`] bytes.
const UNITS: usize = 64 << 10;
const UNIT: usize = 1024;
/// Bytes of a prompt and its answer together; longer ones are not kept.
const LONGEST: usize = 2 << 20;

/// Cheap to clone; every answer that runs holds one.
#[derive(Clone)]
pub struct Feedback {
    inner: Arc<Inner>,
}

struct Inner {
    stored: store::Feedback,
    capture: Capture,
    notes: mpsc::Sender<Note>,
    room: Arc<Semaphore>,
    /// Changes with all feedback that is given.
    news: watch::Sender<()>,
    /// Held while a job is made of feedback, so that no two are made of the same.
    retraining: tokio::sync::Mutex<()>,
    observe: Arc<dyn Observe>,
}

/// What the writer is told.
enum Note {
    Answered(Box<Answered>, Option<tokio::sync::OwnedSemaphorePermit>),
    /// Tell when all that came before is written.
    Settle(oneshot::Sender<()>),
}

impl Feedback {
    /// Also starts the task that writes answers down; it ends with the last handle.
    pub fn open(database: Database, config: Config, observe: Arc<dyn Observe>) -> Self {
        let bounds = Bounds {
            age: i64::try_from(config.keep.as_secs()).unwrap_or(i64::MAX),
            content: config.max_bytes,
            bare: REMEMBERED,
        };
        let stored = store::Feedback::new(database, bounds);
        let (notes, coming) = mpsc::channel(WAITING);
        tokio::spawn(writer::write(stored.clone(), coming));
        Self {
            inner: Arc::new(Inner {
                stored,
                capture: config.capture,
                notes,
                room: Arc::new(Semaphore::new(UNITS)),
                news: watch::channel(()).0,
                retraining: tokio::sync::Mutex::default(),
                observe,
            }),
        }
    }

    /// Resolves when every answer that was given until now is written down.
    pub async fn settle(&self) {
        let (done, written) = oneshot::channel();
        if self.inner.notes.send(Note::Settle(done)).await.is_ok() {
            // It ends only with the process.
            let _ = written.await;
        }
    }

    /// Hands an answer to the writer, and never waits for it: what there is no room for is not kept, and counted.
    fn note(&self, mut answered: Answered) {
        let bytes = answered.kept.as_ref().map_or(0, Kept::bytes);
        let room = match bytes {
            0 => None,
            bytes => {
                let units = bytes.div_ceil(UNIT).min(UNITS) as u32;
                let room = self.inner.room.clone().try_acquire_many_owned(units).ok();
                if bytes > LONGEST || room.is_none() {
                    answered.kept = None;
                    self.inner.observe.dropped();
                }
                room
            }
        };
        let was_kept = answered.kept.is_some();
        let note = Note::Answered(Box::new(answered), room);
        if self.inner.notes.try_send(note).is_err() && (was_kept || bytes == 0) {
            self.inner.observe.dropped();
        }
    }

    fn stored(&self) -> &store::Feedback {
        &self.inner.stored
    }
}
