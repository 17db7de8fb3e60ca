//! Where names, invented words and numbers come from. A value belongs to the training side or to the held-out side by
//! a hash of its spelling, so the two sides cannot share one, whichever generator draws it.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Which values may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Train,
    HeldOut,
}

/// A seeded source of values of one side.
pub struct Draw {
    pub rng: ChaCha8Rng,
    side: Side,
}

const ONSETS: [&str; 20] = [
    "b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "dr",
    "gr", "tr",
];
const VOWELS: [&str; 5] = ["a", "e", "i", "o", "u"];
const CODAS: [&str; 7] = ["n", "r", "l", "s", "m", "k", "t"];
const DRUG_ENDINGS: [&str; 8] = ["in", "ol", "ide", "ex", "ane", "ium", "ene", "ast"];

impl Draw {
    pub fn new(rng: ChaCha8Rng, side: Side) -> Self {
        Self { rng, side }
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    pub fn between(&mut self, low: usize, high: usize) -> usize {
        self.rng.random_range(low..=high)
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.rng.random_bool(share)
    }

    /// One of a closed list, which both sides share: the structure of a task, not its values.
    pub fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.rng).copied().unwrap_or_default()
    }

    /// `count` different entries of a closed list.
    pub fn several<'a>(&mut self, of: &[&'a str], count: usize) -> Vec<&'a str> {
        of.choose_multiple(&mut self.rng, count).copied().collect()
    }

    /// A capitalised invented name of two syllables, sometimes three.
    pub fn name(&mut self) -> String {
        self.of_this_side(|draw| {
            let mut word = draw.syllables();
            if let Some(first) = word.get_mut(0..1) {
                first.make_ascii_uppercase();
            }
            word
        })
    }

    /// `count` names, no two alike.
    pub fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::with_capacity(count);
        while names.len() < count {
            let name = self.name();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// An invented word in lower case.
    pub fn word(&mut self) -> String {
        self.of_this_side(Self::syllables)
    }

    /// An invented word that sounds like a medicine.
    pub fn drug(&mut self) -> String {
        self.of_this_side(|draw| {
            let stem = draw.syllables();
            format!("{stem}{}", draw.one(&DRUG_ENDINGS))
        })
    }

    /// A whole number from `low` to `high`.
    pub fn number(&mut self, low: usize, high: usize) -> String {
        self.of_this_side(|draw| draw.between(low, high).to_string())
    }

    /// An amount of money, with cents most of the time.
    pub fn amount(&mut self) -> String {
        self.of_this_side(|draw| {
            let whole = match draw.below(3) {
                0 => draw.between(3, 99),
                1 => draw.between(100, 999),
                _ => draw.between(1000, 9999),
            };
            if draw.chance(0.3) {
                format!("{whole}")
            } else {
                format!("{whole}.{:02}", draw.between(0, 99))
            }
        })
    }

    fn syllables(&mut self) -> String {
        let count = if self.chance(0.8) { 2 } else { 3 };
        let mut word = String::new();
        for at in 0..count {
            word.push_str(self.one(&ONSETS));
            word.push_str(self.one(&VOWELS));
            if at + 1 == count || self.chance(0.3) {
                word.push_str(self.one(&CODAS));
            }
        }
        word
    }

    fn of_this_side(&mut self, make: impl Fn(&mut Self) -> String) -> String {
        loop {
            let value = make(self);
            if side_of(&value) == self.side {
                return value;
            }
        }
    }
}

/// One value in five is held out.
fn side_of(value: &str) -> Side {
    // FNV-1a: stable over releases of everything, which the split must be.
    let hash = value.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    if (hash >> 32) % 5 == 0 {
        Side::HeldOut
    } else {
        Side::Train
    }
}
