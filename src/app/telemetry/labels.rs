//! A cap on label values: a label a caller can invent must not grow memory without end.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The first `most` names keep their own label until they are released; the rest share `other`.
pub struct Labels {
    most: usize,
    known: Mutex<HashSet<String>>,
}

impl Labels {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            known: Mutex::new(HashSet::new()),
        }
    }

    pub fn of<'a>(&self, name: &'a str) -> &'a str {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) {
            return name;
        }
        if known.len() < self.most {
            known.insert(name.to_owned());
            return name;
        }
        "other"
    }

    pub fn most(&self) -> usize {
        self.most
    }

    /// Takes labels back from names that are gone, and says which.
    pub fn release(&self, exists: impl Fn(&str) -> bool) -> Vec<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, gone) = known.drain().partition(|name| exists(name));
        *known = kept;
        drop(known);
        Vec::from_iter::<HashSet<String>>(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_cap_share_one_label() {
        let labels = Labels::new(2);
        assert_eq!(
            [
                labels.of("a"),
                labels.of("b"),
                labels.of("c"),
                labels.of("a")
            ],
            ["a", "b", "other", "a"]
        );
    }

    #[test]
    fn a_name_that_is_gone_leaves_its_label_to_another() {
        let labels = Labels::new(2);
        assert_eq!([labels.of("a"), labels.of("b")], ["a", "b"]);
        assert_eq!(labels.release(|name| name != "a"), ["a"]);
        assert_eq!(
            [labels.of("b"), labels.of("c"), labels.of("d")],
            ["b", "c", "other"]
        );
    }
}
