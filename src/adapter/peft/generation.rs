//! The name of an adapter's content.

use bytes::Bytes;
use serde_json::Value;

use super::{CONFIG_FILE, ENCODER_FILE, Files, HUB_WEIGHTS_FILE, WEIGHTS_FILE};
use crate::domain::Generation;
use crate::kernels::pool;

/// Bytes that are hashed before others get their turn.
const SLICE: usize = 256 << 10;

/// BLAKE3 over the configuration in canonical form and the bytes of the weights. `adapterd.json` has no part in it: it
/// tells how an adapter came about, not what it computes. What made a prefix has one: it is what training goes on from.
pub fn generation(files: &Files) -> Generation {
    let mut hasher = blake3::Hasher::new_derive_key("adapterd adapter generation v1");
    let of = |name| files.get(name).cloned().unwrap_or_default();
    let config = of(CONFIG_FILE);
    let canonical = canonical(&config).map_or(config, Bytes::from);
    // The first two are there always: names that were given before there were others are still right.
    let others = [ENCODER_FILE, HUB_WEIGHTS_FILE].map(|name| files.get(name).cloned());
    let parts = [canonical, of(WEIGHTS_FILE)].into_iter();
    for part in parts.chain(others.into_iter().flatten()) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        for slice in part.chunks(SLICE) {
            hasher.update(slice);
            pool::give_way();
        }
    }
    Generation::new(*hasher.finalize().as_bytes())
}

/// Keys sorted and spacing gone. PEFT saves some lists from sets, so their order is chance and is sorted away; the
/// order inside `rank_pattern` and `alpha_pattern` has a meaning and stays.
fn canonical(config: &[u8]) -> Option<Vec<u8>> {
    let Value::Object(keys) = serde_json::from_slice(config).ok()? else {
        return None;
    };
    let mut keys: Vec<(String, Value)> = keys.into_iter().collect();
    keys.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (key, value) in &mut keys {
        if let ("target_modules" | "exclude_modules", Value::Array(names)) = (key.as_str(), value) {
            names.sort_by_key(Value::to_string);
        }
    }
    serde_json::to_vec(&Value::Object(keys.into_iter().collect())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: &str, weights: &[u8]) -> Generation {
        let files = [(CONFIG_FILE, config.as_bytes()), (WEIGHTS_FILE, weights)];
        generation(
            &files
                .map(|(name, bytes)| (name.to_owned(), Bytes::copy_from_slice(bytes)))
                .into(),
        )
    }

    #[test]
    fn what_has_no_meaning_has_no_part_in_the_name() {
        let one = of(r#"{"r": 4, "target_modules": ["q_proj", "v_proj"]}"#, b"w");
        assert_eq!(
            one,
            of(r#"{"target_modules":["v_proj","q_proj"],"r":4}"#, b"w")
        );
    }

    #[test]
    fn whatever_has_a_meaning_changes_the_name() {
        let one = of(r#"{"r":4,"rank_pattern":{"q":1,".*":2}}"#, b"w");
        assert_ne!(one, of(r#"{"r":4,"rank_pattern":{".*":2,"q":1}}"#, b"w"));
        assert_ne!(one, of(r#"{"r":5,"rank_pattern":{"q":1,".*":2}}"#, b"w"));
        assert_ne!(one, of(r#"{"r":4,"rank_pattern":{"q":1,".*":2}}"#, b"x"));
    }

    #[test]
    fn the_record_of_origin_has_no_part_in_the_name() {
        let mut files = Files::from([(CONFIG_FILE.to_owned(), Bytes::from_static(b"{}"))]);
        let before = generation(&files);
        files.insert(
            super::super::PROVENANCE_FILE.to_owned(),
            Bytes::from_static(b"{}"),
        );
        assert_eq!(generation(&files), before);
    }
}
