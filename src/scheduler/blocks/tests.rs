use std::collections::HashSet;

use proptest::prelude::*;

use super::super::prefix::numbered;
use super::*;

/// Names of the blocks of one sequence.
fn names(sequence: u64, blocks: u64) -> Vec<Name> {
    (0..blocks)
        .map(|at| numbered(sequence << 32 | at))
        .collect()
}

/// A table whose `blocks` blocks are full and named as those of this sequence.
fn filled(pool: &Pool, sequence: u64, blocks: u64) -> Table {
    let mut table = pool.table();
    table.grow(blocks as usize * pool.block_size()).unwrap();
    table.name(&names(sequence, blocks));
    table
}

#[test]
fn a_table_grows_by_whole_blocks_and_gives_them_back() {
    let pool = Pool::new(4, 8, true);
    let mut table = pool.table();
    table.grow(1).unwrap();
    table.grow(8).unwrap();
    assert_eq!((table.len(), pool.free()), (1, 3));
    table.grow(30).unwrap();
    assert_eq!(table.ids(), [0, 1, 2, 3]);
    table.shrink(9);
    assert_eq!((table.ids(), pool.free()), (&[0, 1][..], 2));
    drop(table);
    assert_eq!((pool.free(), pool.cached()), (4, 0));
}

#[test]
fn what_does_not_fit_takes_nothing() {
    let pool = Pool::new(4, 8, true);
    let mut table = pool.table();
    assert_eq!(table.grow(33), Err(NoRoom));
    assert_eq!(pool.free(), 4);
    table.grow(32).unwrap();
    assert_eq!(pool.table().grow(1), Err(NoRoom));
}

#[test]
fn a_shared_block_is_free_when_its_last_holder_has_gone() {
    let pool = Pool::new(4, 8, true);
    let mut first = filled(&pool, 1, 2);
    first.grow(20).unwrap();
    let mut second = pool.table();
    assert_eq!(second.adopt(&names(1, 4)), 2);
    assert_eq!(second.ids(), &first.ids()[..2]);
    assert_eq!(
        (first.exclusive(), second.exclusive(), pool.free()),
        (1, 0, 1)
    );
    drop(first);
    assert_eq!((second.exclusive(), pool.free()), (2, 2));
    drop(second);
    assert_eq!((pool.free(), pool.cached()), (4, 2));
}

#[test]
fn what_no_sequence_holds_is_found_until_its_place_is_needed() {
    let pool = Pool::new(4, 8, true);
    let ids = filled(&pool, 1, 2).ids().to_vec();
    let found = Found { blocks: 2, held: 0 };
    assert_eq!((pool.find(&names(1, 3)), pool.cached()), (found, 2));
    let mut again = pool.table();
    assert_eq!(again.adopt(&names(1, 3)), 2);
    assert_eq!((again.ids(), pool.cached()), (&ids[..], 0));
    assert_eq!(pool.find(&names(1, 3)), Found { blocks: 2, held: 2 });
    again.clear();
    let mut other = pool.table();
    other.grow(16).unwrap();
    assert_eq!(pool.find(&names(1, 2)), found, "empty blocks go first");
    other.grow(24).unwrap();
    assert_eq!(pool.find(&names(1, 2)), Found { blocks: 1, held: 0 });
    other.grow(32).unwrap();
    assert_eq!(pool.find(&names(1, 2)), Found::default());
}

#[test]
fn the_longest_unused_sequence_loses_its_last_block_first() {
    let pool = Pool::new(6, 8, true);
    drop((
        filled(&pool, 1, 2),
        filled(&pool, 2, 2),
        filled(&pool, 3, 2),
    ));
    // Used again, so sequence 2 is now the one unused for longest. A tuple drops its parts in order.
    let mut used = pool.table();
    used.adopt(&names(1, 2));
    drop(used);
    let left = || [1, 2, 3].map(|sequence| pool.find(&names(sequence, 2)).blocks);
    let mut taken = pool.table();
    for (blocks, expected) in [
        (1, [2, 1, 2]),
        (2, [2, 0, 2]),
        (3, [2, 0, 1]),
        (4, [2, 0, 0]),
        (5, [1, 0, 0]),
        (6, [0, 0, 0]),
    ] {
        taken.grow(8 * blocks).unwrap();
        assert_eq!(left(), expected, "with {blocks} blocks taken");
    }
}

#[test]
fn two_that_computed_the_same_block_end_with_one() {
    let pool = Pool::new(6, 8, true);
    let first = filled(&pool, 1, 2);
    let mut second = pool.table();
    second.grow(24).unwrap();
    assert_eq!(pool.free(), 1);
    second.name(&names(1, 2));
    assert_eq!(&second.ids()[..2], first.ids());
    assert_eq!((pool.free(), second.exclusive()), (3, 1));
    second.name(&names(1, 3));
    drop((first, second));
    assert_eq!((pool.free(), pool.cached()), (6, 3));
}

#[test]
fn without_keeping_contents_go_with_their_last_holder() {
    let pool = Pool::new(4, 8, false);
    let first = filled(&pool, 1, 2);
    let mut second = pool.table();
    assert_eq!(second.adopt(&names(1, 2)), 2);
    drop(first);
    assert_eq!(pool.find(&names(1, 2)).blocks, 2);
    drop(second);
    assert_eq!(pool.find(&names(1, 2)), Found::default());
    assert_eq!((pool.free(), pool.cached()), (4, 0));
}

#[derive(Debug, Clone)]
enum Act {
    /// A table for a sequence that begins with what is cached of it.
    Begin {
        sequence: u64,
        blocks: u64,
    },
    /// One that does not look, as where scores of the prompt are wanted.
    Ignore {
        sequence: u64,
    },
    Grow {
        at: usize,
        tokens: usize,
    },
    Fill {
        at: usize,
        blocks: u64,
    },
    Shrink {
        at: usize,
        tokens: usize,
    },
    Drop {
        at: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let (at, tokens) = (0usize..6, 0usize..60);
    prop_oneof![
        (0u64..4, 0u64..7).prop_map(|(sequence, blocks)| Act::Begin { sequence, blocks }),
        (0u64..4).prop_map(|sequence| Act::Ignore { sequence }),
        (at.clone(), tokens.clone()).prop_map(|(at, tokens)| Act::Grow { at, tokens }),
        (at.clone(), 0u64..7).prop_map(|(at, blocks)| Act::Fill { at, blocks }),
        (at.clone(), tokens).prop_map(|(at, tokens)| Act::Shrink { at, tokens }),
        at.prop_map(|at| Act::Drop { at }),
    ]
}

proptest! {
    #[test]
    fn every_block_is_held_cached_or_empty_and_all_return(
        acts in prop::collection::vec(act(), 1..80),
        keeps: bool,
    ) {
        let pool = Pool::new(12, 8, keeps);
        let mut tables: Vec<(u64, Table)> = Vec::new();
        for act in acts {
            match act {
                Act::Begin { sequence, blocks } => {
                    let mut table = pool.table();
                    let found = pool.find(&names(sequence, blocks)).blocks;
                    prop_assert_eq!(table.adopt(&names(sequence, blocks)), found);
                    tables.push((sequence, table));
                }
                Act::Ignore { sequence } => tables.push((sequence, pool.table())),
                Act::Grow { at, tokens } => if let Some((_, table)) = tables.get_mut(at) {
                    let _ = table.grow(tokens);
                },
                Act::Fill { at, blocks } => if let Some((sequence, table)) = tables.get_mut(at) {
                    table.name(&names(*sequence, blocks));
                },
                Act::Shrink { at, tokens } => if let Some((_, table)) = tables.get_mut(at) {
                    table.shrink(tokens);
                },
                Act::Drop { at } => if at < tables.len() {
                    tables.remove(at);
                },
            }
            check(&pool, tables.iter().map(|(_, table)| table))?;
        }
        tables.clear();
        prop_assert_eq!(pool.free(), pool.total());
        prop_assert!(keeps || pool.cached() == 0);
    }
}

fn check<'t>(pool: &Pool, tables: impl Iterator<Item = &'t Table>) -> Result<(), TestCaseError> {
    let mut holders = vec![0; pool.total()];
    for table in tables {
        let different: HashSet<_> = table.ids().iter().collect();
        prop_assert_eq!(different.len(), table.len(), "a block twice in one table");
        table.ids().iter().for_each(|&id| holders[id as usize] += 1);
    }
    for sequence in 0..4 {
        let (all, found) = (names(sequence, 7), pool.find(&names(sequence, 7)));
        let ledger = pool.ledger();
        let there: Vec<_> = all.iter().map(|name| ledger.named.get(name)).collect();
        prop_assert!(there[..found.blocks].iter().all(Option::is_some), "a hole");
        prop_assert!(
            there[found.blocks..].iter().all(Option::is_none),
            "out of reach"
        );
    }
    let ledger = pool.ledger();
    let counted: Vec<u32> = ledger.blocks.iter().map(|block| block.holders).collect();
    prop_assert_eq!(&counted, &holders);
    let unheld = ledger
        .empty
        .iter()
        .chain(ledger.idle.iter().map(|(_, id)| id));
    let mut unheld: Vec<BlockId> = unheld.copied().collect();
    unheld.sort_unstable();
    let expected = (0..).zip(&holders).filter(|(_, held)| **held == 0);
    let expected: Vec<BlockId> = expected.map(|(id, _)| id).collect();
    prop_assert_eq!(unheld, expected, "each free block once");
    for (name, id) in &ledger.named {
        prop_assert_eq!(ledger.blocks[*id as usize].name, Some(*name));
    }
    Ok(())
}
