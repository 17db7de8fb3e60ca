//! A name with its versions, as rows say it. Pure.

use std::sync::Arc;

use crate::domain::rollout::{Canary, RouteView, Shadow, Watched};
use crate::domain::{AdapterName, AdapterView, Generation, Pin, Reason, Tier};

/// A stored content.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub generation: Generation,
    pub kind: String,
    pub rank: usize,
    /// In memory.
    pub bytes: u64,
    /// Unix seconds.
    pub created_at: i64,
}

/// A version as one name holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedVersion {
    pub version: Version,
    pub source: String,
    pub evaluation: Option<serde_json::Value>,
    /// The base it was registered for.
    pub base_name: String,
    pub base_digest: [u8; 32],
}

/// What takes part of a name's requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Route {
    pub canary: Option<Canary>,
    pub shadow: Option<Shadow>,
    /// What was counted when it was last stored.
    pub watched: Watched,
}

impl Route {
    pub fn is_empty(&self) -> bool {
        self.canary.is_none() && self.shadow.is_none()
    }

    /// Generations that must not be forgotten.
    pub fn generations(&self) -> impl Iterator<Item = Generation> {
        let canary = self.canary.iter().map(|canary| canary.generation);
        canary.chain(self.shadow.iter().map(|shadow| shadow.generation))
    }

    /// Without what `stable` has become.
    pub fn after_move_to(mut self, stable: Generation) -> Self {
        self.canary.take_if(|canary| canary.generation == stable);
        self.shadow.take_if(|shadow| shadow.generation == stable);
        self
    }
}

impl NamedVersion {
    pub fn generation(&self) -> Generation {
        self.version.generation
    }
}

/// One name.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub name: AdapterName,
    pub pinned: bool,
    pub current: Arc<NamedVersion>,
    /// Where a rollback leads.
    pub previous: Option<Generation>,
    /// Those the name has had and still has, the newest publication first.
    pub versions: Vec<Arc<NamedVersion>>,
    pub route: Route,
}

impl Entry {
    pub fn generation(&self) -> Generation {
        self.current.generation()
    }

    /// Of its versions.
    pub fn generations(&self) -> impl Iterator<Item = Generation> {
        self.versions.iter().map(|held| held.generation())
    }

    pub fn find(&self, generation: Generation) -> Result<&Arc<NamedVersion>, Reason> {
        self.versions
            .iter()
            .find(|held| held.generation() == generation)
            .ok_or_else(|| self.no_such(&generation.to_string()))
    }

    /// What a request for this name means: what it points to, or the pinned version.
    pub fn choose(&self, pin: Option<&Pin>) -> Result<&Arc<NamedVersion>, Reason> {
        let Some(pin) = pin else {
            return Ok(&self.current);
        };
        self.versions
            .iter()
            .find(|held| pin.matches(&held.generation()))
            .ok_or_else(|| self.no_such(pin.as_str()))
    }

    /// The versions to forget where `keep` stay: what the name points to, where a rollback leads, what takes part of its
    /// requests, and of the others the newest.
    pub fn surplus(&self, keep: usize) -> Vec<Generation> {
        let stays = |at: &Generation| {
            *at == self.generation()
                || Some(*at) == self.previous
                || self.route.generations().any(|routed| routed == *at)
        };
        let others = keep.saturating_sub(self.generations().filter(stays).count());
        let others = self.generations().filter(|at| !stays(at)).skip(others);
        others.collect()
    }

    fn no_such(&self, generation: &str) -> Reason {
        Reason::NoSuchGeneration {
            name: self.name.to_string(),
            generation: generation.to_owned(),
        }
    }

    pub fn view(&self, tier: Tier) -> AdapterView {
        let NamedVersion {
            version,
            source,
            evaluation,
            base_name,
            ..
        } = &*self.current;
        AdapterView {
            id: self.name.clone(),
            object: "adapter".to_owned(),
            generation: version.generation,
            previous_generation: self.previous,
            generations: self.generations().collect(),
            kind: version.kind.clone(),
            rank: version.rank,
            bytes: version.bytes,
            tier,
            pinned: self.pinned,
            created_at: version.created_at,
            base: base_name.clone(),
            source: source.clone(),
            evaluation: evaluation.clone(),
            route: RouteView {
                stable: version.generation,
                canary: self.route.canary.clone(),
                shadow: self.route.shadow.clone(),
                counts: None,
                verdict: None,
            },
        }
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    pub fn held(byte: u8) -> Arc<NamedVersion> {
        let version = Version {
            generation: Generation::new([byte; 32]),
            kind: "lora".into(),
            rank: 4,
            bytes: 10,
            created_at: 0,
        };
        Arc::new(NamedVersion {
            version,
            source: "upload".into(),
            evaluation: None,
            base_name: "base".to_owned(),
            base_digest: [0; 32],
        })
    }

    /// A name that points to the first of `had`.
    pub fn entry(name: &str, had: &[u8]) -> Entry {
        let had: Vec<_> = had.iter().map(|byte| held(*byte)).collect();
        Entry {
            name: name.parse().unwrap(),
            pinned: false,
            current: had[0].clone(),
            previous: None,
            versions: had,
            route: Route::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{entry, held};
    use super::*;

    #[test]
    fn a_pin_finds_any_version_the_name_has_had() {
        let entry = entry("legal", &[1, 2]);
        let pin = |digits: &str| {
            entry
                .choose(Some(&digits.parse().unwrap()))
                .map(|held| held.generation())
        };
        assert_eq!(pin("02020202"), Ok(Generation::new([2; 32])));
        assert!(matches!(
            pin("03030303"),
            Err(Reason::NoSuchGeneration { .. })
        ));
        assert_eq!(
            entry.choose(None).unwrap().generation(),
            Generation::new([1; 32])
        );
    }

    #[test]
    fn what_is_served_and_the_way_back_are_kept_first_then_the_newest() {
        let mut legal = entry("legal", &[5, 4, 3, 2, 1]);
        let all = |bytes: &[u8]| -> Vec<_> {
            let generation = |byte: &u8| Generation::new([*byte; 32]);
            bytes.iter().map(generation).collect()
        };
        assert_eq!(legal.surplus(5), []);
        assert_eq!(legal.surplus(2), all(&[3, 2, 1]));
        legal.current = held(2);
        legal.previous = Some(Generation::new([1; 32]));
        assert_eq!(legal.surplus(3), all(&[4, 3]));
        assert_eq!(legal.surplus(1), all(&[5, 4, 3]), "the way back stays");
    }

    #[test]
    fn what_takes_part_of_the_requests_stays_until_it_is_what_the_name_points_to() {
        let mut legal = entry("legal", &[5, 4, 3, 2, 1]);
        let one = Generation::new([1; 32]);
        legal.route.canary = Some(Canary {
            generation: one,
            percent: crate::domain::rollout::Percent::new("percent", 10.0).unwrap(),
            sticky: crate::domain::rollout::Sticky::Request,
            since: 0,
            policy: crate::domain::rollout::Policy::default(),
        });
        let left: Vec<_> = [4, 3, 2].map(|byte| Generation::new([byte; 32])).into();
        assert_eq!(legal.surplus(2), left);
        let route = legal.route.clone();
        assert_eq!(route.clone().after_move_to(Generation::new([2; 32])), route);
        assert!(route.after_move_to(one).is_empty());
    }
}
