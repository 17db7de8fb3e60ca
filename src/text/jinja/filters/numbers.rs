//! Filters of numbers.

use num_bigint::BigInt;
use num_traits::{FromPrimitive, Signed, ToPrimitive};

use crate::text::jinja::args::Args;
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::floats::{self, Notation};
use crate::text::jinja::machine::Machine;
use crate::text::jinja::numbers::{self, Number};
use crate::text::jinja::operators::{self, Operator};
use crate::text::jinja::value::Value;

pub(super) fn abs(_: &Machine<'_>, args: Args) -> Outcome<Value> {
    let value = args.plain("abs", 1, 1)?.remove(0);
    match Number::of(value.defined()?) {
        Some(Number::Int(value)) => Ok(Value::big(BigInt::from(value).abs())),
        Some(Number::Big(value)) => Ok(Value::big(value.abs())),
        Some(Number::Float(value)) => Ok(Value::Float(value.abs())),
        None => Err(failed(format!(
            "bad operand type for abs(): '{}'",
            value.type_name()
        ))),
    }
}

pub(super) fn int(_: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("int", &["value", "default?", "base?"])?;
    let value = args.need(0);
    let default = args.or(1, Value::Int(0));
    let base = args.or(2, Value::Int(10));
    Ok(match value.defined()? {
        Value::Str(text) => {
            // A base that is none leaves the text to be read as a float.
            let base = base
                .as_index()
                .ok()
                .and_then(|base| u32::try_from(base).ok());
            let base = base.filter(|b| *b == 0 || (2..=36).contains(b));
            let whole = base.and_then(|base| numbers::parse_int(text, base));
            let float = || numbers::parse_float(text).and_then(|f| numbers::truncate(f).ok());
            whole.or_else(float).unwrap_or(default)
        }
        Value::Float(float) if float.is_infinite() => return numbers::truncate(*float),
        Value::Float(float) => numbers::truncate(*float).unwrap_or(default),
        Value::Bool(value) => Value::Int(i64::from(*value)),
        Value::Int(_) | Value::Big(_) => value,
        _ => default,
    })
}

pub(super) fn float(_: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("float", &["value", "default?"])?;
    let value = args.need(0);
    let default = args.or(1, Value::Float(0.0));
    Ok(match value.defined()? {
        Value::Str(text) => numbers::parse_float(text).map_or(default, Value::Float),
        value => match Number::of(value) {
            Some(number) => Value::Float(number.to_float()?),
            None => default,
        },
    })
}

pub(super) fn round(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("round", &["value", "precision?", "method?"])?;
    let value = args.need(0);
    let precision = args.or(1, Value::Int(0));
    let method = args.or(2, Value::str("common"));
    let number = Number::of(value.defined()?);
    match method.as_str() {
        Some("common") => {}
        Some(method @ ("ceil" | "floor")) => {
            let ten = operators::apply(&m.budget, Operator::Power, &Value::Int(10), &precision)?;
            let scaled = operators::apply(&m.budget, Operator::Multiply, &value, &ten)?;
            let whole = match &scaled {
                Value::Float(float) if method == "ceil" => numbers::truncate(float.ceil())?,
                Value::Float(float) => numbers::truncate(float.floor())?,
                Value::Str(_) | Value::List(_) | Value::Tuple(_) => {
                    return Err(failed(format!(
                        "must be real number, not {}",
                        scaled.type_name()
                    )));
                }
                _ => scaled,
            };
            return operators::apply(&m.budget, Operator::Divide, &whole, &ten);
        }
        _ => return Err(failed("method must be common, ceil or floor")),
    }
    let digits = match &precision {
        Value::None => None,
        precision => Some(precision.as_index()?),
    };
    match (number, digits) {
        (None, _) => Err(failed(format!(
            "type {} doesn't define __round__ method",
            value.type_name()
        ))),
        (Some(Number::Float(float)), None) => numbers::truncate(round_float(float, 0)),
        (Some(Number::Float(float)), Some(digits)) => Ok(Value::Float(round_float(float, digits))),
        (Some(whole), Some(digits @ ..0)) => {
            Ok(Value::big(round_whole(&whole.to_big(), digits, false)))
        }
        (Some(whole), _) => Ok(Value::big(whole.to_big())),
    }
}

/// To so many digits behind the point, halves to the even one.
fn round_float(value: f64, digits: i64) -> f64 {
    match digits {
        _ if !value.is_finite() => value,
        // No float has more digits than these.
        400.. => value,
        0.. => {
            let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
            text.parse().unwrap_or(value)
        }
        ..-400 => 0.0_f64.copysign(value),
        _ => {
            let whole = BigInt::from_f64(value.abs().trunc()).unwrap_or_default();
            let rounded = round_whole(&whole, digits, value.fract() != 0.0);
            rounded.to_f64().unwrap_or(value).copysign(value)
        }
    }
}

/// To a power of ten; `more` where something is behind the point.
fn round_whole(value: &BigInt, digits: i64, more: bool) -> BigInt {
    let power = u32::try_from(-digits).unwrap_or(u32::MAX);
    if u64::from(power) > value.bits() {
        return BigInt::default();
    }
    let unit = BigInt::from(10).pow(power);
    let magnitude = value.abs();
    let (quotient, rest) = (&magnitude / &unit, &magnitude % &unit);
    let twice: BigInt = rest * 2;
    let up = match twice.cmp(&unit) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => more || quotient.bit(0),
        std::cmp::Ordering::Less => false,
    };
    let rounded = (quotient + i32::from(up)) * unit;
    if value.is_negative() {
        -rounded
    } else {
        rounded
    }
}

pub(super) fn filesizeformat(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("filesizeformat", &["value", "binary?"])?;
    let value = args.need(0);
    let binary = args.flag(1);
    let bytes = match value.defined()? {
        Value::Str(text) => {
            numbers::parse_float(text).ok_or_else(|| failed("could not convert string to float"))?
        }
        value => Number::of(value)
            .ok_or_else(|| {
                failed(format!(
                    "float() argument must be a string or a real number, not '{}'",
                    value.type_name()
                ))
            })?
            .to_float()?,
    };
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok(Value::str("1 Byte"));
    }
    if bytes < base {
        let whole = crate::text::jinja::repr::to_text(&m.budget, &numbers::truncate(bytes)?)?;
        return Ok(Value::str(format!("{whole} Bytes")));
    }
    let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let mut unit = base;
    let mut shown = String::new();
    for (at, prefix) in prefixes.iter().enumerate() {
        unit *= base;
        let prefix = match (binary, *prefix) {
            (true, "k") => "KiB".to_owned(),
            (true, prefix) => format!("{prefix}iB"),
            (false, prefix) => format!("{prefix}B"),
        };
        if bytes < unit || at + 1 == prefixes.len() {
            let number = floats::format(base * bytes / unit, &Notation::Fixed(1), false);
            shown = format!("{number} {prefix}");
            break;
        }
    }
    Ok(Value::str(shown))
}
