use super::super::super::testing::{assert_close, noise};
use super::super::{Stored, packed};
use super::*;

fn attend(window: Option<usize>) -> Attend {
    Attend {
        dim: 24,
        scale: 0.3,
        window,
    }
}

struct Case {
    pages: Pages,
    tables: Vec<Vec<u32>>,
    q: Vec<Tensor>,
    expected: Vec<Tensor>,
}

/// Sequences of these lengths, their blocks dealt out in turn, and what packed attention says about each.
fn case(lengths: &[usize], block: usize, stored: Stored, window: Option<usize>) -> Result<Case> {
    let (heads, groups, dim) = (6, 2, 24);
    let mut pages = Pages::new(stored, 128, block, groups, dim);
    let (mut tables, mut qs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for (i, length) in lengths.iter().enumerate() {
        let seed = 10 * i as u64;
        let (q, k, v) = (
            noise(&[*length, heads * dim], 1.5, seed + 1),
            noise(&[*length, groups * dim], 1.5, seed + 2),
            noise(&[*length, groups * dim], 1.0, seed + 3),
        );
        let table: Vec<u32> = (0..length.div_ceil(block))
            .map(|at| (at * lengths.len() + i) as u32)
            .collect();
        let slots: Vec<_> = (0..*length)
            .map(|at| (table[at / block], at % block))
            .collect();
        pages.write(&Values::of(&k)?, &Values::of(&v)?, &slots)?;
        expected.push(packed(&q, &k, &v, &[0..*length], attend(window))?);
        tables.push(table);
        qs.push(q);
    }
    Ok(Case {
        pages,
        tables,
        q: qs,
        expected,
    })
}

#[test]
fn it_agrees_with_packed_attention() -> Result<()> {
    for (stored, tolerance) in [(Stored::F32, 1e-5), (Stored::F16, 3e-3)] {
        for block in [16, 20, 5] {
            for window in [None, Some(1), Some(20)] {
                compare(block, stored, window, tolerance)?;
            }
        }
    }
    Ok(())
}

fn compare(block: usize, stored: Stored, window: Option<usize>, tolerance: f32) -> Result<()> {
    let lengths = [1, 16, 37, 90];
    let case = case(&lengths, block, stored, window)?;
    let q = Tensor::cat(&case.q, 0)?;
    let mut next = 0;
    let queries: Vec<_> = lengths
        .iter()
        .zip(&case.tables)
        .map(|(length, table)| {
            next += length;
            Query {
                rows: next - length..next,
                start: 0,
                table,
            }
        })
        .collect();
    let found = paged(&q, &case.pages, &queries, attend(window))?;
    let what = format!("{stored:?}, blocks of {block}, window {window:?}");
    assert_close(&found, &Tensor::cat(&case.expected, 0)?, tolerance, &what);
    Ok(())
}

#[test]
fn a_row_is_the_same_bit_for_bit_alone_and_in_any_batch() -> Result<()> {
    let case = case(&[45, 61], 16, Stored::F16, None)?;
    let q = Tensor::cat(&case.q, 0)?;
    let both = [
        Query {
            rows: 0..45,
            start: 0,
            table: &case.tables[0],
        },
        Query {
            rows: 45..106,
            start: 0,
            table: &case.tables[1],
        },
    ];
    let together = paged(&q, &case.pages, &both, attend(None))?.to_vec2::<f32>()?;
    for row in [0, 15, 16, 44] {
        let alone = [Query {
            rows: 0..1,
            start: row,
            table: &case.tables[0],
        }];
        let found = paged(&q.narrow(0, row, 1)?, &case.pages, &alone, attend(None))?;
        assert_eq!(
            found.flatten_all()?.to_vec1::<f32>()?,
            together[row],
            "row {row}"
        );
    }
    Ok(())
}

#[test]
fn tables_that_end_too_early_are_errors() -> Result<()> {
    let case = case(&[20], 16, Stored::F32, None)?;
    let short = [Query {
        rows: 0..20,
        start: 0,
        table: &case.tables[0][..1],
    }];
    assert!(paged(&case.q[0], &case.pages, &short, attend(None)).is_err());
    let unknown = [Query {
        rows: 0..20,
        start: 0,
        table: &[0, 128],
    }];
    assert!(paged(&case.q[0], &case.pages, &unknown, attend(None)).is_err());
    let mut pages = Pages::new(Stored::F32, 2, 16, 1, 2);
    assert!(pages.write(&[0.0; 2], &[0.0; 2], &[(2, 0)]).is_err());
    Ok(())
}
