//! Whose turn it is. Free rows go by what tenants, and the adapters of one, have been given and are owed, in tokens; and
//! where no row is free, none keeps two while another that waits and has none would come first.

use std::collections::HashMap;

use super::ledger::{GENERATED, Ledger, Party};
use super::{Key, Running, Waiting};

#[derive(Debug, Clone)]
pub struct Shares<'l> {
    ledger: &'l Ledger,
    of_tenant: HashMap<u64, Holding>,
    of_party: HashMap<Party, Holding>,
    of_request: HashMap<u64, usize>,
    /// The best priority that waits, of each tenant.
    best: HashMap<u64, i32>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Holding {
    rows: usize,
    /// Tokens at their cost that are about to be computed for it.
    owed: u64,
}

/// The place of an answer in the queue; the least is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    patient: bool,
    tenant: u64,
    level: i32,
    adapter: u64,
    rows_of_request: usize,
    key: Key,
}

/// What an answer that runs, or is about to, will soon have cost.
fn owed(pending: usize) -> u64 {
    pending as u64 + GENERATED
}

impl<'l> Shares<'l> {
    pub fn of(ledger: &'l Ledger, running: &[Running], waiting: &[Waiting]) -> Self {
        let mut best = HashMap::new();
        for answer in waiting {
            let best = best.entry(answer.party.tenant).or_insert(answer.priority);
            *best = answer.priority.min(*best);
        }
        let mut shares = Self {
            ledger,
            of_tenant: HashMap::new(),
            of_party: HashMap::new(),
            of_request: HashMap::new(),
            best,
        };
        for answer in running {
            shares.add(answer.party, answer.key, answer.pending);
        }
        shares
    }

    pub fn add(&mut self, party: Party, key: Key, pending: usize) {
        for holding in [
            self.of_tenant.entry(party.tenant).or_default(),
            self.of_party.entry(party).or_default(),
        ] {
            holding.rows += 1;
            holding.owed += owed(pending);
        }
        *self.of_request.entry(key.request).or_default() += 1;
    }

    fn tenant(&self, party: Party) -> Holding {
        let holding = self.of_tenant.get(&party.tenant);
        holding.copied().unwrap_or_default()
    }

    fn party(&self, party: Party) -> Holding {
        self.of_party.get(&party).copied().unwrap_or_default()
    }

    fn request(&self, key: Key) -> usize {
        self.of_request.get(&key.request).copied().unwrap_or(0)
    }

    fn remove(&mut self, answer: &Running) {
        for holding in [
            self.of_tenant.entry(answer.party.tenant).or_default(),
            self.of_party.entry(answer.party).or_default(),
        ] {
            holding.rows = holding.rows.saturating_sub(1);
            holding.owed = holding.owed.saturating_sub(owed(answer.pending));
        }
        let rows = self.of_request.entry(answer.key.request).or_default();
        *rows = rows.saturating_sub(1);
    }

    /// An answer that was overtaken as often as is allowed comes first, whatever its tenant and adapter hold.
    pub fn rank(&self, answer: &Waiting) -> Rank {
        let best = self.best.get(&answer.party.tenant).copied();
        let risen = answer.priority.saturating_sub_unsigned(answer.minutes);
        // To where the best of its tenant waits, and no further: among those of one level adapters are what counts.
        let level = risen.max(best.unwrap_or(risen).min(answer.priority));
        self.place(!answer.is_urgent(), answer.party, level, answer.key)
    }

    fn place(&self, patient: bool, party: Party, level: i32, key: Key) -> Rank {
        Rank {
            patient,
            tenant: self.ledger.tenant(party, self.tenant(party).owed),
            level,
            adapter: self.ledger.adapter(party, self.party(party).owed),
            rows_of_request: self.request(key),
            key,
        }
    }

    /// The running answer that gives its row to the next of those waiting: the youngest of those with most rows. A
    /// tenant without a row takes one from a tenant with several, an adapter from an adapter of its tenant, a request
    /// from a request. Since only second rows are taken, only for a first, and only by one that then comes before, no
    /// row is taken back.
    pub fn displaced<'a>(
        &self,
        running: &[Running],
        waiting: impl Iterator<Item = &'a Waiting> + Clone,
    ) -> Option<Key> {
        let next = waiting.clone().min_by_key(|answer| self.rank(answer))?;
        let new_tenant = self.tenant(next.party).rows == 0;
        let new_party = self.party(next.party).rows == 0;
        if !new_party && self.request(next.key) > 0 {
            return None;
        }
        let holds = |answer: &Running| {
            let tenant = self.tenant(answer.party).rows;
            let party = self.party(answer.party).rows;
            let request = self.request(answer.key);
            let counts = [(new_tenant, tenant), (new_party, party), (true, request)];
            counts.map(|(counts, rows)| if counts { rows } else { 0 })
        };
        let most = running
            .iter()
            .filter(|answer| new_tenant || answer.party.tenant == next.party.tenant)
            .max_by_key(|answer| (holds(answer), answer.key))?;
        let spare = holds(most).into_iter().any(|rows| rows > 1);
        if !spare {
            return None;
        }
        let mut after = self.clone();
        after.remove(most);
        let back = after.place(true, most.party, most.priority, most.key);
        let first = waiting.map(|answer| after.rank(answer)).min()?;
        (first.key == next.key && first < back).then_some(most.key)
    }
}
