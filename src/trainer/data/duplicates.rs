//! Near-duplicates among texts: MinHash over word shingles, candidates by banding, then the estimate itself.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Words of one shingle.
const SHINGLE: usize = 3;
/// Hash functions of a signature, and how many of them a band takes: pairs above 0.8 are found with 98 %.
const HASHES: usize = 64;
const BAND: usize = 8;
/// Estimated share of common shingles from which two texts count as near-duplicates.
const NEAR: f64 = 0.85;

/// For each text that nearly repeats an earlier one, the two positions `(later, earlier)`.
pub fn near_duplicates(texts: &[String]) -> Vec<(usize, usize)> {
    let signatures: Vec<[u64; HASHES]> = texts.iter().map(|text| signature(text)).collect();
    // The first text of each bucket stands for it: with every later one compared to it, cost stays linear.
    let mut buckets: HashMap<(usize, u64), usize> = HashMap::new();
    let mut found = BTreeMap::new();
    for (at, signature) in signatures.iter().enumerate() {
        for (band, part) in signature.chunks(BAND).enumerate() {
            let first = *buckets.entry((band, digest(part))).or_insert(at);
            if first != at
                && !found.contains_key(&at)
                && alike(signature, &signatures[first]) >= NEAR
            {
                found.insert(at, first);
            }
        }
    }
    found.into_iter().collect()
}

fn alike(a: &[u64; HASHES], b: &[u64; HASHES]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / HASHES as f64
}

fn signature(text: &str) -> [u64; HASHES] {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let mut least = [u64::MAX; HASHES];
    for shingle in words.windows(SHINGLE.min(words.len()).max(1)) {
        let base = digest(shingle);
        for (seed, least) in least.iter_mut().enumerate() {
            *least = (*least).min(mix(base ^ mix(seed as u64 + 1)));
        }
    }
    least
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_slightly_changed_texts_are_found_and_different_ones_are_not() {
        let long: Vec<String> = (0..60).map(|i| format!("word{}", i * 7 % 61)).collect();
        let mut changed = long.clone();
        changed[59] = "other".into();
        let texts = [
            long.join(" "),
            "an entirely different sentence about nothing in particular".into(),
            changed.join(" "),
            long.join("  ").to_uppercase(),
            String::new(),
        ];
        assert_eq!(near_duplicates(&texts), [(2, 0), (3, 0)]);
    }
}
