//! Filters that put items in an order, or compare them: `sort`, `groupby`, `unique`, `min`, `max`, `dictsort`.

use crate::text::jinja::args::Args;
use crate::text::jinja::compare::{Order, compare, equal};
use crate::text::jinja::dict::Dict;
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::iterate;
use crate::text::jinja::machine::Machine;
use crate::text::jinja::sorting;
use crate::text::jinja::value::Value;

use super::selecting::Getter;

/// What texts are compared by where case does not matter.
fn folded(value: Value, case_sensitive: bool) -> Value {
    match value {
        Value::Str(text) if !case_sensitive => Value::Str(text.like(text.to_lowercase())),
        value => value,
    }
}

/// In the order of the keys; equal ones stay as they came, also where reversed.
fn sorted<T>(m: &Machine<'_>, items: Vec<(Value, T)>, reverse: bool) -> Outcome<Vec<T>> {
    let weight: u64 = items.iter().map(|(key, _)| 1 + key.weight()).sum();
    m.budget
        .spend(weight * u64::from(items.len().max(2).ilog2()))?;
    let sorted = sorting::sort(items, &mut |(a, _), (b, _)| match reverse {
        true => compare(Order::Greater, a, b),
        false => compare(Order::Less, a, b),
    })?;
    Ok(sorted.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn sort(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind(
        "sort",
        &["value", "reverse?", "case_sensitive?", "attribute?"],
    )?;
    let value = args.need(0);
    let (reverse, case_sensitive) = (args.switch(1)?, args.flag(2));
    let attribute = args.or(3, Value::None);
    let getters: Vec<Getter> = match &attribute {
        Value::Str(names) => names
            .split(',')
            .map(|name| Getter::new(&Value::str(name), None))
            .collect::<Outcome<_>>()?,
        other => vec![Getter::new(other, None)?],
    };
    let mut keyed = Vec::new();
    for item in iterate::items(&m.budget, &value)? {
        let keys = getters
            .iter()
            .map(|getter| Ok(folded(getter.get(m, &item)?, case_sensitive)));
        keyed.push((Value::list(keys.collect::<Outcome<_>>()?)?, item));
    }
    Value::list(sorted(m, keyed, reverse)?)
}

pub(super) fn dictsort(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("dictsort", &["value", "case_sensitive?", "by?", "reverse?"])?;
    let value = args.need(0);
    let case_sensitive = args.flag(1);
    let by = args.or(2, Value::str("key"));
    let reverse = args.switch(3)?;
    let by_value = match by.as_str() {
        Some("key") => false,
        Some("value") => true,
        _ => {
            return Err(failed("You can only sort by either \"key\" or \"value\""));
        }
    };
    let Value::Dict(dict) = value.defined()? else {
        return Err(failed(format!(
            "'{}' object has no attribute 'items'",
            value.type_name()
        )));
    };
    let mut keyed = Vec::new();
    for (key, value) in dict.iter() {
        let by = if by_value { value } else { key };
        let pair = Value::tuple(vec![key.clone(), value.clone()])?;
        keyed.push((folded(by.clone(), case_sensitive), pair));
    }
    Value::list(sorted(m, keyed, reverse)?)
}

pub(super) fn groupby(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind(
        "groupby",
        &["value", "attribute", "default?", "case_sensitive?"],
    )?;
    let value = args.need(0);
    let getter = Getter::new(&args.need(1), args.get(2))?;
    let case_sensitive = args.flag(3);
    let mut keyed = Vec::new();
    for item in iterate::items(&m.budget, &value)? {
        let key = folded(getter.get(m, &item)?, case_sensitive);
        keyed.push((key.clone(), (key, item)));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in sorted(m, keyed, false)? {
        match groups.last_mut() {
            Some((last, items)) if equal(last, &key) => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut made = Vec::new();
    for (key, items) in groups {
        // A group is called as its first item has it.
        let key = match items.first() {
            Some(first) if !case_sensitive => getter.get(m, first)?,
            _ => key,
        };
        made.push(Value::group(key, Value::list(items)?)?);
    }
    Value::list(made)
}

pub(super) fn unique(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("unique", &["value", "case_sensitive?", "attribute?"])?;
    let value = args.need(0);
    let case_sensitive = args.flag(1);
    let getter = Getter::new(&args.or(2, Value::None), None)?;
    let mut seen = Dict::default();
    let mut made = Vec::new();
    let items = match iterate::items(&m.budget, &value) {
        Ok(items) => items,
        Err(fault) => return Value::generator(vec![Err(fault)]),
    };
    for item in items {
        let key = getter.get(m, &item);
        let is_new = key.and_then(|key| {
            let key = folded(key, case_sensitive);
            let found = seen.find(&key)?.is_some();
            if !found {
                seen.insert(key, Value::None)?;
            }
            Ok(!found)
        });
        match is_new {
            Ok(true) => made.push(Ok(item)),
            Ok(false) => {}
            Err(fault) => {
                made.push(Err(fault));
                break;
            }
        }
    }
    Value::generator(made)
}

pub(super) fn min(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    extreme(m, args, "min", Order::Less)
}

pub(super) fn max(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    extreme(m, args, "max", Order::Greater)
}

fn extreme(m: &Machine<'_>, args: Args, name: &str, order: Order) -> Outcome<Value> {
    let mut args = args.bind(name, &["value", "case_sensitive?", "attribute?"])?;
    let value = args.need(0);
    let case_sensitive = args.flag(1);
    let getter = Getter::new(&args.or(2, Value::None), None)?;
    let mut best: Option<(Value, Value)> = None;
    for item in iterate::items(&m.budget, &value)? {
        let key = folded(getter.get(m, &item)?, case_sensitive);
        m.budget.spend(key.weight())?;
        let better = match &best {
            None => true,
            Some((best, _)) => compare(order, &key, best)?,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(match best {
        Some((_, item)) => item,
        None => Value::undefined("No aggregated item, sequence was empty."),
    })
}
