//! Key/value blocks: which are free, and how many answers hold each. Blocks return to the pool when their last holder drops.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of a block in the model's cache.
pub type BlockId = u32;

/// All blocks of one cache. A cheap handle.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Mutex<Ledger>>,
    block_size: usize,
    total: usize,
}

struct Ledger {
    /// Blocks nobody holds; taken from the end.
    free: Vec<BlockId>,
    /// Holders of each block.
    holders: Vec<u32>,
}

/// The pool has fewer free blocks than were asked for. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl Pool {
    /// `total` blocks of `block_size` positions each.
    pub fn new(total: usize, block_size: usize) -> Self {
        let ledger = Ledger {
            free: (0..total as BlockId).rev().collect(),
            holders: vec![0; total],
        };
        Self {
            shared: Arc::new(Mutex::new(ledger)),
            block_size,
            total,
        }
    }

    pub fn block_size(&self) -> usize {
        self.block_size
    }

    pub fn total(&self) -> usize {
        self.total
    }

    pub fn free(&self) -> usize {
        self.ledger().free.len()
    }

    /// Blocks that hold `tokens` positions.
    pub fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block_size)
    }

    /// A table without blocks.
    pub fn table(&self) -> Table {
        Table {
            pool: self.clone(),
            ids: Vec::new(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change below leaves the ledger whole, so a panic elsewhere does not spoil it.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The blocks of one answer, in the order of its positions.
pub struct Table {
    pool: Pool,
    ids: Vec<BlockId>,
}

impl Table {
    pub fn ids(&self) -> &[BlockId] {
        &self.ids
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Blocks no other table holds: what dropping this one frees.
    pub fn exclusive(&self) -> usize {
        let ledger = self.pool.ledger();
        self.ids
            .iter()
            .filter(|&&id| ledger.holders[id as usize] == 1)
            .count()
    }

    /// Takes free blocks until the table covers `tokens` positions; all that are missing, or none.
    pub fn grow(&mut self, tokens: usize) -> Result<(), NoRoom> {
        let missing = self.pool.blocks_for(tokens).saturating_sub(self.ids.len());
        let mut ledger = self.pool.ledger();
        let left = ledger.free.len().checked_sub(missing).ok_or(NoRoom)?;
        let taken = ledger.free.split_off(left);
        for &id in &taken {
            ledger.holders[id as usize] = 1;
        }
        self.ids.extend(taken.into_iter().rev());
        Ok(())
    }

    /// A table that holds the first `blocks` blocks of this one too. They must be full and are not written again.
    pub fn fork(&self, blocks: usize) -> Self {
        let ids = self.ids[..blocks.min(self.ids.len())].to_vec();
        let mut ledger = self.pool.ledger();
        for &id in &ids {
            ledger.holders[id as usize] += 1;
        }
        drop(ledger);
        Self {
            pool: self.pool.clone(),
            ids,
        }
    }

    /// Gives every block back.
    pub fn clear(&mut self) {
        let mut ledger = self.pool.ledger();
        // Backwards, so that the first block is the next one taken again.
        for id in self.ids.drain(..).rev() {
            let holders = &mut ledger.holders[id as usize];
            *holders -= 1;
            if *holders == 0 {
                ledger.free.push(id);
            }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_grows_by_whole_blocks_and_gives_them_back() {
        let pool = Pool::new(4, 8);
        let mut table = pool.table();
        table.grow(1).unwrap();
        table.grow(8).unwrap();
        assert_eq!((table.len(), pool.free()), (1, 3));
        table.grow(9).unwrap();
        assert_eq!(table.ids(), [0, 1]);
        drop(table);
        assert_eq!(pool.free(), 4);
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let pool = Pool::new(4, 8);
        let mut table = pool.table();
        assert_eq!(table.grow(33), Err(NoRoom));
        assert_eq!(pool.free(), 4);
        table.grow(32).unwrap();
        assert_eq!(pool.table().grow(1), Err(NoRoom));
    }

    #[test]
    fn a_shared_block_is_free_when_its_last_holder_has_gone() {
        let pool = Pool::new(4, 8);
        let mut first = pool.table();
        first.grow(20).unwrap();
        let second = first.fork(2);
        assert_eq!(
            (first.exclusive(), second.exclusive(), pool.free()),
            (1, 0, 1)
        );
        drop(first);
        assert_eq!((second.exclusive(), pool.free()), (2, 2));
        drop(second);
        assert_eq!(pool.free(), 4);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Grow(usize, usize),
        Fork(usize, usize),
        Drop(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0usize..8, 0usize..60).prop_map(|(at, tokens)| Act::Grow(at, tokens)),
            (0usize..8, 0usize..5).prop_map(|(at, blocks)| Act::Fork(at, blocks)),
            (0usize..8).prop_map(Act::Drop),
        ]
    }

    proptest! {
        #[test]
        fn every_block_is_free_or_held_and_all_return(acts in prop::collection::vec(act(), 1..60)) {
            let pool = Pool::new(10, 8);
            let mut tables: Vec<Table> = Vec::new();
            for act in acts {
                match act {
                    Act::Grow(at, tokens) if at < tables.len() => {
                        let _ = tables[at].grow(tokens);
                    }
                    Act::Grow(..) => tables.push(pool.table()),
                    Act::Fork(at, blocks) if at < tables.len() => {
                        let fork = tables[at].fork(blocks);
                        tables.push(fork);
                    }
                    Act::Drop(at) if at < tables.len() => drop(tables.remove(at)),
                    _ => {}
                }
                let held: std::collections::HashSet<BlockId> =
                    tables.iter().flat_map(|t| t.ids().iter().copied()).collect();
                prop_assert_eq!(held.len() + pool.free(), pool.total());
                let holders: u32 = pool.ledger().holders.iter().sum();
                prop_assert_eq!(holders as usize, tables.iter().map(Table::len).sum::<usize>());
            }
            tables.clear();
            prop_assert_eq!(pool.free(), pool.total());
        }
    }
}
