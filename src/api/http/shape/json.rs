//! Reading JSON strictly: a key that appears twice is an error, where most readers silently take the last.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::path::Path;
use crate::domain::Reason;

/// Lists and objects within one another; below the 128 at which serde_json stops without saying where.
const DEPTH: usize = 120;
/// Bytes of a path that deep that are worth repeating.
const CLIP: usize = 200;

/// What is wrong with a value although it is JSON, and where.
type Flaw = Option<(String, &'static str)>;

pub(super) fn read(body: &[u8]) -> Result<Value, Reason> {
    let mut flaw = None;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let node = Node {
        path: Path::Root,
        flaw: &mut flaw,
        depth: 0,
    };
    let outcome = node
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match (outcome, flaw) {
        (_, Some((field, why))) => Err(Reason::field(field, why)),
        (Ok(value), None) => Ok(value),
        (Err(fault), None) => Err(Reason::BadBody(format!("the body is not JSON: {fault}"))),
    }
}

/// One value on the way.
struct Node<'a> {
    path: Path<'a>,
    flaw: &'a mut Flaw,
    depth: usize,
}

impl Node<'_> {
    /// The depth of what is in this list or object.
    fn deeper<E: Error>(&mut self) -> Result<usize, E> {
        if self.depth < DEPTH {
            return Ok(self.depth + 1);
        }
        let path = self.path.to_string().chars().take(CLIP).collect();
        *self.flaw = Some((
            path,
            "lies too deep: at most 120 lists and objects may be in one another",
        ));
        Err(E::custom("too deep"))
    }
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

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        loop {
            let path = Path::Index(&self.path, list.len());
            match items.next_element_seed(Node {
                path,
                flaw: self.flaw,
                depth,
            })? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = Path::Key(&self.path, &key);
            if map.contains_key(&key) {
                *self.flaw = Some((path.to_string(), "appears twice"));
                return Err(A::Error::custom("repeated key"));
            }
            let value = entries.next_value_seed(Node {
                path,
                flaw: self.flaw,
                depth,
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
    fn what_lies_too_deep_is_named_by_its_path() {
        let deep = |levels: usize| {
            let text = format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
            read(text.as_bytes())
        };
        assert!(deep(DEPTH - 1).is_ok());
        for levels in [DEPTH, 127, 10_000, 1_000_000] {
            let told = deep(levels);
            assert!(
                matches!(&told, Err(Reason::BadField { field, .. }) if field.starts_with("a[0][0]")),
                "{levels}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in ["", "{", "{}{}", "nope", "\u{feff}{}", "{\"a\":1e999}"] {
            assert!(
                matches!(read(bad.as_bytes()), Err(Reason::BadBody(_))),
                "{}",
                &bad[..bad.len().min(20)]
            );
        }
        assert!(matches!(read(b"{\"a\":\"\xff\"}"), Err(Reason::BadBody(_))));
    }
}
