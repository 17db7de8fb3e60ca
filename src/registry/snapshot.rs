//! What exists, as one immutable value: names with what they point to and have pointed to. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Expected;
use crate::domain::{AdapterName, Generation, Pin, Reason};
use crate::store::{Entry, NamedVersion, Unserved, Version};

/// Everything, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    names: BTreeMap<AdapterName, Arc<Entry>>,
    /// Versions kept under names that point to nothing.
    unserved: Arc<Unserved>,
}

impl Snapshot {
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self {
            names: entries
                .into_iter()
                .map(|entry| (entry.name.clone(), Arc::new(entry)))
                .collect(),
            unserved: Arc::default(),
        }
    }

    /// The same, with what is kept under names that point to nothing.
    pub fn with_unserved(self, unserved: Unserved) -> Self {
        let unserved = Arc::new(unserved);
        Self { unserved, ..self }
    }

    /// The same, with this kept under a name that points to nothing.
    pub fn keeping(&self, name: &AdapterName, kept: Vec<Arc<NamedVersion>>) -> Self {
        let mut unserved = Unserved::clone(&self.unserved);
        match kept.is_empty() {
            true => unserved.remove(name),
            false => unserved.insert(name.clone(), kept),
        };
        self.clone().with_unserved(unserved)
    }

    /// The versions kept under a name that points to nothing, newest first.
    pub fn unserved(&self, name: &AdapterName) -> &[Arc<NamedVersion>] {
        self.unserved.get(name).map_or(&[], Vec::as_slice)
    }

    /// What a request for this name means; a pin also finds what is kept under a name that points to nothing.
    pub fn choose(
        &self,
        name: &AdapterName,
        pin: Option<&Pin>,
    ) -> Result<&Arc<NamedVersion>, Reason> {
        let kept = self.unserved(name);
        match (self.get(name), pin) {
            (None, Some(pin)) if !kept.is_empty() => {
                let mut kept = kept.iter();
                let found = kept.find(|held| pin.matches(&held.generation()));
                found.ok_or_else(|| Reason::NoSuchGeneration {
                    name: name.to_string(),
                    generation: pin.as_str().to_owned(),
                })
            }
            _ => self.find(name)?.choose(pin),
        }
    }

    /// The same with one name replaced, or without it. What was kept while it pointed to nothing is its entry's then.
    pub fn with(&self, name: &AdapterName, entry: Option<Entry>) -> Self {
        let mut names = self.names.clone();
        match entry {
            Some(entry) => names.insert(name.clone(), Arc::new(entry)),
            None => names.remove(name),
        };
        let unserved = self.unserved.clone();
        let next = Self { names, unserved };
        match next.unserved.contains_key(name) {
            true => next.keeping(name, Vec::new()),
            false => next,
        }
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
        let entries = self.entries().flat_map(|entry| entry.generations());
        entries.chain(self.kept()).collect()
    }

    fn kept(&self) -> impl Iterator<Item = Generation> {
        let kept = self.unserved.values().flatten();
        kept.map(|held| held.generation())
    }

    pub fn knows(&self, generation: Generation) -> bool {
        self.entries()
            .any(|entry| entry.generations().any(|known| known == generation))
            || self.kept().any(|known| known == generation)
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

    #[test]
    fn a_name_that_points_to_nothing_is_found_by_a_pin_alone() {
        let new: AdapterName = "new".parse().unwrap();
        let snapshot = Snapshot::default().keeping(&new, vec![held(2), held(1)]);
        let pin = |digits: &str| snapshot.choose(&new, Some(&digits.parse().unwrap()));
        assert_eq!(pin("01010101").unwrap().generation(), held(1).generation());
        assert!(matches!(
            pin("03030303"),
            Err(Reason::NoSuchGeneration { .. })
        ));
        let none = snapshot.choose(&new, None);
        assert!(matches!(none, Err(Reason::NoSuchAdapter(_))));
        assert!(snapshot.knows(held(1).generation()) && snapshot.generations().len() == 2);
        let served = snapshot.with(&new, Some(entry("new", &[1])));
        assert!(served.unserved(&new).is_empty() && !served.knows(held(2).generation()));
    }
}
