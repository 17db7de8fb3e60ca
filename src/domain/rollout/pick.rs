//! Which requests a part of a name's traffic takes. The same everywhere and for ever: it depends on nothing but the name, the
//! generation and who or what asks.

use super::Percent;
use crate::domain::{AdapterName, Generation};

/// Hundredths of a percent.
const WHOLE: u64 = 10_000;

/// What is drawn for. Two draws over the same requests say nothing about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Canary,
    Shadow,
}

/// Whether the request, or the caller, called `key` falls into the first `percent` of all. Whatever falls into a share falls
/// into every larger one, so raising it only adds.
pub fn falls_in(
    part: Part,
    name: &AdapterName,
    generation: Generation,
    key: &str,
    percent: Percent,
) -> bool {
    place(part, name, generation, key) < u64::from(percent.hundredths())
}

/// From 0 to 9,999.
fn place(part: Part, name: &AdapterName, generation: Generation, key: &str) -> u64 {
    let context = match part {
        Part::Canary => "adapterd canary of a name v1",
        Part::Shadow => "adapterd shadow of a name v1",
    };
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(generation.bytes());
    // No name holds this byte.
    hasher.update(name.as_str().as_bytes()).update(&[0]);
    hasher.update(key.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first) % WHOLE
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Generation = Generation::new([7; 32]);

    fn legal() -> AdapterName {
        "legal".parse().unwrap()
    }

    fn percent(percent: f64) -> Percent {
        Percent::new("percent", percent).unwrap()
    }

    fn taken(part: Part, key: &str, share: f64) -> bool {
        falls_in(part, &legal(), NEW, key, percent(share))
    }

    #[test]
    fn a_tenth_of_all_requests_is_a_tenth() {
        let all = 20_000;
        let ids = (0..all).map(|n| format!("req_{n:032x}"));
        let took = ids.filter(|id| taken(Part::Canary, id, 10.0)).count();
        let share = 100.0 * took as f64 / f64::from(all);
        assert!((share - 10.0).abs() < 0.7, "{share} %");
    }

    #[test]
    fn a_larger_share_only_adds_and_the_ends_are_none_and_all() {
        for caller in 0..2_000 {
            let caller = format!("key-{caller}");
            let shares = [0.0, 0.01, 1.0, 10.0, 33.3, 50.0, 99.99, 100.0];
            let taken = shares.map(|share| taken(Part::Canary, &caller, share));
            assert!(taken.is_sorted(), "{caller}: {taken:?}");
            assert_eq!((taken[0], taken[7]), (false, true));
        }
    }

    #[test]
    fn draws_of_names_generations_and_parts_are_independent() {
        let other = Generation::new([8; 32]);
        let (mut both, mut generations, mut names) = (0, 0, 0);
        let medical = "medical".parse().unwrap();
        let half = percent(50.0);
        for n in 0..4_000 {
            let key = format!("{n}");
            let here = taken(Part::Canary, &key, 50.0);
            both += usize::from(here == taken(Part::Shadow, &key, 50.0));
            generations += usize::from(here == falls_in(Part::Canary, &legal(), other, &key, half));
            names += usize::from(here == falls_in(Part::Canary, &medical, NEW, &key, half));
        }
        for alike in [both, generations, names] {
            assert!((1_800..2_200).contains(&alike), "{alike} of 4000 alike");
        }
    }

    #[test]
    fn a_place_is_the_same_in_every_process_and_release() {
        let places = ["a", "req_1", ""].map(|key| place(Part::Canary, &legal(), NEW, key));
        assert_eq!(places, PLACES);
    }

    /// Written down when the draw was made; callers would change sides if these changed.
    const PLACES: [u64; 3] = [1974, 4894, 3333];
}
