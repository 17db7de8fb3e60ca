//! Whose turn it is. Serving goes first: training works in short tiles, and passes a gate before each. The gate is open
//! while serving has nothing to do, shut while a step runs or is about to, and opens for a slice between two steps where
//! [`Pacing`] says so. What a tile computes does not depend on when it runs.

mod gaps;
mod pacing;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use pacing::{Coming, Sharing};

use pacing::{Pacing, Trainer};

/// Work beside serving rests so many times as long as it worked: a step takes at most a seventh longer for it.
const REST_PER_WORK: u32 = 6;
/// A slice that was longer than it should be must not make it rest for ever.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// Training that had a turn so lately is still at it.
const LATELY: Duration = Duration::from_millis(100);
/// After serving, training leaves the processor after each tile for so long to whoever wants it: what takes requests in
/// and sends tokens out must not wait for the system's next look at who runs.
const POLITE: Duration = Duration::from_secs(2);
/// A tile that took longer was itself held up.
const LONGEST_TILE: Duration = Duration::from_millis(1);

/// The gate: a time from which on it is shut, in nanoseconds, or one of these.
const SHUT: u64 = 0;
const OPEN: u64 = u64::MAX;

/// A handle to the turns of one device; clones share them.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Table>);

#[derive(Debug)]
struct Table {
    began: Instant,
    gate: AtomicU64,
    /// Serving steps that run now.
    serving: AtomicUsize,
    /// Training threads that wait now.
    waiting: AtomicUsize,
    /// When training last passed the gate or ended a tile, and how long its longer tiles are, in nanoseconds.
    trained: AtomicU64,
    tile: AtomicU64,
    /// When serving last began or ended a step, in nanoseconds; 0 where it never did.
    served: AtomicU64,
    /// Times that training stopped for serving.
    yields: AtomicU64,
    pacing: Mutex<Pacing>,
    /// Guards the wait for the gate: it opens under it, so that no waiting thread misses that.
    changing: Mutex<()>,
    free: Condvar,
}

/// Serving holds the device until this ends or is dropped.
#[derive(Debug)]
pub struct ServingTurn {
    table: Arc<Table>,
    given: Duration,
    more: bool,
}

/// How serving and training share the processor at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shares {
    /// What training had of the last seconds, 0 to 1.
    pub training: f64,
    /// Times that training stopped for serving.
    pub yields: u64,
    /// What training may now add to a gap between two tokens, at most.
    pub longest_slice: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(Sharing::default())
    }
}

impl Table {
    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pacing(&self) -> MutexGuard<'_, Pacing> {
        self.pacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds, never 0.
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64 + 1
    }

    fn trainer(&self, now: u64) -> Trainer {
        let trained = self.trained.load(Ordering::Relaxed);
        Trainer {
            waits: self.waiting.load(Ordering::SeqCst) > 0,
            works: trained > 0 && now.saturating_sub(trained) < LATELY.as_nanos() as u64,
        }
    }

    /// Whether a tile may begin now.
    fn is_free(&self, now: u64) -> bool {
        match self.gate.load(Ordering::SeqCst) {
            OPEN => true,
            SHUT => false,
            shut_from => now + self.tile.load(Ordering::Relaxed) / 2 < shut_from,
        }
    }

    fn open(&self, gate: u64) {
        let _changing = self.changing();
        self.gate.store(gate, Ordering::SeqCst);
        self.free.notify_all();
    }

    fn shut(&self, now: u64) {
        self.served.store(now, Ordering::Relaxed);
        self.gate.store(SHUT, Ordering::SeqCst);
    }

    /// Waits until a tile may begin.
    fn wait(&self) {
        self.yields.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut changing = self.changing();
        while !self.is_free(self.now()) {
            changing = self
                .free
                .wait(changing)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Turns {
    pub fn new(sharing: Sharing) -> Self {
        Self(Arc::new(Table {
            began: Instant::now(),
            gate: AtomicU64::new(OPEN),
            serving: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            trained: AtomicU64::new(0),
            tile: AtomicU64::new(0),
            served: AtomicU64::new(0),
            yields: AtomicU64::new(0),
            pacing: Mutex::new(Pacing::new(sharing)),
            changing: Mutex::default(),
            free: Condvar::new(),
        }))
    }

    /// Taken for one serving step, after a slice of training where one is due. Waits for no tile that goes on beyond its
    /// slice.
    pub fn serving(&self, coming: Coming) -> ServingTurn {
        let table = &self.0;
        let given = self.slice(coming);
        table.shut(table.now());
        table.serving.fetch_add(1, Ordering::SeqCst);
        ServingTurn {
            table: table.clone(),
            given,
            more: false,
        }
    }

    /// Serving has nothing to do until something arrives.
    pub fn idle(&self) {
        if self.0.serving.load(Ordering::SeqCst) == 0 {
            self.0.open(OPEN);
        }
    }

    /// Lets training work before a step, where that is due; returns for how long.
    fn slice(&self, coming: Coming) -> Duration {
        let table = &self.0;
        let begun = table.now();
        let trainer = table.trainer(begun);
        let tile = seconds(table.tile.load(Ordering::Relaxed));
        let slice = { table.pacing() }.before(seconds(begun), coming, trainer, tile);
        if slice <= 0.0 {
            return Duration::ZERO;
        }
        let slice = Duration::from_secs_f64(slice);
        table.open(begun + slice.as_nanos() as u64);
        std::thread::sleep(slice);
        let ended = table.now();
        table.shut(ended);
        let given = Duration::from_nanos(ended - begun);
        table.pacing().given(given.as_secs_f64());
        given
    }

    /// Called by training between two pieces of work: returns at once while the gate is open, else when it opens.
    pub fn give_way(&self) {
        let table = &self.0;
        if !table.is_free(table.now()) {
            table.wait();
        }
        // After the wait: training is at it since then.
        let now = table.now();
        table.trained.store(now, Ordering::Relaxed);
        let served = table.served.load(Ordering::Relaxed);
        if served > 0 && now.saturating_sub(served) < POLITE.as_nanos() as u64 {
            std::thread::yield_now();
        }
    }

    /// One tile of training, in its turn.
    pub fn tile<R>(&self, work: impl FnOnce() -> R) -> R {
        self.give_way();
        let table = &self.0;
        let begun = table.now();
        let done = work();
        let ended = table.now();
        table.trained.store(ended, Ordering::Relaxed);
        let took = (ended - begun).min(LONGEST_TILE.as_nanos() as u64);
        // Longer tiles count sooner than shorter ones. Threads may overwrite each other's: it is an estimate.
        let known = table.tile.load(Ordering::Relaxed);
        let next = match took > known {
            true => known + (took - known) / 4,
            false => known - (known - took) / 32,
        };
        table.tile.store(next, Ordering::Relaxed);
        done
    }

    /// Called by work beside serving after each slice of it, which took `worked`: returns at once when no serving turn is
    /// held, else after a rest. Such work goes on under any load, slowly.
    pub fn stand_back(&self, worked: Duration) {
        let rest = self.rest(worked);
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }

    /// The rest that is due after so much work beside serving.
    pub fn rest(&self, worked: Duration) -> Duration {
        match self.0.serving.load(Ordering::SeqCst) {
            0 => Duration::ZERO,
            _ => (worked * REST_PER_WORK).min(LONGEST_REST),
        }
    }

    pub fn shares(&self) -> Shares {
        let table = &self.0;
        let now = table.now();
        let trainer = table.trainer(now);
        let pacing = table.pacing();
        Shares {
            training: pacing.share(seconds(now), trainer),
            yields: table.yields.load(Ordering::Relaxed),
            longest_slice: Duration::from_secs_f64(pacing.longest()),
        }
    }

    /// Training waits now.
    #[cfg(test)]
    pub(crate) fn training_waits(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) > 0
    }
}

impl ServingTurn {
    /// What training had before the step.
    pub fn given(&self) -> Duration {
        self.given
    }

    /// The step is done. Where `more` is to be served at once, training goes on waiting: what lies between two steps is
    /// too short for a tile.
    pub fn end(mut self, more: bool) {
        self.more = more;
    }
}

impl Drop for ServingTurn {
    fn drop(&mut self) {
        let table = &self.table;
        let now = table.now();
        table.served.store(now, Ordering::Relaxed);
        table.pacing().after(seconds(now), self.more);
        if table.serving.fetch_sub(1, Ordering::SeqCst) == 1 && !self.more {
            table.open(OPEN);
        }
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 * 1e-9
}

#[cfg(test)]
mod tests;
