//! Methods of dicts, lists, tuples, ranges and bytes.

use std::rc::Rc;

use crate::text::jinja::args::Args;
use crate::text::jinja::compare::equal;
use crate::text::jinja::dict::Dict;
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::iterate::{self, iterate};
use crate::text::jinja::machine::Machine;
use crate::text::jinja::text::clamp;
use crate::text::jinja::value::{Value, View};

pub(super) fn dict(
    m: &Machine<'_>,
    dict: &Rc<Dict>,
    name: &'static str,
    args: Args,
) -> Outcome<Option<Value>> {
    Ok(Some(match name {
        "keys" | "values" | "items" => {
            args.plain(name, 0, 0)?;
            let view = match name {
                "keys" => View::Keys,
                "values" => View::Values,
                _ => View::Items,
            };
            Value::View(view, dict.clone())
        }
        "get" => {
            let mut args = args.plain(name, 1, 2)?.into_iter();
            let found = dict.find(&args.next().unwrap_or(Value::None))?.cloned();
            found.or_else(|| args.next()).unwrap_or(Value::None)
        }
        "copy" => {
            args.plain(name, 0, 0)?;
            m.budget.items(dict.len())?;
            Value::dict((**dict).clone())
        }
        "fromkeys" => from_keys(m, args)?,
        _ => return Ok(None),
    }))
}

/// `dict.fromkeys(keys, value)`
pub(in crate::text::jinja) fn from_keys(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.plain("fromkeys", 1, 2)?.into_iter();
    let keys = iterate::items(&m.budget, &args.next().unwrap_or(Value::None))?;
    let value = args.next().unwrap_or(Value::None);
    let mut made = Dict::default();
    for key in keys {
        made.insert(key, value.clone())?;
    }
    Ok(Value::dict(made))
}

pub(super) fn sequence(
    m: &Machine<'_>,
    of: &Value,
    name: &'static str,
    args: Args,
) -> Outcome<Option<Value>> {
    Ok(Some(match name {
        "copy" => {
            args.plain(name, 0, 0)?;
            Value::list(iterate::items(&m.budget, of)?)?
        }
        "count" => {
            let what = args.plain(name, 1, 1)?.remove(0);
            let mut count = 0;
            let mut cursor = iterate(of)?;
            while let Some(item) = cursor.next() {
                let item = item?;
                m.budget.spend(1 + item.weight().min(what.weight()))?;
                count += i64::from(equal(&item, &what));
            }
            Value::Int(count)
        }
        "index" => {
            let most = if matches!(of, Value::Range(_)) { 1 } else { 3 };
            let mut args = args.plain(name, 1, most)?.into_iter();
            let what = args.next().unwrap_or(Value::None);
            let from = args.next().map_or(Ok(0), |v| v.as_index())?;
            let to = args.next().map_or(Ok(i64::MAX), |v| v.as_index())?;
            let (start, stop) = clamp(from, to, of.len().unwrap_or(0));
            let mut cursor = iterate(of)?;
            let mut at = 0;
            while let Some(item) = cursor.next() {
                let item = item?;
                m.budget.spend(1 + item.weight().min(what.weight()))?;
                if (start..stop).contains(&at) && equal(&item, &what) {
                    return Ok(Some(Value::int(at)));
                }
                at += 1;
            }
            return Err(failed("the value is not in the list"));
        }
        _ => return Ok(None),
    }))
}

pub(super) fn bytes(
    m: &Machine<'_>,
    bytes: &[u8],
    name: &'static str,
    args: Args,
) -> Outcome<Option<Value>> {
    m.budget.text(bytes.len() * 2)?;
    Ok(Some(match name {
        "decode" => {
            args.bind(name, &["encoding?", "errors?"])?;
            let text = String::from_utf8(bytes.to_vec());
            Value::str(text.map_err(|_| failed("'utf-8' codec can't decode bytes"))?)
        }
        "hex" => {
            args.plain(name, 0, 0)?;
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            Value::str(digits.collect::<String>())
        }
        _ => return Ok(None),
    }))
}
