//! Filters that pick attributes and items: `map`, `select` and their like.

use std::rc::Rc;

use crate::text::jinja::args::Args;
use crate::text::jinja::attributes;
use crate::text::jinja::checks::Check;
use crate::text::jinja::fault::{Fault, Kind, Outcome, failed};
use crate::text::jinja::iterate::iterate;
use crate::text::jinja::machine::Machine;
use crate::text::jinja::methods::Found;
use crate::text::jinja::value::Value;

use super::Filter;

/// What `attribute=` names: `name`, `name.0.other`, a number.
pub(super) struct Getter {
    path: Vec<Value>,
    default: Option<Value>,
}

impl Getter {
    pub fn new(attribute: &Value, default: Option<Value>) -> Outcome<Self> {
        let path = match attribute {
            Value::None => Vec::new(),
            Value::Str(name) => {
                let parts = name.split('.').map(|part| match part.parse::<i64>() {
                    Ok(index) if part.bytes().all(|b| b.is_ascii_digit()) => Value::Int(index),
                    _ => Value::str(part),
                });
                parts.collect()
            }
            other => vec![other.clone()],
        };
        let default = default.filter(|default| !matches!(default, Value::None));
        Ok(Self { path, default })
    }

    pub fn get(&self, m: &Machine<'_>, item: &Value) -> Outcome<Value> {
        let mut item = item.clone();
        for part in &self.path {
            m.budget.spend(1)?;
            item = attributes::item(m, &item, part)?;
            if let (true, Some(default)) = (item.is_undefined(), &self.default) {
                item = default.clone();
            }
        }
        Ok(item)
    }
}

/// `value | attr(name)`: an attribute, never an item.
pub(super) fn attr(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("attr", &["obj", "name"])?;
    let value = args.need(0);
    let name = args.text(1)?;
    if let Value::Undefined(_) = value {
        return match name.starts_with("__") && name.ends_with("__") {
            true => Ok(Value::undefined("has no such attribute")),
            false => value.defined().map(|_| Value::None),
        };
    }
    match attributes::python_attribute(m, &value, &name)? {
        Some(Found::Value(found)) => Ok(found),
        Some(Found::Hidden) => Ok(Value::undefined(format!(
            "access to attribute '{}' is not allowed.",
            &*name
        ))),
        None => Ok(Value::undefined(format!(
            "'{} object' has no attribute '{}'",
            value.type_name(),
            &*name
        ))),
    }
}

/// What is made of each item, one after another; the first failure ends it.
fn each(
    m: &Machine<'_>,
    value: &Value,
    make: impl Fn(Value) -> Outcome<Option<Value>>,
) -> Outcome<Value> {
    let mut made = Vec::new();
    let mut cursor = match iterate(value) {
        Ok(cursor) => cursor,
        Err(fault) => return Value::generator(vec![Err(fault)]),
    };
    while let Some(item) = cursor.next() {
        m.budget.spend(2)?;
        match item.and_then(&make) {
            Ok(Some(value)) => made.push(Ok(value)),
            Ok(None) => {}
            // What takes too much ends the rendering, whether it is looked at or not.
            Err(fault) if fault.kind == Kind::Spent => return Err(fault),
            Err(fault) => {
                made.push(Err(fault));
                break;
            }
        }
    }
    Value::generator(made)
}

fn later(fault: Fault) -> Outcome<Value> {
    Value::generator(vec![Err(fault)])
}

pub(super) fn map(m: &Machine<'_>, mut args: Args) -> Outcome<Value> {
    if args.positional.is_empty() {
        return Err(failed("map() missing required argument: 'value'"));
    }
    let value = args.positional.remove(0);
    if !value.is_true() {
        return Value::generator(Vec::new());
    }
    if args.positional.is_empty()
        && let Some(attribute) = args.take_named("attribute")
    {
        let default = args.take_named("default");
        if let Some((name, _)) = args.named.first() {
            return later(failed(format!("Unexpected keyword argument '{name}'")));
        }
        let getter = Getter::new(&attribute, default)?;
        return each(m, &value, |item| getter.get(m, &item).map(Some));
    }
    if args.positional.is_empty() {
        return later(failed("map requires a filter argument"));
    }
    let name = args.positional.remove(0);
    let filter = name.as_str().and_then(Filter::named);
    let args = Rc::new(args);
    each(m, &value, |item| {
        let filter = filter.ok_or_else(|| {
            failed(format!(
                "No filter named '{}'.",
                name.as_str().unwrap_or_default()
            ))
        })?;
        (filter.0)(m, with_first(item, &args)).map(Some)
    })
}

/// The arguments of a filter or a test that is called for an item.
fn with_first(item: Value, rest: &Args) -> Args {
    let mut positional = vec![item];
    positional.extend(rest.positional.iter().cloned());
    Args {
        positional,
        named: rest.named.clone(),
    }
}

pub(super) fn select(
    m: &Machine<'_>,
    mut args: Args,
    by_attribute: bool,
    wanted: bool,
) -> Outcome<Value> {
    if args.positional.is_empty() {
        return Err(failed("select() missing required argument: 'value'"));
    }
    let value = args.positional.remove(0);
    if !value.is_true() {
        return Value::generator(Vec::new());
    }
    let mut attribute = Value::None;
    if by_attribute {
        if args.positional.is_empty() {
            return later(failed("Missing parameter for attribute name"));
        }
        attribute = args.positional.remove(0);
    }
    let getter = Getter::new(&attribute, None)?;
    let name = match args.positional.is_empty() {
        true => None,
        false => Some(args.positional.remove(0)),
    };
    let check = name
        .as_ref()
        .map(|name| name.as_str().and_then(Check::named));
    each(m, &value, |item| {
        let shown = getter.get(m, &item)?;
        let holds = match check {
            None => shown.is_true(),
            Some(None) => return Err(failed("No test of that name.")),
            Some(Some(check)) => (check.0)(m, with_first(shown, &args))?,
        };
        Ok((holds == wanted).then_some(item))
    })
}
