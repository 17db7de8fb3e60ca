//! A device's memory as reservations by part: bytes are promised before they are taken, and come back by themselves.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What memory is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The base's weights.
    Base,
    /// Cached keys and values.
    Kv,
    Adapters,
    /// What a forward pass keeps for its backward pass.
    Activations,
    Gradients,
    /// Moments of the optimizer, and masters of weights that learn.
    Optimizer,
    /// What one operation needs while it runs.
    Scratch,
}

impl Part {
    pub const ALL: [Self; 7] = [
        Self::Base,
        Self::Kv,
        Self::Adapters,
        Self::Activations,
        Self::Gradients,
        Self::Optimizer,
        Self::Scratch,
    ];

    /// As metrics and errors call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Kv => "kv",
            Self::Adapters => "adapters",
            Self::Activations => "activations",
            Self::Gradients => "gradients",
            Self::Optimizer => "optimizer",
            Self::Scratch => "scratch",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// More was asked for than is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {asked} bytes do not fit; {left} of {limit} are left")]
pub struct NoRoom {
    pub part: Part,
    pub asked: u64,
    pub left: u64,
    pub limit: u64,
}

/// The bytes of one device; clones share them.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Table>);

#[derive(Debug)]
struct Table {
    limit: u64,
    /// Reserved bytes by part, in the order of [`Part::ALL`]; together never more than `limit`.
    reserved: Mutex<[u64; Part::ALL.len()]>,
}

impl Table {
    fn reserved(&self) -> MutexGuard<'_, [u64; Part::ALL.len()]> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are one part's until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    budget: Budget,
    part: Part,
    bytes: u64,
}

impl Budget {
    /// A device that has so many bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Table {
            limit,
            reserved: Mutex::default(),
        }))
    }

    pub fn reserve(&self, part: Part, bytes: u64) -> Result<Reserved, NoRoom> {
        let mut reserved = self.0.reserved();
        let left = self.0.limit - reserved.iter().sum::<u64>();
        if bytes > left {
            return Err(NoRoom {
                part,
                asked: bytes,
                left,
                limit: self.0.limit,
            });
        }
        reserved[part as usize] += bytes;
        Ok(Reserved {
            budget: self.clone(),
            part,
            bytes,
        })
    }

    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    pub fn left(&self) -> u64 {
        self.0.limit - self.0.reserved().iter().sum::<u64>()
    }

    /// Reserved bytes by part, all of one moment.
    pub fn totals(&self) -> [(Part, u64); Part::ALL.len()] {
        let reserved = *self.0.reserved();
        Part::ALL.map(|part| (part, reserved[part as usize]))
    }
}

impl Reserved {
    pub fn part(&self) -> Part {
        self.part
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.0.reserved()[self.part as usize] -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reserve so much for a part, or give back one of what is held.
    #[derive(Debug, Clone)]
    enum Step {
        Reserve(Part, u64),
        GiveBack(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let part = proptest::sample::select(Part::ALL.to_vec());
        let bytes = prop_oneof![0u64..400, Just(1000), Just(u64::MAX)];
        let step = prop_oneof![
            (part, bytes).prop_map(|(part, bytes)| Step::Reserve(part, bytes)),
            any::<usize>().prop_map(Step::GiveBack),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn it_counts_as_a_plain_list_of_what_is_held_does(limit in 0u64..1200, steps in steps()) {
            let budget = Budget::new(limit);
            let mut held: Vec<Reserved> = Vec::new();
            for step in steps {
                let left = limit - held.iter().map(Reserved::bytes).sum::<u64>();
                match step {
                    Step::Reserve(part, bytes) => match budget.reserve(part, bytes) {
                        Ok(reserved) => {
                            prop_assert!(bytes <= left);
                            prop_assert_eq!((reserved.part(), reserved.bytes()), (part, bytes));
                            held.push(reserved);
                        }
                        Err(refusal) => {
                            prop_assert!(bytes > left);
                            prop_assert_eq!(refusal, NoRoom { part, asked: bytes, left, limit });
                        }
                    },
                    Step::GiveBack(which) if !held.is_empty() => {
                        held.swap_remove(which % held.len());
                    }
                    Step::GiveBack(_) => {}
                }
                for (part, total) in budget.totals() {
                    let plain = held.iter().filter(|one| one.part() == part);
                    prop_assert_eq!(total, plain.map(Reserved::bytes).sum::<u64>(), "{}", part);
                }
                prop_assert_eq!(budget.left(), limit - held.iter().map(Reserved::bytes).sum::<u64>());
            }
            drop(held);
            prop_assert_eq!(budget.left(), limit);
        }
    }

    #[test]
    fn threads_together_never_get_more_than_there_is() {
        let budget = Budget::new(1000);
        std::thread::scope(|scope| {
            for part in Part::ALL {
                let budget = &budget;
                scope.spawn(move || {
                    for round in 0..200 {
                        let first = budget.reserve(part, 100 + round);
                        let second = budget.reserve(part, 300);
                        let taken: u64 = budget.totals().iter().map(|(_, bytes)| bytes).sum();
                        assert!(taken <= budget.limit());
                        drop((first, second));
                    }
                });
            }
        });
        assert_eq!(budget.left(), 1000);
    }

    #[test]
    fn every_part_has_its_own_place_and_name() {
        for (at, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, at, "{part}");
        }
        let names: std::collections::BTreeSet<_> = Part::ALL.map(Part::name).into();
        assert_eq!(names.len(), Part::ALL.len());
    }

    #[test]
    fn a_refusal_says_what_was_asked_and_what_is_left() {
        let budget = Budget::new(100);
        let _base = budget.reserve(Part::Base, 70).unwrap();
        let refusal = budget.reserve(Part::Kv, 31).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "kv: 31 bytes do not fit; 30 of 100 are left"
        );
    }
}
