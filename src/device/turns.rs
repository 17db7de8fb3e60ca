//! Whose turn it is. Serving goes first: training works in short tiles and waits between two of them while a
//! serving step holds, or is about to take, the processor.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Serving that held the device for so long while training waited owes it a pause …
const OWING: Duration = Duration::from_millis(20);
/// … of the time it held the device divided by this: training gets at least a fifth of the time …
const SERVED_PER_PAUSE: u32 = 4;
/// … but never makes an answer wait longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Work beside serving rests so many times as long as it worked: a step takes at most a seventh longer for it.
const REST_PER_WORK: u32 = 6;
/// A slice that was longer than it should be must not make it rest for ever.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// A handle to the turns of one device; clones share them.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Table>);

#[derive(Debug)]
struct Table {
    /// Serving steps that run now. Training waits while it is not zero.
    serving: AtomicUsize,
    /// Training threads that wait now.
    waiting: AtomicUsize,
    debt: Mutex<Debt>,
    /// Guards the wait for `serving` to fall to zero; a step that ends takes it, so that no waiting thread misses the
    /// change.
    changing: Mutex<()>,
    free: Condvar,
}

/// What serving owes to training: without it, steps that follow one another at once would shut training out.
#[derive(Debug, Default)]
struct Debt {
    /// Time that serving held the device while training waited, since the last pause.
    served: Duration,
}

impl Debt {
    fn add(&mut self, held: Duration) {
        self.served += held;
    }

    /// The pause that is due, if one is.
    fn pay(&mut self) -> Option<Duration> {
        if self.served < OWING {
            return None;
        }
        let served = std::mem::take(&mut self.served);
        Some((served / SERVED_PER_PAUSE).min(LONGEST_PAUSE))
    }
}

/// Serving holds the device until this is dropped.
#[derive(Debug)]
pub struct ServingTurn {
    table: Arc<Table>,
    since: Instant,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Table {
            serving: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            debt: Mutex::default(),
            changing: Mutex::default(),
            free: Condvar::new(),
        }))
    }
}

impl Table {
    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn debt(&self) -> MutexGuard<'_, Debt> {
        self.debt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    /// Taken for one serving step. Waits for no tile: one that already runs ends within its bound. While training is
    /// held back by turn after turn, pauses now and then so that it gets its share.
    pub fn serving(&self) -> ServingTurn {
        if let Some(pause) = self.0.debt().pay() {
            std::thread::sleep(pause);
        }
        self.0.serving.fetch_add(1, Ordering::SeqCst);
        ServingTurn {
            table: self.0.clone(),
            since: Instant::now(),
        }
    }

    /// Called by training between two tiles: returns at once when no serving turn is held, else when the last one ended.
    pub fn give_way(&self) {
        if self.0.serving.load(Ordering::SeqCst) == 0 {
            return;
        }
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        let mut changing = self.0.changing();
        while self.0.serving.load(Ordering::SeqCst) > 0 {
            changing = self
                .0
                .free
                .wait(changing)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Called by work beside serving after each slice of it, which took `worked`: returns at once when no serving turn is
    /// held, else after a rest. Such work goes on under any load, slowly.
    pub fn stand_back(&self, worked: Duration) {
        let rest = self.rest(worked);
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }

    /// The rest that is due after so much work beside serving.
    pub fn rest(&self, worked: Duration) -> Duration {
        match self.0.serving.load(Ordering::SeqCst) {
            0 => Duration::ZERO,
            _ => (worked * REST_PER_WORK).min(LONGEST_REST),
        }
    }

    /// Training waits now.
    #[cfg(test)]
    pub(crate) fn training_waits(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) > 0
    }
}

impl Drop for ServingTurn {
    fn drop(&mut self) {
        let table = &self.table;
        if table.waiting.load(Ordering::SeqCst) > 0 {
            table.debt().add(self.since.elapsed());
        }
        let _changing = table.changing();
        if table.serving.fetch_sub(1, Ordering::SeqCst) == 1 {
            table.free.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn training_waits_while_serving_holds_its_turn() {
        let turns = Turns::default();
        // Nothing to wait for.
        turns.give_way();

        let step = turns.serving();
        let (passed, seen) = mpsc::channel();
        let trainer = std::thread::spawn({
            let turns = turns.clone();
            move || {
                turns.give_way();
                passed.send(()).ok();
            }
        });
        while !turns.training_waits() {
            std::thread::yield_now();
        }
        assert!(
            seen.try_recv().is_err(),
            "training went on during a serving step"
        );
        drop(step);
        seen.recv().expect("training goes on once serving is done");
        trainer.join().unwrap();
    }

    #[test]
    fn steps_that_follow_at_once_do_not_shut_training_out() {
        let turns = Turns::default();
        let first = turns.serving();
        let trainer = std::thread::spawn({
            let turns = turns.clone();
            move || (0..5).for_each(|_| turns.give_way())
        });
        while !turns.training_waits() {
            std::thread::yield_now();
        }
        drop(first);
        while !trainer.is_finished() {
            let _step = turns.serving();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(1) {
                std::hint::spin_loop();
            }
        }
        trainer.join().unwrap();
    }

    #[test]
    fn a_pause_is_due_after_serving_held_the_device_long_enough() {
        let mut debt = Debt::default();
        debt.add(OWING / 2);
        assert_eq!(debt.pay(), None);
        debt.add(OWING / 2);
        assert_eq!(debt.pay(), Some(OWING / SERVED_PER_PAUSE));
        assert_eq!(debt.pay(), None);
        debt.add(Duration::from_secs(60));
        assert_eq!(debt.pay(), Some(LONGEST_PAUSE));
    }

    #[test]
    fn work_beside_serving_rests_only_while_a_step_runs() {
        let (turns, worked) = (Turns::default(), Duration::from_millis(1));
        assert_eq!(turns.rest(worked), Duration::ZERO);
        let step = turns.serving();
        assert_eq!(turns.rest(worked), worked * REST_PER_WORK);
        assert_eq!(turns.rest(Duration::from_secs(60)), LONGEST_REST);
        drop(step);
        turns.stand_back(Duration::from_secs(60));
    }

    #[test]
    fn two_serving_turns_both_have_to_end() {
        let turns = Turns::default();
        let (first, second) = (turns.serving(), turns.serving());
        drop(first);
        assert_eq!(turns.0.serving.load(Ordering::SeqCst), 1);
        drop(second);
        turns.give_way();
    }
}
