//! Filters of texts.

use std::sync::LazyLock;

use regex::Regex;

use crate::text::jinja::args::Args;
use crate::text::jinja::dict::Dict;
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::machine::Machine;
use crate::text::jinja::markup::escape;
use crate::text::jinja::methods::replaced;
use crate::text::jinja::text::is_space;
use crate::text::jinja::value::{Str, Value};
use crate::text::jinja::{percent, repr};

/// What a filter of texts makes of any value: Markup stays what it is.
pub(super) fn soft(m: &Machine<'_>, value: &Value) -> Outcome<Str> {
    match value {
        Value::Str(text) => Ok(text.clone()),
        value => Ok(repr::to_text(&m.budget, value)?.into()),
    }
}

pub(super) fn simple(m: &Machine<'_>, args: Args, change: fn(&str) -> String) -> Outcome<Value> {
    let text = soft(m, &args.bind("filter", &["s"])?.need(0))?;
    m.budget.text(text.len())?;
    Ok(Value::Str(text.like(change(&text))))
}

pub(super) fn string(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    Ok(Value::Str(soft(
        m,
        &args.bind("string", &["object"])?.need(0),
    )?))
}

/// Capitals behind spaces, hyphens and opening brackets, and nowhere else.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        let mut chars = word.chars();
        if let Some(first) = chars.next() {
            out.extend(first.to_uppercase());
            out.push_str(&chars.as_str().to_lowercase());
        }
        word.clear();
    };
    for c in text.chars() {
        match is_space(c) || "-({[<".contains(c) {
            true => {
                flush(&mut word, &mut out);
                out.push(c);
            }
            false => word.push(c),
        }
    }
    flush(&mut word, &mut out);
    out
}

pub(super) fn center(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("center", &["value", "width?"])?;
    let text = soft(m, &args.need(0))?;
    let width = args.or(1, Value::Int(80));
    let method = Value::Str(text);
    call(m, &method, "center", vec![width])
}

pub(super) fn trim(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("trim", &["value", "chars?"])?;
    let text = soft(m, &args.need(0))?;
    let chars = args.or(1, Value::None);
    call(m, &Value::Str(text), "strip", vec![chars])
}

/// A method of the value, as a template would call it.
fn call(m: &Machine<'_>, value: &Value, name: &str, args: Vec<Value>) -> Outcome<Value> {
    let method = crate::text::jinja::attributes::attribute(m, value, name)?;
    m.call(&method, Args::of(args))
}

pub(super) fn replace(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("replace", &["s", "old", "new", "count?"])?;
    let value = args.need(0);
    let (old, new) = (args.need(1), args.need(2));
    let count = match args.get(3) {
        None | Some(Value::None) => -1,
        Some(count) => count.as_index()?,
    };
    let text = repr::to_text(&m.budget, &value)?;
    let old_text = repr::to_text(&m.budget, &old)?;
    let new_text = repr::to_text(&m.budget, &new)?;
    if !m.escaping() {
        return Ok(Value::str(replaced(m, &text, &old_text, &new_text, count)?));
    }
    let markup = |value: &Value| matches!(value, Value::Str(text) if text.markup);
    let escaped = markup(&value) || markup(&old) || markup(&new);
    let text = if escaped && !markup(&value) {
        escape(&text)
    } else {
        text
    };
    let new_text = if escaped && !markup(&new) {
        escape(&new_text)
    } else {
        new_text
    };
    let made = replaced(m, &text, &old_text, &new_text, count)?;
    Ok(match escaped {
        true => Value::Str(Str::markup(made)),
        false => Value::str(made),
    })
}

/// `value % arguments`
pub(super) fn format(m: &Machine<'_>, mut args: Args) -> Outcome<Value> {
    if args.positional.is_empty() {
        return Err(failed("format() missing required argument: 'value'"));
    }
    let text = soft(m, &args.positional.remove(0))?;
    let values = match (args.positional.is_empty(), args.named.is_empty()) {
        (false, false) => {
            return Err(failed(
                "can't handle positional and keyword arguments at the same time",
            ));
        }
        (_, true) => Value::tuple(args.positional)?,
        (true, false) => {
            let mut dict = Dict::default();
            for (name, value) in args.named {
                dict.insert(Value::str(name), value)?;
            }
            Value::dict(dict)
        }
    };
    percent::format(&m.budget, &text, &values)
}

pub(super) fn wordcount(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").ok());
    let text = soft(m, &args.bind("wordcount", &["s"])?.need(0))?;
    let words = WORD
        .as_ref()
        .map_or(0, |word| word.find_iter(&text).count());
    Ok(Value::int(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_begin_behind_spaces_and_opening_brackets() {
        assert_eq!(title("it's o-k (x) [y]z"), "It's O-K (X) [Y]z");
    }
}
