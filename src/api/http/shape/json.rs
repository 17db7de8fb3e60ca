//! Reading JSON strictly: a key that appears twice is an error, where most readers silently take the last.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::path::Path;
use crate::domain::Reason;

/// Depth is bounded by serde_json's own limit of 128.
pub(super) fn read(body: &[u8]) -> Result<Value, Reason> {
    let mut twice = None;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let node = Node {
        path: Path::Root,
        twice: &mut twice,
    };
    let outcome = node
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match (outcome, twice) {
        (_, Some(field)) => Err(Reason::field(field, "appears twice")),
        (Ok(value), None) => Ok(value),
        (Err(fault), None) => Err(Reason::BadBody(format!("the body is not JSON: {fault}"))),
    }
}

/// One value on the way; `twice` is where a repeated key is noted.
struct Node<'a> {
    path: Path<'a>,
    twice: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = Path::Index(&self.path, list.len());
            match items.next_element_seed(Node {
                path,
                twice: self.twice,
            })? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = Path::Key(&self.path, &key);
            if map.contains_key(&key) {
                *self.twice = Some(path.to_string());
                return Err(A::Error::custom("repeated key"));
            }
            let value = entries.next_value_seed(Node {
                path,
                twice: self.twice,
            })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_json_is_read_as_serde_reads_it() {
        let text = r#"{"a":[1,-2,2.5,"x",null,true,{"b":{}}],"c":18446744073709551615}"#;
        assert_eq!(
            read(text.as_bytes()).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn a_repeated_key_is_named_by_its_path() {
        let twice = read(br#"{"messages":[{"role":"user","role":"system"}]}"#);
        assert!(
            matches!(twice, Err(Reason::BadField { field, .. }) if field == "messages[0].role")
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = "[".repeat(100_000);
        for bad in [
            "",
            "{",
            "{}{}",
            "nope",
            "\u{feff}{}",
            "{\"a\":1e999}",
            deep.as_str(),
        ] {
            assert!(
                matches!(read(bad.as_bytes()), Err(Reason::BadBody(_))),
                "{}",
                &bad[..bad.len().min(20)]
            );
        }
        assert!(matches!(read(b"{\"a\":\"\xff\"}"), Err(Reason::BadBody(_))));
    }
}
