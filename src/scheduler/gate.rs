//! Counts the requests inside: how many wait, whose they are, how many there are at all. Seats give themselves back.
//!
//! A caller who is alone may fill the queue. Where others have called lately, none may hold more of it than it leaves
//! free: a half, of two that flood it a third each. So the next caller finds a place, however much the others ask for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// What may wait.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub requests: usize,
    /// Blocks that the prompts of all of them fill. One alone may have more.
    pub blocks: usize,
}

/// A tenant that has called so lately may come again at any time.
const LATELY: Duration = Duration::from_secs(600);

/// Counts the requests of one engine; a cheap handle.
#[derive(Clone)]
pub struct Gate(Arc<Counts>);

struct Counts {
    queue: Mutex<Queue>,
    /// All requests that are not over.
    inside: watch::Sender<usize>,
}

impl Gate {
    pub fn new(most: Most) -> Self {
        Self(Arc::new(Counts {
            queue: Mutex::new(Queue::new(most)),
            inside: watch::Sender::new(0),
        }))
    }

    /// A seat in the queue for a tenant's request whose prompt fills so many blocks, unless the queue is full or the
    /// tenant holds its share.
    pub fn enter(&self, tenant: u64, blocks: usize) -> Option<Seat> {
        if !self.queue().enter(tenant, blocks, Instant::now()) {
            return None;
        }
        self.0.inside.send_modify(|inside| *inside += 1);
        Some(Seat {
            gate: self.clone(),
            tenant,
            blocks,
            waiting: true,
        })
    }

    pub fn waiting(&self) -> usize {
        self.queue().all.requests
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

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's place, first in the queue, then only inside.
pub struct Seat {
    gate: Gate,
    tenant: u64,
    blocks: usize,
    waiting: bool,
}

impl Seat {
    pub fn in_queue(&self) -> bool {
        self.waiting
    }

    pub fn leave_queue(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.gate.queue().leave(self.tenant, self.blocks);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave_queue();
        self.gate.0.inside.send_modify(|inside| *inside -= 1);
    }
}

/// What waits: requests none of whose answers has begun.
struct Queue {
    most: Most,
    all: Held,
    /// Of these, each tenant's; a tenant without any is not listed.
    tenants: HashMap<u64, Held>,
    callers: Callers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    requests: usize,
    /// Blocks of the cache that their prompts fill.
    blocks: usize,
}

impl Held {
    fn add(&mut self, blocks: usize) {
        self.requests += 1;
        self.blocks += blocks;
    }

    fn remove(&mut self, blocks: usize) {
        self.requests -= 1;
        self.blocks -= blocks;
    }
}

impl Queue {
    fn new(most: Most) -> Self {
        Self {
            most,
            all: Held::default(),
            tenants: HashMap::new(),
            callers: Callers::default(),
        }
    }

    /// Whether there was a place, which is taken then.
    fn enter(&mut self, tenant: u64, blocks: usize, now: Instant) -> bool {
        let alone = self.callers.alone(tenant, now);
        let fits = self.fits(tenant, blocks) && (alone || self.is_within_share(tenant, blocks));
        if fits {
            self.all.add(blocks);
            self.tenants.entry(tenant).or_default().add(blocks);
        }
        fits
    }

    fn leave(&mut self, tenant: u64, blocks: usize) {
        self.all.remove(blocks);
        if let Some(held) = self.tenants.get_mut(&tenant) {
            held.remove(blocks);
            if held.requests == 0 {
                self.tenants.remove(&tenant);
            }
        }
    }

    /// The first request of a tenant that has none waiting may be longer than what is left for it.
    fn fits(&self, tenant: u64, blocks: usize) -> bool {
        let free = self.free();
        let is_first = !self.tenants.contains_key(&tenant);
        free.requests > 0 && (blocks <= free.blocks || is_first && free.blocks > 0)
    }

    /// A first request, however long, is never too much.
    fn is_within_share(&self, tenant: u64, blocks: usize) -> bool {
        let free = self.free();
        self.tenants.get(&tenant).is_none_or(|held| {
            held.requests < free.requests && held.blocks.saturating_add(blocks) <= free.blocks
        })
    }

    fn free(&self) -> Held {
        Held {
            requests: self.most.requests.saturating_sub(self.all.requests),
            blocks: self.most.blocks.saturating_sub(self.all.blocks),
        }
    }
}

/// Which tenants called, also in vain.
#[derive(Default)]
struct Callers {
    newest: Option<(u64, Instant)>,
    /// When a tenant other than the newest did.
    other: Option<Instant>,
}

impl Callers {
    /// Notes a call; whether no other tenant has called lately.
    fn alone(&mut self, tenant: u64, now: Instant) -> bool {
        let before = self.newest.replace((tenant, now));
        if let Some((_, at)) = before.filter(|(other, _)| *other != tenant) {
            self.other = Some(at);
        }
        self.other
            .is_none_or(|at| now.saturating_duration_since(at) > LATELY)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gate(requests: usize, blocks: usize) -> Gate {
        Gate::new(Most { requests, blocks })
    }

    /// Seats for as many requests of a tenant as there is room for.
    fn flood(gate: &Gate, tenant: u64, blocks: usize) -> Vec<Seat> {
        std::iter::from_fn(|| gate.enter(tenant, blocks)).collect()
    }

    #[tokio::test]
    async fn seats_bound_the_queue_and_give_themselves_back() {
        let gate = gate(2, 100);
        let mut first = gate.enter(0, 1).unwrap();
        let second = gate.enter(0, 1).unwrap();
        assert!(gate.enter(0, 1).is_none());
        first.leave_queue();
        let third = gate.enter(0, 1).unwrap();
        assert_eq!((gate.waiting(), gate.inside()), (2, 3));
        drop((first, second, third));
        assert_eq!((gate.waiting(), gate.inside()), (0, 0));
        gate.empty().await;
    }

    #[test]
    fn long_prompts_fill_the_queue_sooner_but_one_may_always_wait() {
        let gate = gate(9, 10);
        let long = gate.enter(0, 50).expect("none waits yet");
        assert!(gate.enter(0, 1).is_none());
        drop(long);
        let some = [4, 6].map(|blocks| gate.enter(0, blocks).unwrap());
        assert!(gate.enter(0, 1).is_none() && gate.waiting() == 2);
        drop(some);
        assert!(gate.enter(0, 10).is_some());
    }

    #[test]
    fn a_tenant_alone_may_fill_the_queue_and_beside_another_half() {
        let gate = gate(64, 1000);
        let alone = flood(&gate, 1, 1);
        assert_eq!(alone.len(), 64);
        assert!(gate.enter(2, 1).is_none(), "full");
        drop(alone);
        assert_eq!(flood(&gate, 1, 1).len(), 32, "the other may come again");
    }

    #[test]
    fn those_who_flood_the_queue_leave_room_for_the_next() {
        let gate = gate(60, 1000);
        drop([1, 2, 3].map(|tenant| gate.enter(tenant, 1).unwrap()));
        let mut seats = Vec::new();
        for _ in 0..60 {
            seats.extend(
                [1, 2]
                    .into_iter()
                    .filter_map(|tenant| gate.enter(tenant, 1)),
            );
        }
        assert_eq!(seats.len(), 40, "a third each");
        assert_eq!(flood(&gate, 3, 1).len(), 10);
    }

    #[test]
    fn long_prompts_of_one_leave_room_for_those_of_another() {
        let gate = gate(1000, 100);
        drop(gate.enter(2, 1));
        let flooding = flood(&gate, 1, 10);
        assert_eq!(flooding.len(), 5);
        let long = gate.enter(2, 50).expect("a first request may be long");
        assert!(gate.enter(2, 1).is_none());
        drop((flooding, long));
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn every_place_of_a_small_queue_is_somebodys() {
        for places in 1..4 {
            let gate = gate(places, 100);
            drop(gate.enter(9, 1));
            let seats: Vec<_> = (0..4).filter_map(|tenant| gate.enter(tenant, 1)).collect();
            assert_eq!(seats.len(), places);
        }
    }

    #[test]
    fn who_has_not_called_for_long_is_not_waited_for() {
        let most = Most {
            requests: 4,
            blocks: 100,
        };
        let start = Instant::now();
        for (later, places) in [(LATELY, 2), (LATELY + Duration::from_secs(1), 4)] {
            let mut queue = Queue::new(most);
            assert!(queue.enter(2, 1, start));
            queue.leave(2, 1);
            let taken = (0..9).filter(|_| queue.enter(1, 1, start + later)).count();
            assert_eq!(taken, places, "{later:?} later");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_is_counted_and_all_comes_back(
            steps in proptest::collection::vec((0u64..4, 1usize..30, 0usize..3, any::<usize>()), 0..200),
        ) {
            let gate = gate(16, 100);
            let mut seats: Vec<Seat> = Vec::new();
            for (tenant, blocks, action, which) in steps {
                let at = which.checked_rem(seats.len());
                match (action, at) {
                    (0, Some(at)) => drop(seats.swap_remove(at)),
                    (1, Some(at)) => seats[at].leave_queue(),
                    _ => seats.extend(gate.enter(tenant, blocks)),
                }
                let mut expected: HashMap<u64, Held> = HashMap::new();
                for seat in seats.iter().filter(|seat| seat.in_queue()) {
                    expected.entry(seat.tenant).or_default().add(seat.blocks);
                }
                let all = Held {
                    requests: expected.values().map(|held| held.requests).sum(),
                    blocks: expected.values().map(|held| held.blocks).sum(),
                };
                let queue = gate.queue();
                prop_assert_eq!(&queue.tenants, &expected);
                prop_assert_eq!(queue.all, all);
                prop_assert!(all.requests <= 16 && all.blocks < 100 + 30);
                drop(queue);
                prop_assert_eq!(gate.inside(), seats.len());
            }
            drop(seats);
            prop_assert_eq!((gate.waiting(), gate.inside()), (0, 0));
            prop_assert!(gate.queue().tenants.is_empty());
        }
    }
}
