//! The ids of pieces that came before, for all threads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::text::bytes::char_of_byte;

/// So that threads seldom wait for each other.
const SHARDS: usize = 16;
/// Pieces of one shard; with more of them it begins anew.
const PIECES: usize = 4096;
/// Longer pieces are hardly met again.
const LONGEST: usize = 48;

#[derive(Default)]
pub struct Words([Mutex<Shard>; SHARDS]);

#[derive(Default)]
struct Shard {
    /// Where the ids of each piece are.
    places: HashMap<Box<[u8]>, (u32, u32)>,
    ids: Vec<u32>,
}

impl Words {
    /// Adds the ids of a piece to `ids`: those that are remembered, or what `make` gives for the piece as a byte-level model
    /// reads it. `None` where that has none.
    pub fn ids(
        &self,
        piece: &[u8],
        ids: &mut Vec<u32>,
        make: impl FnOnce(&str) -> Option<Vec<u32>>,
    ) -> Option<()> {
        if piece.len() > LONGEST {
            ids.extend(make(&spelled(piece))?);
            return Some(());
        }
        let (first, last) = (piece.first()?, piece.last()?);
        let shard = usize::from(*first) * 7 + usize::from(*last) * 3 + piece.len();
        let lock = || {
            let shard = self.0[shard % SHARDS].lock();
            shard.unwrap_or_else(PoisonError::into_inner)
        };
        {
            let shard = lock();
            if let Some(&(start, end)) = shard.places.get(piece) {
                ids.extend_from_slice(&shard.ids[start as usize..end as usize]);
                return Some(());
            }
        }
        let made = make(&spelled(piece))?;
        let mut shard = lock();
        if shard.places.len() >= PIECES {
            shard.places.clear();
            shard.ids.clear();
        }
        let start = shard.ids.len() as u32;
        shard.ids.extend_from_slice(&made);
        let end = shard.ids.len() as u32;
        shard.places.insert(piece.into(), (start, end));
        ids.extend(made);
        Some(())
    }
}

/// Bytes as the characters that stand for them in a byte-level vocabulary: those that can be seen for themselves, the rest
/// by characters from U+0100 on, in their order.
fn spelled(piece: &[u8]) -> String {
    piece.iter().map(|byte| char_of_byte(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let mut all: Vec<char> = (0..=255).map(char_of_byte).collect();
        assert_eq!(
            [b'a', b' ', b'\n', 0xc3, 0xa0, 0xad].map(char_of_byte),
            ['a', 'Ġ', 'Ċ', 'Ã', 'ł', 'Ń']
        );
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn what_is_remembered_is_what_was_made_however_much_comes_between() {
        let words = Words::default();
        let made = std::cell::Cell::new(0);
        let of = |piece: &str| {
            let mut ids = vec![7];
            let make = |word: &str| {
                made.set(made.get() + 1);
                Some(word.chars().map(u32::from).collect())
            };
            words.ids(piece.as_bytes(), &mut ids, make).unwrap();
            ids
        };
        let wanted: Vec<u32> = [7, u32::from(b'a'), u32::from(b'b')].into();
        assert_eq!(
            (of("ab"), of("ab"), made.get()),
            (wanted.clone(), wanted.clone(), 1)
        );
        for number in 0..100_000 {
            of(&number.to_string());
        }
        assert_eq!(of("ab"), wanted);
        let held: usize = words
            .0
            .iter()
            .map(|shard| shard.lock().unwrap().places.len())
            .sum();
        assert!(held <= SHARDS * PIECES);
        assert_eq!(of(&"x".repeat(100)).len(), 101);
    }
}
