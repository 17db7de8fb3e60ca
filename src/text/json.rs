//! JSON as Python's `json.dumps` writes it, which is how templates expect `tojson` to look.

use serde_json::Value;

use super::python;

/// The options of `json.dumps` that templates use.
pub(super) struct Style {
    pub ascii: bool,
    pub indent: Option<usize>,
    /// Between items, and between key and value.
    pub separators: (String, String),
    pub sorted: bool,
}

impl Style {
    /// Python's separators: a space after the comma unless lines are broken there.
    pub fn new(indent: Option<usize>) -> Self {
        let item = if indent.is_some() { "," } else { ", " };
        Self {
            ascii: false,
            indent,
            separators: (item.to_owned(), ": ".to_owned()),
            sorted: false,
        }
    }

    pub fn write(&self, value: &Value) -> String {
        let mut out = String::new();
        self.value(value, 0, &mut out);
        out
    }

    fn value(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => out.push_str(&python::float(float)),
                None => out.push_str(&number.to_string()),
            },
            Value::String(text) => self.string(text, out),
            Value::Array(items) => {
                self.list(('[', ']'), items.iter(), depth, out, |item, out| {
                    self.value(item, depth + 1, out)
                });
            }
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.sorted {
                    entries.sort_by_key(|(key, _)| *key);
                }
                self.list(
                    ('{', '}'),
                    entries.into_iter(),
                    depth,
                    out,
                    |(key, item), out| {
                        self.string(key, out);
                        out.push_str(&self.separators.1);
                        self.value(item, depth + 1, out);
                    },
                );
            }
        }
    }

    fn list<T>(
        &self,
        (open, close): (char, char),
        items: impl ExactSizeIterator<Item = T>,
        depth: usize,
        out: &mut String,
        write: impl Fn(T, &mut String),
    ) {
        out.push(open);
        let empty = items.len() == 0;
        for (i, item) in items.enumerate() {
            if i > 0 {
                out.push_str(&self.separators.0);
            }
            self.line(depth + 1, out);
            write(item, out);
        }
        if !empty {
            self.line(depth, out);
        }
        out.push(close);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_looks_as_python_writes_it() {
        let value = json!({"b": [1, 2.0, 1e-5, 1e16, 1.5e300, 0.0001, true, null], "a": {"é\n\u{1}": "\"x\""}, "e": [], "o": {}});
        assert_eq!(
            Style::new(None).write(&value),
            r#"{"b": [1, 2.0, 1e-05, 1e+16, 1.5e+300, 0.0001, true, null], "a": {"é\n\u0001": "\"x\""}, "e": [], "o": {}}"#
        );
        let sorted = Style {
            sorted: true,
            ascii: true,
            separators: (",".into(), ":".into()),
            ..Style::new(None)
        };
        assert_eq!(
            sorted.write(&json!({"b": "é😀", "a": 1})),
            r#"{"a":1,"b":"\u00e9\ud83d\ude00"}"#
        );
        let indented = Style::new(Some(2)).write(&json!({"a": [1, {"b": []}], "c": 2}));
        assert_eq!(
            indented,
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": 2\n}"
        );
    }
}
