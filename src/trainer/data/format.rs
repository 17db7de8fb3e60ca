//! What form an answer has, as far as a reader can tell without knowing its task.

use std::fmt;

use serde_json::{Map, Value};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// A JSON object with these keys, sorted.
    Object(Vec<String>),
    /// A JSON list.
    Json,
    /// JSON within a code fence.
    Fenced,
    /// Begins like JSON and is none.
    Broken,
    /// Holds code in fences.
    Code,
    Number,
    Word,
    Line,
    List,
    Text,
}

/// What the forms for programs are called without what differs from answer to answer.
pub const OBJECTS: &str = "JSON objects";
pub const JSON: &str = "JSON";
pub const FENCED: &str = "JSON in a code fence";
pub const BROKEN: &str = "broken JSON";
pub const CODE: &str = "text with code fences";
pub const NUMBERS: &str = "numbers";
pub const LISTS: &str = "lists";

impl Format {
    /// Of an answer, with the kinds of its values where it is a JSON object.
    pub fn of(answer: &str) -> (Self, Values) {
        let answer = answer.trim();
        let read = serde_json::from_str::<Value>(answer);
        let values = match &read {
            Ok(Value::Object(object)) => kinds(object),
            _ => Vec::new(),
        };
        (Self::read(answer, read), values)
    }

    fn read(answer: &str, read: serde_json::Result<Value>) -> Self {
        match read {
            Ok(Value::Object(object)) => {
                let mut keys: Vec<String> = object.keys().cloned().collect();
                keys.sort_unstable();
                return Self::Object(keys);
            }
            Ok(Value::Number(_)) => return Self::Number,
            Ok(Value::Array(_)) => return Self::Json,
            // A text in quotes, a truth value: as good as without JSON.
            Ok(_) => {}
            Err(_)
                if answer.starts_with("{\"")
                    || answer.starts_with("[{")
                    || answer.starts_with("[\"") =>
            {
                return Self::Broken;
            }
            Err(_) => {}
        }
        if answer.contains("```") {
            let inner = answer
                .strip_prefix("```json")
                .or_else(|| answer.strip_prefix("```"));
            let inner = inner.and_then(|inner| inner.strip_suffix("```"));
            let fenced =
                inner.is_some_and(|inner| serde_json::from_str::<Value>(inner.trim()).is_ok());
            return if fenced { Self::Fenced } else { Self::Code };
        }
        let lines: Vec<&str> = answer
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        match lines.as_slice() {
            [line] if !line.contains(char::is_whitespace) && !is_sentence(line) => Self::Word,
            [_] => Self::Line,
            lines if lines.iter().all(|line| is_item(line.trim_start())) => Self::List,
            _ => Self::Text,
        }
    }

    /// Its name without what differs from answer to answer.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Object(_) => OBJECTS,
            Self::Json => JSON,
            Self::Fenced => FENCED,
            Self::Broken => BROKEN,
            Self::Code => CODE,
            Self::Number => NUMBERS,
            Self::List => LISTS,
            Self::Word => "single words",
            Self::Line => "single lines",
            Self::Text => "several lines",
        }
    }
}

/// A text without blanks of a script that has none is a word only where it is short and has no mark of a sentence.
fn is_sentence(line: &str) -> bool {
    let wide = line.chars().filter(|c| !c.is_ascii()).count();
    wide > 8 || (wide > 0 && line.contains(['。', '，', '！', '？', '、']))
}

fn is_item(line: &str) -> bool {
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    line.starts_with(['-', '*', '•', '・', '·'])
        || (numbered.len() < line.len() && numbered.starts_with(['.', ')', '、', '．', '）']))
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(keys) => write!(f, "json object {{{}}}", keys.join(", ")),
            Self::Json => f.write_str("json"),
            Self::Fenced => f.write_str("json in a code fence"),
            Self::Broken => f.write_str("broken json"),
            Self::Code => f.write_str("text with code fences"),
            Self::Number => f.write_str("number"),
            Self::Word => f.write_str("one word"),
            Self::Line => f.write_str("one line"),
            Self::List => f.write_str("list"),
            Self::Text => f.write_str("several lines"),
        }
    }
}

/// The kinds of values of a JSON object's keys.
pub type Values = Vec<(String, &'static str)>;

/// Keys of one object that are looked at.
const KEYS: usize = 32;

/// Null says nothing of a kind.
fn kinds(object: &Map<String, Value>) -> Values {
    let kind = |value: &Value| match value {
        Value::Null => None,
        Value::Bool(_) => Some("a truth value"),
        Value::Number(_) => Some("a number"),
        Value::String(_) => Some("a text"),
        Value::Array(_) => Some("a list"),
        Value::Object(_) => Some("an object"),
    };
    let keys = object.iter().take(KEYS);
    keys.filter_map(|(key, value)| Some((key.clone(), kind(value)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_form_is_recognised() {
        let cases = [
            (r#"{"b": 1, "a": "x"}"#, "json object {a, b}"),
            ("[1, 2]", "json"),
            ("```json\n{\"a\": 1}\n```", "json in a code fence"),
            ("{\"a\": 1, \"b\"", "broken json"),
            ("Use this:\n```\nls\n```", "text with code fences"),
            (" 12.5 ", "number"),
            ("indemnity", "one word"),
            ("高血压", "one word"),
            ("病人应该多休息。", "one line"),
            ("The party pays.", "one line"),
            ("- a\n- b", "list"),
            ("1. a\n2) b", "list"),
            ("1、多休息\n2、少吃盐", "list"),
            ("A sentence.\nAnother one.", "several lines"),
        ];
        for (answer, form) in cases {
            assert_eq!(Format::of(answer).0.to_string(), form);
        }
    }

    #[test]
    fn the_values_of_an_object_have_kinds() {
        let (_, found) = Format::of(r#"{"a": 1, "b": "x", "c": null, "d": []}"#);
        let found: Vec<_> = found
            .iter()
            .map(|(key, kind)| (key.as_str(), *kind))
            .collect();
        assert_eq!(found, [("a", "a number"), ("b", "a text"), ("d", "a list")]);
        assert!(Format::of("no object").1.is_empty());
    }
}
