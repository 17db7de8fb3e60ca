//! What compiling has cost so far, for somebody who waits for it: the time its threads had on a core, which a machine that
//! has much else to do does not stretch.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::clock::Clock;

/// The work of one request, on however many threads.
pub struct Effort {
    begun: Instant,
    threads: Mutex<Vec<Worker>>,
}

struct Worker {
    clock: Clock,
    /// What the thread had cost before this work.
    before: Duration,
    /// What it cost, as last seen: a thread that has ended has no clock.
    seen: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            threads: Mutex::new(Vec::new()),
        }
    }
}

impl Effort {
    /// This thread works for it from here on.
    pub fn join(&self) {
        let Some(clock) = Clock::of_this_thread() else {
            return;
        };
        let before = clock.read().unwrap_or_default();
        self.threads().push(Worker {
            clock,
            before,
            seen: Duration::ZERO,
        });
    }

    /// Time on cores; where the system does not tell, time that passed.
    pub fn spent(&self) -> Duration {
        let mut threads = self.threads();
        if threads.is_empty() {
            return self.begun.elapsed();
        }
        let spent = threads.iter_mut().map(|worker| {
            if let Some(now) = worker.clock.read() {
                worker.seen = now.saturating_sub(worker.before);
            }
            worker.seen
        });
        spent.sum()
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
            effort.join();
            std::thread::sleep(Duration::from_millis(400));
            let clock = Clock::of_this_thread().unwrap();
            while clock.read().unwrap() < WORKED {
                std::hint::spin_loop();
            }
            // Seen while the threads are there.
            effort.spent()
        };
        std::thread::scope(|threads| {
            let both = [threads.spawn(work), threads.spawn(work)];
            both.map(|one| one.join().unwrap())
        });
        let spent = effort.spent();
        // The clocks count in steps of the scheduler's, a few milliseconds.
        let least = WORKED + WORKED / 2;
        assert!(spent > least && spent < 4 * WORKED, "{spent:?}");
        assert!(effort.begun.elapsed() > 10 * WORKED);
    }
}
