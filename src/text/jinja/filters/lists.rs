//! Filters of lists, and of whatever else can be gone through.

use rand::Rng;

use crate::text::jinja::args::Args;
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::iterate::{self, iterate};
use crate::text::jinja::machine::Machine;
use crate::text::jinja::markup::escape_value;
use crate::text::jinja::operators::{self, Operator};
use crate::text::jinja::repr;
use crate::text::jinja::value::{Str, Value, View};

use super::selecting::Getter;

pub(super) fn length(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.plain("len", 1, 1)?.remove(0);
    match &value {
        Value::Loop(of) => of.len(m).map(Value::int),
        value => value.len().map(Value::int).ok_or_else(|| {
            failed(format!(
                "object of type '{}' has no len()",
                value.type_name()
            ))
        }),
    }
}

pub(super) fn first(_: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("first", &["seq"])?.need(0);
    let none = || Ok(Value::undefined("No first item, sequence was empty."));
    iterate(&value)?.next().unwrap_or_else(none)
}

pub(super) fn last(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("last", &["seq"])?.need(0);
    let items = iterate::items(&m.budget, reversible(&value)?)?;
    let none = || Value::undefined("No last item, sequence was empty.");
    Ok(items.into_iter().next_back().unwrap_or_else(none))
}

/// Fails for what Python cannot go through from behind.
fn reversible(value: &Value) -> Outcome<&Value> {
    match value {
        Value::Undefined(_)
        | Value::Str(_)
        | Value::Bytes(_)
        | Value::List(_)
        | Value::Tuple(_)
        | Value::Range(_)
        | Value::Dict(_)
        | Value::View(..) => Ok(value),
        value => Err(failed(format!(
            "'{}' object is not reversible",
            value.type_name()
        ))),
    }
}

pub(super) fn reverse(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("reverse", &["value"])?.need(0);
    if let Value::Str(text) = &value {
        m.budget.text(text.len())?;
        return Ok(Value::Str(
            text.like(text.chars().rev().collect::<String>()),
        ));
    }
    let name = match &value {
        Value::List(_) => "list_reverseiterator",
        Value::Dict(_) | Value::View(View::Keys, _) => "dict_reversekeyiterator",
        Value::View(View::Values, _) => "dict_reversevalueiterator",
        Value::View(View::Items, _) => "dict_reverseitemiterator",
        Value::Range(_) => "range_iterator",
        _ => "reversed",
    };
    let mut items = match reversible(&value) {
        Ok(_) => iterate::items(&m.budget, &value)?,
        Err(_) if iterate(&value).is_ok() => {
            let mut items = iterate::items(&m.budget, &value)?;
            items.reverse();
            return Value::list(items);
        }
        Err(_) => return Err(failed("argument must be iterable")),
    };
    items.reverse();
    Value::iterator(name, items.into_iter().map(Ok).collect())
}

pub(super) fn list(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("list", &["value"])?.need(0);
    Value::list(iterate::items(&m.budget, &value)?)
}

pub(super) fn items(_: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("items", &["value"])?.need(0);
    match &value {
        Value::Undefined(_) => Value::generator(Vec::new()),
        Value::Dict(dict) => {
            let pairs = dict.iter();
            let pairs = pairs.map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()]));
            Value::generator(pairs.collect())
        }
        _ => Value::generator(vec![Err(failed("Can only get item pairs from a mapping."))]),
    }
}

pub(super) fn random(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.bind("random", &["seq"])?.need(0);
    if matches!(value, Value::Dict(_) | Value::View(..) | Value::Iter(_)) {
        return Err(failed(format!(
            "'{}' object is not subscriptable",
            value.type_name()
        )));
    }
    let items = iterate::items(&m.budget, &value)?;
    if items.is_empty() {
        return Ok(Value::undefined("No random item, sequence was empty."));
    }
    let at = rand::rng().random_range(0..items.len());
    Ok(items.into_iter().nth(at).unwrap_or(Value::None))
}

pub(super) fn join(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("join", &["value", "d?", "attribute?"])?;
    let value = args.need(0);
    let between = args.or(1, Value::str(""));
    let mut items = iterate::items(&m.budget, &value)?;
    if let Some(attribute) = args.get(2).filter(|a| !matches!(a, Value::None)) {
        let getter = Getter::new(&attribute, None)?;
        for item in &mut items {
            *item = getter.get(m, item)?;
        }
    }
    let markup = |value: &Value| matches!(value, Value::Str(text) if text.markup);
    let escaped = m.escaping() && (markup(&between) || items.iter().any(markup));
    let separator = match escaped {
        true => escape_value(&m.budget, &between)?,
        false => repr::to_text(&m.budget, &between)?,
    };
    let mut out = String::new();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(&separator);
        }
        // Where only the separator is Markup, what is joined is escaped; else its texts are what they are.
        match escaped {
            true => out.push_str(&escape_value(&m.budget, item)?),
            false => repr::print(&m.budget, item, &mut out)?,
        }
        m.budget.spend((separator.len() / 128) as u64)?;
        m.budget.bound(out.len())?;
    }
    Ok(match escaped {
        true => Value::Str(Str::markup(out)),
        false => Value::str(out),
    })
}

pub(super) fn sum(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("sum", &["iterable", "attribute?", "start?"])?;
    let value = args.need(0);
    let attribute = args.or(1, Value::None);
    let getter = Getter::new(&attribute, None)?;
    let mut total = args.or(2, Value::Int(0));
    if let Value::Str(_) = total {
        return Err(failed("sum() can't sum strings [use ''.join(seq) instead]"));
    }
    for item in iterate::items(&m.budget, &value)? {
        let item = getter.get(m, &item)?;
        total = operators::apply(&m.budget, Operator::Add, &total, &item)?;
    }
    Ok(total)
}

pub(super) fn batch(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("batch", &["value", "linecount", "fill_with?"])?;
    let value = args.need(0);
    let width = args.need(1);
    let fill = args.get(2).filter(|fill| !matches!(fill, Value::None));
    let items = match iterate::items(&m.budget, &value) {
        Ok(items) => items,
        Err(fault) => return Value::generator(vec![Err(fault)]),
    };
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let wide = |batch: &Vec<Value>| {
        let len = Value::int(batch.len());
        crate::text::jinja::compare::equal(&len, &width)
    };
    for item in items {
        if wide(&batch) {
            batches.push(Value::list(std::mem::take(&mut batch)));
        }
        batch.push(item);
    }
    if !batch.is_empty() {
        if let Some(fill) = fill {
            let width = match width.as_index() {
                Ok(width) => usize::try_from(width).unwrap_or(0),
                Err(fault) => {
                    batches.push(Err(fault));
                    return Value::generator(batches);
                }
            };
            m.budget.items(width)?;
            batch.resize(width.max(batch.len()), fill);
        }
        batches.push(Value::list(batch));
    }
    Value::generator(batches)
}

pub(super) fn slice(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("slice", &["value", "slices", "fill_with?"])?;
    let value = args.need(0);
    let slices = args.need(1);
    let fill = args.get(2).filter(|fill| !matches!(fill, Value::None));
    let later = |fault| Value::generator(vec![Err(fault)]);
    let items = match iterate::items(&m.budget, &value) {
        Ok(items) => items,
        Err(fault) => return later(fault),
    };
    let slices = match slices.as_index() {
        Ok(0) => return later(failed("integer division or modulo by zero")),
        Ok(slices) => usize::try_from(slices).unwrap_or(0),
        Err(fault) => return later(fault),
    };
    m.budget.items(slices)?;
    let (each, longer) = match slices {
        0 => return Value::generator(Vec::new()),
        slices => (items.len() / slices, items.len() % slices),
    };
    let mut rest = items.into_iter();
    let mut made = Vec::new();
    for at in 0..slices {
        let mut part: Vec<Value> = rest
            .by_ref()
            .take(each + usize::from(at < longer))
            .collect();
        if at >= longer {
            part.extend(fill.clone());
        }
        made.push(Value::list(part));
    }
    Value::generator(made)
}
