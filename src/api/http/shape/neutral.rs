//! Values that ask for nothing which would not happen anyway. They count as absent, as null does.

use serde_json::{Map, Value, json};

/// A value a field may have without meaning anything by it; which of them, its table says.
pub(in super::super) enum Neutral {
    /// An empty text, list or object, or an object in which all is null.
    Empty,
    Flag(bool),
    Number(f64),
    Text(&'static str),
    /// A list of this text alone.
    Only(&'static str),
    /// An object with this `type` that says nothing else.
    Type(&'static str),
    /// The number that this other field of the same object has.
    Like(&'static str),
}

impl Neutral {
    /// `beside`: the object the value is in.
    pub fn is(&self, value: &Value, beside: &Map<String, Value>) -> bool {
        match self {
            Self::Empty => match value {
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(map) => map.values().all(Value::is_null),
                _ => false,
            },
            Self::Flag(flag) => value == flag,
            Self::Number(number) => value.as_f64() == Some(*number),
            Self::Text(text) => value == text,
            Self::Only(text) => value
                .as_array()
                .is_some_and(|items| items.len() == 1 && items[0] == *text),
            Self::Type(kind) => value.as_object().is_some_and(|map| {
                map.iter().all(|(key, value)| match key.as_str() {
                    "type" => value == kind,
                    _ => value.is_null(),
                }) && map.contains_key("type")
            }),
            Self::Like(field) => value.is_number() && beside.get(*field) == Some(value),
        }
    }

    /// How the value is written; `Like` is written as its neighbour is.
    pub fn examples(&self) -> Vec<Value> {
        match self {
            Self::Empty => vec![json!(""), json!([]), json!({})],
            Self::Flag(flag) => vec![json!(flag)],
            Self::Number(number) if number.fract() == 0.0 => vec![json!(*number as i64)],
            Self::Number(number) => vec![json!(number)],
            Self::Text(text) => vec![json!(text)],
            Self::Only(text) => vec![json!([text])],
            Self::Type(kind) => vec![json!({"type": kind})],
            Self::Like(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(neutral: &Neutral, value: Value) -> bool {
        let beside = json!({"n": 3}).as_object().cloned().unwrap_or_default();
        neutral.is(&value, &beside)
    }

    #[test]
    fn each_kind_of_nothing_is_told_from_something() {
        for (neutral, nothing, something) in [
            (
                Neutral::Empty,
                vec![
                    json!(""),
                    json!([]),
                    json!({}),
                    json!({"a": null, "b": null}),
                ],
                vec![
                    json!(" "),
                    json!([null]),
                    json!({"a": 0}),
                    json!(0),
                    json!(false),
                ],
            ),
            (
                Neutral::Flag(false),
                vec![json!(false)],
                vec![json!(true), json!(0), json!("false")],
            ),
            (
                Neutral::Flag(true),
                vec![json!(true)],
                vec![json!(false), json!(1)],
            ),
            (
                Neutral::Number(1.0),
                vec![json!(1), json!(1.0)],
                vec![json!(1.5), json!("1"), json!(true)],
            ),
            (
                Neutral::Number(0.0),
                vec![json!(0), json!(0.0), json!(-0.0)],
                vec![json!(1), json!("")],
            ),
            (
                Neutral::Text("auto"),
                vec![json!("auto")],
                vec![json!("Auto"), json!(["auto"])],
            ),
            (
                Neutral::Only("text"),
                vec![json!(["text"])],
                vec![
                    json!([]),
                    json!(["text", "audio"]),
                    json!(["audio"]),
                    json!("text"),
                ],
            ),
            (
                Neutral::Type("text"),
                vec![
                    json!({"type": "text"}),
                    json!({"type": "text", "json_schema": null}),
                ],
                vec![
                    json!({}),
                    json!({"type": "json_object"}),
                    json!({"type": "text", "a": 1}),
                    json!("text"),
                ],
            ),
            (
                Neutral::Like("n"),
                vec![json!(3)],
                vec![json!(2), json!("3"), json!(null)],
            ),
        ] {
            for value in nothing {
                assert!(is(&neutral, value.clone()), "{value}");
            }
            for value in something {
                assert!(!is(&neutral, value.clone()), "{value}");
            }
            assert!(
                neutral
                    .examples()
                    .into_iter()
                    .all(|value| is(&neutral, value))
            );
        }
        assert!(!Neutral::Like("n").is(&json!(3), &Map::new()));
    }
}
