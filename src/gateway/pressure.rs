//! What is refused while memory is short: the cheapest to lose first, long before the system ends the process. Who reads
//! the memory tells it here; whoever begins work asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Caller;
use crate::domain::Reason;

/// From here on new connections wait, in thousandths of the memory.
const CONNECTIONS: u32 = 970;
/// Prompt tokens from which on a request is a long one.
const LONG: usize = 1024;
/// Seconds after which to come back.
const RETRY_AFTER: u64 = 5;

/// Work that may be refused, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nobody waits for it: blends, answers that are only compared.
    Background,
    /// Uploads, and data that is checked.
    Upload,
    /// Requests that say that others come first.
    Batch,
    /// Requests with long prompts.
    LongPrompt,
    /// Every other request.
    Inference,
}

impl Work {
    pub const ALL: [Self; 5] = [
        Self::Background,
        Self::Upload,
        Self::Batch,
        Self::LongPrompt,
        Self::Inference,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Upload => "upload",
            Self::Batch => "batch",
            Self::LongPrompt => "long_prompt",
            Self::Inference => "inference",
        }
    }

    /// What a request is.
    fn of(priority: i32, prompt: usize) -> Self {
        match (priority, prompt) {
            (1.., _) => Self::Batch,
            (_, LONG..) => Self::LongPrompt,
            _ => Self::Inference,
        }
    }

    /// Thousandths of the memory from which on it is refused.
    const fn bound(self) -> u32 {
        match self {
            Self::Background => 920,
            Self::Upload => 930,
            Self::Batch => 940,
            Self::LongPrompt => 950,
            Self::Inference => 960,
        }
    }
}

/// Whether work is refused while so many thousandths of the memory are taken.
pub fn decide(taken: u32, work: Work) -> bool {
    taken > work.bound()
}

/// How short memory is. Cheap to clone; without somebody who tells it, memory is never short.
#[derive(Debug, Clone, Default)]
pub struct Pressure(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Thousandths.
    taken: AtomicU32,
    shed: [AtomicU64; Work::ALL.len()],
}

impl Pressure {
    /// So many bytes of so many are taken.
    pub fn tell(&self, taken: u64, all: u64) {
        let share = (u128::from(taken) * 1000).checked_div(u128::from(all));
        let share = share.map_or(0, |share| u32::try_from(share).unwrap_or(u32::MAX));
        self.0.taken.store(share, Ordering::Relaxed);
    }

    /// Of the memory, 0 to 1 and beyond.
    pub fn taken(&self) -> f64 {
        f64::from(self.0.taken.load(Ordering::Relaxed)) / 1000.0
    }

    pub fn holds_connections(&self) -> bool {
        self.0.taken.load(Ordering::Relaxed) > CONNECTIONS
    }

    /// How often work was refused.
    pub fn shed(&self) -> [(Work, u64); Work::ALL.len()] {
        Work::ALL.map(|work| (work, self.0.shed[work as usize].load(Ordering::Relaxed)))
    }

    /// Refuses work that memory is too short for, and counts it.
    pub fn admit(&self, work: Work) -> Result<(), Reason> {
        if !decide(self.0.taken.load(Ordering::Relaxed), work) {
            return Ok(());
        }
        self.0.shed[work as usize].fetch_add(1, Ordering::Relaxed);
        Err(Reason::MemoryShort {
            retry_after: RETRY_AFTER,
        })
    }
}

impl Caller {
    /// Whether something may be uploaded; to be asked before it comes.
    pub fn check_upload(&self) -> Result<(), Reason> {
        self.afford(Work::Upload)
    }

    /// Refuses work that memory is too short for.
    pub(super) fn afford(&self, work: Work) -> Result<(), Reason> {
        self.gateway().pressure().admit(work)
    }

    /// The same of a request, by the longest of its prompts.
    pub(super) fn afford_request(&self, priority: i32, prompt: usize) -> Result<(), Reason> {
        self.afford(Work::of(priority, prompt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_to_lose_goes_first_and_nothing_comes_back_under_more_pressure() {
        let refused = |taken| {
            Work::ALL
                .into_iter()
                .filter(move |work| decide(taken, *work))
        };
        assert_eq!(refused(920).count(), 0, "92 % is enough room");
        for (taken, expected) in [(921, 1), (931, 2), (941, 3), (951, 4), (961, 5), (2000, 5)] {
            assert_eq!(refused(taken).count(), expected, "{taken}");
        }
        for taken in 0..1100 {
            let count = refused(taken).count();
            let first: Vec<Work> = Work::ALL.into_iter().take(count).collect();
            assert_eq!(refused(taken).collect::<Vec<_>>(), first, "{taken}");
        }
        assert!(Work::ALL.into_iter().all(|work| decide(CONNECTIONS, work)));
    }

    #[test]
    fn a_request_is_judged_by_its_priority_and_then_its_prompt() {
        assert_eq!(Work::of(1, LONG), Work::Batch);
        assert_eq!(Work::of(0, LONG), Work::LongPrompt);
        assert_eq!(Work::of(-5, LONG - 1), Work::Inference);
    }

    #[test]
    fn pressure_is_a_share_and_refusals_are_counted() {
        let pressure = Pressure::default();
        assert_eq!(pressure.admit(Work::Background), Ok(()));
        pressure.tell(945, 1000);
        assert!((pressure.taken() - 0.945).abs() < 1e-9 && !pressure.holds_connections());
        assert_eq!(pressure.admit(Work::Inference), Ok(()));
        let refused = pressure.admit(Work::Batch);
        assert_eq!(refused, Err(Reason::MemoryShort { retry_after: 5 }));
        let counts = pressure.shed().map(|(_, count)| count);
        assert_eq!(counts, [0, 0, 1, 0, 0]);
        pressure.tell(u64::MAX, 1);
        assert!(pressure.holds_connections());
        pressure.tell(1, 0);
        assert!(
            !pressure.holds_connections(),
            "nothing is known of the memory"
        );
    }
}
