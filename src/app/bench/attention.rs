//! The part of `bench kernels` about attention: prompts and generating rows over cached keys and values.

use std::str::FromStr;
use std::time::Instant;

use serde_json::{Value, json};

use super::numbers::Numbers;
use crate::cli::Table;
use crate::device::{Array, Result};
use crate::kernels::attention::{Attend, Pages, Query, Stored, paged};

const BLOCK: usize = 16;
/// Bytes of keys and values that are read in turn, as the layers of a model have theirs.
const WORKING_SET: usize = 128 << 20;
/// Positions of all sequences of a case.
const MOST_POSITIONS: usize = 1 << 20;

#[derive(Debug, Clone, clap::Args)]
pub struct AttentionArgs {
    /// Cases of attention, ROWS@CONTEXT: so many rows of a sequence after so many positions; SEQUENCESxROWS@CONTEXT
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "512@0,512@2048,512@8192,1@512,1@8192,8x1@512"
    )]
    cases: Vec<Case>,
    /// Types of cached keys and values
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "f16,q8"
    )]
    kv: Vec<Kv>,
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=1024))]
    heads: u32,
    /// Divides the heads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    kv_heads: u32,
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    head_size: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kv {
    F32,
    F16,
    Q8,
}

impl Kv {
    fn stored(self) -> Stored {
        match self {
            Self::F32 => Stored::F32,
            Self::F16 => Stored::F16,
            Self::Q8 => Stored::Q8,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    sequences: usize,
    rows: usize,
    context: usize,
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |text: &str| {
            let number = text.parse::<u32>();
            number.map_err(|_| format!("`{text}` is no number"))
        };
        let (rows, context) = text
            .split_once('@')
            .ok_or("no `@` between rows and context")?;
        let (sequences, rows) = rows.split_once('x').unwrap_or(("1", rows));
        let [sequences, rows, context] = [number(sequences)?, number(rows)?, number(context)?];
        let positions = u64::from(sequences) * (u64::from(rows) + u64::from(context));
        if sequences == 0 || rows == 0 || positions > MOST_POSITIONS as u64 {
            return Err(format!("from 1 to {MOST_POSITIONS} positions"));
        }
        Ok(Self {
            sequences: sequences as usize,
            rows: rows as usize,
            context: context as usize,
        })
    }
}

impl AttentionArgs {
    pub fn check(&self) -> std::result::Result<(), String> {
        match self.heads.is_multiple_of(self.kv_heads) {
            true => Ok(()),
            false => Err(format!(
                "--kv-heads {} does not divide --heads {}",
                self.kv_heads, self.heads
            )),
        }
    }
}

pub fn measure(args: &AttentionArgs, runs: u16) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for kv in &args.kv {
        for case in &args.cases {
            found.push(one(args, *kv, *case, runs)?);
        }
    }
    Ok(found)
}

fn one(args: &AttentionArgs, kv: Kv, case: Case, runs: u16) -> Result<Value> {
    let [heads, groups, dim] = [args.heads, args.kv_heads, args.head_size].map(|n| n as usize);
    let positions = case.context + case.rows;
    let blocks = positions.div_ceil(BLOCK);
    let bytes = case.sequences * blocks * Pages::block_bytes(kv.stored(), BLOCK, groups, dim);
    let layers = (0..(WORKING_SET / bytes).clamp(1, 64))
        .map(|_| filled(kv, case, (groups, dim)))
        .collect::<Result<Vec<_>>>()?;
    let tables = tables(case.sequences, blocks);
    let queries: Vec<Query<'_>> = tables
        .iter()
        .enumerate()
        .map(|(i, table)| Query {
            rows: i * case.rows..(i + 1) * case.rows,
            start: case.context,
            table,
        })
        .collect();
    let rows = case.sequences * case.rows;
    let width = heads * dim;
    let q = (0..rows * width).map(|i| (i as f32 * 0.37).sin());
    let q = Array::new(q.collect(), (rows, width))?;
    let attend = Attend {
        dim,
        scale: 1.0 / (dim as f32).sqrt(),
        window: None,
    };
    let mut seconds = Vec::new();
    for counted in 0..=runs {
        let began = Instant::now();
        for pages in &layers {
            paged(&q, None, pages, &queries, attend)?;
        }
        if counted > 0 {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    let seconds = Numbers::of(seconds).median().max(1e-9) / layers.len() as f64;
    // Row r of a sequence sees all up to itself.
    let seen = case.sequences * (case.rows * case.context + case.rows * (case.rows + 1) / 2);
    let work = 2.0 * (seen * width) as f64;
    Ok(json!({
        "kv": format!("{kv:?}").to_lowercase(), "sequences": case.sequences, "rows": case.rows, "context": case.context,
        "microseconds": seconds * 1e6, "gigamacs_per_second": work / seconds / 1e9,
        "gigabytes_per_second": bytes as f64 / seconds / 1e9,
    }))
}

/// Blocks of each sequence, dealt out in turn.
fn tables(sequences: usize, blocks: usize) -> Vec<Vec<u32>> {
    let table = |i: usize| (0..blocks).map(move |at| (at * sequences + i) as u32);
    (0..sequences).map(|i| table(i).collect()).collect()
}

fn filled(kv: Kv, case: Case, (groups, dim): (usize, usize)) -> Result<Pages> {
    let positions = case.context + case.rows;
    let blocks = positions.div_ceil(BLOCK);
    let mut pages = Pages::new(kv.stored(), case.sequences * blocks, BLOCK, groups, dim);
    let numbers: Vec<f32> = (0..positions * groups * dim)
        .map(|i| (i as f32 * 0.71).cos())
        .collect();
    for table in tables(case.sequences, blocks) {
        let slot = |at: usize| (table[at / BLOCK], at % BLOCK);
        let slots: Vec<_> = (0..positions).map(slot).collect();
        pages.write(&numbers, &numbers, None, &slots)?;
    }
    Ok(pages)
}

pub fn as_text(cases: &Value) -> String {
    let mut table = Table::new(&[
        "KV",
        "SEQUENCES",
        "ROWS",
        "CONTEXT",
        "TIME",
        "KV GB/S",
        "GMAC/S",
    ]);
    for case in cases.as_array().into_iter().flatten() {
        let number = |field: &str| case[field].as_f64().unwrap_or(0.0);
        table.row(vec![
            case["kv"].as_str().unwrap_or_default().to_owned(),
            case["sequences"].to_string(),
            case["rows"].to_string(),
            case["context"].to_string(),
            format!("{:.0} µs", number("microseconds")),
            format!("{:.1}", number("gigabytes_per_second")),
            format!("{:.0}", number("gigamacs_per_second")),
        ]);
    }
    format!(
        "\nattention of one layer, keys and values in turn\n\n{}",
        table.render()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_say_sequences_rows_and_context() {
        let case = |sequences, rows, context| Case {
            sequences,
            rows,
            context,
        };
        assert_eq!("512@0".parse(), Ok(case(1, 512, 0)));
        assert_eq!("8x1@512".parse(), Ok(case(8, 1, 512)));
        for wrong in ["512", "0@5", "x1@2", "1@4000000000", "0x1@1", "1@-1"] {
            assert!(wrong.parse::<Case>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_case_is_measured_in_every_type() {
        let args = AttentionArgs {
            cases: vec![case("2x3@20")],
            kv: vec![Kv::F32, Kv::F16, Kv::Q8],
            heads: 4,
            kv_heads: 2,
            head_size: 8,
        };
        assert!(args.check().is_ok());
        let found = measure(&args, 1).unwrap();
        assert_eq!(found.len(), 3);
        assert!(
            found
                .iter()
                .all(|case| case["microseconds"].as_f64() > Some(0.0))
        );
        assert!(as_text(&json!(found)).contains("q8"));
        let odd = AttentionArgs { heads: 3, ..args };
        assert!(odd.check().is_err());
    }

    fn case(text: &str) -> Case {
        text.parse().unwrap()
    }
}
