//! The class of a row: what stands under the key that a report or a job was given for it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Row;
use super::file::Line;
use crate::domain::BadRow;

/// Keys that make a row what it is: a class may be read from them, and they stay.
const OF_ROWS: [&str; 22] = [
    "instruction",
    "question",
    "query",
    "prompt",
    "output",
    "completion",
    "response",
    "answer",
    "text",
    "input",
    "context",
    "system",
    "system_prompt",
    "history",
    "messages",
    "conversations",
    "conversation",
    "chosen",
    "rejected",
    "preferred_output",
    "non_preferred_output",
    "weight",
];

/// A row with its class, and the names of its keys that are not used.
pub struct Labelled {
    pub row: Row,
    pub unused: BTreeSet<String>,
    /// Why there is no class, where a field is given and has none.
    pub label: Option<Result<String, String>>,
}

impl Labelled {
    /// Reads a row; `field` is a known key then, whatever it says.
    ///
    /// # Errors
    /// Why the row cannot be used.
    pub fn read(line: &Line, field: Option<&str>) -> Result<Self, BadRow> {
        let mut value = line.value()?;
        let label = field.map(|field| take(&mut value, field));
        let (row, mut unused) = line.row(value)?;
        if let Some(field) = field {
            unused.remove(field);
        }
        Ok(Self { row, unused, label })
    }
}

/// The class of a row as text.
fn take(row: &mut Value, field: &str) -> Result<String, String> {
    let Value::Object(map) = row else {
        return Err("is no object".into());
    };
    let value = match OF_ROWS.contains(&field) {
        true => map.get(field).cloned(),
        false => map.shift_remove(field),
    };
    match value {
        None | Some(Value::Null) => Err(format!(
            "`{field}` is missing, and rows are told apart by it"
        )),
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err(format!("`{field}` is empty, and rows are told apart by it"))
        }
        Some(Value::String(text)) => Ok(text),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(truth)) => Ok(truth.to_string()),
        Some(Value::Array(_)) => Err(format!(
            "`{field}` is a list, and a class is one text, number or truth value"
        )),
        Some(Value::Object(_)) => Err(format!(
            "`{field}` is an object, and a class is one text, number or truth value"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::data::RowReader;

    fn read(row: &str, field: &str) -> Result<Labelled, BadRow> {
        let lines = RowReader::of_bytes(row.as_bytes())
            .unwrap()
            .block(1)
            .unwrap();
        Labelled::read(&lines[0], Some(field))
    }

    #[test]
    fn a_class_is_read_from_any_key_and_that_key_is_known() {
        for (row, field, label) in [
            (
                r#"{"instruction":"a","output":"b","kind":"x","id":7}"#,
                "kind",
                Ok("x".to_owned()),
            ),
            (
                r#"{"instruction":"a","output":"b","label":true,"id":7}"#,
                "label",
                Ok("true".to_owned()),
            ),
            (
                r#"{"instruction":"a","output":"b","id":7}"#,
                "output",
                Ok("b".to_owned()),
            ),
            (
                r#"{"text":"a","label":2,"id":7}"#,
                "label",
                Ok("2".to_owned()),
            ),
            (
                r#"{"instruction":"a","output":"b","id":7}"#,
                "kind",
                Err("`kind` is missing, and rows are told apart by it".to_owned()),
            ),
        ] {
            let read = read(row, field).unwrap();
            assert_eq!(read.label, Some(label), "{row}");
            assert_eq!(read.unused, ["id".to_owned()].into(), "{row}");
        }
        assert!(read(r#"{"instruction":"a","output":"","kind":"x"}"#, "kind").is_err());
    }
}
