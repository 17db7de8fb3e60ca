//! The rows of a training file: JSON Lines, or one JSON array; every row with the line it starts on.

use serde_json::Value;

use super::Record;
use super::strict::Strict;
use super::unused::Unused;
use crate::domain::{BadRow, Objective, lfs_pointer};

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Counted from 1.
    pub line: usize,
    pub record: Record,
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

    fn take(&mut self, line: usize, value: Result<Value, String>) {
        match value.and_then(Record::read) {
            Ok((record, unused)) => {
                self.unused.count(unused);
                self.rows.push(Row { line, record });
            }
            Err(why) => self.bad.push(BadRow { line, why }),
        }
    }
}

/// Reads every row, whatever the state of its neighbours. Blank lines and a leading byte-order mark are skipped.
pub fn parse(bytes: &[u8]) -> Parsed {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut parsed = Parsed::default();
    if let Some(why) = lfs_pointer(bytes) {
        parsed.take(1, Err(why.to_owned()));
        return parsed;
    }
    match bytes.iter().position(|b| !b.is_ascii_whitespace()) {
        None => {}
        Some(start) if bytes[start] == b'[' => array(bytes, start + 1, &mut parsed),
        Some(_) => lines(bytes, &mut parsed),
    }
    parsed
}

fn lines(bytes: &[u8], parsed: &mut Parsed) {
    for (at, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        parsed.take(at + 1, read(line));
    }
}

fn read(line: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(line)
        .map_err(|fault| format!("is not UTF-8 at byte {}", fault.valid_up_to() + 1))?;
    serde_json::from_str::<Strict>(text)
        .map(|strict| strict.0)
        .map_err(|fault| unread(&fault))
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

/// Rows of one JSON array from `at`, just behind its bracket. Where an element cannot be read, nothing behind it can be
/// found either, and reading stops there.
fn array(bytes: &[u8], mut at: usize, parsed: &mut Parsed) {
    let mut lines = Lines {
        bytes,
        counted: 0,
        line: 1,
    };
    let mut first = true;
    loop {
        at = skip_blank(bytes, at);
        match bytes.get(at) {
            Some(b']') if first => return end(bytes, at + 1, &mut lines, parsed),
            None => {
                return parsed.take(lines.at(at), Err("the list has no closing bracket".into()));
            }
            Some(_) => {}
        }
        let line = lines.at(at);
        let mut values = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<Strict>();
        match values.next() {
            Some(Ok(value)) => parsed.take(line, Ok(value.0)),
            Some(Err(fault)) => return parsed.take(line, Err(unread(&fault))),
            None => return parsed.take(line, Err("the list has no closing bracket".into())),
        }
        at = skip_blank(bytes, at + values.byte_offset());
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b']') => return end(bytes, at + 1, &mut lines, parsed),
            _ => {
                return parsed.take(
                    lines.at(at),
                    Err("expected a comma or the closing bracket of the list".into()),
                );
            }
        }
        first = false;
    }
}

fn end(bytes: &[u8], at: usize, lines: &mut Lines<'_>, parsed: &mut Parsed) {
    let at = skip_blank(bytes, at);
    if at < bytes.len() {
        parsed.take(lines.at(at), Err("something follows the list".into()));
    }
}

fn skip_blank(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|b| !b.is_ascii_whitespace())
        .map_or(bytes.len(), |skip| at + skip)
}

/// Counts lines as the reader moves forward, so that a file is walked once.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: usize,
}

impl Lines<'_> {
    fn at(&mut self, position: usize) -> usize {
        self.line += self.bytes[self.counted..position]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        self.counted = position;
        self.line
    }
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
