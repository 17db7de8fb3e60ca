//! Reports on whole files: silent on clean ones, and on others each thing that was planted.

mod clean;
mod planted;

use serde_json::Value;

use super::finding::Report;
use super::text::mix;
use super::{Options, check};
use crate::trainer::data::RowReader;

/// A file of JSON lines.
fn lines(rows: &[Value]) -> Vec<u8> {
    let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
    rows.join("\n").into_bytes()
}

fn report_with(bytes: &[u8], held_out: Option<&[u8]>, options: &Options<'_>) -> Report {
    let rows = RowReader::of_bytes(bytes).unwrap();
    let held_out = held_out.map(|bytes| RowReader::of_bytes(bytes).unwrap());
    check(rows, held_out, options).unwrap().report
}

fn report(rows: &[Value]) -> Report {
    report_with(&lines(rows), None, &Options::default())
}

/// One of some, by a number.
fn pick<'a>(of: &[&'a str], seed: u64) -> &'a str {
    of[(mix(seed) % of.len() as u64) as usize]
}
