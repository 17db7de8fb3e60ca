//! What a report says: typed, in one schema for text, JSON and HTML. The schema is part of the interface:
//! `docs/data-report.md` describes it, fields are added and never change their meaning.

use serde::Serialize;
use serde_json::{Map, Value};

use super::language::Language;
use crate::domain::BadRow;

/// Lines that are named of each finding; the rest are counted.
pub const NAMED: usize = 20;
/// Rows that are quoted of each finding.
pub const SHOWN: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A job refuses the file.
    Error,
    /// Training would suffer, or something should not be trained on.
    Warning,
    /// Worth a look.
    Note,
}

/// Something about some of the rows that somebody should know.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// For programs: one of the codes in the documentation.
    pub code: &'static str,
    pub severity: Severity,
    /// For people, without the lines.
    pub says: String,
    /// Rows it is about, and their share of all.
    pub count: usize,
    pub share: f64,
    /// The first of their lines.
    pub lines: Vec<usize>,
    pub examples: Vec<Shown>,
    /// What to do about it.
    pub advice: &'static str,
}

/// A row as a report quotes it; secrets are masked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Shown {
    pub line: usize,
    pub text: String,
}

/// How many rows, and the first of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lines {
    pub count: usize,
    pub first: Vec<usize>,
    pub shown: Vec<Shown>,
}

impl Lines {
    pub fn add(&mut self, line: usize, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(line);
        }
        if self.shown.len() < SHOWN {
            let text = text();
            self.shown.push(Shown { line, text });
        }
    }

    /// Adds those of another tally of other rows.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.sort_unstable();
        self.first.truncate(NAMED);
        self.shown.extend(other.shown);
        self.shown.sort_unstable();
        self.shown.truncate(SHOWN);
    }

    /// The finding about these rows of `rows`.
    pub fn finding(
        self,
        code: &'static str,
        severity: Severity,
        rows: usize,
        says: String,
        advice: &'static str,
    ) -> Finding {
        Finding {
            code,
            severity,
            says,
            count: self.count,
            share: share(self.count, rows),
            lines: self.first,
            examples: self.shown,
            advice,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Of this schema.
    pub version: u32,
    /// Whether a job would take the file: at least one row, and none bad.
    pub usable: bool,
    pub rows: usize,
    pub bytes: u64,
    /// Errors first; empty where nothing is to be said.
    pub findings: Vec<Finding>,
    /// Forms of records and their rows.
    pub kinds: Map<String, Value>,
    pub lengths: Lengths,
    pub tasks: Tasks,
    /// Each set of classes, where there is one.
    pub classes: Vec<Classes>,
    /// Scripts and languages of answers, and their rows.
    pub languages: Vec<Named<Language>>,
    pub near_duplicates: Duplicates,
    pub conflicts: Conflicts,
    /// Where rows are held out.
    pub leakage: Option<Leakage>,
    pub bad_rows: Bad,
    /// Keys that are not used, and what the chat template changes.
    pub warnings: Vec<String>,
    /// What was left out of a file too large to look at whole.
    pub bounds: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// `tokens` or `words`.
    pub unit: &'static str,
    /// Rows that were measured.
    pub rows: usize,
    pub total: u64,
    pub mean: f64,
    pub median: usize,
    pub p95: usize,
    pub longest: usize,
    /// Tokens that a row may have, and the rows that have more.
    pub limit: Option<usize>,
    pub over: usize,
    pub over_share: f64,
    pub over_lines: Vec<usize>,
    /// `[from, to, rows]` for a plot.
    pub histogram: Vec<[usize; 3]>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tasks {
    pub total: usize,
    pub largest: Vec<Task>,
    /// Rows of tasks that are not listed, and of none.
    pub other_rows: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Task {
    /// In the words of its instructions.
    pub task: String,
    pub rows: usize,
    pub share: f64,
    /// Different instructions; of many only that there are at least so many.
    pub instructions: usize,
    pub first_line: usize,
    /// Answers and their rows, where they are chosen from a few.
    pub labels: Option<Map<String, Value>>,
    pub formats: Map<String, Value>,
    pub format_consistency: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named<T> {
    pub name: T,
    pub rows: usize,
    pub share: f64,
}

/// Classes by a field, or by answers that are chosen from a few.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classes {
    /// The field, where one was named.
    pub field: Option<String>,
    /// The task, where classes are those of one of several.
    pub task: Option<String>,
    pub rows: usize,
    pub total: usize,
    /// The most frequent over the rarest.
    pub ratio: f64,
    pub largest: Vec<Named<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Duplicates {
    /// Rows that repeat an earlier one, exactly or nearly.
    pub rows: usize,
    pub share: f64,
    pub exact: usize,
    pub near: usize,
    /// Groups of rows that repeat each other.
    pub total_groups: usize,
    pub groups: Vec<Group>,
    pub first: Vec<Like>,
    /// Rows that were compared.
    pub compared: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    pub rows: usize,
    pub exact: bool,
    /// The least Jaccard index to the first row of the group.
    pub likeness: f32,
    pub lines: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Like {
    pub line: usize,
    pub like: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Conflicts {
    /// Questions with several answers, and the rows that ask them.
    pub questions: usize,
    pub rows: usize,
    pub share: f64,
    /// Lines of the first of them, question by question.
    pub groups: Vec<Vec<usize>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leakage {
    /// What is held out: `file` or `split`.
    pub held_out: &'static str,
    pub held_out_rows: usize,
    /// Held-out rows that are also trained on.
    pub rows: usize,
    pub share: f64,
    pub exact: usize,
    pub near: usize,
    /// Of the question alone: its answer differs.
    pub question: usize,
    pub first: Vec<Leak>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// Of the held-out row, in its own file where it has one.
    pub held_out_line: usize,
    /// Of the row that is trained on.
    pub line: usize,
    /// `exact`, `near` or `question`.
    pub kind: &'static str,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Bad {
    pub total: usize,
    pub first: Vec<BadRow>,
}

/// A share that is no division by nothing.
pub fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}

/// `1 row`, `1,000 rows`.
pub fn rows(count: usize) -> String {
    crate::trainer::data::unused::counted(count)
}

/// `0.4 %`, `12 %`.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}
