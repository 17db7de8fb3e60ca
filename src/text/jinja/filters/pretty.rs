//! `pprint`: what does not fit a line goes on several, dicts by their keys.

use std::cmp::Ordering;

use crate::text::jinja::args::Args;
use crate::text::jinja::compare::{Order, compare};
use crate::text::jinja::fault::Outcome;
use crate::text::jinja::machine::Machine;
use crate::text::jinja::repr;
use crate::text::jinja::value::{Str, Value};

const WIDTH: usize = 80;

pub(super) fn pprint(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("pprint", &["value"])?.need(0);
    m.budget.spend(value.weight() * 4)?;
    let mut out = String::new();
    write(m, &value, 0, 0, 1, &mut out)?;
    Ok(Value::str(out))
}

/// `allowance`: what follows on the last line. `level`: how deep it is in brackets.
fn write(
    m: &Machine<'_>,
    value: &Value,
    indent: usize,
    allowance: usize,
    level: usize,
    out: &mut String,
) -> Outcome<()> {
    let flat = flat(m, value)?;
    let room = WIDTH.saturating_sub(indent + allowance);
    if flat.chars().count() <= room {
        out.push_str(&flat);
        return Ok(());
    }
    match value {
        Value::List(seq) => items(m, ("[", "]"), &seq.items, (indent, allowance, level), out),
        Value::Tuple(seq) => {
            let close = if seq.items.len() == 1 { ",)" } else { ")" };
            items(m, ("(", close), &seq.items, (indent, allowance, level), out)
        }
        Value::Dict(_) => {
            out.push('{');
            let entries = sorted(value);
            for (at, (key, value)) in entries.iter().enumerate() {
                if at > 0 {
                    out.push_str(",\n");
                    out.extend(std::iter::repeat_n(' ', indent + 1));
                }
                let key = repr::repr(&m.budget, key)?;
                out.push_str(&key);
                out.push_str(": ");
                let last = at + 1 == entries.len();
                let inner = indent + 1 + key.chars().count() + 2;
                write(
                    m,
                    value,
                    inner,
                    if last { allowance + 1 } else { 1 },
                    level + 1,
                    out,
                )?;
            }
            out.push('}');
            Ok(())
        }
        Value::Str(text) => long_text(text, indent, allowance, level, out),
        _ => {
            out.push_str(&flat);
            Ok(())
        }
    }
}

fn items(
    m: &Machine<'_>,
    (open, close): (&str, &str),
    items: &[Value],
    (indent, allowance, level): (usize, usize, usize),
    out: &mut String,
) -> Outcome<()> {
    out.push_str(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(",\n");
            out.extend(std::iter::repeat_n(' ', indent + 1));
        }
        let last = at + 1 == items.len();
        let allowance = if last { allowance + close.len() } else { 1 };
        write(m, item, indent + 1, allowance, level + 1, out)?;
    }
    out.push_str(close);
    Ok(())
}

/// On one line, dicts by their keys.
fn flat(m: &Machine<'_>, value: &Value) -> Outcome<String> {
    let list = |items: &[Value]| -> Outcome<String> {
        let parts = items.iter().map(|item| flat(m, item));
        Ok(parts.collect::<Outcome<Vec<_>>>()?.join(", "))
    };
    Ok(match value {
        Value::List(seq) => format!("[{}]", list(&seq.items)?),
        Value::Tuple(seq) if seq.items.len() == 1 => format!("({},)", list(&seq.items)?),
        Value::Tuple(seq) => format!("({})", list(&seq.items)?),
        Value::Dict(_) => {
            let mut parts = Vec::new();
            for (key, value) in sorted(value) {
                parts.push(format!(
                    "{}: {}",
                    repr::repr(&m.budget, key)?,
                    flat(m, value)?
                ));
            }
            format!("{{{}}}", parts.join(", "))
        }
        value => repr::repr(&m.budget, value)?,
    })
}

/// By insertion, which no order of keys can upset; keys that have none go by the names of their types.
fn sorted(value: &Value) -> Vec<(&Value, &Value)> {
    let Value::Dict(dict) = value else {
        return Vec::new();
    };
    let order = |a: &Value, b: &Value| match compare(Order::Less, a, b) {
        Ok(true) => Ordering::Less,
        Ok(false) if crate::text::jinja::compare::equal(a, b) => Ordering::Equal,
        Ok(false) => Ordering::Greater,
        Err(_) => a.type_name().cmp(b.type_name()),
    };
    let mut entries: Vec<(&Value, &Value)> = Vec::with_capacity(dict.len());
    for entry in dict.iter() {
        let at = entries.partition_point(|(key, _)| order(key, entry.0) != Ordering::Greater);
        entries.insert(at, entry);
    }
    entries
}

/// A text that is too long is written in parts, one a line, cut behind spaces.
fn long_text(
    text: &Str,
    mut indent: usize,
    mut allowance: usize,
    level: usize,
    out: &mut String,
) -> Outcome<()> {
    if level == 1 {
        indent += 1;
        allowance += 1;
    }
    let room = WIDTH.saturating_sub(indent);
    let last_room = WIDTH.saturating_sub(indent + allowance);
    let quoted = |text: &str| {
        let mut out = String::new();
        repr::quote(text, &mut out);
        out
    };
    let lines = split_keeping(text);
    let mut chunks: Vec<String> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let last_line = at + 1 == lines.len();
        let whole = quoted(line);
        let room_here = if last_line { last_room } else { room };
        if whole.chars().count() <= room_here {
            chunks.push(whole);
            continue;
        }
        let words = words_with_spaces(line);
        let mut current = String::new();
        for (w, word) in words.iter().enumerate() {
            let candidate = format!("{current}{word}");
            let room_here = match last_line && w + 1 == words.len() {
                true => last_room,
                false => room,
            };
            if quoted(&candidate).chars().count() > room_here {
                if !current.is_empty() {
                    chunks.push(quoted(&current));
                }
                current = word.clone();
            } else {
                current = candidate;
            }
        }
        if !current.is_empty() {
            chunks.push(quoted(&current));
        }
    }
    if let [only] = chunks.as_slice() {
        out.push_str(only);
        return Ok(());
    }
    if level == 1 {
        out.push('(');
    }
    for (at, chunk) in chunks.iter().enumerate() {
        if at > 0 {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(chunk);
    }
    if level == 1 {
        out.push(')');
    }
    Ok(())
}

fn split_keeping(text: &str) -> Vec<&str> {
    crate::text::jinja::text::split_lines(text, true)
}

/// Each word with the spaces behind it.
fn words_with_spaces(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut spaced = false;
    for c in line.chars() {
        let space = crate::text::jinja::text::is_space(c);
        if spaced && !space {
            words.push(std::mem::take(&mut word));
        }
        spaced = space;
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
