//! What exists, as one immutable value: names with what they point to and have pointed to. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Expected;
use crate::domain::{AdapterName, Generation, Reason};
use crate::store::{Entry, Version};

/// Everything, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    names: BTreeMap<AdapterName, Arc<Entry>>,
}

impl Snapshot {
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self {
            names: entries
                .into_iter()
                .map(|entry| (entry.name.clone(), Arc::new(entry)))
                .collect(),
        }
    }

    /// The same with one name replaced, or without it.
    pub fn with(&self, name: &AdapterName, entry: Option<Entry>) -> Self {
        let mut names = self.names.clone();
        match entry {
            Some(entry) => names.insert(name.clone(), Arc::new(entry)),
            None => names.remove(name),
        };
        Self { names }
    }

    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.names.values()
    }

    pub fn get(&self, name: &AdapterName) -> Option<&Arc<Entry>> {
        self.names.get(name)
    }

    pub fn find(&self, name: &AdapterName) -> Result<&Arc<Entry>, Reason> {
        self.get(name)
            .ok_or_else(|| Reason::NoSuchAdapter(name.to_string()))
    }

    /// Of an existing name, under a caller's condition.
    pub fn find_at(&self, name: &AdapterName, expected: Expected) -> Result<&Arc<Entry>, Reason> {
        let entry = self.find(name)?;
        self.check(name, expected)?;
        Ok(entry)
    }

    /// Compares what a caller expects of a name with what is.
    pub fn check(&self, name: &AdapterName, expected: Expected) -> Result<(), Reason> {
        let actual = self.get(name).map(|entry| entry.generation());
        match expected {
            None => Ok(()),
            Some(wanted) if wanted == actual => Ok(()),
            Some(None) => Err(Reason::AdapterExists(name.to_string())),
            Some(Some(wanted)) => Err(Reason::GenerationMismatch {
                name: name.to_string(),
                expected: wanted.to_string(),
                actual,
            }),
        }
    }

    /// The versions that pinned names point to.
    pub fn pinned(&self) -> HashSet<Generation> {
        self.entries()
            .filter(|entry| entry.pinned)
            .map(|entry| entry.generation())
            .collect()
    }

    /// Bytes of the pinned versions, as if `name` were pinned at `held` too.
    pub fn pinned_bytes_with(&self, name: &AdapterName, held: &Version) -> u64 {
        let others = self
            .entries()
            .filter(|entry| entry.pinned && entry.name != *name)
            .map(|entry| &entry.current.version);
        let distinct: BTreeMap<Generation, u64> = others
            .chain([held])
            .map(|version| (version.generation, version.bytes))
            .collect();
        distinct.values().sum()
    }

    /// Every version of every name.
    pub fn generations(&self) -> HashSet<Generation> {
        let entries = self.entries();
        entries.flat_map(|entry| entry.generations()).collect()
    }

    pub fn knows(&self, generation: Generation) -> bool {
        self.entries()
            .any(|entry| entry.generations().any(|known| known == generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{entry, held};

    #[test]
    fn a_condition_holds_or_tells_what_is_there() {
        let snapshot = Snapshot::new([entry("legal", &[1])]);
        let (legal, new) = ("legal".parse().unwrap(), "new".parse().unwrap());
        let at = |byte| Some(Some(Generation::new([byte; 32])));
        assert_eq!(snapshot.check(&legal, None), Ok(()));
        assert_eq!(snapshot.check(&legal, at(1)), Ok(()));
        assert_eq!(snapshot.check(&new, Some(None)), Ok(()));
        assert!(matches!(
            snapshot.check(&legal, Some(None)),
            Err(Reason::AdapterExists(_))
        ));
        assert!(matches!(
            snapshot.check(&legal, at(2)),
            Err(Reason::GenerationMismatch {
                actual: Some(_),
                ..
            })
        ));
        assert!(matches!(
            snapshot.check(&new, at(2)),
            Err(Reason::GenerationMismatch { actual: None, .. })
        ));
    }

    #[test]
    fn a_version_that_two_pinned_names_share_counts_once() {
        let [mut a, mut b] = [entry("a", &[1]), entry("b", &[1])];
        (a.pinned, b.pinned) = (true, true);
        let snapshot = Snapshot::new([a, b, entry("c", &[2])]);
        assert_eq!(
            snapshot.pinned_bytes_with(&"c".parse().unwrap(), &held(2).version),
            20
        );
        assert_eq!(
            snapshot.pinned_bytes_with(&"a".parse().unwrap(), &held(3).version),
            20
        );
        assert_eq!(snapshot.pinned().len(), 1);
    }
}
