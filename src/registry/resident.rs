//! Which versions are in memory, under a budget of bytes. The least recently used goes first; pinned and leased ones
//! stay. No I/O here: callers bring what was loaded.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::adapter::Adapter;
use crate::domain::{Generation, Reason};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Residency {
    budget: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    slots: HashMap<Generation, Slot>,
    pinned: HashSet<Generation>,
    /// Of all slots, and of loads under way.
    used: u64,
    /// Counts uses; the order of "recently".
    clock: u64,
}

struct Slot {
    adapter: Arc<Adapter>,
    leases: usize,
    last_used: u64,
    /// Goes as soon as no lease holds it. Nobody sees it as resident any more.
    retired: bool,
}

/// A version that stays in memory until this is dropped.
pub(super) struct Held {
    residency: Residency,
    adapter: Arc<Adapter>,
}

/// Bytes set aside for a load; given back on drop.
pub(super) struct Room {
    residency: Residency,
    bytes: u64,
}

impl Residency {
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            state: Arc::default(),
        }
    }

    pub fn budget(&self) -> u64 {
        self.budget
    }

    pub fn used(&self) -> u64 {
        self.lock().used
    }

    pub fn is_resident(&self, generation: Generation) -> bool {
        self.bytes_of(generation).is_some()
    }

    /// What a version takes, if it is in memory.
    pub fn bytes_of(&self, generation: Generation) -> Option<u64> {
        let state = self.lock();
        let slot = state.slots.get(&generation)?;
        (!slot.retired).then(|| slot.adapter.bytes())
    }

    /// A version in memory, without a use being counted.
    pub fn peek(&self, generation: Generation) -> Option<Arc<Adapter>> {
        let state = self.lock();
        state
            .slots
            .get(&generation)
            .map(|slot| slot.adapter.clone())
    }

    /// Takes hold of a version, if it is in memory.
    pub fn hold(&self, generation: Generation) -> Option<Held> {
        let mut state = self.lock();
        let now = state.tick();
        let slot = state.slots.get_mut(&generation)?;
        slot.leases += 1;
        slot.last_used = now;
        // Asked for again before the last lease let it go: it need not be loaded twice.
        slot.retired = false;
        Some(Held {
            adapter: slot.adapter.clone(),
            residency: self.clone(),
        })
    }

    /// Sets bytes aside for a version that is to be loaded, removing idle versions as needed. Returns those.
    pub fn reserve(&self, bytes: u64) -> Result<(Room, Vec<Generation>), Reason> {
        if bytes > self.budget {
            return Err(Reason::WrongState(format!(
                "the adapter needs {bytes} bytes in memory; all adapters together may take {}",
                self.budget
            )));
        }
        let mut state = self.lock();
        let (mut evicted, kept) = (Vec::new(), state.pinned_bytes());
        if kept + bytes > self.budget {
            // No request that ends makes this room.
            return Err(Reason::WrongState(format!(
                "the adapter needs {bytes} bytes in memory; pinned adapters take {kept} of {}: unpin one",
                self.budget
            )));
        }
        while state.used + bytes > self.budget {
            let Some(victim) = state.victim() else {
                return Err(Reason::Overloaded { retry_after: 1 });
            };
            state.drop_slot(victim);
            evicted.push(victim);
        }
        state.used += bytes;
        Ok((
            Room {
                residency: self.clone(),
                bytes,
            },
            evicted,
        ))
    }

    /// Puts a loaded version into the room that was set aside for it, and holds it.
    pub fn admit(&self, mut room: Room, adapter: Arc<Adapter>) -> Held {
        let mut state = self.lock();
        // Under one lock: nobody may see the bytes counted twice, and evict for it.
        state.used -= std::mem::take(&mut room.bytes);
        let (generation, now) = (adapter.generation(), state.tick());
        if !state.slots.contains_key(&generation) {
            state.used += adapter.bytes();
            state.slots.insert(
                generation,
                Slot {
                    adapter: adapter.clone(),
                    leases: 0,
                    last_used: now,
                    retired: false,
                },
            );
        }
        let held = state.slots.get_mut(&generation).map_or(adapter, |slot| {
            slot.leases += 1;
            slot.last_used = now;
            slot.retired = false;
            slot.adapter.clone()
        });
        Held {
            adapter: held,
            residency: self.clone(),
        }
    }

    /// Lets go of a version: at once if idle, else with its last lease. Pinned ones stay. Tells whether it was resident.
    pub fn retire(&self, generation: Generation) -> bool {
        let mut state = self.lock();
        if state.pinned.contains(&generation) {
            return false;
        }
        let Some(slot) = state.slots.get_mut(&generation) else {
            return false;
        };
        let was_resident = !std::mem::replace(&mut slot.retired, true);
        if slot.leases == 0 {
            state.drop_slot(generation);
        }
        was_resident
    }

    pub fn set_pinned(&self, pinned: HashSet<Generation>) {
        self.lock().pinned = pinned;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn pinned_bytes(&self) -> u64 {
        let pinned = self.slots.iter().filter(|(at, _)| self.pinned.contains(at));
        pinned.map(|(_, slot)| slot.adapter.bytes()).sum()
    }

    /// The idle version that was used longest ago.
    fn victim(&self) -> Option<Generation> {
        let idle = self
            .slots
            .iter()
            .filter(|(generation, slot)| slot.leases == 0 && !self.pinned.contains(generation));
        idle.min_by_key(|(_, slot)| slot.last_used)
            .map(|(generation, _)| *generation)
    }

    fn drop_slot(&mut self, generation: Generation) {
        if let Some(slot) = self.slots.remove(&generation) {
            self.used -= slot.adapter.bytes();
        }
    }
}

impl Held {
    pub fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let generation = self.adapter.generation();
        let mut state = self.residency.lock();
        let Some(slot) = state.slots.get_mut(&generation) else {
            return;
        };
        slot.leases -= 1;
        if slot.leases == 0 && slot.retired {
            state.drop_slot(generation);
        }
    }
}

impl Room {
    /// Sets more bytes aside where these are fewer. Returns what was removed for it.
    pub fn grow_to(&mut self, bytes: u64) -> Result<Vec<Generation>, Reason> {
        let missing = bytes.saturating_sub(self.bytes);
        if missing == 0 {
            return Ok(Vec::new());
        }
        let (mut more, evicted) = self.residency.reserve(missing)?;
        self.bytes += std::mem::take(&mut more.bytes);
        Ok(evicted)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.residency.lock().used -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::peft;
    use crate::adapter::testing::{fit, sites, specimen};

    fn adapter(seed: u64) -> Arc<Adapter> {
        Arc::new(peft::read(&specimen(1, seed), &fit(&sites(1))).unwrap())
    }

    fn bytes() -> u64 {
        adapter(0).bytes()
    }

    fn load(
        residency: &Residency,
        adapter: &Arc<Adapter>,
    ) -> Result<(Held, Vec<Generation>), Reason> {
        let (room, evicted) = residency.reserve(adapter.bytes())?;
        Ok((residency.admit(room, adapter.clone()), evicted))
    }

    #[test]
    fn the_version_used_longest_ago_goes_first() {
        let residency = Residency::new(2 * bytes());
        let [a, b, c] = [1, 2, 3].map(adapter);
        drop(load(&residency, &a).unwrap());
        drop(load(&residency, &b).unwrap());
        drop(residency.hold(a.generation()).unwrap());
        let (_held, evicted) = load(&residency, &c).unwrap();
        assert_eq!(evicted, [b.generation()]);
        assert!(residency.is_resident(a.generation()) && residency.used() == 2 * bytes());
    }

    #[test]
    fn leased_and_pinned_versions_stay_and_a_full_house_says_so() {
        let residency = Residency::new(2 * bytes());
        let [a, b, c] = [1, 2, 3].map(adapter);
        let (lease, _) = load(&residency, &a).unwrap();
        drop(load(&residency, &b).unwrap());
        residency.set_pinned(HashSet::from([b.generation()]));
        assert!(matches!(
            load(&residency, &c),
            Err(Reason::Overloaded { .. })
        ));
        assert!(!residency.retire(b.generation()), "pinned");
        drop(lease);
        assert_eq!(load(&residency, &c).unwrap().1, [a.generation()]);
    }

    #[test]
    fn a_retired_version_counts_until_its_last_lease_and_comes_back_without_a_load() {
        let residency = Residency::new(4 * bytes());
        let a = adapter(1);
        let (first, _) = load(&residency, &a).unwrap();
        assert!(residency.retire(a.generation()));
        assert!(!residency.is_resident(a.generation()));
        assert_eq!(residency.used(), bytes());
        let second = residency.hold(a.generation()).unwrap();
        assert!(residency.is_resident(a.generation()));
        residency.retire(a.generation());
        drop((first, second));
        assert_eq!(residency.used(), 0);
        assert!(residency.hold(a.generation()).is_none());
    }

    #[test]
    fn room_that_is_not_used_is_given_back() {
        let residency = Residency::new(bytes());
        drop(residency.reserve(bytes()).unwrap());
        assert_eq!(residency.used(), 0);
        assert!(matches!(
            residency.reserve(bytes() + 1),
            Err(Reason::WrongState(_))
        ));
    }

    #[test]
    fn room_can_grow_within_the_budget() {
        let residency = Residency::new(2 * bytes());
        let [a, b] = [1, 2].map(adapter);
        drop(load(&residency, &a).unwrap());
        let (mut room, _) = residency.reserve(bytes()).unwrap();
        assert!(room.grow_to(bytes()).unwrap().is_empty());
        assert_eq!(room.grow_to(2 * bytes()).unwrap(), [a.generation()]);
        assert_eq!(residency.used(), 2 * bytes());
        assert!(room.grow_to(2 * bytes() + 1).is_err());
        drop(residency.admit(room, b));
        assert_eq!(residency.used(), bytes());
    }

    #[test]
    fn a_version_admitted_twice_is_counted_once() {
        let residency = Residency::new(2 * bytes());
        let a = adapter(1);
        let rooms = [(); 2].map(|()| residency.reserve(a.bytes()).unwrap().0);
        let held = rooms.map(|room| residency.admit(room, a.clone()));
        assert_eq!(residency.used(), bytes());
        assert!(Arc::ptr_eq(held[0].adapter(), held[1].adapter()));
        drop(held);
        assert!(residency.is_resident(a.generation()));
        residency.retire(a.generation());
        assert_eq!(residency.used(), 0);
    }
}
