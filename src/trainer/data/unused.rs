//! Which keys of a file's rows are not used, so that none is passed over in silence.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::thousands;

/// Keys that are named; the rest are only counted.
const NAMED: usize = 20;

/// Keys that are counted one by one: a file may have more than fit in memory.
const TOLD_APART: usize = 4096;

/// Keys, each with the number of rows that carry it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unused(BTreeMap<String, usize>);

impl Unused {
    /// Counts the unused keys of one row.
    pub fn count(&mut self, keys: BTreeSet<String>) {
        keys.into_iter().for_each(|key| self.add(key, 1));
    }

    /// Counts those of other rows too.
    pub fn merge(&mut self, other: Self) {
        other
            .0
            .into_iter()
            .for_each(|(key, rows)| self.add(key, rows));
    }

    fn add(&mut self, key: String, rows: usize) {
        if self.0.len() < TOLD_APART || self.0.contains_key(&key) {
            *self.0.entry(key).or_default() += rows;
        }
    }

    /// One warning a key, those of most rows first.
    pub fn warnings(&self) -> Vec<String> {
        let mut keys: Vec<(&str, usize)> =
            self.0.iter().map(|(key, n)| (key.as_str(), *n)).collect();
        keys.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        let mut warnings: Vec<String> = keys
            .iter()
            .take(NAMED)
            .map(|(key, rows)| format!("`{}` is not used ({})", shown(key), counted(*rows)))
            .collect();
        match keys.len().saturating_sub(NAMED) {
            0 => {}
            1 => warnings.push("and 1 more key is not used".into()),
            more if self.0.len() == TOLD_APART => warnings.push(format!(
                "and more than {} more keys are not used",
                thousands(more as u64 - 1)
            )),
            more => warnings.push(format!(
                "and {} more keys are not used",
                thousands(more as u64)
            )),
        }
        warnings
    }
}

/// A key as a message can hold it.
fn shown(key: &str) -> String {
    let mut short: String = key.chars().take(80).flat_map(printable).collect();
    if key.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

fn printable(c: char) -> Vec<char> {
    match c.is_control() {
        true => c.escape_default().collect(),
        false => vec![c],
    }
}

/// `1 row`, `1,000 rows`.
pub(super) fn counted(rows: usize) -> String {
    match rows {
        1 => "1 row".into(),
        rows => format!("{} rows", thousands(rows as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_with_their_rows_and_many_of_them_only_counted() {
        let mut unused = Unused::default();
        for row in 0..1234 {
            let mut keys = BTreeSet::from(["source".to_owned()]);
            if row < 30 {
                keys.insert(format!("key {row:02}"));
            }
            unused.count(keys);
        }
        let told = unused.warnings();
        assert_eq!(told.len(), 21);
        assert_eq!(told[0], "`source` is not used (1,234 rows)");
        assert_eq!(told[1], "`key 00` is not used (1 row)");
        assert_eq!(told[20], "and 11 more keys are not used");
        assert!(Unused::default().warnings().is_empty());
        let mut both = unused.clone();
        both.merge(unused);
        assert_eq!(both.warnings()[0], "`source` is not used (2,468 rows)");
    }

    #[test]
    fn more_keys_than_are_told_apart_take_no_more_memory() {
        let mut unused = Unused::default();
        (0..10_000).for_each(|row| unused.count([format!("key {row}")].into()));
        let told = unused.warnings();
        assert_eq!(told[20], "and more than 4,075 more keys are not used");
    }

    #[test]
    fn a_key_cannot_write_to_the_terminal_or_fill_it() {
        let mut unused = Unused::default();
        unused.count([format!("\u{1b}[2J{}", "x".repeat(500))].into());
        let told = unused.warnings().remove(0);
        assert!(
            told.starts_with("`\\u{1b}[2Jxx") && told.len() < 120,
            "{told}"
        );
    }
}
