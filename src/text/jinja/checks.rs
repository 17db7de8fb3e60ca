//! Tests: what can stand behind `is`.

use super::args::Args;
use super::compare::{Order, compare, contains, equal, is_same};
use super::fault::Outcome;
use super::filters::Filter;
use super::iterate::iterate;
use super::machine::Machine;
use super::methods::{is_lower, is_upper};
use super::operators::{self, Operator};
use super::repr;
use super::value::Value;

type Test = fn(&Machine<'_>, Args) -> Outcome<bool>;

#[derive(Clone, Copy, Debug)]
pub(in crate::text) struct Check(pub Test);

impl Check {
    pub fn named(name: &str) -> Option<Self> {
        let test: Test = match name {
            "odd" => |m, args| parity(m, args, 1),
            "even" => |m, args| parity(m, args, 0),
            "divisibleby" => divisible_by,
            "defined" => |_, args| one(args, |value| !value.is_undefined()),
            "undefined" => |_, args| one(args, Value::is_undefined),
            "filter" => |_, args| {
                one(args, |value| {
                    value.as_str().is_some_and(|n| Filter::named(n).is_some())
                })
            },
            "test" => |_, args| {
                one(args, |value| {
                    value.as_str().is_some_and(|n| Check::named(n).is_some())
                })
            },
            "none" => |_, args| one(args, |value| matches!(value, Value::None)),
            "boolean" => |_, args| one(args, |value| matches!(value, Value::Bool(_))),
            "false" => |_, args| one(args, |value| matches!(value, Value::Bool(false))),
            "true" => |_, args| one(args, |value| matches!(value, Value::Bool(true))),
            "integer" => |_, args| one(args, |v| matches!(v, Value::Int(_) | Value::Big(_))),
            "float" => |_, args| one(args, |value| matches!(value, Value::Float(_))),
            "lower" => |m, args| {
                let value = args.bind("lower", &["value"])?.need(0);
                Ok(is_lower(&repr::to_text(&m.budget, &value)?))
            },
            "upper" => |m, args| {
                let value = args.bind("upper", &["value"])?.need(0);
                Ok(is_upper(&repr::to_text(&m.budget, &value)?))
            },
            "string" => |_, args| one(args, |value| matches!(value, Value::Str(_))),
            "mapping" => |_, args| one(args, |value| matches!(value, Value::Dict(_))),
            "number" => |_, args| {
                one(args, |value| {
                    matches!(
                        value,
                        Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_)
                    )
                })
            },
            "sequence" => |_, args| one(args, is_sequence),
            "iterable" => |_, args| {
                one(args, |value| {
                    matches!(value, Value::Loop(_)) || iterate(value).is_ok()
                })
            },
            "callable" => callable,
            "sameas" => |_, args| two(args, |a, b| Ok(is_same(a, b))),
            "escaped" => |_, args| {
                one(
                    args,
                    |value| matches!(value, Value::Str(text) if text.markup),
                )
            },
            "in" => |m, args| {
                let mut args = args.bind("in", &["value", "seq"])?;
                let item = args.need(0);
                contains(&m.budget, &args.need(1), &item)
            },
            "==" | "eq" | "equalto" => |_, args| two(args, |a, b| Ok(equal(a, b))),
            "!=" | "ne" => |_, args| two(args, |a, b| Ok(!equal(a, b))),
            ">" | "gt" | "greaterthan" => |_, args| two(args, |a, b| compare(Order::Greater, a, b)),
            ">=" | "ge" => |_, args| two(args, |a, b| compare(Order::GreaterEqual, a, b)),
            "<" | "lt" | "lessthan" => |_, args| two(args, |a, b| compare(Order::Less, a, b)),
            "<=" | "le" => |_, args| two(args, |a, b| compare(Order::LessEqual, a, b)),
            _ => return None,
        };
        Some(Self(test))
    }
}

fn one(args: Args, holds: fn(&Value) -> bool) -> Outcome<bool> {
    Ok(holds(&args.bind("test", &["value"])?.need(0)))
}

fn two(args: Args, holds: fn(&Value, &Value) -> Outcome<bool>) -> Outcome<bool> {
    let mut args = args.bind("test", &["value", "other"])?;
    holds(&args.need(0), &args.need(1))
}

fn parity(m: &Machine<'_>, args: Args, wanted: i64) -> Outcome<bool> {
    let value = args.bind("odd", &["value"])?.need(0);
    let rest = operators::apply(&m.budget, Operator::Remainder, &value, &Value::Int(2))?;
    Ok(equal(&rest, &Value::Int(wanted)))
}

fn divisible_by(m: &Machine<'_>, args: Args) -> Outcome<bool> {
    let mut args = args.bind("divisibleby", &["value", "num"])?;
    let rest = operators::apply(&m.budget, Operator::Remainder, &args.need(0), &args.need(1))?;
    Ok(equal(&rest, &Value::Int(0)))
}

/// Has a length and items.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value,
        Value::Undefined(_)
            | Value::Str(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Tuple(_)
            | Value::Dict(_)
            | Value::Range(_)
    )
}

fn callable(_: &Machine<'_>, args: Args) -> Outcome<bool> {
    Ok(match args.bind("callable", &["value"])?.need(0) {
        Value::Macro(_)
        | Value::Method(_)
        | Value::Function(_)
        | Value::Joiner(_)
        | Value::Loop(_)
        | Value::Block(_)
        // It says what is missing when it is called.
        | Value::Undefined(_) => true,
        _ => false,
    })
}
