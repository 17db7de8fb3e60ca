//! The tokens computed for each tenant and adapter, at their cost: the one with least for its weight comes first.
//! Tenants share the machine, and the adapters of a tenant share what that has.
//!
//! The counters are those of "Fairness in Serving Large Language Models" (Sheng et al., 2024). A tenant that comes
//! back after a pause is lifted to the least of those present, so that time not used is not saved up.

use std::collections::HashMap;

/// What a token of a prompt costs.
pub const PROMPT: u64 = 1;
/// A generated token is computed by itself, while those of a prompt share a pass over the weights.
pub const GENERATED: u64 = 2;

/// Of a token at weight 1.
const UNITS: f32 = 1000.0;
/// Accounts of the absent that are kept for what they had too much of; with more, all of these are forgotten.
const REMEMBERED: usize = 1024;

/// The tenant and the adapter that a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Party {
    pub tenant: u64,
    /// The adapter's name as a number; two names with one number share.
    pub adapter: u64,
}

/// How much of the machine a tenant gets beside other tenants, and an adapter beside other adapters of its tenant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    pub tenant: f32,
    pub adapter: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            tenant: 1.0,
            adapter: 1.0,
        }
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    tenants: Level,
    /// Of each tenant that is present.
    adapters: HashMap<u64, Level>,
}

impl Ledger {
    /// A request of this party has come.
    pub fn enter(&mut self, party: Party, weights: Weights) {
        self.tenants.enter(party.tenant, weights.tenant);
        let adapters = self.adapters.entry(party.tenant).or_default();
        adapters.enter(party.adapter, weights.adapter);
    }

    /// A request of this party is over.
    pub fn leave(&mut self, party: Party) {
        if let Some(adapters) = self.adapters.get_mut(&party.tenant) {
            adapters.leave(party.adapter);
        }
        if !self.tenants.leave(party.tenant) {
            self.adapters.remove(&party.tenant);
        }
    }

    /// So many tokens, each at its cost, were computed for it.
    pub fn charge(&mut self, party: Party, tokens: u64) {
        self.tenants.charge(party.tenant, tokens);
        if let Some(adapters) = self.adapters.get_mut(&party.tenant) {
            adapters.charge(party.adapter, tokens);
        }
    }

    /// Where the tenant stands, as if `owed` had been computed for it as well.
    pub fn tenant(&self, party: Party, owed: u64) -> u64 {
        self.tenants.standing(party.tenant, owed)
    }

    /// Where the adapter stands among those of its tenant.
    pub fn adapter(&self, party: Party, owed: u64) -> u64 {
        let adapters = self.adapters.get(&party.tenant);
        let standing = adapters.map(|level| level.standing(party.adapter, owed));
        standing.unwrap_or_else(|| Level::default().standing(party.adapter, owed))
    }
}

/// Accounts that compete with each other.
#[derive(Debug, Default)]
struct Level {
    accounts: HashMap<u64, Account>,
    /// Of these, the ones with requests.
    present: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// In units by weight.
    spent: u64,
    requests: usize,
    /// Units of a token.
    price: u64,
}

impl Level {
    fn enter(&mut self, who: u64, weight: f32) {
        let least = self.least();
        let account = self.accounts.entry(who).or_default();
        account.price = price(weight);
        account.requests += 1;
        if account.requests == 1 {
            self.present += 1;
            account.spent = account.spent.max(least);
        }
    }

    /// Whether it is still present.
    fn leave(&mut self, who: u64) -> bool {
        let Some(account) = self.accounts.get_mut(&who) else {
            return false;
        };
        account.requests = account.requests.saturating_sub(1);
        if account.requests > 0 {
            return true;
        }
        self.present -= 1;
        if self.present == 0 {
            // No tenant is present, so none was kept waiting and there is nothing to even out.
            self.accounts.clear();
            return false;
        }
        let least = self.least();
        let forgets = self.accounts.len() - self.present > REMEMBERED;
        self.accounts
            .retain(|_, account| account.requests > 0 || (account.spent > least && !forgets));
        false
    }

    fn charge(&mut self, who: u64, tokens: u64) {
        if let Some(account) = self.accounts.get_mut(&who) {
            account.spent = account
                .spent
                .saturating_add(tokens.saturating_mul(account.price));
        }
    }

    fn standing(&self, who: u64, owed: u64) -> u64 {
        let account = self.accounts.get(&who);
        let (spent, price) = account.map_or((0, price(1.0)), |a| (a.spent, a.price));
        spent.saturating_add(owed.saturating_mul(price))
    }

    /// What those present have spent at least.
    fn least(&self) -> u64 {
        let present = self.accounts.values().filter(|a| a.requests > 0);
        present.map(|account| account.spent).min().unwrap_or(0)
    }
}

fn price(weight: f32) -> u64 {
    (UNITS / weight).round().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tenant: u64) -> Party {
        Party { tenant, adapter: 0 }
    }

    fn with(tenants: &[(u64, f32)]) -> Ledger {
        let mut ledger = Ledger::default();
        for &(tenant, weight) in tenants {
            let weights = Weights {
                tenant: weight,
                ..Weights::default()
            };
            ledger.enter(of(tenant), weights);
        }
        ledger
    }

    #[test]
    fn twice_the_weight_makes_a_token_half_as_dear() {
        let mut ledger = with(&[(1, 1.0), (2, 2.0)]);
        ledger.charge(of(1), 100);
        ledger.charge(of(2), 200);
        assert_eq!(ledger.tenant(of(1), 0), ledger.tenant(of(2), 0));
        assert!(ledger.tenant(of(1), 10) > ledger.tenant(of(2), 10), "owed");
    }

    #[test]
    fn time_not_used_is_not_saved_up_but_what_was_too_much_is_owed() {
        let mut ledger = with(&[(1, 1.0), (2, 1.0), (3, 1.0)]);
        ledger.charge(of(1), 1000);
        ledger.leave(of(2));
        ledger.charge(of(3), 400);
        ledger.leave(of(1));
        ledger.enter(of(2), Weights::default());
        assert_eq!(ledger.tenant(of(2), 0), ledger.tenant(of(3), 0), "lifted");
        ledger.enter(of(1), Weights::default());
        assert!(ledger.tenant(of(1), 0) > ledger.tenant(of(3), 0), "owed");
    }

    #[test]
    fn adapters_are_counted_within_their_tenant() {
        let party = |tenant, adapter| Party { tenant, adapter };
        let mut ledger = Ledger::default();
        for who in [party(1, 5), party(1, 6), party(2, 5)] {
            ledger.enter(who, Weights::default());
        }
        ledger.charge(party(1, 5), 50);
        assert!(ledger.adapter(party(1, 5), 0) > ledger.adapter(party(1, 6), 0));
        assert_eq!(ledger.adapter(party(2, 5), 0), 0);
        assert!(ledger.tenant(party(1, 6), 0) > ledger.tenant(party(2, 5), 0));
    }

    #[test]
    fn accounts_of_the_absent_do_not_pile_up() {
        let mut ledger = with(&[(0, 1.0)]);
        for tenant in 1..5000 {
            ledger.enter(of(tenant), Weights::default());
            ledger.charge(of(tenant), 10);
            ledger.leave(of(tenant));
        }
        assert!(ledger.tenants.accounts.len() <= REMEMBERED + 2);
        assert_eq!(ledger.adapters.len(), 1);
        ledger.leave(of(0));
        assert!(ledger.tenants.accounts.is_empty() && ledger.adapters.is_empty());
    }
}
