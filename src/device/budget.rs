//! Bytes promised. A reservation gives itself back when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A fixed number of bytes that several owners share by reserving.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Pot>);

#[derive(Debug)]
struct Pot {
    total: u64,
    used: AtomicU64,
}

/// Bytes taken from a [`Budget`] until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    pot: Arc<Pot>,
    bytes: u64,
}

impl Budget {
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Pot {
            total: bytes,
            used: AtomicU64::new(0),
        }))
    }

    /// `None` when fewer than `bytes` are free; nothing is taken then.
    pub fn try_reserve(&self, bytes: u64) -> Option<Reserved> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.0.total);
        self.0
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .ok()?;
        Some(Reserved {
            pot: self.0.clone(),
            bytes,
        })
    }

    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Acquire)
    }

    pub fn total(&self) -> u64 {
        self.0.total
    }
}

impl Reserved {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.pot.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_reservation_is_free_again() {
        let budget = Budget::new(100);
        let most = budget.try_reserve(80).expect("80 of 100 fit");
        assert!(budget.try_reserve(21).is_none());
        assert_eq!((budget.used(), most.bytes()), (80, 80));
        drop(most);
        assert!(budget.try_reserve(100).is_some());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_reservation_that_would_overflow_is_refused() {
        let budget = Budget::new(u64::MAX);
        let _some = budget.try_reserve(2).unwrap();
        assert!(budget.try_reserve(u64::MAX).is_none());
    }

    #[test]
    fn many_threads_never_promise_more_than_there_is() {
        let budget = Budget::new(1_000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for size in 1..200 {
                        let held = budget.try_reserve(size);
                        assert!(budget.used() <= budget.total());
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
