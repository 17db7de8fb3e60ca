//! Rows that repeat each other: exact copies by their hash; near-copies by MinHash and banding, verified by the Jaccard
//! index of their features.
//!
//! Features are words and pairs of words (pairs and triples of characters in scripts without spaces). They are weighted
//! by how rare they are in the file, so that rows which only share an instruction or a template are no copies.

use super::grow;
use super::text::{Chain, mix, units};
use crate::kernels::pool;

/// Rows among which copies are looked for: the first ones of a file.
pub const ROWS: usize = 1 << 20;
/// Features that are kept as they are, for exact verification; rows behind them are compared by their signatures.
const KEPT: usize = 6 << 20;
/// Features of one row: those with the smallest hashes, which is a fair sample.
const MOST: usize = 2048;
/// Rows with fewer telling features are only compared as a whole.
const LEAST: usize = 6;
/// Hashes of a signature, and how many of them a band takes: pairs with an index of 0.6 are found with 89 %, of 0.7 with 99 %.
const HASHES: usize = 64;
const BAND: usize = 4;
/// Bands that are sorted at a time: each list takes as much memory as eight bytes of every row.
const SORTED: usize = 2;
/// Of weighted features that are kept, and of signatures.
const NEAR: f64 = 0.7;
const NEAR_BY_SIGNATURE: f64 = 0.75;
/// A short row that differs in a word says something else: fewer telling features than so many must be as alike as that.
const FEW: usize = 24;
const NEAR_OF_FEW: f64 = 0.85;
/// Features of more than this share of the rows do not tell rows apart.
const COMMON: f64 = 0.1;

/// The least of 64 permuted hashes, a byte of each.
pub type Signature = [u8; HASHES];

/// The distinct features of a row, sorted; and the units of each of its parts.
pub fn features<'a>(parts: impl IntoIterator<Item = &'a str>) -> (Vec<u32>, Vec<usize>) {
    let mut found = Vec::new();
    let mut counts = Vec::new();
    for part in parts {
        // Of words of about six characters: two each.
        found.reserve(part.len() / 3);
        let mut count = 0;
        let mut before: [Option<(u64, bool)>; 2] = [None; 2];
        for unit in units(part) {
            count += 1;
            let joined = |others: &[u64]| {
                let mut chain = Chain::default();
                others.iter().for_each(|hash| chain.push(*hash));
                chain.push(unit.hash);
                (chain.end() >> 32) as u32
            };
            match (unit.single, before) {
                (false, [_, last]) => {
                    found.push(joined(&[]));
                    found.extend(last.map(|(hash, _)| joined(&[hash])));
                }
                (true, [first, Some((last, _))]) => {
                    found.push(joined(&[last]));
                    let first = first.filter(|(_, single)| *single);
                    found.extend(first.map(|(hash, _)| joined(&[hash, last])));
                }
                (true, _) => {}
            }
            before = [before[1], Some((unit.hash, unit.single))];
        }
        counts.push(count);
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    (found, counts)
}

/// What is known of each of the first rows, in their order.
#[derive(Default)]
pub struct Near {
    /// Of question and answer.
    wholes: Vec<u64>,
    /// Features of the first rows, one after the other, and where each row's begin.
    kept: Vec<u32>,
    starts: Vec<usize>,
    signatures: Vec<Signature>,
    rarity: Option<Rarity>,
}

/// In how many of the rows that were kept each feature occurs.
pub struct Rarity {
    rows: usize,
    /// Features of several rows, sorted.
    several: Vec<(u32, u32)>,
    /// Features of a large share of the rows, sorted.
    common: Vec<u32>,
}

/// What a row brings along: its features while they are kept, its signature from then on.
pub enum Sketch {
    Features(Vec<u32>),
    Signature(Signature),
}

/// A row and the earlier one that it repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repeat {
    pub of: u32,
    /// 1 for exact copies.
    pub likeness: f32,
}

impl Near {
    pub const fn len(&self) -> usize {
        self.wholes.len()
    }

    pub const fn is_full(&self) -> bool {
        self.len() >= ROWS
    }

    /// The sketch that the next rows are to be added with.
    pub fn sketch(&self, features: Vec<u32>) -> Sketch {
        match &self.rarity {
            None => Sketch::Features(features),
            Some(rarity) => Sketch::Signature(rarity.signature(&features)),
        }
    }

    /// Adds a row; one behind the bound is left out.
    pub fn add(&mut self, whole: u64, sketch: &Sketch) {
        if self.is_full() {
            return;
        }
        grow(&mut self.wholes);
        self.wholes.push(whole);
        match (sketch, &self.rarity) {
            (Sketch::Signature(signature), _) => {
                grow(&mut self.signatures);
                self.signatures.push(*signature);
            }
            // Sketched before the rows of its batch filled what is kept.
            (Sketch::Features(features), Some(rarity)) => {
                grow(&mut self.signatures);
                self.signatures.push(rarity.signature(features));
            }
            (Sketch::Features(features), None) => {
                self.starts.push(self.kept.len());
                self.kept.extend(features);
                if self.kept.len() >= KEPT {
                    self.settle();
                }
            }
        }
    }

    /// From here on rows are only known by their signatures.
    fn settle(&mut self) {
        let rarity = Rarity::of(&self.kept, self.starts.len());
        let rows = 0..self.starts.len();
        self.signatures = rows
            .map(|row| rarity.signature(self.features_of(row)))
            .collect();
        self.rarity = Some(rarity);
    }

    fn features_of(&self, row: usize) -> &[u32] {
        let end = self.starts.get(row + 1).copied().unwrap_or(self.kept.len());
        &self.kept[self.starts[row]..end]
    }

    /// Of every row, the earlier one that it repeats.
    pub fn copies(&mut self) -> Vec<Option<Repeat>> {
        if self.rarity.is_none() {
            self.settle();
        }
        let mut copies: Vec<Option<Repeat>> = vec![None; self.len()];
        self.exact(&mut copies);
        let Some(rarity) = &self.rarity else {
            return copies;
        };
        let rows = 0..self.len() as u32;
        let mut rows: Vec<u32> = rows
            .filter(|row| self.signatures[*row as usize] != NOTHING)
            .collect();
        let mut bands: [Vec<(u32, u32)>; SORTED] = Default::default();
        for first in (0..HASHES / BAND).step_by(SORTED) {
            rows.retain(|row| copies[*row as usize].is_none());
            pool::over_rows(&mut bands, 1, 1, |band, keyed| {
                self.sort_by_band(first + band.start, &rows, &mut keyed[0]);
            });
            for keyed in &bands {
                for bucket in keyed.chunk_by(|a, b| a.0 == b.0) {
                    self.compare(rarity, bucket, &mut copies);
                }
            }
        }
        // A copy's original may have turned out to be a copy itself: the first of all stands for them.
        for row in 0..copies.len() {
            if let Some(copy) = copies[row]
                && let Some(first) = copies[copy.of as usize]
            {
                copies[row] = Some(Repeat {
                    of: first.of,
                    likeness: copy.likeness.min(first.likeness),
                });
            }
        }
        copies
    }

    /// Rows by what their signatures have in a band.
    fn sort_by_band(&self, band: usize, rows: &[u32], keyed: &mut Vec<(u32, u32)>) {
        keyed.clear();
        keyed.extend(rows.iter().map(|row| {
            let mut key = [0; BAND];
            key.copy_from_slice(&self.signatures[*row as usize][band * BAND..(band + 1) * BAND]);
            (u32::from_le_bytes(key), *row)
        }));
        keyed.sort_unstable();
    }

    fn exact(&self, copies: &mut [Option<Repeat>]) {
        let mut rows: Vec<u32> = (0..self.len() as u32).collect();
        rows.sort_unstable_by_key(|row| (self.wholes[*row as usize], *row));
        for same in rows.chunk_by(|a, b| self.wholes[*a as usize] == self.wholes[*b as usize]) {
            for row in &same[1..] {
                copies[*row as usize] = Some(Repeat {
                    of: same[0],
                    likeness: 1.0,
                });
            }
        }
    }

    /// Compares the rows of a bucket, in ascending order, with its first few: cost stays linear however large it is.
    fn compare(&self, rarity: &Rarity, bucket: &[(u32, u32)], copies: &mut [Option<Repeat>]) {
        let mut firsts: Vec<u32> = Vec::new();
        for (_, row) in bucket {
            if copies[*row as usize].is_some() {
                continue;
            }
            let like = firsts.iter().find_map(|first| {
                let likeness = self.likeness(rarity, *first as usize, *row as usize)?;
                Some(Repeat {
                    of: *first,
                    likeness: likeness as f32,
                })
            });
            match like {
                Some(copy) => copies[*row as usize] = Some(copy),
                None if firsts.len() < 4 => firsts.push(*row),
                None => {}
            }
        }
    }

    /// How alike two rows are, if they are near.
    fn likeness(&self, rarity: &Rarity, a: usize, b: usize) -> Option<f64> {
        if a < self.starts.len() && b < self.starts.len() {
            let (index, telling) = rarity.jaccard(self.features_of(a), self.features_of(b));
            let needed = if telling < FEW { NEAR_OF_FEW } else { NEAR };
            return (index >= needed).then_some(index);
        }
        let same = { self.signatures[a].iter().zip(&self.signatures[b]) }
            .filter(|(a, b)| a == b)
            .count();
        // Bytes of different hashes are the same by chance, too.
        let chance = 1.0 / 256.0;
        let index = (same as f64 / HASHES as f64 - chance) / (1.0 - chance);
        (index >= NEAR_BY_SIGNATURE).then_some(index)
    }
}

/// Of rows with hardly anything to tell them apart.
const NOTHING: Signature = [0; HASHES];

impl Rarity {
    fn of(features: &[u32], rows: usize) -> Self {
        let mut sorted = features.to_vec();
        sorted.sort_unstable();
        let several: Vec<(u32, u32)> = sorted
            .chunk_by(|a, b| a == b)
            .filter(|same| same.len() > 1)
            .map(|same| (same[0], same.len() as u32))
            .collect();
        let share = (rows as f64 * COMMON).max(50.0) as u32;
        let common = several.iter().filter(|(_, count)| *count > share);
        Self {
            rows,
            common: common.map(|(feature, _)| *feature).collect(),
            several,
        }
    }

    fn weight(&self, feature: u32) -> f64 {
        let count = match self
            .several
            .binary_search_by_key(&feature, |(feature, _)| *feature)
        {
            Ok(at) => f64::from(self.several[at].1),
            Err(_) => 1.0,
        };
        // Of few rows, two that share a word are no sign that it is common.
        (1.0 + self.rows.max(100) as f64 / count).ln().powi(2)
    }

    fn signature(&self, features: &[u32]) -> Signature {
        let mut least = [i16::MAX; HASHES];
        let mut telling = 0;
        for feature in features {
            if self.common.binary_search(feature).is_ok() {
                continue;
            }
            telling += 1;
            let hash = mix(u64::from(*feature));
            let more = mix(hash ^ FACTORS[0]);
            // Each sixteen bits are permuted eight times: numbers so small are handled eight at a time.
            for (group, least) in least.chunks_exact_mut(8).enumerate() {
                let of = if group < 4 { hash } else { more };
                let part = (of >> (16 * (group % 4))) as i16;
                for (at, least) in least.iter_mut().enumerate() {
                    let factor = FACTORS[8 * group + at];
                    let hash = part
                        .wrapping_mul(factor as i16)
                        .wrapping_add((factor >> 16) as i16);
                    *least = (*least).min(hash);
                }
            }
        }
        match telling < LEAST {
            true => NOTHING,
            false => least.map(|hash| (mix(hash as u64) as u8).max(1)),
        }
    }

    /// The weight of shared features over that of all, and how many of all tell rows apart.
    fn jaccard(&self, a: &[u32], b: &[u32]) -> (f64, usize) {
        let (mut shared, mut all, mut telling) = (0.0, 0.0, 0);
        let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
        loop {
            let (feature, both) = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(a), Some(b)) if a == b => (**a, true),
                (Some(a), Some(b)) => (**a.min(b), false),
                (Some(one), None) | (None, Some(one)) => (**one, false),
            };
            left.next_if(|next| **next == feature);
            right.next_if(|next| **next == feature);
            let weight = self.weight(feature);
            all += weight;
            shared += if both { weight } else { 0.0 };
            telling += usize::from(self.common.binary_search(&feature).is_err());
        }
        (if all > 0.0 { shared / all } else { 0.0 }, telling)
    }
}

/// Odd numbers that permute hashes.
const FACTORS: [u64; HASHES] = {
    let mut factors = [0; HASHES];
    let mut at = 0;
    while at < HASHES {
        factors[at] = mix(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(at as u64 + 1)) | 1;
        at += 1;
    }
    factors
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::data::report::text::normal_hash;

    fn copies(texts: &[String]) -> Vec<(usize, u32)> {
        let mut near = Near::default();
        for text in texts {
            let sketch = near.sketch(features([text.as_str()]).0);
            near.add(normal_hash([text.as_str()]), &sketch);
        }
        let found = near.copies().into_iter().enumerate();
        found
            .filter_map(|(row, copy)| Some((row, copy?.of)))
            .collect()
    }

    /// Different sentences of words that repeat between them.
    fn sentence(seed: u64, words: usize) -> String {
        let word = |at: usize| format!("w{}", mix(seed * 1000 + at as u64) % 500);
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn copies_and_slightly_changed_rows_are_found_among_different_ones() {
        let mut texts: Vec<String> = (0..300).map(|seed| sentence(seed, 30)).collect();
        texts.push(texts[7].to_uppercase().replace(' ', "  "));
        texts.push(format!("{} indeed", texts[9]));
        texts.push(texts[200].replacen(' ', " , ", 1).replace(" w", " W"));
        assert_eq!(copies(&texts), [(300, 7), (301, 9), (302, 200)]);
    }

    #[test]
    fn chinese_rows_are_compared_by_characters() {
        let other = "今天的天气非常好，我们决定去公园散步，顺便买一些水果回来。".to_owned();
        let texts = [
            "请解释什么是高血压，以及病人在日常生活中应该注意哪些事情。".to_owned(),
            other,
            "请解释一下什么是高血压，以及病人在日常生活中应该注意哪些事情！".to_owned(),
        ];
        assert_eq!(copies(&texts), [(2, 0)]);
    }

    #[test]
    fn a_template_with_other_values_is_no_copy() {
        let row = |n: u64| {
            format!(
                "Read the following ledger line with care and turn it into one JSON object that has the keys kind, party and amount, \
                 nothing else, on one line: paid {} to party{} for item{}",
                mix(n) % 10_000,
                mix(n + 1) % 90,
                mix(n + 2) % 40
            )
        };
        let texts: Vec<String> = (0..400).map(|n| row(n * 3)).collect();
        assert_eq!(copies(&texts), []);
    }

    #[test]
    fn rows_behind_those_that_are_kept_are_compared_by_their_signatures() {
        let mut near = Near::default();
        let add = |near: &mut Near, text: &str| {
            let sketch = near.sketch(features([text]).0);
            near.add(normal_hash([text]), &sketch);
        };
        for seed in 0..50 {
            add(&mut near, &sentence(seed, 60));
        }
        near.settle();
        for seed in 50..100 {
            add(&mut near, &sentence(seed, 60));
        }
        add(&mut near, &format!("{} more", sentence(70, 60)));
        add(&mut near, &format!("{} more", sentence(3, 60)));
        let found: Vec<_> = near
            .copies()
            .iter()
            .enumerate()
            .filter_map(|(row, copy)| Some((row, copy.as_ref()?.of)))
            .collect();
        assert_eq!(found, [(100, 70), (101, 3)]);
    }
}
