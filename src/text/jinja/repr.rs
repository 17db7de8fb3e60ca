//! How values print: `str(value)` and `repr(value)`.

use super::budget::Budget;
use super::fault::Outcome;
use super::loops::Loop;
use super::numbers::print_big;
use super::value::{Value, View};

/// `str(value)`, as `{{ value }}` writes it.
pub(super) fn print(budget: &Budget, value: &Value, out: &mut String) -> Outcome<()> {
    match value {
        Value::Str(text) => {
            budget.text(text.len())?;
            out.push_str(text);
            Ok(())
        }
        Value::Undefined(_) => Ok(()),
        value => write(budget, value, out),
    }
}

pub(super) fn to_text(budget: &Budget, value: &Value) -> Outcome<String> {
    let mut out = String::new();
    print(budget, value, &mut out)?;
    Ok(out)
}

/// `repr(value)`
pub(super) fn repr(budget: &Budget, value: &Value) -> Outcome<String> {
    let mut out = String::new();
    write(budget, value, &mut out)?;
    Ok(out)
}

fn write(budget: &Budget, value: &Value, out: &mut String) -> Outcome<()> {
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Big(value) => out.push_str(&print_big(value)?),
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Str(text) => {
            budget.text(text.len())?;
            if text.markup {
                out.push_str("Markup(");
            }
            quote(text, out);
            if text.markup {
                out.push(')');
            }
        }
        Value::Bytes(bytes) => {
            budget.text(bytes.len())?;
            write_bytes(bytes, out);
        }
        Value::List(seq) => write_items(budget, ("[", "]"), seq.items.iter(), out)?,
        Value::Tuple(seq) => {
            let close = if seq.items.len() == 1 { ",)" } else { ")" };
            write_items(budget, ("(", close), seq.items.iter(), out)?;
        }
        Value::Dict(dict) => {
            write_entries(budget, ("{", "}"), dict.iter(), out)?;
        }
        Value::View(view, dict) => match view {
            View::Keys => {
                let keys = dict.iter().map(|(key, _)| key);
                write_items(budget, ("dict_keys([", "])"), keys, out)?;
            }
            View::Values => {
                let values = dict.iter().map(|(_, value)| value);
                write_items(budget, ("dict_values([", "])"), values, out)?;
            }
            View::Items => {
                out.push_str("dict_items([");
                for (at, (key, value)) in dict.iter().enumerate() {
                    out.push_str(if at > 0 { ", (" } else { "(" });
                    write(budget, key, out)?;
                    out.push_str(", ");
                    write(budget, value, out)?;
                    out.push(')');
                }
                out.push_str("])");
            }
        },
        Value::Range(range) => {
            out.push_str(&format!("range({}, {}", range.start, range.stop));
            if range.step != 1 {
                out.push_str(&format!(", {}", range.step));
            }
            out.push(')');
        }
        Value::Namespace(namespace) => {
            budget.deeper()?;
            out.push_str("<Namespace {");
            let values = namespace.values.borrow();
            for (at, (name, value)) in values.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                quote(name, out);
                out.push_str(": ");
                write(budget, value, out)?;
            }
            out.push_str("}>");
        }
        Value::Macro(of) => match &of.declared.name {
            Some(name) => out.push_str(&format!("<Macro '{name}'>")),
            None => out.push_str("<Macro anonymous>"),
        },
        Value::Loop(of) => write_loop(of, out),
        // Python tells where in memory these are.
        value => out.push_str(&format!("<{} object>", value.type_name())),
    }
    budget.text(out.len().min(64))
}

fn write_loop(of: &Loop, out: &mut String) {
    let index = of.index0() + 1;
    match of.known_len() {
        Some(len) => out.push_str(&format!("<LoopContext {index}/{len}>")),
        None => out.push_str(&format!("<LoopContext {index}>")),
    }
}

fn write_items<'a>(
    budget: &Budget,
    (open, close): (&str, &str),
    items: impl Iterator<Item = &'a Value>,
    out: &mut String,
) -> Outcome<()> {
    out.push_str(open);
    for (at, item) in items.enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        write(budget, item, out)?;
    }
    out.push_str(close);
    Ok(())
}

fn write_entries<'a>(
    budget: &Budget,
    (open, close): (&str, &str),
    entries: impl Iterator<Item = (&'a Value, &'a Value)>,
    out: &mut String,
) -> Outcome<()> {
    out.push_str(open);
    for (at, (key, value)) in entries.enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        write(budget, key, out)?;
        out.push_str(": ");
        write(budget, value, out)?;
    }
    out.push_str(close);
    Ok(())
}

/// `repr` of a float: digits as short as they can be, an exponent below 1e-4 and from 1e16 on.
pub(in crate::text) fn float(value: f64) -> String {
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
pub(super) fn quote(text: &str, out: &mut String) {
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

/// `ascii(value)`: what `repr` wrote, with everything else than ASCII escaped.
pub(super) fn escape_non_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c) {
            ..0x80 => out.push(c),
            code @ ..0x100 => out.push_str(&format!("\\x{code:02x}")),
            code @ ..0x1_0000 => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

fn write_bytes(bytes: &[u8], out: &mut String) {
    let quote = match bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        true => b'"',
        false => b'\'',
    };
    out.extend(['b', char::from(quote)]);
    for &byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            byte if byte == quote => out.extend(['\\', char::from(quote)]),
            b' '..=b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(char::from(quote));
}

/// `str.isprintable`: Rust's own escaping goes by the same Unicode categories. Behind another character, it leaves
/// combining marks as they are, as Python does everywhere.
pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"') || format!("_{c}").escape_debug().nth(1) == Some(c)
}
