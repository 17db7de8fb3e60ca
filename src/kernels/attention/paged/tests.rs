use std::ops::RangeInclusive;

use super::super::super::rotary::Rotate;
use super::super::super::testing::{assert_close, noise, once, tensor};
use super::super::{Packed, Stored};
use super::*;

const FORMATS: [Stored; 3] = [Stored::F32, Stored::F16, Stored::Q8];

/// Heads and blocks of a cache.
#[derive(Debug, Clone, Copy)]
struct Shape {
    stored: Stored,
    block: usize,
    /// Query heads of a kv head.
    share: usize,
    groups: usize,
    dim: usize,
    window: Option<usize>,
}

const PLAIN: Shape = Shape {
    stored: Stored::F16,
    block: 16,
    share: 3,
    groups: 2,
    dim: 24,
    window: None,
};

impl Shape {
    fn attend(self) -> Attend {
        Attend {
            dim: self.dim,
            scale: 0.3,
            window: self.window,
        }
    }
}

struct Case {
    shape: Shape,
    pages: Pages,
    lengths: Vec<usize>,
    tables: Vec<Vec<u32>>,
    /// Of all sequences, one after the other.
    q: Array,
}

/// Sequences of these lengths, their blocks dealt out in turn.
fn case(shape: Shape, lengths: &[usize]) -> Result<Case> {
    let Shape {
        stored,
        block,
        share,
        groups,
        dim,
        ..
    } = shape;
    let longest = lengths.iter().max().expect("a sequence").div_ceil(block);
    let mut pages = Pages::new(stored, longest * lengths.len(), block, groups, dim);
    let mut tables = Vec::new();
    for (i, length) in lengths.iter().enumerate() {
        let seed = 10 * i as u64;
        let k = noise((*length, groups * dim), 1.5, seed + 2);
        let v = noise((*length, groups * dim), 1.0, seed + 3);
        let table: Vec<u32> = (0..length.div_ceil(block))
            .map(|at| (at * lengths.len() + i) as u32)
            .collect();
        let slots = slots(&table, block, *length);
        pages.store(&k, &v, None, &slots)?;
        tables.push(table);
    }
    Ok(Case {
        shape,
        pages,
        lengths: lengths.to_vec(),
        tables,
        q: noise((lengths.iter().sum(), groups * share * dim), 1.5, 1),
    })
}

fn slots(table: &[u32], block: usize, length: usize) -> Vec<(u32, usize)> {
    (0..length)
        .map(|at| (table[at / block], at % block))
        .collect()
}

impl Case {
    fn queries(&self) -> Vec<Query<'_>> {
        let mut next = 0;
        let sequences = self.lengths.iter().zip(&self.tables);
        sequences
            .map(|(length, table)| {
                next += length;
                Query {
                    rows: next - length..next,
                    start: 0,
                    table,
                }
            })
            .collect()
    }

    /// What the cache holds, as plain numbers: keys and values [positions, heads · d] of all sequences.
    fn held(&self) -> Result<[Array; 2]> {
        fn one<T: Cell>(cells: &Cells<T>, slot: (u32, usize), of_keys: bool) -> Vec<f32> {
            let part = cells.part();
            let number = |head: usize, i: usize| {
                let panel = cells.panel(slot.0, head, slot.1 / LANES);
                let lane = slot.1 % LANES;
                let (cell, scale) = match of_keys {
                    true => (
                        &panel.keys[i * LANES + lane],
                        panel.key_scales.get(i / 32 * LANES + lane),
                    ),
                    false => (
                        &panel.values[lane * part.padded() + i],
                        panel.value_scales.get(lane * part.shares() + i / 32),
                    ),
                };
                let sixteen = [*cell; LANES];
                // SAFETY: sixteen cells; this tier needs no instructions of its own.
                let [value, ..] = unsafe { T::lanes::<[f32; LANES]>(sixteen.as_ptr()) };
                value * scale.copied().unwrap_or(1.0)
            };
            let heads = 0..part.heads;
            let width = |head| (0..part.dim).map(move |i| (head, i));
            heads
                .flat_map(width)
                .map(|(head, i)| number(head, i))
                .collect()
        }
        let mut held = [Vec::new(), Vec::new()];
        for (length, table) in self.lengths.iter().zip(&self.tables) {
            for slot in slots(table, self.shape.block, *length) {
                for (held, of_keys) in held.iter_mut().zip([true, false]) {
                    held.extend(match self.pages.slab() {
                        Slab::F32(cells) => one(cells, slot, of_keys),
                        Slab::F16(cells) => one(cells, slot, of_keys),
                        Slab::Q8(cells) => one(cells, slot, of_keys),
                    });
                }
            }
        }
        let [keys, values] = held;
        let width = self.shape.groups * self.shape.dim;
        let shape = (keys.len() / width, width);
        Ok([Array::new(keys, shape)?, Array::new(values, shape)?])
    }

    /// What packed attention says about what the cache holds.
    fn expected(&self) -> Result<Array> {
        let [keys, values] = self.held()?;
        let ranges: Vec<_> = self.queries().into_iter().map(|query| query.rows).collect();
        let op = Packed {
            ranges: ranges.into(),
            attend: self.shape.attend(),
        };
        once(op, &[&self.q, &keys, &values])
    }

    fn compare(&self) -> Result<()> {
        let expected = self.expected()?;
        for tier in tiers() {
            let (q, queries) = (&self.q, self.queries());
            let attend = self.shape.attend();
            let found = with_tier(tier, q, None, &self.pages, &queries, attend)?;
            let what = format!("{tier:?} {:?} {:?}", self.shape, self.lengths);
            assert_close(&found, &tensor(&expected), 2e-5, &what);
        }
        Ok(())
    }
}

/// Those of this processor that the switch allows.
fn tiers() -> impl Iterator<Item = Tier> {
    let all = [Tier::Portable, Tier::Avx2, Tier::Avx512];
    all.into_iter().filter(|each| *each <= tier())
}

#[test]
fn every_tier_agrees_with_packed_attention_over_what_the_cache_holds() -> Result<()> {
    for stored in FORMATS {
        for block in [16, 20, 5, 300] {
            for window in [None, Some(1), Some(20), Some(140)] {
                let shape = Shape {
                    stored,
                    block,
                    window,
                    ..PLAIN
                };
                case(shape, &[1, 16, 37, 290])?.compare()?;
            }
        }
    }
    Ok(())
}

#[test]
fn heads_of_any_number_and_size_are_taken() -> Result<()> {
    for stored in FORMATS {
        for (share, groups, dim) in [(1, 3, 64), (2, 1, 80), (7, 2, 64), (12, 1, 8), (16, 1, 40)] {
            let shape = Shape {
                stored,
                share,
                groups,
                dim,
                ..PLAIN
            };
            case(shape, &[5, 150])?.compare()?;
        }
    }
    Ok(())
}

/// Rows `rows` of sequence `i` by themselves.
fn alone(case: &Case, i: usize, rows: RangeInclusive<usize>) -> Result<Vec<Vec<f32>>> {
    let (count, first) = (rows.clone().count(), *rows.start());
    let before: usize = case.lengths[..i].iter().sum();
    let queries = [Query {
        rows: 0..count,
        start: first,
        table: &case.tables[i],
    }];
    let wanted: Vec<usize> = (before + first..before + first + count).collect();
    let q = case.q.select_rows(&wanted)?;
    let found = paged(&q, None, &case.pages, &queries, case.shape.attend())?;
    Ok(rows_of(&found))
}

fn rows_of(array: &Array) -> Vec<Vec<f32>> {
    let rows = array.values().chunks_exact(array.width());
    rows.map(<[f32]>::to_vec).collect()
}

#[test]
fn a_row_is_the_same_bit_for_bit_alone_and_in_any_batch() -> Result<()> {
    for stored in FORMATS {
        for (share, window) in [(3, None), (1, Some(150)), (7, None), (16, None)] {
            let shape = Shape {
                stored,
                share,
                window,
                dim: 16,
                ..PLAIN
            };
            let case = case(shape, &[45, 300])?;
            let attend = shape.attend();
            let both = paged(&case.q, None, &case.pages, &case.queries(), attend)?;
            let both = rows_of(&both);
            for (i, row) in [
                (0, 0),
                (0, 44),
                (1, 15),
                (1, 16),
                (1, 127),
                (1, 128),
                (1, 299),
            ] {
                let found = alone(&case, i, row..=row)?;
                assert_eq!(found[0], both[45 * i + row], "row {row} of {shape:?}");
            }
            assert_eq!(alone(&case, 1, 101..=200)?, both[45 + 101..=45 + 200]);
        }
    }
    Ok(())
}

#[test]
fn turning_on_the_way_is_turning_before() -> Result<()> {
    let frequencies: Vec<f32> = (0..12).map(|i| 0.7f32.powi(i)).collect();
    let angles = Angles::at(0..40, &frequencies, 1.1);
    let (k, v) = (noise((40, 48), 1.5, 2), noise((40, 48), 1.0, 3));
    let q = noise((40, 144), 1.5, 1);
    let turn = |x: &Array| once(Rotate(angles.clone()), &[x]);
    let turned = (turn(&q)?, turn(&k)?);
    let queries = [Query {
        rows: 0..40,
        start: 0,
        table: &[2, 0, 1],
    }];
    let slots = slots(&[2, 0, 1], 16, 40);
    for stored in FORMATS {
        let [mut on_the_way, mut before] = [(); 2].map(|()| Pages::new(stored, 3, 16, 2, 24));
        on_the_way.store(&k, &v, Some(&angles), &slots)?;
        before.store(&turned.1, &v, None, &slots)?;
        let attend = PLAIN.attend();
        let found = paged(&q, Some(&angles), &on_the_way, &queries, attend)?;
        let wanted = paged(&turned.0, None, &before, &queries, attend)?;
        assert_eq!(found, wanted);
    }
    let few = Angles::at(0..39, &frequencies, 1.0);
    let mut pages = Pages::new(Stored::F32, 3, 16, 2, 24);
    assert!(pages.store(&k, &v, Some(&few), &slots).is_err());
    assert!(paged(&q, Some(&few), &pages, &queries, PLAIN.attend()).is_err());
    Ok(())
}

#[test]
fn eight_bits_are_close_to_32() -> Result<()> {
    let shape = Shape { dim: 64, ..PLAIN };
    let of = |stored| {
        let case = case(Shape { stored, ..shape }, &[200])?;
        paged(&case.q, None, &case.pages, &case.queries(), shape.attend())
    };
    let whole = tensor(&of(Stored::F32)?);
    assert_close(&of(Stored::F16)?, &whole, 3e-3, "f16");
    assert_close(&of(Stored::Q8)?, &whole, 2e-2, "q8");
    Ok(())
}

#[test]
fn rows_of_no_query_give_nothing() -> Result<()> {
    let case = case(PLAIN, &[20])?;
    let twice: Vec<usize> = (0..20).chain(0..20).collect();
    let q = case.q.select_rows(&twice)?;
    let queries = [Query {
        rows: 3..23,
        start: 0,
        table: &case.tables[0],
    }];
    let found = paged(&q, None, &case.pages, &queries, PLAIN.attend())?;
    for (at, row) in rows_of(&found).iter().enumerate() {
        assert_eq!(row.iter().any(|x| *x != 0.0), (3..23).contains(&at), "{at}");
    }
    Ok(())
}

#[test]
fn what_is_no_number_stays_with_its_sequence() -> Result<()> {
    let mut case = case(PLAIN, &[20, 20])?;
    let nan = [f32::NAN; 48];
    case.pages.write(&nan, &nan, None, &[(0, 3)])?;
    let found = paged(&case.q, None, &case.pages, &case.queries(), PLAIN.attend())?;
    let found = rows_of(&found);
    assert!(found[19].iter().all(|x| x.is_nan()));
    assert!(found[20..].iter().flatten().all(|x| x.is_finite()));
    Ok(())
}

#[test]
fn memory_of_a_block_is_what_its_format_says() {
    let bytes = |stored, block| Pages::block_bytes(stored, block, 2, 64);
    assert_eq!(bytes(Stored::F32, 16), 2 * 16 * 2 * 64 * 4);
    assert_eq!(bytes(Stored::F16, 16), 2 * 16 * 2 * 64 * 2);
    assert_eq!(bytes(Stored::Q8, 16), 2 * 16 * 2 * (64 + 2 * 4));
    assert_eq!(bytes(Stored::F16, 17), bytes(Stored::F16, 32));
}

#[test]
fn tables_that_end_too_early_are_errors() -> Result<()> {
    let case = case(PLAIN, &[20])?;
    let attend = PLAIN.attend();
    let with = |table: &[u32]| {
        let queries = [Query {
            rows: 0..20,
            start: 0,
            table,
        }];
        paged(&case.q, None, &case.pages, &queries, attend).is_err()
    };
    assert!(with(&case.tables[0][..1]));
    assert!(with(&[0, 128]));
    let mut pages = Pages::new(Stored::F32, 2, 16, 1, 2);
    assert!(pages.write(&[0.0; 2], &[0.0; 2], None, &[(2, 0)]).is_err());
    assert!(pages.write(&[0.0; 2], &[0.0; 2], None, &[(0, 16)]).is_err());
    Ok(())
}
