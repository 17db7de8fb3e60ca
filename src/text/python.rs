//! What templates take from Python: how values print, and methods of strings, lists and dicts.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};

use super::json::python_float;

/// Prints a value where a template writes `{{ value }}`.
pub(super) fn print(
    out: &mut Output<'_>,
    state: &State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            Ok(out.write_str(&repr(value))?)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// `repr(value)`
fn repr(value: &Value) -> String {
    let items = |value: &Value| value.try_iter().into_iter().flatten().collect::<Vec<_>>();
    match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(float) if !value.is_integer() => python_float(float),
            _ => value.to_string(),
        },
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let items: Vec<_> = items(value).iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let entry = |key: Value| {
                let item = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", repr(&key), repr(&item))
            };
            let entries: Vec<_> = items(value).into_iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        _ => value.to_string(),
    }
}

/// Single quotes, unless only those are inside.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// A method of a value: those of the library, and some strings have besides.
pub(super) fn method(
    state: &State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let known = || minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args);
    let Some(text) = value.as_str() else {
        return known();
    };
    let part = args.first().and_then(Value::as_str);
    let list = |pieces: &[&str]| pieces.iter().copied().map(Value::from).collect();
    Ok(match (name, part) {
        ("removeprefix", Some(part)) => Value::from(text.strip_prefix(part).unwrap_or(text)),
        ("removesuffix", Some(part)) => Value::from(text.strip_suffix(part).unwrap_or(text)),
        ("partition", Some(part)) => match text.split_once(part) {
            Some((before, after)) => list(&[before, part, after]),
            None => list(&[text, "", ""]),
        },
        ("rpartition", Some(part)) => match text.rsplit_once(part) {
            Some((before, after)) => list(&[before, part, after]),
            None => list(&["", "", text]),
        },
        ("rsplit", Some(part)) if !part.is_empty() => {
            let most = args.get(1).and_then(Value::as_usize);
            let mut pieces: Vec<_> = match most {
                Some(most) => text.rsplitn(most.saturating_add(1), part).collect(),
                None => text.rsplit(part).collect(),
            };
            pieces.reverse();
            list(&pieces)
        }
        ("index", Some(part)) => match text.find(part) {
            Some(at) => Value::from(text[..at].chars().count()),
            None => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "substring not found",
                ));
            }
        },
        _ => return known(),
    })
}
