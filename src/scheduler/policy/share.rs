//! Who holds how many rows, and what is fair: nobody has two while another who waits has none. Rows are what is scarce
//! and what an answer holds for its whole life, so they are counted, not tokens.

use std::collections::HashMap;

use super::{Key, OVERTAKINGS, Running, Waiting};

#[derive(Debug, Default)]
pub struct Shares {
    of_party: HashMap<u64, usize>,
    of_request: HashMap<u64, usize>,
}

/// The place of an answer in the queue; the least is next.
pub type Rank = (bool, usize, usize, Key);

impl Shares {
    pub fn of(running: &[Running]) -> Self {
        let mut shares = Self::default();
        for answer in running {
            shares.add(answer.party, answer.key);
        }
        shares
    }

    pub fn add(&mut self, party: u64, key: Key) {
        *self.of_party.entry(party).or_default() += 1;
        *self.of_request.entry(key.request).or_default() += 1;
    }

    fn party(&self, party: u64) -> usize {
        self.of_party.get(&party).copied().unwrap_or(0)
    }

    fn request(&self, key: Key) -> usize {
        self.of_request.get(&key.request).copied().unwrap_or(0)
    }

    /// Whoever was overtaken as often as may be comes first, whatever it holds.
    pub fn rank(&self, answer: &Waiting) -> Rank {
        (
            answer.overtaken < OVERTAKINGS,
            self.party(answer.party),
            self.request(answer.key),
            answer.key,
        )
    }

    /// The running answer that gives its row to the next of those waiting, if that one's adapter or request holds none
    /// and another holds more than one: the youngest of the largest. Since only the second row and those after it are
    /// taken, and only for a first, it is not taken back.
    pub fn displaced<'a>(
        &self,
        running: &[Running],
        waiting: impl Iterator<Item = &'a Waiting>,
    ) -> Option<Key> {
        let next = waiting.min_by_key(|answer| self.rank(answer))?;
        let new_party = self.party(next.party) == 0;
        if !new_party && self.request(next.key) > 0 {
            return None;
        }
        let party = |answer: &Running| {
            if new_party {
                self.party(answer.party)
            } else {
                0
            }
        };
        let most = running
            .iter()
            .max_by_key(|answer| (party(answer), self.request(answer.key), answer.key))?;
        let spare = party(most) > 1 || self.request(most.key) > 1;
        spare.then_some(most.key)
    }
}
