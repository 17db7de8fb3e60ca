//! What compiling has cost so far, for somebody who waits for it: the time its threads had on a core, which a machine that
//! has much else to do does not stretch.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use self::clock::Clock;

/// The work of one request, on however many threads.
#[derive(Default)]
pub struct Effort {
    /// When the first thread joined.
    begun: OnceLock<Instant>,
    threads: Mutex<Vec<Worker>>,
}

struct Worker {
    /// None once the thread has ended, or works for others.
    clock: Option<Clock>,
    /// What the thread had cost before this work.
    before: Duration,
    /// What it cost, as last seen.
    seen: Duration,
}

impl Worker {
    fn spent(&mut self) -> Duration {
        if let Some(now) = self.clock.as_ref().and_then(Clock::read) {
            self.seen = now.saturating_sub(self.before);
        }
        self.seen
    }
}

/// A thread works for it until this is dropped.
#[must_use]
pub struct Working<'a> {
    effort: &'a Effort,
    /// Among the threads.
    at: Option<usize>,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut threads = self.effort.threads();
        if let Some(worker) = self.at.and_then(|at| threads.get_mut(at)) {
            worker.spent();
            worker.clock = None;
        }
    }
}

impl Effort {
    /// This thread works for it from here on.
    pub fn join(&self) -> Working<'_> {
        self.begun.get_or_init(Instant::now);
        let at = Clock::of_this_thread().map(|clock| {
            let before = clock.read().unwrap_or_default();
            let mut threads = self.threads();
            threads.push(Worker {
                clock: Some(clock),
                before,
                seen: Duration::ZERO,
            });
            threads.len() - 1
        });
        Working { effort: self, at }
    }

    /// Time on cores; where the system does not tell, time that passed since the first thread joined.
    pub fn spent(&self) -> Duration {
        let mut threads = self.threads();
        if threads.is_empty() {
            return self.begun.get().map_or(Duration::ZERO, Instant::elapsed);
        }
        threads.iter_mut().map(Worker::spent).sum()
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(target_os = "linux")]
mod clock {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    /// The file stays that of the thread which opened it, whoever reads it.
    pub struct Clock(File);

    impl Clock {
        pub fn of_this_thread() -> Option<Self> {
            let clock = Self(File::open("/proc/thread-self/schedstat").ok()?);
            clock.read().map(|_| clock)
        }

        /// The first number: nanoseconds on a core.
        pub fn read(&self) -> Option<Duration> {
            let mut text = [0; 64];
            let bytes = self.0.read_at(&mut text, 0).ok()?;
            let text = std::str::from_utf8(&text[..bytes]).ok()?;
            let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
            Some(Duration::from_nanos(nanoseconds))
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod clock {
    use std::time::Duration;

    /// There is none that another thread could read.
    pub struct Clock;

    impl Clock {
        pub fn of_this_thread() -> Option<Self> {
            None
        }

        pub fn read(&self) -> Option<Duration> {
            None
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_time_on_a_core_counts_and_that_of_all_threads() {
        let effort = Effort::default();
        const WORKED: Duration = Duration::from_millis(40);
        let work = || {
            let _working = effort.join();
            std::thread::sleep(Duration::from_millis(400));
            let clock = Clock::of_this_thread().unwrap();
            while clock.read().unwrap() < WORKED {
                std::hint::spin_loop();
            }
        };
        assert_eq!(effort.spent(), Duration::ZERO);
        std::thread::scope(|threads| {
            let both = [threads.spawn(work), threads.spawn(work)];
            both.map(|one| one.join().unwrap())
        });
        // As the threads were seen when they ended.
        let spent = effort.spent();
        // The clocks count in steps of the scheduler's, a few milliseconds.
        let least = WORKED + WORKED / 2;
        assert!(spent > least && spent < 4 * WORKED, "{spent:?}");
        assert!(effort.begun.get().unwrap().elapsed() > 10 * WORKED);
    }
}
