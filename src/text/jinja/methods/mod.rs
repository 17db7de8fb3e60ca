//! Methods and attributes of Python's own types, as the sandbox lets templates see them.

mod changing;
mod classes;
mod collections;
mod searching;
mod splitting;

pub(super) use changing::replaced;
pub(super) use classes::{is_lower, is_upper};

use super::args::Args;
use super::fault::{Outcome, failed};
use super::functions::Function;
use super::machine::Machine;
use super::value::{Str, Value};
use super::{braces, numbers};

/// A method that is bound to its value.
pub(in crate::text) struct Method {
    pub receiver: Value,
    pub name: &'static str,
}

const STR: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const MARKUP: &[&str] = &["striptags", "unescape"];
const LIST: &[&str] = &["copy", "count", "index"];
const TUPLE: &[&str] = &["count", "index"];
const DICT: &[&str] = &["copy", "fromkeys", "get", "items", "keys", "values"];
const INT: &[&str] = &[
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "conjugate",
    "to_bytes",
    "from_bytes",
];
const FLOAT: &[&str] = &[
    "as_integer_ratio",
    "conjugate",
    "fromhex",
    "hex",
    "is_integer",
];
const BYTES: &[&str] = &["decode", "hex"];

/// What changes a value. The sandbox hides these.
const CHANGING_LIST: &[&str] = &[
    "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
];
const CHANGING_DICT: &[&str] = &["clear", "pop", "popitem", "setdefault", "update"];

/// What every Python object has; the sandbox hides it.
const EVERY: &[&str] = &[
    "__class__",
    "__delattr__",
    "__dir__",
    "__doc__",
    "__eq__",
    "__format__",
    "__ge__",
    "__getattribute__",
    "__gt__",
    "__hash__",
    "__init__",
    "__init_subclass__",
    "__le__",
    "__lt__",
    "__ne__",
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__repr__",
    "__setattr__",
    "__sizeof__",
    "__str__",
    "__subclasshook__",
    "__len__",
    "__iter__",
    "__contains__",
    "__getitem__",
    "__add__",
    "__mul__",
    "__mod__",
    "__dict__",
    "__module__",
    "__call__",
    "__name__",
    "__globals__",
    "__code__",
    "__self__",
];

/// An attribute that Python finds.
pub(super) enum Found {
    Value(Value),
    Hidden,
}

/// Of a value of Python's own types; `None` where it has no such attribute.
pub(super) fn attribute(value: &Value, name: &str) -> Option<Found> {
    let (methods, hidden): (&[&[&'static str]], &[&str]) = match value {
        Value::Str(text) if text.markup => (&[STR, MARKUP], &[]),
        Value::Str(_) => (&[STR], &[]),
        Value::List(_) => (&[LIST], CHANGING_LIST),
        Value::Tuple(_) | Value::Range(_) => (&[TUPLE], &[]),
        Value::Dict(_) => (&[DICT], CHANGING_DICT),
        Value::Bool(_) | Value::Int(_) | Value::Big(_) => (&[INT], &[]),
        Value::Float(_) => (&[FLOAT], &[]),
        Value::Bytes(_) => (&[BYTES], &[]),
        Value::Function(Function::Dict) => (&[&["fromkeys"]], &[]),
        _ => (&[], &[]),
    };
    if let Some(name) = methods.iter().copied().flatten().find(|n| **n == name) {
        let receiver = value.clone();
        let method = Method { receiver, name };
        return Some(Found::Value(Value::Method(method.into())));
    }
    if hidden.contains(&name) || EVERY.contains(&name) {
        return Some(Found::Hidden);
    }
    let part = match (value, name) {
        (Value::Tuple(seq), "grouper") if seq.grouped => seq.items.first().cloned(),
        (Value::Tuple(seq), "list") if seq.grouped => seq.items.get(1).cloned(),
        (Value::Range(range), "start") => Some(Value::Int(range.start)),
        (Value::Range(range), "stop") => Some(Value::Int(range.stop)),
        (Value::Range(range), "step") => Some(Value::Int(range.step)),
        (Value::Bool(value), "real" | "numerator") => Some(Value::Int(i64::from(*value))),
        (Value::Int(_) | Value::Big(_), "real" | "numerator") => Some(value.clone()),
        (Value::Bool(_) | Value::Int(_) | Value::Big(_), "imag") => Some(Value::Int(0)),
        (Value::Bool(_) | Value::Int(_) | Value::Big(_), "denominator") => Some(Value::Int(1)),
        (Value::Float(_), "real") => Some(value.clone()),
        (Value::Float(_), "imag") => Some(Value::Float(0.0)),
        _ => None,
    };
    part.map(Found::Value)
}

pub(super) fn call(m: &Machine<'_>, method: &Method, args: Args) -> Outcome<Value> {
    let name = method.name;
    let value = match &method.receiver {
        Value::Str(text) => call_text(m, text, name, args)?,
        Value::Dict(dict) => collections::dict(m, dict, name, args)?,
        Value::List(_) | Value::Tuple(_) | Value::Range(_) => {
            collections::sequence(m, &method.receiver, name, args)?
        }
        Value::Bytes(bytes) => collections::bytes(m, bytes, name, args)?,
        Value::Function(_) => Some(collections::from_keys(m, args)?),
        number => call_number(number, name, args)?,
    };
    value.ok_or_else(|| failed(format!("`{name}` is not supported here")))
}

fn call_text(
    m: &Machine<'_>,
    text: &Str,
    name: &'static str,
    mut args: Args,
) -> Outcome<Option<Value>> {
    m.budget.scan(text.len())?;
    match name {
        "format" => return braces::format(m, text, &args).map(Some),
        "format_map" => {
            let mapping = args.plain(name, 1, 1)?.remove(0);
            let Value::Dict(dict) = mapping.defined()? else {
                return Err(failed("format_map() wants a mapping"));
            };
            let named = dict.iter().filter_map(|(key, value)| match key {
                Value::Str(name) => Some((name.shared(), value.clone())),
                _ => None,
            });
            args = Args {
                positional: Vec::new(),
                named: named.collect(),
            };
            return braces::format(m, text, &args).map(Some);
        }
        _ => {}
    }
    if let Some(is) = classes::test(text, name) {
        args.plain(name, 0, 0)?;
        return Ok(Some(Value::Bool(is)));
    }
    if searching::NAMES.contains(&name) {
        return searching::call(text, name, args).map(Some);
    }
    if splitting::NAMES.contains(&name) {
        return splitting::call(m, text, name, args).map(Some);
    }
    changing::call(m, text, name, args)
}

fn call_number(number: &Value, name: &'static str, args: Args) -> Outcome<Option<Value>> {
    let Some(value) = numbers::Number::of(number) else {
        return Ok(None);
    };
    Ok(Some(match (name, number) {
        ("is_integer", Value::Float(float)) => {
            args.plain(name, 0, 0)?;
            Value::Bool(float.is_finite() && float.fract() == 0.0)
        }
        ("conjugate", Value::Bool(value)) => Value::Int(i64::from(*value)),
        ("conjugate", _) => {
            args.plain(name, 0, 0)?;
            number.clone()
        }
        ("bit_length", _) => Value::int(value.to_big().bits() as usize),
        ("bit_count", _) => {
            let big = value.to_big();
            let ones = big.magnitude().iter_u64_digits().map(u64::count_ones);
            Value::int(ones.sum::<u32>() as usize)
        }
        ("as_integer_ratio", Value::Int(_) | Value::Big(_) | Value::Bool(_)) => {
            Value::tuple(vec![Value::big(value.to_big()), Value::Int(1)])?
        }
        _ => return Ok(None),
    }))
}
