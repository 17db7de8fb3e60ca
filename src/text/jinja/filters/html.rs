//! Filters for HTML and for addresses.

use crate::text::jinja::args::Args;
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::iterate::{self, iterate};
use crate::text::jinja::machine::Machine;
use crate::text::jinja::markup::{self, escape_value};
use crate::text::jinja::repr;
use crate::text::jinja::value::{Str, Value};

pub(super) fn escape(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.plain("escape", 1, 1)?.remove(0);
    Ok(Value::Str(Str::markup(escape_value(&m.budget, &value)?)))
}

pub(super) fn force_escape(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("forceescape", &["value"])?.need(0);
    let text = repr::to_text(&m.budget, &value)?;
    m.budget.text(text.len() * 5)?;
    Ok(Value::Str(Str::markup(markup::escape(&text))))
}

pub(super) fn safe(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("safe", &["value"])?.need(0);
    Ok(Value::Str(Str::markup(repr::to_text(&m.budget, &value)?)))
}

pub(super) fn striptags(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("striptags", &["value"])?.need(0);
    let text = repr::to_text(&m.budget, &value)?;
    m.budget.text(text.len() * 4)?;
    Ok(Value::str(strip_tags(&text)))
}

/// Without comments and tags, every run of spaces as one, entities as characters.
pub(in crate::text::jinja) fn strip_tags(text: &str) -> String {
    let text = without(&without(text, "<!--", "-->"), "<", ">");
    let words: Vec<&str> = text.split(crate::text::jinja::text::is_space).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    unescape(&words.join(" "))
}

/// Without what stands between the two, and themselves. What is cut open stays.
fn without(text: &str, open: &str, close: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(open) {
        let Some(end) = rest[start..].find(close) else {
            break;
        };
        out.push_str(&rest[..start]);
        rest = &rest[start + end + close.len()..];
    }
    out.push_str(rest);
    out
}

const ENTITIES: &[(&str, &str)] = &[
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", "\u{a0}"),
    ("copy", "©"),
    ("reg", "®"),
    ("trade", "™"),
    ("hellip", "…"),
    ("mdash", "—"),
    ("ndash", "–"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("laquo", "«"),
    ("raquo", "»"),
    ("euro", "€"),
    ("pound", "£"),
    ("yen", "¥"),
    ("cent", "¢"),
    ("sect", "§"),
    ("deg", "°"),
    ("times", "×"),
    ("divide", "÷"),
    ("middot", "·"),
    ("bull", "•"),
    ("para", "¶"),
    ("larr", "←"),
    ("rarr", "→"),
    ("uarr", "↑"),
    ("darr", "↓"),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("szlig", "ß"),
    ("eacute", "é"),
    ("egrave", "è"),
    ("agrave", "à"),
    ("ccedil", "ç"),
];

/// Entities as the characters they name: numbers, and the names that are common.
pub(in crate::text::jinja) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = rest[1..].split_once(';').and_then(|(name, _)| {
            if name.len() > 10 {
                return None;
            }
            let character = match name.strip_prefix('#') {
                Some(number) => {
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16),
                        None => number.parse(),
                    };
                    char::from_u32(code.ok()?)?.to_string()
                }
                None => ENTITIES.iter().find(|(n, _)| *n == name)?.1.to_owned(),
            };
            Some((character, name.len() + 2))
        });
        let (character, len) = found.unwrap_or(("&".to_owned(), 1));
        out.push_str(&character);
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

pub(super) fn urlencode(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("urlencode", &["value"])?.need(0);
    let quote = |value: &Value, query: bool| -> Outcome<String> {
        let text = repr::to_text(&m.budget, value)?;
        m.budget.text(text.len() * 3)?;
        Ok(quoted(&text, query))
    };
    if matches!(value, Value::Str(_)) || iterate(&value).is_err() {
        return Ok(Value::str(quote(&value, false)?));
    }
    let mut parts = Vec::new();
    let pairs = match &value {
        Value::Dict(dict) => Value::View(crate::text::jinja::value::View::Items, dict.clone()),
        value => value.clone(),
    };
    for pair in iterate::items(&m.budget, &pairs)? {
        match &*iterate::items(&m.budget, &pair)? {
            [key, value] => parts.push(format!("{}={}", quote(key, true)?, quote(value, true)?)),
            _ => return Err(failed("not enough values to unpack (expected 2)")),
        }
    }
    Ok(Value::str(parts.join("&")))
}

fn quoted(text: &str, query: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if !query => out.push('/'),
            b' ' if query => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn xmlattr(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("xmlattr", &["d", "autospace?"])?;
    let value = args.need(0);
    let space = args.or(1, Value::Bool(true)).is_true();
    let Value::Dict(dict) = value.defined()? else {
        return Err(failed(format!(
            "'{}' object has no attribute 'items'",
            value.type_name()
        )));
    };
    let mut parts = Vec::new();
    for (key, value) in dict.iter() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let Value::Str(name) = key else {
            return Err(failed("expected string or bytes-like object"));
        };
        if name.contains([' ', '\t', '\n', '\r', '\x0b', '\x0c', '/', '>', '=']) {
            return Err(failed(format!(
                "Invalid character in attribute name: '{}'",
                &**name
            )));
        }
        parts.push(format!(
            "{}=\"{}\"",
            escape_value(&m.budget, key)?,
            escape_value(&m.budget, value)?
        ));
    }
    let mut out = parts.join(" ");
    if space && !out.is_empty() {
        out.insert(0, ' ');
    }
    Ok(match m.escaping() {
        true => Value::Str(Str::markup(out)),
        false => Value::str(out),
    })
}
