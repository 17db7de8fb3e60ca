//! Key/value blocks: which are free, how many answers hold each, and what full ones contain. A block that no answer
//! holds keeps its contents until its place is needed, so a request that begins with the same tokens finds them
//! computed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::prefix::Name;

/// Number of a block in the model's cache.
pub type BlockId = u32;

/// All blocks of one cache. A cheap handle.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Mutex<Ledger>>,
    block_size: usize,
    total: usize,
}

/// The pool has fewer free blocks than were asked for. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// How much of a prefix is in the cache, in leading blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    pub blocks: usize,
    /// Of these, the ones an answer holds: sharing them takes no free block.
    pub held: usize,
}

impl Pool {
    /// `total` blocks of `block_size` positions each. Without `keeps`, contents are forgotten with their last holder.
    pub fn new(total: usize, block_size: usize, keeps: bool) -> Self {
        let ledger = Ledger {
            empty: (0..total as BlockId).rev().collect(),
            blocks: vec![Block::default(); total],
            named: HashMap::new(),
            idle: BTreeSet::new(),
            clock: 0,
            keeps,
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

    /// Blocks that no answer holds, whatever they contain.
    pub fn free(&self) -> usize {
        self.ledger().free()
    }

    /// Of the free blocks, those with contents that may be found again.
    pub fn cached(&self) -> usize {
        self.ledger().idle.len()
    }

    /// Blocks that hold `tokens` positions.
    pub fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block_size)
    }

    /// How many of these blocks, the first of a sequence, are in the cache.
    pub fn find(&self, names: &[Name]) -> Found {
        let ledger = self.ledger();
        // A block is in the cache only while the one before it is, and held only while that one is held.
        let blocks = names.partition_point(|name| ledger.named.contains_key(name));
        let holders = |name: &Name| ledger.blocks[ledger.named[name] as usize].holders;
        Found {
            blocks,
            held: names[..blocks].partition_point(|name| holders(name) > 0),
        }
    }

    /// A table without blocks.
    pub fn table(&self) -> Table {
        Table {
            pool: self.clone(),
            ids: Vec::new(),
            named: 0,
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
    /// Leading blocks that are full and have a name.
    named: usize,
}

impl Table {
    pub fn ids(&self) -> &[BlockId] {
        &self.ids
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn block_size(&self) -> usize {
        self.pool.block_size
    }

    /// Blocks no other table holds: what dropping this one frees.
    pub fn exclusive(&self) -> usize {
        let ledger = self.pool.ledger();
        let alone = |id: &&BlockId| ledger.blocks[**id as usize].holders == 1;
        self.ids.iter().filter(alone).count()
    }

    /// Begins an empty table with the blocks of these names, as many as the cache has; returns how many.
    pub fn adopt(&mut self, names: &[Name]) -> usize {
        debug_assert!(self.ids.is_empty(), "only an empty table can adopt");
        let mut ledger = self.pool.ledger();
        for name in names {
            let Some(&id) = ledger.named.get(name) else {
                break;
            };
            ledger.hold(id);
            self.ids.push(id);
        }
        self.named = self.ids.len();
        self.named
    }

    /// Takes free blocks until the table covers `tokens` positions; all that are missing, or none.
    pub fn grow(&mut self, tokens: usize) -> Result<(), NoRoom> {
        let missing = self.pool.blocks_for(tokens).saturating_sub(self.ids.len());
        let mut ledger = self.pool.ledger();
        if ledger.free() < missing {
            return Err(NoRoom);
        }
        for _ in 0..missing {
            self.ids.push(ledger.take().ok_or(NoRoom)?);
        }
        Ok(())
    }

    /// The first blocks of this table are full; these are their names. They are not written again, and from now on
    /// others find them. Where the cache already has a block of a name, it takes the place of this table's own.
    pub fn name(&mut self, names: &[Name]) {
        let mut ledger = self.pool.ledger();
        for (id, &name) in self.ids.iter_mut().zip(names).skip(self.named) {
            match ledger.named.get(&name) {
                Some(&known) => {
                    ledger.hold(known);
                    let own = std::mem::replace(id, known);
                    ledger.release(own, 0);
                }
                None => {
                    ledger.named.insert(name, *id);
                    ledger.blocks[*id as usize].name = Some(name);
                }
            }
            self.named += 1;
        }
    }

    /// Gives back the blocks beyond those that cover `tokens` positions.
    pub fn shrink(&mut self, tokens: usize) {
        self.keep(self.pool.blocks_for(tokens));
    }

    /// Gives every block back.
    pub fn clear(&mut self) {
        self.keep(0);
    }

    fn keep(&mut self, blocks: usize) {
        if blocks >= self.ids.len() {
            return;
        }
        let mut ledger = self.pool.ledger();
        ledger.clock += 1;
        // Backwards, so that the first block is the next one taken again where it holds nothing worth keeping.
        for (at, id) in self.ids.drain(blocks..).enumerate().rev() {
            ledger.release(id, blocks + at);
        }
        self.named = self.named.min(blocks);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.clear();
    }
}

#[derive(Clone, Copy, Default)]
struct Block {
    holders: u32,
    /// Of what it contains, while others may find it.
    name: Option<Name>,
    /// Its place in `idle`, while it is there.
    rank: Rank,
}

/// When its last holder gave it back, and how far from the beginning of a sequence: the smallest goes first. An
/// answer that holds a block holds all before it, so of one sequence the last block always goes first.
type Rank = (u64, Reverse<usize>);

struct Ledger {
    /// Blocks that no answer holds and that contain nothing worth finding; taken from the end.
    empty: Vec<BlockId>,
    blocks: Vec<Block>,
    /// Full blocks by what they contain, held or not.
    named: HashMap<Name, BlockId>,
    /// Named blocks that no answer holds, in the order in which they lose their contents.
    idle: BTreeSet<(Rank, BlockId)>,
    /// Counts what was given back.
    clock: u64,
    keeps: bool,
}

impl Ledger {
    fn free(&self) -> usize {
        self.empty.len() + self.idle.len()
    }

    /// A block for one holder to write. Contents are lost only where no block is empty.
    fn take(&mut self) -> Option<BlockId> {
        let id = match self.empty.pop() {
            Some(id) => id,
            None => {
                let (_, id) = self.idle.pop_first()?;
                self.forget(id);
                id
            }
        };
        self.blocks[id as usize].holders = 1;
        Some(id)
    }

    /// One more holder of a named block.
    fn hold(&mut self, id: BlockId) {
        let block = &mut self.blocks[id as usize];
        if block.holders == 0 {
            self.idle.remove(&(block.rank, id));
        }
        block.holders += 1;
    }

    /// One holder less of the block that was `depth` blocks from the beginning.
    fn release(&mut self, id: BlockId, depth: usize) {
        let block = &mut self.blocks[id as usize];
        block.holders -= 1;
        if block.holders > 0 {
            return;
        }
        if block.name.is_some() && self.keeps {
            block.rank = (self.clock, Reverse(depth));
            self.idle.insert((block.rank, id));
        } else {
            self.forget(id);
            self.empty.push(id);
        }
    }

    fn forget(&mut self, id: BlockId) {
        if let Some(name) = self.blocks[id as usize].name.take() {
            self.named.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests;
