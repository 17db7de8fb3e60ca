//! `tojson`: JSON as Python's `json.dumps` writes it.

use super::args::Args;
use super::budget::Budget;
use super::compare::{Order, compare};
use super::fault::{Outcome, failed};
use super::iterate;
use super::numbers::print_big;
use super::repr::float;
use super::sorting;
use super::value::{Str, Value};

struct Style<'a> {
    budget: &'a Budget,
    ascii: bool,
    /// What one level is indented by; `None` puts everything on one line.
    indent: Option<String>,
    between_items: Str,
    behind_key: Str,
    sorted: bool,
}

/// `tojson(value, ensure_ascii, indent, separators, sort_keys)`
pub(super) fn to_json(budget: &Budget, args: Args) -> Outcome<Value> {
    let mut args = args.bind(
        "tojson",
        &[
            "value",
            "ensure_ascii?",
            "indent?",
            "separators?",
            "sort_keys?",
        ],
    )?;
    let value = args.need(0);
    let ascii = args.flag(1);
    let indent = match args.get(2) {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(width) => {
            let width = usize::try_from(width.as_index()?).unwrap_or(0);
            budget.text(width)?;
            Some(" ".repeat(width))
        }
    };
    let (between_items, behind_key) = match args.get(3) {
        None | Some(Value::None) => {
            let comma = if indent.is_some() { "," } else { ", " };
            (Str::from(comma), Str::from(": "))
        }
        Some(pair) => match &*iterate::items(budget, &pair)? {
            [Value::Str(items), Value::Str(key)] => (items.clone(), key.clone()),
            _ => return Err(failed("separators must be two texts")),
        },
    };
    let style = Style {
        budget,
        ascii,
        indent,
        between_items,
        behind_key,
        sorted: args.flag(4),
    };
    let mut out = String::new();
    style.value(&value, 0, &mut out)?;
    Ok(Value::str(out))
}

impl Style<'_> {
    fn value(&self, value: &Value, depth: usize, out: &mut String) -> Outcome<()> {
        self.budget.spend(1)?;
        match value {
            Value::None => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Big(value) => out.push_str(&print_big(value)?),
            Value::Float(value) => out.push_str(&json_float(*value)),
            Value::Str(text) => self.string(text, out)?,
            Value::List(seq) | Value::Tuple(seq) => {
                self.list(('[', ']'), &seq.items, depth, out, |item, out| {
                    self.value(item, depth + 1, out)
                })?;
            }
            Value::Dict(dict) => {
                let mut entries: Vec<(&Value, &Value)> = dict.iter().collect();
                if self.sorted {
                    entries =
                        sorting::sort(entries, &mut |(a, _), (b, _)| compare(Order::Less, a, b))?;
                }
                self.list(('{', '}'), &entries, depth, out, |(key, item), out| {
                    self.key(key, out)?;
                    out.push_str(&self.behind_key);
                    self.value(item, depth + 1, out)
                })?;
            }
            other => {
                return Err(failed(format!(
                    "Object of type {} is not JSON serializable",
                    other.type_name()
                )));
            }
        }
        Ok(())
    }

    fn key(&self, key: &Value, out: &mut String) -> Outcome<()> {
        match key {
            Value::Str(text) => self.string(text, out),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_) => {
                out.push('"');
                self.value(key, 0, out)?;
                out.push('"');
                Ok(())
            }
            other => Err(failed(format!(
                "keys must be str, int, float, bool or None, not {}",
                other.type_name()
            ))),
        }
    }

    fn list<T>(
        &self,
        (open, close): (char, char),
        items: &[T],
        depth: usize,
        out: &mut String,
        write: impl Fn(&T, &mut String) -> Outcome<()>,
    ) -> Outcome<()> {
        out.push(open);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(&self.between_items);
            }
            self.line(depth + 1, out)?;
            write(item, out)?;
        }
        if !items.is_empty() {
            self.line(depth, out)?;
        }
        out.push(close);
        Ok(())
    }

    fn line(&self, depth: usize, out: &mut String) -> Outcome<()> {
        if let Some(indent) = &self.indent {
            self.budget.text(out.len().min(64) + indent.len() * depth)?;
            out.push('\n');
            for _ in 0..depth {
                out.push_str(indent);
            }
            self.bounded(out)?;
        }
        Ok(())
    }

    fn string(&self, text: &str, out: &mut String) -> Outcome<()> {
        self.budget.text(text.len())?;
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
                c if c < ' ' || (self.ascii && (!c.is_ascii() || c == '\x7f')) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
        self.bounded(out)
    }

    fn bounded(&self, out: &str) -> Outcome<()> {
        self.budget.bound(out.len())
    }
}

fn json_float(value: f64) -> String {
    match () {
        () if value.is_nan() => "NaN".to_owned(),
        () if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        () => float(value),
    }
}
