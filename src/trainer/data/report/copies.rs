//! Copies among rows for a job that leaves them out: the search of the report without the rest of it.

use super::facts::View;
use super::near::{Near, Sketch, features};
use super::text::{mix, normal_hash};
use crate::trainer::data::record::Record;

/// The rows seen so far.
#[derive(Default)]
pub struct Copies(Near);

/// What a row is compared by.
pub struct Brought {
    whole: u64,
    sketch: Sketch,
}

impl Copies {
    /// Looks at a row; on any thread.
    pub fn look(&self, record: &Record) -> Brought {
        let view = View::of(&record.body);
        let (features, _) = features(view.texts());
        Brought {
            whole: whole(
                normal_hash(view.asked.iter().copied()),
                normal_hash(view.answers()),
            ),
            sketch: self.0.sketch(features),
        }
    }

    pub fn add(&mut self, brought: Brought) {
        self.0.add(brought.whole, &brought.sketch);
    }

    /// Of every row, the earlier one that it repeats.
    pub fn find(mut self) -> Vec<Option<u32>> {
        let copies = self.0.copies();
        copies
            .into_iter()
            .map(|copy| copy.map(|copy| copy.of))
            .collect()
    }
}

/// A hash of all that is asked and answered, of the hashes of both.
pub const fn whole(asked: u64, answered: u64) -> u64 {
    mix(asked ^ answered.rotate_left(1))
}
