//! What templates take from Python: how values print, and the methods of strings that the library lacks.

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, Output, State};

/// Prints a value where a template writes `{{ value }}`, as `str(value)`.
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

/// The filter `string`.
pub(super) fn string(value: &Value) -> Value {
    match value.kind() {
        ValueKind::String => value.clone(),
        ValueKind::Undefined => Value::from(""),
        _ => Value::from(repr(value)),
    }
}

/// `repr(value)`
fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(value, &mut out);
    out
}

fn write_repr(value: &Value, out: &mut String) {
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.push_str(&float(number)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq => {
            out.push('[');
            for (at, item) in items(value).enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_repr(&item, out);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (at, key) in items(value).enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_repr(&key, out);
                out.push_str(": ");
                write_repr(&value.get_item(&key).unwrap_or_default(), out);
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
}

/// The items of a list, the keys of a dict.
fn items(value: &Value) -> impl Iterator<Item = Value> {
    value.try_iter().into_iter().flatten()
}

/// `repr` of a float: digits as short as they can be, an exponent below 1e-4 and from 1e16 on.
pub(super) fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific.to_lowercase();
    };
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..16).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.unsigned_abs())
        }
        _ => format!("{value:?}"),
    }
}

/// `repr` of a text: in single quotes, unless those and no double ones are inside.
fn quote(text: &str, out: &mut String) {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    out.push(quote);
    for c in text.chars() {
        match (c, u32::from(c)) {
            ('\n', _) => out.push_str("\\n"),
            ('\r', _) => out.push_str("\\r"),
            ('\t', _) => out.push_str("\\t"),
            ('\\', _) => out.push_str("\\\\"),
            (c, _) if c == quote => out.extend(['\\', c]),
            (c, _) if is_printable(c) => out.push(c),
            (_, code @ ..0x100) => out.push_str(&format!("\\x{code:02x}")),
            (_, code @ ..0x1_0000) => out.push_str(&format!("\\u{code:04x}")),
            (_, code) => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out.push(quote);
}

/// `str.isprintable`: Rust's own escaping goes by the same Unicode categories. Behind another character, it leaves
/// combining marks as they are, as Python does everywhere.
fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"') || format!("_{c}").escape_debug().nth(1) == Some(c)
}

/// A method of a value: the library's, and those it lacks that templates call on strings.
pub(super) fn method(
    state: &State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => string_method(text, name, args)?,
        None => None,
    }
    .map_or_else(
        || minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
        Ok,
    )
}

/// `None` for a method that is not among them.
fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let one = || from_args::<(&str,)>(args).map(|(part,)| part);
    let separator = || one().and_then(not_empty);
    Ok(Some(match name {
        "removeprefix" => Value::from(text.strip_prefix(one()?).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(one()?).unwrap_or(text)),
        "partition" => {
            let part = separator()?;
            let pieces = text.split_once(part).map(|(a, b)| [a, part, b]);
            list(pieces.unwrap_or([text, "", ""]))
        }
        "rpartition" => {
            let part = separator()?;
            let pieces = text.rsplit_once(part).map(|(a, b)| [a, part, b]);
            list(pieces.unwrap_or(["", "", text]))
        }
        "rsplit" => {
            let (part, most, named): (&str, Option<i64>, Kwargs) = from_args(args)?;
            let part = not_empty(part)?;
            let most = most.or(named.get("maxsplit")?).unwrap_or(-1);
            named.assert_all_used()?;
            let mut pieces: Vec<_> = match usize::try_from(most) {
                Ok(most) => text.rsplitn(most.saturating_add(1), part).collect(),
                // Negative: as often as it is there.
                Err(_) => text.rsplit(part).collect(),
            };
            pieces.reverse();
            list(pieces)
        }
        "index" => match text.find(one()?) {
            Some(at) => Value::from(text[..at].chars().count()),
            None => return Err(invalid("substring not found")),
        },
        _ => return Ok(None),
    }))
}

fn list<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Value {
    pieces.into_iter().map(Value::from).collect()
}

fn not_empty(separator: &str) -> Result<&str, Error> {
    match separator {
        "" => Err(invalid("empty separator")),
        part => Ok(part),
    }
}

fn invalid(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}
