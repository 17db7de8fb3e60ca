//! Threads for parallel loops, in two classes that never share a worker.
//!
//! Serving loops run at once. Training loops ask [`Turns::tile`] before every tile, so a serving step waits for a training
//! tile at most; callers cut training work into tiles of a fraction of a millisecond, by its sizes alone: neither load nor
//! threads change what is computed. The class belongs to the calling thread ([`within`]); a thread that never said
//! otherwise serves. What is done beside serving, such as checking an adapter that is published, starts no threads and
//! rests between slices of half a millisecond ([`give_way`]).
//!
//! A loop inside a loop, and a second loop of the same class at the same time, run on the calling thread alone. Jobs that
//! train at the same time ([`TrainingJob`]) each keep to their own thread where that keeps most cores busy; on more cores their
//! loops take turns on all of them.

use std::any::Any;
use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::device::Turns;

mod failure;

pub use failure::Failure;

/// Rounds a worker looks for new work before it sleeps: long enough to bridge the serial code between two products.
const SPINS: u32 = 2_000;

/// What the calling thread's loops are for.
#[derive(Debug, Clone, Default)]
pub enum Class {
    #[default]
    Serving,
    Training(Turns),
    Beside(Turns),
}

/// Work beside serving goes on for so long before it rests.
const SLICE: Duration = Duration::from_micros(500);

thread_local! {
    static CLASS: RefCell<Class> = const { RefCell::new(Class::Serving) };
    /// When this thread's slice of work beside serving began.
    static SLICE_BEGAN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
    static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

static THREADS: OnceLock<usize> = OnceLock::new();
/// Jobs that train now.
static TRAINERS: AtomicUsize = AtomicUsize::new(0);

/// A job that trains, until it is dropped.
pub struct TrainingJob(());

impl TrainingJob {
    pub fn begin() -> Self {
        TRAINERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for TrainingJob {
    fn drop(&mut self) {
        TRAINERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a loop gets at the threads of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// Not at all: it runs on the calling thread.
    Never,
    /// Where no other loop has them.
    IfFree,
    /// When no other loop has them any more.
    InTurn,
}

impl Entry {
    /// Of training's loops, with so many jobs and threads.
    const fn of_training(jobs: usize, threads: usize) -> Self {
        match jobs {
            0 | 1 => Self::IfFree,
            _ if 2 * jobs > threads => Self::Never,
            _ => Self::InTurn,
        }
    }
}

/// Sets how many threads a loop uses, the calling one included. Only before the first loop; `false` when too late.
pub fn configure(threads: usize) -> bool {
    THREADS.set(threads.max(1)).is_ok()
}

/// Threads of one loop, the calling one included.
pub fn threads() -> usize {
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Runs `work` with this thread's loops in `class`.
pub fn within<R>(class: Class, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Class>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(class) = self.0.take() {
                CLASS.with_borrow_mut(|now| *now = class);
            }
        }
    }
    let before = CLASS.with_borrow_mut(|now| std::mem::replace(now, class));
    let _restore = Restore(Some(before));
    work()
}

/// Lets serving go first, if this thread does not serve. For work that is not in a loop of this pool.
pub fn give_way() {
    CLASS.with_borrow(|class| match class {
        Class::Serving => {}
        Class::Training(turns) => turns.give_way(),
        Class::Beside(turns) => {
            let began = SLICE_BEGAN.get().unwrap_or_else(Instant::now);
            let worked = began.elapsed();
            let ends = worked >= SLICE;
            if ends {
                turns.stand_back(worked);
            }
            SLICE_BEGAN.set(Some(if ends { Instant::now() } else { began }));
        }
    });
}

/// Whether this thread's loops are training's.
pub fn trains() -> bool {
    CLASS.with_borrow(|class| matches!(class, Class::Training(_)))
}

/// Calls `tile(i)` once for every i below `tiles`, on this class's threads; returns when all are done.
/// A panic in a tile is raised again here.
pub fn for_each(tiles: usize, tile: impl Fn(usize) + Sync) {
    super::memory::keep_freed_pages();
    let (turns, alone) = CLASS.with_borrow(|class| match class {
        Class::Serving => (None, false),
        Class::Training(turns) => (Some(turns.clone()), false),
        Class::Beside(_) => (None, true),
    });
    if alone {
        return (0..tiles).for_each(|i| {
            tile(i);
            give_way();
        });
    }
    let run = |i: usize| {
        match &turns {
            None => tile(i),
            // A worker trains for as long as the tile lasts, so that the tile can give way on its own too.
            Some(turns) => within(Class::Training(turns.clone()), || turns.tile(|| tile(i))),
        }
    };
    let entry = match turns {
        None => Entry::IfFree,
        Some(_) => Entry::of_training(TRAINERS.load(Ordering::Relaxed), threads()),
    };
    if tiles <= 1 || threads() == 1 || INSIDE.get() || entry == Entry::Never {
        return (0..tiles).for_each(run);
    }
    static SERVING: OnceLock<Crew> = OnceLock::new();
    static TRAINING: OnceLock<Crew> = OnceLock::new();
    let (crew, name) = if turns.is_some() {
        (&TRAINING, "training")
    } else {
        (&SERVING, "serving")
    };
    let wait = || match &turns {
        None => std::thread::yield_now(),
        // Other threads may be held in the middle of this loop until serving is done; looking out for that meanwhile would
        // take a core from it.
        Some(turns) => {
            turns.give_way();
            std::thread::yield_now();
        }
    };
    crew.get_or_init(|| Crew::start(name, threads() - 1))
        .run(tiles, &run, &wait, entry);
}

/// Cuts `out` (rows of `width`) into tiles of up to `rows` rows and calls `tile(rows, part of out)` for each in parallel.
pub fn over_rows<T: Send>(
    out: &mut [T],
    width: usize,
    rows: usize,
    tile: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    if width == 0 || out.is_empty() {
        return;
    }
    let (total, rows) = (out.len() / width, rows.max(1));
    let shared = Shared::new(out);
    for_each(total.div_ceil(rows), |i| {
        let range = i * rows..((i + 1) * rows).min(total);
        // SAFETY: ranges of different tiles do not overlap, and each tile runs once.
        let part = unsafe { shared.part(range.start * width..range.end * width) };
        tile(range, part);
    });
}

/// Cuts arrays of one length into the same parts of up to `size` values and calls `tile(first value, parts)` for each in
/// parallel.
///
/// # Panics
/// When the lengths differ.
pub fn over_parts<const N: usize>(
    arrays: [&mut [f32]; N],
    size: usize,
    tile: impl Fn(usize, [&mut [f32]; N]) + Sync,
) {
    let (total, size) = (arrays.first().map_or(0, |array| array.len()), size.max(1));
    let shared = arrays.map(|array| {
        assert_eq!(array.len(), total, "arrays of one length");
        Shared::new(array)
    });
    for_each(total.div_ceil(size), |i| {
        let range = i * size..((i + 1) * size).min(total);
        // SAFETY: ranges of different tiles do not overlap, each tile runs once, and the arrays are different ones.
        let parts = std::array::from_fn(|at| unsafe { shared[at].part(range.clone()) });
        tile(range.start, parts);
    });
}

/// Rows a tile should have so that it works on about `cost` values, given the cost of one row.
pub fn rows_of(cost: usize, row: usize) -> usize {
    (cost / row.max(1)).max(1)
}

/// A slice that several tiles write, each its own part.
pub struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    _slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: parts are only handed out under `part`'s promise that they do not overlap, so this is a set of `&mut [T]`.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            _slice: std::marker::PhantomData,
        }
    }

    /// # Safety
    /// No two parts that are alive at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "part {range:?} of {}",
            self.len
        );
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of element 0, for kernels that write a strided pattern.
    pub fn as_mut_ptr(&self) -> *mut T {
        self.start
    }
}

/// One loop that runs now. `tile` borrows from the caller of [`Crew::run`], which outlives every use (see there).
#[derive(Clone, Copy)]
struct Loop {
    tile: *const (dyn Fn(usize) + Sync),
    next: *const AtomicUsize,
    tiles: usize,
}

// SAFETY: the pointers are only followed between entering and leaving a loop, while `Crew::run` keeps their targets alive;
// both targets are Sync.
unsafe impl Send for Loop {}

struct State {
    current: Option<Loop>,
    panic: Option<Box<dyn Any + Send>>,
}

struct Board {
    state: Mutex<State>,
    /// Grows with each published loop; workers watch it without the lock.
    epoch: AtomicUsize,
    /// Workers between entering and leaving the current loop. Grows only under `state` while `current` is set.
    inside: AtomicUsize,
    asleep: AtomicUsize,
    wake: Condvar,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes tiles until none is left; keeps the first panic for the caller of the loop.
    fn work(&self, job: Loop) {
        // SAFETY: `job` was read while its loop was published or by its publisher, and the publisher waits for
        // every thread inside before its borrows end.
        let (tile, next) = unsafe { (&*job.tile, &*job.next) };
        let outer = INSIDE.replace(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= job.tiles {
                    break;
                }
                tile(i);
            }
        }));
        INSIDE.set(outer);
        if let Err(panic) = outcome {
            next.store(job.tiles, Ordering::Relaxed);
            self.state().panic.get_or_insert(panic);
        }
    }
}

/// The worker threads of one class. They live as long as the process.
struct Crew {
    board: Arc<Board>,
    busy: Mutex<()>,
    alive: AtomicBool,
}

impl Crew {
    fn start(name: &str, workers: usize) -> Self {
        let board = Arc::new(Board {
            state: Mutex::new(State {
                current: None,
                panic: None,
            }),
            epoch: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            wake: Condvar::new(),
        });
        let mut alive = false;
        for number in 1..=workers {
            let board = board.clone();
            let worker = std::thread::Builder::new().name(format!("{name}-{number}"));
            // A thread that cannot be started only makes loops slower: the calling thread takes every tile.
            alive |= worker.spawn(move || serve(&board)).is_ok();
        }
        Self {
            board,
            busy: Mutex::new(()),
            alive: AtomicBool::new(alive),
        }
    }

    /// `wait` is called again and again by the calling thread while others have not ended their last tiles.
    fn run(&self, tiles: usize, tile: &(dyn Fn(usize) + Sync), wait: &dyn Fn(), entry: Entry) {
        let _one_loop = match self.busy.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if entry == Entry::InTurn => {
                self.busy.lock().unwrap_or_else(PoisonError::into_inner)
            }
            Err(TryLockError::WouldBlock) => return (0..tiles).for_each(tile),
        };
        if !self.alive.load(Ordering::Relaxed) {
            return (0..tiles).for_each(tile);
        }
        let next = AtomicUsize::new(0);
        // SAFETY: only the lifetime is erased. This function takes the loop off the board and waits until no thread
        // is inside before it returns, on every path: `work` catches panics, and nothing else here unwinds.
        let erased: *const (dyn Fn(usize) + Sync) = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(tile)
        };
        let job = Loop {
            tile: erased,
            next: &next,
            tiles,
        };
        let mut state = self.board.state();
        state.current = Some(job);
        // Under the lock: a worker about to sleep either sees the new number or is already waiting for the call.
        self.board.epoch.fetch_add(1, Ordering::SeqCst);
        let sleepers = self.board.asleep.load(Ordering::SeqCst) > 0;
        drop(state);
        if sleepers {
            self.board.wake.notify_all();
        }
        self.board.work(job);
        self.board.state().current = None;
        let mut rounds = 0u32;
        while self.board.inside.load(Ordering::Acquire) > 0 {
            rounds += 1;
            if rounds < SPINS {
                std::hint::spin_loop()
            } else {
                wait()
            }
        }
        let panic = self.board.state().panic.take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

fn serve(board: &Board) {
    let mut seen = 0;
    loop {
        let mut rounds = 0;
        while board.epoch.load(Ordering::Acquire) == seen && rounds < SPINS {
            std::hint::spin_loop();
            rounds += 1;
        }
        let mut state = board.state();
        board.asleep.fetch_add(1, Ordering::SeqCst);
        while board.epoch.load(Ordering::SeqCst) == seen {
            state = board
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        board.asleep.fetch_sub(1, Ordering::SeqCst);
        seen = board.epoch.load(Ordering::SeqCst);
        let Some(job) = state.current else { continue };
        board.inside.fetch_add(1, Ordering::Acquire);
        drop(state);
        board.work(job);
        board.inside.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
