//! `value.name`, `value[key]`, `value[a:b:c]`, through the sandbox.

use std::rc::Rc;

use super::fault::{Outcome, failed};
use super::machine::Machine;
use super::methods::{self, Found};
use super::text::{byte_at, clamp};
use super::value::{Range, Value};

/// `value.name`: an attribute, else an item.
pub(super) fn attribute(m: &Machine<'_>, value: &Value, name: &str) -> Outcome<Value> {
    match python_attribute(m, value.defined()?, name)? {
        Some(Found::Value(found)) => Ok(found),
        Some(Found::Hidden) => Ok(hidden(value, name)),
        None => {
            let found = match value {
                Value::Dict(dict) => dict.get(name).cloned(),
                _ => None,
            };
            Ok(found.unwrap_or_else(|| no_attribute(value, name)))
        }
    }
}

/// `value[key]`: an item, else an attribute.
pub(super) fn item(m: &Machine<'_>, value: &Value, key: &Value) -> Outcome<Value> {
    if let Some(found) = lookup(value.defined()?, key)? {
        return Ok(found);
    }
    match key {
        Value::Str(name) => match python_attribute(m, value, name)? {
            Some(Found::Value(found)) => Ok(found),
            Some(Found::Hidden) => Ok(hidden(value, name)),
            None => Ok(no_attribute(value, name)),
        },
        key => Ok(Value::undefined(format!(
            "{} object has no element {}",
            value.type_name(),
            super::repr::repr(&m.budget, key)?
        ))),
    }
}

/// Whether an attribute is there, and the sandbox shows it.
pub(super) fn python_attribute(
    m: &Machine<'_>,
    value: &Value,
    name: &str,
) -> Outcome<Option<Found>> {
    let found = match value {
        Value::Namespace(namespace) => namespace.values.borrow().get(name).cloned(),
        Value::Loop(of) => of.attribute(m, name)?,
        Value::Cycler(cycler) => cycler.attribute(value, name)?,
        Value::Joiner(joiner) => joiner.attribute(name),
        Value::Macro(of) => of.attribute(name)?,
        Value::Template => m.has_block(name).then(|| Value::Block(name.into())),
        _ => return Ok(methods::attribute(value, name)),
    };
    Ok(match found {
        Some(_) if name.starts_with('_') => Some(Found::Hidden),
        Some(found) => Some(Found::Value(found)),
        None => None,
    })
}

fn hidden(value: &Value, name: &str) -> Value {
    Value::undefined(format!(
        "access to attribute '{name}' of '{}' object is not allowed.",
        value.type_name()
    ))
}

fn no_attribute(value: &Value, name: &str) -> Value {
    Value::undefined(format!(
        "'{} object' has no attribute '{name}'",
        value.type_name()
    ))
}

/// `None` where Python raises LookupError or TypeError, which Jinja takes as undefined.
fn lookup(value: &Value, key: &Value) -> Outcome<Option<Value>> {
    let place = |len: usize| {
        let at = key.as_index().ok()?;
        let at = if at < 0 {
            at + i64::try_from(len).ok()?
        } else {
            at
        };
        usize::try_from(at).ok().filter(|at| *at < len)
    };
    Ok(match value {
        Value::Dict(dict) => dict.find(key).ok().flatten().cloned(),
        Value::List(seq) | Value::Tuple(seq) => {
            place(seq.items.len()).and_then(|at| seq.items.get(at).cloned())
        }
        Value::Str(text) => match value.len().and_then(place) {
            Some(at) => {
                let start = byte_at(text, at);
                let c = text[start..].chars().next();
                c.map(|c| Value::Str(text.like(c.to_string())))
            }
            None => None,
        },
        Value::Range(range) => place(range.len).map(|at| range.at(at)),
        Value::Bytes(bytes) => place(bytes.len())
            .and_then(|at| bytes.get(at))
            .map(|byte| Value::Int(i64::from(*byte))),
        _ => None,
    })
}

/// The three numbers of a slice; `None` where left out.
pub(super) struct Slice {
    pub start: Value,
    pub stop: Value,
    pub step: Value,
}

pub(super) fn slice(m: &Machine<'_>, value: &Value, at: &Slice) -> Outcome<Value> {
    let number = |value: &Value| match value {
        Value::None => Ok(None),
        Value::Big(big) => {
            let limit = if big.sign() == num_bigint::Sign::Minus {
                i64::MIN
            } else {
                i64::MAX
            };
            Ok(Some(limit))
        }
        value => value.as_index().map(Some).map_err(|_| {
            failed("slice indices must be integers or None or have an __index__ method")
        }),
    };
    let subscriptable = |value: &Value| {
        failed(format!(
            "'{}' object is not subscriptable",
            value.type_name()
        ))
    };
    let len = match value.defined()? {
        Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Range(_) | Value::Bytes(_) => {
            value.len().unwrap_or(0)
        }
        Value::Dict(_) => return Err(failed("unhashable type: 'slice'")),
        value => return Err(subscriptable(value)),
    };
    let step = number(&at.step)?.unwrap_or(1);
    let (start, stop) = (number(&at.start)?, number(&at.stop)?);
    if step == 0 {
        return Err(failed("slice step cannot be zero"));
    }
    let picked = Picked::new(start, stop, step, len);
    m.budget.items(picked.count)?;
    Ok(match value {
        Value::Str(text) => {
            m.budget.text(text.len())?;
            let made: String = match step {
                1 => {
                    let start = byte_at(text, picked.first);
                    let rest = &text[start..];
                    rest[..byte_at(rest, picked.count)].to_owned()
                }
                _ => {
                    let chars: Vec<char> = text.chars().collect();
                    picked.places().filter_map(|at| chars.get(at)).collect()
                }
            };
            Value::Str(text.like(made))
        }
        Value::List(seq) | Value::Tuple(seq) => {
            let items = picked.places().filter_map(|at| seq.items.get(at).cloned());
            match value {
                Value::List(_) => Value::list(items.collect())?,
                _ => Value::tuple(items.collect())?,
            }
        }
        Value::Bytes(bytes) => {
            let made: Vec<u8> = picked
                .places()
                .filter_map(|at| bytes.get(at).copied())
                .collect();
            Value::Bytes(made.into())
        }
        Value::Range(range) => {
            let at = |index: i64| range.start.saturating_add(range.step.saturating_mul(index));
            let first = picked.first as i64;
            Value::Range(Rc::new(Range {
                start: at(first),
                stop: at(picked.stop),
                step: range.step.saturating_mul(step),
                len: picked.count,
            }))
        }
        _ => Value::None,
    })
}

/// Which places a slice takes.
struct Picked {
    first: usize,
    stop: i64,
    step: i64,
    count: usize,
}

impl Picked {
    fn new(start: Option<i64>, stop: Option<i64>, step: i64, len: usize) -> Self {
        let len_i = i64::try_from(len).unwrap_or(i64::MAX);
        let (first, stop) = match step > 0 {
            true => {
                let (a, b) = clamp(start.unwrap_or(0), stop.unwrap_or(i64::MAX), len);
                (a as i64, b as i64)
            }
            false => {
                // Backwards, both may stand before the first: at -1.
                let place = |at: i64| match at < 0 {
                    true => at.saturating_add(len_i).max(-1),
                    false => at.min(len_i - 1),
                };
                (start.map_or(len_i - 1, place), stop.map_or(-1, place))
            }
        };
        let distance = if step > 0 { stop - first } else { first - stop };
        let count = match distance > 0 {
            true => (distance - 1) / step.saturating_abs() + 1,
            false => 0,
        };
        Self {
            first: usize::try_from(first).unwrap_or(0),
            stop,
            step,
            count: usize::try_from(count).unwrap_or(0),
        }
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        let (first, step) = (self.first as i64, self.step);
        (0..self.count as i64).map(move |at| (first + at * step) as usize)
    }
}
