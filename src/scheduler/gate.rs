//! Who is inside: how many requests wait, how many there are at all. Seats give themselves back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// Counts the requests of one engine; a cheap handle.
#[derive(Clone)]
pub struct Gate(Arc<Counts>);

struct Counts {
    /// Requests none of whose answers has begun.
    waiting: AtomicUsize,
    most_waiting: usize,
    /// All requests that are not over.
    inside: watch::Sender<usize>,
}

impl Gate {
    pub fn new(most_waiting: usize) -> Self {
        Self(Arc::new(Counts {
            waiting: AtomicUsize::new(0),
            most_waiting,
            inside: watch::Sender::new(0),
        }))
    }

    /// A seat in the queue, unless it is full.
    pub fn enter(&self) -> Option<Seat> {
        let counts = &self.0;
        let room = |waiting| (waiting < counts.most_waiting).then_some(waiting + 1);
        counts
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
            .ok()?;
        counts.inside.send_modify(|inside| *inside += 1);
        Some(Seat {
            gate: self.clone(),
            waiting: true,
        })
    }

    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Acquire)
    }

    pub fn inside(&self) -> usize {
        *self.0.inside.borrow()
    }

    /// Resolves when every request is over.
    pub async fn empty(&self) {
        // The sender lives as long as this handle, so the wait can only end by its condition.
        let _ = self
            .0
            .inside
            .subscribe()
            .wait_for(|inside| *inside == 0)
            .await;
    }
}

/// One request's place, first in the queue, then only inside.
pub struct Seat {
    gate: Gate,
    waiting: bool,
}

impl Seat {
    pub fn in_queue(&self) -> bool {
        self.waiting
    }

    pub fn leave_queue(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.gate.0.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave_queue();
        self.gate.0.inside.send_modify(|inside| *inside -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn seats_bound_the_queue_and_give_themselves_back() {
        let gate = Gate::new(2);
        let mut first = gate.enter().unwrap();
        let second = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        first.leave_queue();
        let third = gate.enter().unwrap();
        assert_eq!((gate.waiting(), gate.inside()), (2, 3));
        drop((first, second, third));
        assert_eq!((gate.waiting(), gate.inside()), (0, 0));
        gate.empty().await;
    }
}
