//! What of a loop over threads went wrong.

use std::sync::{Mutex, PoisonError};

/// The first failure that one of several tiles told.
pub struct Failure<E>(Mutex<Option<E>>);

impl<E> Default for Failure<E> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<E> Failure<E> {
    /// What a tile made; `None` where that failed.
    pub fn of<T>(&self, made: Result<T, E>) -> Option<T> {
        made.map_err(|error| {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
        })
        .ok()
    }

    /// When all tiles are through.
    ///
    /// # Errors
    /// The first that was told.
    pub fn end(self) -> Result<(), E> {
        match self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
