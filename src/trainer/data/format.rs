//! What form an answer has, as far as a reader can tell without knowing its task.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// A JSON object with these keys, sorted.
    Object(Vec<String>),
    /// Another JSON value than an object, a bare number or a bare text.
    Json,
    Number,
    Word,
    Line,
    List,
    Text,
}

impl Format {
    pub fn of(answer: &str) -> Self {
        let answer = answer.trim();
        match serde_json::from_str::<Value>(answer) {
            Ok(Value::Object(object)) => {
                let mut keys: Vec<String> = object.keys().cloned().collect();
                keys.sort_unstable();
                return Self::Object(keys);
            }
            Ok(Value::Number(_)) => return Self::Number,
            Ok(_) => return Self::Json,
            Err(_) => {}
        }
        let lines: Vec<&str> = answer
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        match lines.as_slice() {
            [line] if !line.contains(char::is_whitespace) => Self::Word,
            [_] => Self::Line,
            lines if lines.iter().all(|line| is_item(line.trim_start())) => Self::List,
            _ => Self::Text,
        }
    }
}

fn is_item(line: &str) -> bool {
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    line.starts_with(['-', '*', '•'])
        || (numbered.len() < line.len() && numbered.starts_with(['.', ')']))
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(keys) => write!(f, "json object {{{}}}", keys.join(", ")),
            Self::Json => f.write_str("json"),
            Self::Number => f.write_str("number"),
            Self::Word => f.write_str("one word"),
            Self::Line => f.write_str("one line"),
            Self::List => f.write_str("list"),
            Self::Text => f.write_str("several lines"),
        }
    }
}

/// How often each value occurs, most frequent first, ties in the values' order.
pub fn tally<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    let mut counts: Vec<(T, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_form_is_recognised() {
        let cases = [
            (r#"{"b": 1, "a": "x"}"#, "json object {a, b}"),
            ("[1, 2]", "json"),
            (" 12.5 ", "number"),
            ("indemnity", "one word"),
            ("The party pays.", "one line"),
            ("- a\n- b", "list"),
            ("1. a\n2) b", "list"),
            ("A sentence.\nAnother one.", "several lines"),
        ];
        for (answer, form) in cases {
            assert_eq!(Format::of(answer).to_string(), form);
        }
    }
}
