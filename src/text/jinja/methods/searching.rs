//! `find()`, `count()`, `startswith()`: methods of texts that look for another.

use crate::text::jinja::args::{self, Args};
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::text::{byte_at, clamp};
use crate::text::jinja::value::Value;

pub(super) const NAMES: &[&str] = &[
    "count",
    "endswith",
    "find",
    "index",
    "rfind",
    "rindex",
    "startswith",
];

pub(super) fn call(text: &str, name: &'static str, args: Args) -> Outcome<Value> {
    let mut args = args.plain(name, 1, 3)?.into_iter();
    let what = args.next().unwrap_or(Value::None);
    let mut bound = |default: i64| match args.next() {
        None | Some(Value::None) => Ok(default),
        Some(value) => value.as_index(),
    };
    let (from, to) = (bound(0)?, bound(i64::MAX)?);
    let len = text.chars().count();
    // A start behind the end finds nothing, not even nothing.
    let beyond = from > i64::try_from(len).unwrap_or(i64::MAX);
    let (start, stop) = clamp(from, to, len);
    let window = match start <= stop && !beyond {
        true => Some(&text[byte_at(text, start)..byte_at(text, stop)]),
        false => None,
    };
    if let "startswith" | "endswith" = name {
        let at_end = |part: &str| {
            window.is_some_and(|window| match name {
                "startswith" => window.starts_with(part),
                _ => window.ends_with(part),
            })
        };
        return match what.defined()? {
            Value::Str(part) => Ok(Value::Bool(at_end(part))),
            Value::Tuple(parts) => {
                for part in &parts.items {
                    if at_end(&args::text(part)?) {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            other => Err(failed(format!(
                "{name} first arg must be str or a tuple of str, not {}",
                other.type_name()
            ))),
        };
    }
    let part = args::text(&what)?;
    if name == "count" {
        return Ok(Value::int(window.map_or(
            0,
            |window| match part.is_empty() {
                true => window.chars().count() + 1,
                false => window.matches(&*part).count(),
            },
        )));
    }
    let found = window.and_then(|window| {
        let at = match name {
            "find" | "index" => window.find(&*part),
            _ => window.rfind(&*part),
        };
        at.map(|at| start + window[..at].chars().count())
    });
    match (found, name) {
        (Some(at), _) => Ok(Value::int(at)),
        (None, "find" | "rfind") => Ok(Value::Int(-1)),
        (None, _) => Err(failed("substring not found")),
    }
}
