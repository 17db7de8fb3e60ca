//! Which versions are in memory, under a budget of bytes. The one asked for least goes first, where what was asked long ago
//! counts less and less; pinned and leased ones stay. No I/O here: callers bring what was loaded.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::adapter::Adapter;
use crate::domain::{Generation, Reason};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Residency {
    budget: u64,
    state: Arc<Mutex<State>>,
    /// Wakes the load that waits for room.
    freed: Arc<Notify>,
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
    /// Uses, as they counted at the last of them.
    heat: f64,
    /// Goes as soon as no lease holds it, to make room; until then it gets no new lease.
    leaving: bool,
    /// Goes as soon as no lease holds it. It no longer counts as resident.
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
            freed: Arc::default(),
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
        let (now, half_life) = (state.tick(), state.half_life());
        let pinned = state.pinned.contains(&generation);
        let slot = state.slots.get_mut(&generation)?;
        if slot.leaving && !pinned {
            return None;
        }
        slot.leaving = false;
        slot.leases += 1;
        slot.used(now, half_life);
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
        // Declared first, and so given back after the lock.
        let mut freed = Vec::new();
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
            freed.extend(state.drop_slot(victim));
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
        // Under one lock: bytes that are seen counted twice would evict something.
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
                    heat: 0.0,
                    leaving: false,
                    retired: false,
                },
            );
        }
        let half_life = state.half_life();
        let held = state.slots.get_mut(&generation).map_or(adapter, |slot| {
            slot.leases += 1;
            slot.used(now, half_life);
            slot.retired = false;
            slot.leaving = false;
            slot.adapter.clone()
        });
        Held {
            adapter: held,
            residency: self.clone(),
        }
    }

    /// Lets go of a version: at once if idle, else with its last lease. Pinned ones stay. Tells whether it was resident.
    pub fn retire(&self, generation: Generation) -> bool {
        // Declared first, and so given back after the lock.
        let mut _freed = None;
        let mut state = self.lock();
        if state.pinned.contains(&generation) {
            return false;
        }
        let Some(slot) = state.slots.get_mut(&generation) else {
            return false;
        };
        let was_resident = !std::mem::replace(&mut slot.retired, true);
        if slot.leases == 0 {
            _freed = state.drop_slot(generation);
            self.freed.notify_one();
        }
        was_resident
    }

    /// Resolves when there may be more room than before. For one waiter at a time.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Of the versions that only leases keep in memory, makes the one asked for least leave with its last lease: those who
    /// wait for room would wait for ever where requests for it follow one another. None where those that leave already make
    /// room for `bytes`.
    pub fn make_one_leave(&self, bytes: u64) {
        let mut state = self.lock();
        let parts = |(at, slot): &(&Generation, &Slot)| {
            slot.retired || (slot.leaving && !state.pinned.contains(at))
        };
        let parting = state.slots.iter().filter(parts);
        let parting: u64 = parting.map(|(_, slot)| slot.adapter.bytes()).sum();
        if bytes + state.used <= self.budget + parting {
            return;
        }
        let leased = |slot: &Slot| slot.leases > 0 && !slot.leaving && !slot.retired;
        if let Some(slot) = state
            .coldest(leased)
            .and_then(|it| state.slots.get_mut(&it))
        {
            slot.leaving = true;
        }
    }

    /// No load waits for room any more: adapters that were to leave may be leased again.
    pub fn let_stay(&self) {
        for slot in self.lock().slots.values_mut() {
            slot.leaving = false;
        }
    }

    pub fn set_pinned(&self, pinned: HashSet<Generation>) {
        let mut state = self.lock();
        // Unloaded while it was being pinned: it stays.
        for (generation, slot) in &mut state.slots {
            slot.retired &= !pinned.contains(generation);
        }
        state.pinned = pinned;
        drop(state);
        self.freed.notify_one();
    }

    /// Bytes of pinned adapters in memory that are none of `these`.
    pub fn pinned_besides<T>(&self, these: &HashMap<Generation, T>) -> u64 {
        let state = self.lock();
        let pinned = { state.slots.iter() }
            .filter(|(at, _)| state.pinned.contains(at) && !these.contains_key(at));
        pinned.map(|(_, slot)| slot.adapter.bytes()).sum()
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

    fn victim(&self) -> Option<Generation> {
        self.coldest(|slot| slot.leases == 0)
    }

    /// Of versions that are not pinned, the one whose uses count least by now, or of equals the one used longest ago.
    fn coldest(&self, among: impl Fn(&Slot) -> bool) -> Option<Generation> {
        let heat = |slot: &Slot| slot.heat_at(self.clock, self.half_life());
        let slots = self.slots.iter();
        slots
            .filter(|(generation, slot)| among(slot) && !self.pinned.contains(generation))
            .min_by(|(_, a), (_, b)| {
                let colder = heat(a).total_cmp(&heat(b));
                colder.then(a.last_used.cmp(&b.last_used))
            })
            .map(|(generation, _)| *generation)
    }

    /// Uses, of all versions together, after which a use counts half: every version in memory had several turns by then.
    fn half_life(&self) -> f64 {
        const LEAST: usize = 64;
        (4 * self.slots.len()).max(LEAST) as f64
    }

    /// Returns the version, for its memory to be given back after the lock.
    fn drop_slot(&mut self, generation: Generation) -> Option<Arc<Adapter>> {
        let slot = self.slots.remove(&generation)?;
        self.used -= slot.adapter.bytes();
        Some(slot.adapter)
    }
}

impl Slot {
    fn heat_at(&self, now: u64, half_life: f64) -> f64 {
        let age = now.saturating_sub(self.last_used) as f64;
        self.heat * (-age / half_life).exp2()
    }

    fn used(&mut self, now: u64, half_life: f64) {
        self.heat = 1.0 + self.heat_at(now, half_life);
        self.last_used = now;
    }
}

impl Held {
    pub fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    /// Another hold on the same version, also where it is leaving.
    pub fn again(&self) -> Self {
        let mut state = self.residency.lock();
        let (now, half_life) = (state.tick(), state.half_life());
        if let Some(slot) = state.slots.get_mut(&self.adapter.generation()) {
            slot.leases += 1;
            slot.used(now, half_life);
            slot.retired = false;
        }
        Self {
            residency: self.residency.clone(),
            adapter: self.adapter.clone(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let generation = self.adapter.generation();
        let mut state = self.residency.lock();
        let pinned = state.pinned.contains(&generation);
        let Some(slot) = state.slots.get_mut(&generation) else {
            return;
        };
        slot.leases -= 1;
        if slot.leases > 0 {
            return;
        }
        if (slot.retired || slot.leaving) && !pinned {
            // `self` still holds it.
            drop(state.drop_slot(generation));
        } else {
            (slot.leaving, slot.retired) = (false, false);
        }
        drop(state);
        self.residency.freed.notify_one();
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
        self.residency.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
