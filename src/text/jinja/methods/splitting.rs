//! `split()`, `partition()`, `join()`: methods of texts that take them apart and put them together.

use crate::text::jinja::args::{self, Args};
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::iterate;
use crate::text::jinja::machine::Machine;
use crate::text::jinja::markup;
use crate::text::jinja::text::{is_space, split_lines};
use crate::text::jinja::value::{Str, Value};

pub(super) const NAMES: &[&str] = &[
    "join",
    "partition",
    "rpartition",
    "rsplit",
    "split",
    "splitlines",
];

pub(super) fn call(m: &Machine<'_>, text: &Str, name: &'static str, args: Args) -> Outcome<Value> {
    let piece = |part: &str| Value::Str(text.like(part));
    let pieces = match name {
        "join" => return join(m, text, &args.plain(name, 1, 1)?.remove(0)),
        "partition" | "rpartition" => {
            let part = args::text(&args.plain(name, 1, 1)?.remove(0))?;
            if part.is_empty() {
                return Err(failed("empty separator"));
            }
            let found = match name {
                "partition" => text.split_once(&*part),
                _ => text.rsplit_once(&*part),
            };
            let three = match (found, name) {
                (Some((before, after)), _) => [before, &*part, after],
                (None, "partition") => [&**text, "", ""],
                (None, _) => ["", "", &**text],
            };
            return Value::tuple(three.into_iter().map(piece).collect());
        }
        "splitlines" => {
            let mut args = args.bind(name, &["keepends?"])?;
            split_lines(text, args.switch(0)?)
        }
        _ => {
            let mut args = args.bind(name, &["sep?", "maxsplit?"])?;
            let separator = args.maybe_text(0)?;
            // Negative: as often as it is there.
            let most = usize::try_from(args.index(1, -1)?).unwrap_or(usize::MAX);
            match (separator, name) {
                (Some(sep), _) if sep.is_empty() => return Err(failed("empty separator")),
                (Some(sep), "split") => text.splitn(most.saturating_add(1), &*sep).collect(),
                (Some(sep), _) => {
                    let mut pieces: Vec<_> = text.rsplitn(most.saturating_add(1), &*sep).collect();
                    pieces.reverse();
                    pieces
                }
                (None, "split") => words(text, most),
                (None, _) => words_from_behind(text, most),
            }
        }
    };
    m.budget.items(pieces.len())?;
    Value::list(pieces.into_iter().map(piece).collect())
}

/// Split where there is any space; what is left over keeps its spaces.
fn words(text: &str, most: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = match words.len() < most {
            true => rest.find(is_space).unwrap_or(rest.len()),
            false => rest.len(),
        };
        words.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    words
}

fn words_from_behind(text: &str, most: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        let start = match words.len() < most {
            true => rest
                .char_indices()
                .rev()
                .find(|(_, c)| is_space(*c))
                .map_or(0, |(at, c)| at + c.len_utf8()),
            false => 0,
        };
        words.push(&rest[start..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    words.reverse();
    words
}

/// `separator.join(items)`, which takes nothing but texts.
fn join(m: &Machine<'_>, separator: &Str, items: &Value) -> Outcome<Value> {
    let mut out = String::new();
    for (at, item) in iterate::items(&m.budget, items)?.iter().enumerate() {
        if at > 0 {
            out.push_str(separator);
        }
        match item {
            item if separator.markup => out.push_str(&markup::escape_value(&m.budget, item)?),
            Value::Str(text) => out.push_str(text),
            item => {
                return Err(failed(format!(
                    "sequence item {at}: expected str instance, {} found",
                    item.type_name()
                )));
            }
        }
        m.budget.spend((separator.len() / 128) as u64)?;
        m.budget.bound(out.len())?;
    }
    m.budget.text(out.len())?;
    Ok(Value::Str(separator.like(out)))
}
