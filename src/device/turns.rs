//! Whose turn it is. Serving goes first: training works in short tiles and waits between two of them while a
//! serving step holds, or is about to take, the processor.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long serving's share of the processor is remembered: the weight of the past falls to 1/e in this time.
const MEMORY: Duration = Duration::from_secs(2);

/// Serving that held the device for so long while training waited owes it a pause …
const OWING: Duration = Duration::from_millis(20);
/// … of the time it held the device divided by this: training gets at least a fifth of the time …
const SERVED_PER_PAUSE: u32 = 4;
/// … but never makes an answer wait longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A handle to the turns of one device; clones share them.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Table>);

#[derive(Debug)]
struct Table {
    /// Serving steps that run now. Training waits while it is not zero.
    serving: AtomicUsize,
    /// Training tiles that were held back, for tests and metrics.
    held_back: AtomicU64,
    /// Training threads that wait now.
    waiting: AtomicUsize,
    share: Mutex<Share>,
    debt: Mutex<Debt>,
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

/// Exponentially weighted share of time during which at least one serving turn was held.
#[derive(Debug)]
struct Share {
    value: f32,
    since: Instant,
}

impl Share {
    /// Accounts for the time since the last change, during which serving was `busy` or not.
    fn advance(&mut self, now: Instant, busy: bool) {
        let passed = now.saturating_duration_since(self.since).as_secs_f32();
        let keep = (-passed / MEMORY.as_secs_f32()).exp();
        self.value = keep * self.value + (1.0 - keep) * f32::from(u8::from(busy));
        self.since = now;
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
            held_back: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            share: Mutex::new(Share {
                value: 0.0,
                since: Instant::now(),
            }),
            debt: Mutex::default(),
            free: Condvar::new(),
        }))
    }
}

impl Table {
    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut share = self.0.share();
        let held = self.0.serving.fetch_add(1, Ordering::SeqCst);
        share.advance(Instant::now(), held > 0);
        drop(share);
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
        self.0.held_back.fetch_add(1, Ordering::Relaxed);
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        let mut share = self.0.share();
        while self.0.serving.load(Ordering::SeqCst) > 0 {
            share = self
                .0
                .free
                .wait(share)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// How often training was held back so far.
    pub fn held_back(&self) -> u64 {
        self.0.held_back.load(Ordering::Relaxed)
    }

    /// Share of wall time that serving held the device lately (0–1), for the trainer's pacing.
    pub fn serving_share(&self) -> f32 {
        let mut share = self.0.share();
        let busy = self.0.serving.load(Ordering::SeqCst) > 0;
        share.advance(Instant::now(), busy);
        share.value
    }
}

impl Drop for ServingTurn {
    fn drop(&mut self) {
        let table = &self.table;
        if table.waiting.load(Ordering::SeqCst) > 0 {
            table.debt().add(self.since.elapsed());
        }
        let mut share = table.share();
        share.advance(Instant::now(), true);
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
        turns.give_way();
        assert_eq!(turns.held_back(), 0, "nothing to wait for");

        let step = turns.serving();
        let (passed, seen) = mpsc::channel();
        let trainer = std::thread::spawn({
            let turns = turns.clone();
            move || {
                turns.give_way();
                passed.send(()).ok();
            }
        });
        while turns.held_back() == 0 {
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
        while turns.held_back() == 0 {
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
    fn two_serving_turns_both_have_to_end() {
        let turns = Turns::default();
        let (first, second) = (turns.serving(), turns.serving());
        drop(first);
        assert_eq!(turns.0.serving.load(Ordering::SeqCst), 1);
        drop(second);
        turns.give_way();
    }

    #[test]
    fn the_share_follows_what_serving_holds() {
        let start = Instant::now();
        let mut share = Share {
            value: 0.0,
            since: start,
        };
        share.advance(start + MEMORY * 20, true);
        assert!(share.value > 0.99);
        share.advance(start + MEMORY * 21, false);
        assert!((0.3..0.4).contains(&share.value), "{}", share.value);
        assert!((0.0..=1.0).contains(&Turns::default().serving_share()));
    }
}
