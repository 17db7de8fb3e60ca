//! Answers that have a form to keep: which tokens may come next in each is found while the model computes their scores.

use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::domain::Reason;
use crate::text::grammar::{Guide, Mask};

/// Threads that look for tokens.
const MOST_THREADS: usize = 4;
/// Their stack: expressions are walked by functions that call themselves.
const STACK: usize = 16 << 20;
/// How long a step waits for the tokens of an answer after its scores are there. The library's own limits end most
/// searches long before; this is for a machine that has other things to do.
const LATE: Duration = Duration::from_secs(1);

/// One answer's guide, and what it found for the rows of this step.
pub struct Guided {
    guide: Guide,
    /// For the row of the newest token, and for that of each guess after it.
    masks: Vec<Result<Mask, Reason>>,
    /// Seconds that finding the first of them took.
    took: f64,
}

impl Guided {
    pub fn new(guide: Guide) -> Self {
        Self {
            guide,
            masks: Vec::new(),
            took: 0.0,
        }
    }

    /// The guesses up to the first that the form does not allow.
    pub fn cut(&mut self, guesses: &mut Vec<u32>) {
        let allowed = self.guide.allowed(guesses);
        guesses.truncate(allowed);
    }

    /// Finds what may come next, and what after each guess.
    fn look(&mut self, guesses: &[u32]) {
        self.masks.clear();
        let started = Instant::now();
        let first = self.guide.mask();
        self.took = started.elapsed().as_secs_f64();
        let goes_on = first.is_ok();
        self.masks.push(first);
        if guesses.is_empty() || !goes_on {
            return;
        }
        // A copy goes ahead: a guess that is not taken leaves no trace.
        let mut ahead = self.guide.clone();
        for &guess in guesses {
            match ahead.accept(guess) {
                Ok(false) => self.masks.push(ahead.mask()),
                // The answer ends here, or the row finds out by itself.
                Ok(true) | Err(_) => break,
            }
        }
    }

    /// What the `row`-th of the answer's rows may choose.
    pub fn mask(&mut self, row: usize) -> Result<&Mask, Reason> {
        if row >= self.masks.len() {
            let mask = self.guide.mask();
            self.masks.push(mask);
        }
        match self.masks.get(row) {
            Some(Ok(mask)) => Ok(mask),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err(Reason::Internal("a row was chosen out of turn".into())),
        }
    }

    /// The answer goes on by this token. True where it is complete with it.
    pub fn accept(&mut self, id: u32) -> Result<bool, Reason> {
        self.guide.accept(id)
    }

    /// Why no token can be chosen although the form allows some.
    pub fn stuck(&self) -> Reason {
        self.guide
            .stuck("all that may follow is forbidden by the request's other fields")
    }

    pub fn took(&self) -> f64 {
        self.took
    }
}

/// The threads that look, made when the first answer needs them.
#[derive(Default)]
pub struct Guiding {
    pool: OnceLock<Option<ThreadPool>>,
}

impl Guiding {
    /// Runs `compute` on this thread, and beside it looks for what each answer may say next. One that is still at it long
    /// after `compute` is done is told to stop, and has no mask then.
    pub fn beside<T>(&self, answers: Vec<(&mut Guided, &[u32])>, compute: impl FnOnce() -> T) -> T {
        let Some(pool) = self.pool() else {
            for (guided, guesses) in answers {
                guided.look(guesses);
            }
            return compute();
        };
        let (done, finished) = mpsc::channel();
        pool.in_place_scope(|scope| {
            let mut looking = Vec::with_capacity(answers.len());
            for (at, (guided, guesses)) in answers.into_iter().enumerate() {
                looking.push(Some(guided.guide.stopper()));
                let done = done.clone();
                scope.spawn(move |_| {
                    guided.look(guesses);
                    // The receiver outlives the scope.
                    let _ = done.send(at);
                });
            }
            let computed = compute();
            let deadline = Instant::now() + LATE;
            for _ in 0..looking.len() {
                let left = deadline.saturating_duration_since(Instant::now());
                let Ok(at) = finished.recv_timeout(left) else {
                    looking.iter().flatten().for_each(|guide| guide.stop());
                    break;
                };
                looking[at] = None;
            }
            computed
        })
    }

    fn pool(&self) -> Option<&ThreadPool> {
        let made = self.pool.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
            let built = ThreadPoolBuilder::new()
                .num_threads(cores.min(MOST_THREADS))
                .stack_size(STACK)
                .thread_name(|at| format!("grammar-{at}"))
                .build();
            built
                .inspect_err(|error| tracing::warn!(%error, "no threads for grammars"))
                .ok()
        });
        made.as_ref()
    }
}
