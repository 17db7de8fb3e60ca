//! tool_calls: how models write calls of functions, and how such calls are read out of an answer.
//!
//! Every way of writing is one file and one row of the table below. Where a model says what it likes, a call is told when
//! it is complete: what turns out to be none stays part of the text, whatever it began like, so nothing of an answer is
//! ever lost or taken back. Where a grammar says what begins calls, they are told as they come.

mod forced;
mod hermes;
mod json;
mod llama3;
mod mistral;
mod parser;
mod plain;
mod qwen3_coder;
mod read;
mod stream;
mod tags;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::stop::overlap;
use crate::domain::Tool;

pub use forced::{Leaves, call_rule};
pub use parser::{CallParser, Part};

/// A way of writing calls.
#[derive(Clone, Copy)]
pub struct Syntax {
    row: &'static Row,
}

struct Row {
    name: &'static str,
    /// Whether a chat template's source writes calls so. The first row that says yes is taken.
    written_by: fn(&str) -> bool,
    /// What marks a call. Some models have special tokens for them, which then belong to the text.
    markers: &'static [&'static str],
    scan: fn(&Held<'_>) -> Scan,
    forms: Forms,
}

/// How a model that is made to call writes.
struct Forms {
    begin: &'static str,
    between: &'static str,
    end: &'static str,
    /// Where a call is an object: what it says its arguments by.
    key: Option<&'static str>,
    /// The rules of one function's call with arguments of this schema; the first has this name.
    call: fn(&Tool, &str, &Value) -> String,
}

static ROWS: [Row; 5] = [
    qwen3_coder::ROW,
    hermes::ROW,
    mistral::ROW,
    llama3::ROW,
    plain::ROW,
];

impl Syntax {
    pub const NAMES: [&'static str; 5] = ["hermes", "llama3", "mistral", "qwen3-coder", "json"];

    /// What the template's own text says; a template that says nothing known expects JSON.
    pub fn of_template(source: &str) -> Self {
        let row = ROWS.iter().find(|row| (row.written_by)(source));
        Self {
            row: row.unwrap_or(&ROWS[ROWS.len() - 1]),
        }
    }

    pub fn name(self) -> &'static str {
        self.row.name
    }

    pub fn markers(self) -> &'static [&'static str] {
        self.row.markers
    }
}

impl FromStr for Syntax {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let row = ROWS.iter().find(|row| row.name == name);
        let known = || format!("`{name}` is not auto, {}", Self::NAMES.join(", "));
        row.map(|row| Self { row }).ok_or_else(known)
    }
}

impl PartialEq for Syntax {
    fn eq(&self, other: &Self) -> bool {
        self.row.name == other.row.name
    }
}

impl fmt::Debug for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row.name)
    }
}

/// A call as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: String,
    /// The text of a JSON object.
    arguments: String,
}

/// What came before the held text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but blanks.
    Start,
    Text,
    /// A call, and nothing but blanks since.
    Call,
}

/// Text that is not told yet. It does not begin with a blank.
struct Held<'a> {
    text: &'a str,
    place: Place,
    /// Nothing follows.
    ended: bool,
    tools: &'a [Tool],
}

/// What the beginning of the held text is. More text never changes what was said, so an answer reads the same in
/// whatever pieces it comes.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    /// So many bytes are text.
    Text(usize),
    /// So many bytes are calls.
    Calls(usize, Vec<Found>),
    /// It cannot be told before there is more.
    More,
}

impl Held<'_> {
    fn knows(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    /// Everything up to where one of the markers begins, or may begin; `None` where one begins the text, whole.
    fn before(&self, markers: &[&str]) -> Option<Scan> {
        let found = { markers.iter() }
            .filter_map(|marker| self.text.find(marker))
            .min();
        match found {
            Some(0) => None,
            Some(at) => Some(Scan::Text(at)),
            None => {
                let open = markers.iter().map(|marker| overlap(self.text, marker));
                let open = open.max().unwrap_or(0);
                Some(match self.text.len() - open {
                    0 => Scan::More,
                    told => Scan::Text(told),
                })
            }
        }
    }
}

/// Whether `text`, without blanks before it, may still become `marker`; `Some(bytes)` where it begins with it.
fn expect(text: &str, marker: &str) -> Expected {
    let rest = text.trim_start();
    let blanks = text.len() - rest.len();
    match () {
        () if rest.starts_with(marker) => Expected::There(blanks + marker.len()),
        () if marker.starts_with(rest) => Expected::Maybe,
        () => Expected::Not,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Bytes up to the marker's end.
    There(usize),
    Maybe,
    Not,
}
