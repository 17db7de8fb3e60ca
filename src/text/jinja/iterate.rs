//! Going through a value, as Python's `for` does.

use std::rc::Rc;

use super::budget::Budget;
use super::dict::Dict;
use super::fault::{Outcome, failed};
use super::value::{Iter, Range, Seq, Str, Value, View};

/// Where a walk through a value stands.
pub(in crate::text) enum Cursor {
    Items(Rc<Seq>, usize),
    Chars(Str, usize),
    Entries(View, Rc<Dict>, usize),
    Range(Rc<Range>, usize),
    Bytes(Rc<[u8]>, usize),
    Iter(Rc<Iter>),
    Empty,
}

/// Fails for what cannot be gone through.
pub(in crate::text) fn iterate(value: &Value) -> Outcome<Cursor> {
    Ok(match value {
        Value::List(seq) | Value::Tuple(seq) => Cursor::Items(seq.clone(), 0),
        Value::Str(text) => Cursor::Chars(text.clone(), 0),
        Value::Dict(dict) => Cursor::Entries(View::Keys, dict.clone(), 0),
        Value::View(view, dict) => Cursor::Entries(*view, dict.clone(), 0),
        Value::Range(range) => Cursor::Range(range.clone(), 0),
        Value::Bytes(bytes) => Cursor::Bytes(bytes.clone(), 0),
        Value::Iter(iter) => Cursor::Iter(iter.clone()),
        Value::Undefined(_) => Cursor::Empty,
        value => {
            return Err(failed(format!(
                "'{}' object is not iterable",
                value.type_name()
            )));
        }
    })
}

impl Cursor {
    pub fn next(&mut self) -> Option<Outcome<Value>> {
        let item = match self {
            Self::Items(seq, at) => {
                let item = seq.items.get(*at)?.clone();
                *at += 1;
                item
            }
            Self::Chars(text, at) => {
                let c = text.get(*at..)?.chars().next()?;
                *at += c.len_utf8();
                // Going through Markup gives plain characters.
                Value::str(&*c.encode_utf8(&mut [0; 4]))
            }
            Self::Entries(view, dict, at) => {
                let (key, value) = dict.at(*at)?;
                let item = match view {
                    View::Keys => key.clone(),
                    View::Values => value.clone(),
                    View::Items => match Value::tuple(vec![key.clone(), value.clone()]) {
                        Ok(pair) => pair,
                        Err(fault) => return Some(Err(fault)),
                    },
                };
                *at += 1;
                item
            }
            Self::Range(range, at) => {
                if *at >= range.len {
                    return None;
                }
                *at += 1;
                range.at(*at - 1)
            }
            Self::Bytes(bytes, at) => {
                let byte = *bytes.get(*at)?;
                *at += 1;
                Value::Int(i64::from(byte))
            }
            Self::Iter(iter) => return iter.next(),
            Self::Empty => return None,
        };
        Some(Ok(item))
    }
}

/// Everything a value holds, as `list(value)`.
pub(super) fn items(budget: &Budget, value: &Value) -> Outcome<Vec<Value>> {
    let mut cursor = iterate(value)?;
    let mut items = Vec::with_capacity(value.len().unwrap_or(0).min(1024));
    while let Some(item) = cursor.next() {
        budget.spend(1)?;
        items.push(item?);
    }
    budget.items(items.len())?;
    Ok(items)
}
