//! The rows of a training file, every one with the line it starts on; from their texts.

use serde_json::Value;

use super::file::{Line, ReadFault, RowReader};
use super::unused::Unused;
use super::{Record, TOLD};
use crate::domain::{BadRow, Objective, Reason, Strict};

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Counted from 1.
    pub line: usize,
    pub record: Record,
}

/// Rows that cannot be used: the first of them, and how many there are.
#[derive(Debug, Default)]
pub struct Refused {
    first: Vec<BadRow>,
    total: usize,
}

impl Refused {
    pub fn add(&mut self, row: BadRow) {
        self.total += 1;
        if self.first.len() < TOLD {
            self.first.push(row);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// # Errors
    /// `BadRows` of the file that a field names, where there are any.
    pub fn check(self, file: &'static str) -> Result<(), Reason> {
        let Self { first, total } = self;
        match total {
            0 => Ok(()),
            _ => Err(Reason::BadRows { file, first, total }),
        }
    }
}

/// All rows of a file: the usable ones, and why the others are not.
#[derive(Debug, Default)]
pub struct Parsed {
    pub rows: Vec<Row>,
    pub bad: Vec<BadRow>,
    /// Keys of the usable rows that are not used.
    pub unused: Unused,
}

impl Parsed {
    /// What a job learns from rows like the first: all rows of a job are of one kind.
    pub fn objective(&self) -> Objective {
        let first = self.rows.first();
        first.map_or(Objective::Sft, |row| row.record.body.objective())
    }

    fn take(&mut self, line: &Line) {
        match line.read() {
            Ok((row, unused)) => {
                self.unused.count(unused);
                self.rows.push(row);
            }
            Err(bad) => self.bad.push(bad),
        }
    }
}

/// Reads every row of a file in memory, whatever the state of its neighbours.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let refuse = |parsed: &mut Parsed, fault: ReadFault| {
        let why = fault.to_string();
        parsed.bad.push(BadRow { line: 1, why });
    };
    match RowReader::of_bytes(bytes) {
        Err(fault) => refuse(&mut parsed, fault),
        Ok(lines) => lines.for_each(|line| match line {
            Ok(line) => parsed.take(&line),
            Err(fault) => refuse(&mut parsed, fault),
        }),
    }
    parsed
}

/// A row's text as JSON.
pub(super) fn read(text: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(text)
        .map_err(|fault| format!("is not UTF-8 at byte {}", fault.valid_up_to() + 1))?;
    let value = serde_json::from_str::<Strict>(text).map_err(|fault| unread(&fault))?;
    Ok(value.0)
}

/// Whether a text begins with a JSON value.
pub(super) fn first(text: &[u8]) -> Result<(), String> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Strict>();
    match values.next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(fault)) => Err(unread(&fault)),
        None => Err("is not JSON: it is empty".into()),
    }
}

fn unread(fault: &serde_json::Error) -> String {
    let text = plain(fault);
    match fault.classify() {
        // Well-formed, but not to be used.
        serde_json::error::Category::Data => text,
        _ => format!("is not JSON: {text}"),
    }
}

/// serde_json's message with its column only: reports name the line in the file themselves.
fn plain(fault: &serde_json::Error) -> String {
    let text = fault.to_string();
    let said = text
        .rfind(" at line ")
        .map_or(text.as_str(), |at| &text[..at]);
    format!("{said} at column {}", fault.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"instruction":"a","output":"b"}"#;

    fn lines_of(parsed: &Parsed) -> (Vec<usize>, Vec<usize>) {
        (
            parsed.rows.iter().map(|r| r.line).collect(),
            parsed.bad.iter().map(|r| r.line).collect(),
        )
    }

    #[test]
    fn json_lines_keep_their_numbers_over_blank_and_broken_ones() {
        let text = format!("\u{feff}{GOOD}\r\n\n{{\"broken\n{GOOD}\n[1]\n{GOOD}");
        assert_eq!(
            lines_of(&parse(text.as_bytes())),
            (vec![1, 4, 6], vec![3, 5])
        );
    }

    #[test]
    fn a_git_lfs_pointer_is_one_bad_row_that_says_what_it_is() {
        let parsed = parse(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n");
        assert_eq!(lines_of(&parsed), (vec![], vec![1]));
        assert!(parsed.bad[0].why.contains("git lfs pull"));
    }

    #[test]
    fn an_arrays_rows_are_named_by_the_line_they_start_on() {
        let text = format!("\n[\n  {GOOD},\n  {{\n    \"output\": \"x\"\n  }},\n  {GOOD}\n]\n");
        assert_eq!(lines_of(&parse(text.as_bytes())), (vec![3, 7], vec![4]));
    }

    #[test]
    fn an_array_that_breaks_off_is_reported_where_it_does() {
        for (text, bad) in [
            (format!("[{GOOD},\n{GOOD}"), 2),
            (format!("[{GOOD}\n{GOOD}]"), 2),
            (format!("[{GOOD},\n]"), 2),
            (format!("[{GOOD}]\n{GOOD}"), 2),
            ("[".to_owned(), 1),
        ] {
            assert_eq!(lines_of(&parse(text.as_bytes())).1, [bad], "{text}");
        }
        assert_eq!(lines_of(&parse(b" [ ] ")), (vec![], vec![]));
    }

    #[test]
    fn a_key_that_appears_twice_makes_its_row_unusable() {
        let twice = r#"{"instruction":"a","output":"b","output":"c"}"#;
        for text in [
            format!("{GOOD}\n{twice}\n{GOOD}"),
            format!("[{GOOD},\n{twice}]"),
        ] {
            let parsed = parse(text.as_bytes());
            let [bad] = parsed.bad.as_slice() else {
                panic!("{:?}", parsed.bad)
            };
            assert_eq!(bad.line, 2);
            assert!(bad.why.starts_with("`output` appears twice"), "{}", bad.why);
        }
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_a_bad_row() {
        let parsed = parse(b"{\"instruction\":\"\xff\",\"output\":\"b\"}");
        assert!(parsed.bad[0].why.contains("not UTF-8"));
    }

    #[test]
    fn a_deeply_nested_row_is_refused_without_harm() {
        let deep = format!("{}{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        assert_eq!(parse(deep.as_bytes()).bad.len(), 1);
    }
}
