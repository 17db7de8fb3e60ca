//! Text for people, JSON for programs.

use std::io::{IsTerminal, Write};

use serde_json::Value;

use super::Failure;
use crate::domain::shown_bytes;

/// How a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Bars and colours only on a terminal.
    pub fn shows_progress(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// One value: as JSON, or by `text`.
    pub fn show(self, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        let shown = match self.json {
            true => serde_json::to_string_pretty(value).map_err(Failure::failed)?,
            false => text(value),
        };
        line(&shown)
    }
}

/// Prints a line; a closed pipe is no error, since its reader wants no more.
pub fn line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n')) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Whether colours are welcome where they can be shown (<https://no-color.org>).
pub fn colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty())
}

/// Columns aligned by their widest cell.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A field as a person reads it; absent and null are `-`.
pub fn cell(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first eight digits: enough to pin a generation.
pub fn short(generation: &Value) -> String {
    generation
        .as_str()
        .map_or_else(|| "-".into(), |text| text.chars().take(8).collect())
}

/// Bytes with a binary unit.
pub fn size(bytes: u64) -> String {
    shown_bytes(bytes)
}

/// Unix seconds as a local date and time.
pub fn when(value: &Value) -> String {
    value
        .as_i64()
        .and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0))
        .map_or_else(
            || "-".into(),
            |t| t.with_timezone(&chrono::Local).format("%F %T").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_its_columns() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        table.row(vec!["legal".into(), size(512)]);
        table.row(vec!["a".into(), size(3 << 20)]);
        assert_eq!(
            table.render(),
            "NAME   SIZE\nlegal  512 B\na      3.0 MiB\n"
        );
    }
}
