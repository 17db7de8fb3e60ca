//! Who is inside: how many requests wait, how many there are at all. Seats give themselves back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// What may wait.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub requests: usize,
    /// Blocks that the prompts of all of them fill. One alone may have more.
    pub blocks: usize,
}

/// Counts the requests of one engine; a cheap handle.
#[derive(Clone)]
pub struct Gate(Arc<Counts>);

struct Counts {
    /// Requests none of whose answers has begun.
    waiting: AtomicUsize,
    /// Blocks of the cache that their prompts fill.
    blocks: AtomicUsize,
    most: Most,
    /// All requests that are not over.
    inside: watch::Sender<usize>,
}

impl Gate {
    pub fn new(most: Most) -> Self {
        Self(Arc::new(Counts {
            waiting: AtomicUsize::new(0),
            blocks: AtomicUsize::new(0),
            most,
            inside: watch::Sender::new(0),
        }))
    }

    /// A seat in the queue for a request whose prompt fills so many blocks, unless it is full.
    pub fn enter(&self, blocks: usize) -> Option<Seat> {
        let counts = &self.0;
        let Most {
            requests,
            blocks: most,
        } = counts.most;
        let take = |count: &AtomicUsize, room: &dyn Fn(usize) -> Option<usize>| {
            count.fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
        };
        take(&counts.waiting, &|waiting| {
            (waiting < requests).then_some(waiting + 1)
        })
        .ok()?;
        let room = |held: usize| {
            let all = held.saturating_add(blocks);
            (held == 0 || all <= most).then_some(all)
        };
        if take(&counts.blocks, &room).is_err() {
            counts.waiting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        counts.inside.send_modify(|inside| *inside += 1);
        Some(Seat {
            gate: self.clone(),
            blocks,
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
    blocks: usize,
    waiting: bool,
}

impl Seat {
    pub fn in_queue(&self) -> bool {
        self.waiting
    }

    pub fn leave_queue(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.gate.0.waiting.fetch_sub(1, Ordering::AcqRel);
            self.gate.0.blocks.fetch_sub(self.blocks, Ordering::AcqRel);
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
        let gate = Gate::new(Most {
            requests: 2,
            blocks: 100,
        });
        let mut first = gate.enter(1).unwrap();
        let second = gate.enter(1).unwrap();
        assert!(gate.enter(1).is_none());
        first.leave_queue();
        let third = gate.enter(1).unwrap();
        assert_eq!((gate.waiting(), gate.inside()), (2, 3));
        drop((first, second, third));
        assert_eq!((gate.waiting(), gate.inside()), (0, 0));
        gate.empty().await;
    }

    #[test]
    fn long_prompts_fill_the_queue_sooner_but_one_may_always_wait() {
        let gate = Gate::new(Most {
            requests: 9,
            blocks: 10,
        });
        let long = gate.enter(50).expect("nobody waits yet");
        assert!(gate.enter(1).is_none());
        drop(long);
        let some = [4, 6].map(|blocks| gate.enter(blocks).unwrap());
        assert!(gate.enter(1).is_none() && gate.waiting() == 2);
        drop(some);
        assert!(gate.enter(10).is_some());
    }
}
