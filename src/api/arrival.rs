//! Bodies on their way in, by HTTP or gRPC: how slowly they may come, and how much memory they may hold together.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::Reason;

/// Memory is counted in units of so many bytes.
const UNIT: usize = 1024;

/// How slowly a body may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long it may pause.
    pub timeout: Duration,
    /// Bytes a second it must reach on average, once `timeout` has passed.
    pub rate: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            rate: 8 << 10,
        }
    }
}

impl Pace {
    /// When the next piece must be there, if `bytes` came in the time that has passed; both since the beginning.
    fn due(&self, bytes: usize, passed: Duration) -> Duration {
        let earned = Duration::from_secs_f64(bytes as f64 / self.rate.max(1) as f64);
        self.timeout + earned.min(passed)
    }
}

/// One body's time.
pub(super) struct Clock {
    pace: Pace,
    began: Instant,
    bytes: usize,
    /// Of these, what was rested from.
    rested: usize,
}

/// Bytes that are taken in before others get their turn.
const PIECE: usize = 512 << 10;
/// Bytes a second that are received, taken apart and put together, about.
const RECEIVING: f64 = 1e9;

impl Clock {
    pub fn start(pace: Pace) -> Self {
        Self {
            pace,
            began: Instant::now(),
            bytes: 0,
            rested: 0,
        }
    }

    /// The work that taking in the last pieces was, when enough have come to rest from it.
    pub fn unrested(&mut self) -> Option<Duration> {
        let bytes = self.bytes - self.rested;
        if bytes < PIECE {
            return None;
        }
        self.rested = self.bytes;
        Some(Duration::from_secs_f64(bytes as f64 / RECEIVING))
    }

    /// Counts what came.
    pub fn came(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// The next piece, if it comes in time.
    pub async fn wait<T>(&self, next: impl Future<Output = T>) -> Result<T, Reason> {
        let due = self.began + self.pace.due(self.bytes, self.began.elapsed());
        let next = tokio::time::timeout_at(due, next).await;
        next.map_err(|_| Reason::BodyTimeout {
            seconds: self.began.elapsed().as_secs(),
        })
    }
}

/// What bodies may hold in memory, all of them together. A cheap handle.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Semaphore>);

impl Memory {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(
            bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS),
        )))
    }

    /// Room for one body, none of it taken yet.
    pub(super) fn open(&self) -> Held {
        Held {
            memory: self.clone(),
            bytes: 0,
            units: None,
        }
    }
}

/// What one body holds; given back when dropped.
pub(super) struct Held {
    memory: Memory,
    bytes: usize,
    units: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Takes room as a body comes, so that a slow one holds no more than it has sent. Never waits: two bodies that wait
    /// for each other's room would both be lost.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Reason> {
        self.bytes += bytes;
        let held = self.units.as_ref().map_or(0, |units| units.num_permits());
        let missing = self.bytes.div_ceil(UNIT).saturating_sub(held);
        let Ok(missing) = u32::try_from(missing) else {
            return Err(full());
        };
        let more = self.memory.0.clone().try_acquire_many_owned(missing);
        let more = more.map_err(|_| full())?;
        match &mut self.units {
            Some(units) => units.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

fn full() -> Reason {
    Reason::Overloaded { retry_after: 5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        timeout: Duration::from_secs(10),
        rate: 1000,
    };

    /// Seconds until a body that sends `bytes` every `every` seconds is given up.
    fn given_up(bytes: usize, every: u64) -> Option<u64> {
        (1..1000).map(|piece| piece * every).find_map(|next| {
            let came = (next / every - 1) as usize * bytes;
            let due = PACE.due(came, Duration::from_secs(next - every)).as_secs();
            (due < next).then_some(due)
        })
    }

    #[test]
    fn a_body_may_neither_pause_nor_drip() {
        assert_eq!(given_up(1 << 20, 11), Some(10), "it paused");
        assert_eq!(given_up(1, 2), Some(10), "it dripped");
        assert_eq!(given_up(500, 1), Some(19), "half the rate");
        assert_eq!(given_up(1000, 1), None);
        assert_eq!(given_up(1 << 20, 10), None);
    }

    #[tokio::test]
    async fn what_does_not_come_in_time_is_given_up() {
        let clock = Clock::start(Pace {
            timeout: Duration::ZERO,
            rate: 1,
        });
        let late = clock.wait(std::future::pending::<()>()).await;
        assert!(matches!(late, Err(Reason::BodyTimeout { .. })));
    }

    #[test]
    fn bodies_share_the_memory_and_give_it_back() {
        let memory = Memory::new(10 * UNIT);
        let (mut one, mut two) = (memory.open(), memory.open());
        for _ in 0..6 {
            one.grow(UNIT).unwrap();
        }
        two.grow(4 * UNIT).unwrap();
        assert!(matches!(two.grow(1), Err(Reason::Overloaded { .. })));
        drop(one);
        memory.open().grow(6 * UNIT).unwrap();
        let mut small = memory.open();
        (0..UNIT).for_each(|_| small.grow(1).unwrap());
        assert_eq!(memory.0.available_permits(), 5, "bytes add up to a unit");
    }
}
