//! Rows that a job learns from or is measured on, by their numbers: in memory, or read when they are asked for.

use std::ops::Deref;
use std::sync::Arc;

use super::{Example, Length};
use crate::domain::Reason;

pub trait Examples: Sync {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of a number below [`Self::len`].
    fn get(&self, number: usize) -> Result<Taken<'_>, Reason>;

    /// How long each row is, by their numbers.
    fn lengths(&self) -> Result<Vec<Length>, Reason> {
        let all = 0..self.len();
        all.map(|number| Ok(Length::of(&*self.get(number)?)))
            .collect()
    }
}

/// A row that is there for as long as it is needed.
pub enum Taken<'a> {
    Borrowed(&'a Example),
    Shared(Arc<Example>),
}

impl Deref for Taken<'_> {
    type Target = Example;

    fn deref(&self) -> &Example {
        match self {
            Self::Borrowed(example) => example,
            Self::Shared(example) => example,
        }
    }
}

impl<T: AsRef<[Example]> + Sync> Examples for T {
    fn len(&self) -> usize {
        self.as_ref().len()
    }

    fn get(&self, number: usize) -> Result<Taken<'_>, Reason> {
        Ok(Taken::Borrowed(&self.as_ref()[number]))
    }
}

impl dyn Examples + '_ {
    pub fn take(&self, numbers: impl Iterator<Item = usize>) -> Result<Vec<Taken<'_>>, Reason> {
        numbers.map(|number| self.get(number)).collect()
    }
}

/// Every so many of some rows.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    pub of: &'a dyn Examples,
    pub every: usize,
}

impl<'a> Sample<'a> {
    pub fn count(&self) -> usize {
        self.of.len().div_ceil(self.every.max(1))
    }

    /// All of them in order, so many at a time.
    pub fn batches(self, size: usize) -> impl Iterator<Item = Result<Vec<Taken<'a>>, Reason>> {
        let (size, every) = (size.max(1), self.every.max(1));
        (0..self.count()).step_by(size).map(move |first| {
            let last = (first + size).min(self.count());
            self.of.take((first..last).map(|at| at * every))
        })
    }
}
