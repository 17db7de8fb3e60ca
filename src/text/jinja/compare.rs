//! `==`, `<`, `in`, as Python has them.

use std::cmp::Ordering;

use num_bigint::BigInt;

use super::budget::Budget;
use super::fault::{Outcome, failed};
use super::iterate::iterate;
use super::numbers::Number;
use super::value::{Seq, Value, View};

/// Never fails: what cannot be compared differs.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(a), Value::Str(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => same_items(a, b),
        (Value::Dict(a), Value::Dict(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| {
                    let other = b.find(key).ok().flatten();
                    other.is_some_and(|other| equal(value, other))
                })
        }
        (Value::View(View::Keys, a), Value::View(View::Keys, b)) => {
            a.len() == b.len() && a.iter().all(|(key, _)| matches!(b.find(key), Ok(Some(_))))
        }
        (Value::View(View::Items, a), Value::View(View::Items, b)) => {
            equal(&Value::Dict(a.clone()), &Value::Dict(b.clone()))
        }
        (Value::Range(a), Value::Range(b)) => {
            a.len == b.len && (a.len == 0 || a.start == b.start && (a.len == 1 || a.step == b.step))
        }
        (a, b) => match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => order(&a, &b) == Some(Ordering::Equal),
            (None, None) => is_same(a, b),
            _ => false,
        },
    }
}

fn same_items(a: &Seq, b: &Seq) -> bool {
    let pairs = || a.items.iter().zip(&b.items);
    a.items.len() == b.items.len() && pairs().all(|(a, b)| equal(a, b))
}

/// `is`, which tells apart what is equal but made twice.
pub(super) fn is_same(a: &Value, b: &Value) -> bool {
    use std::rc::Rc;
    match (a, b) {
        (Value::None, Value::None) | (Value::Template, Value::Template) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        // Python keeps one of each of these.
        (Value::Int(a), Value::Int(b)) => a == b && (-5..=256).contains(a),
        (Value::Str(a), Value::Str(b)) => a.is_same(b) || a.is_empty() && b.is_empty(),
        (Value::Undefined(a), Value::Undefined(b)) => Rc::ptr_eq(a, b),
        (Value::Tuple(a), Value::Tuple(b)) if a.items.is_empty() => b.items.is_empty(),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Range(a), Value::Range(b)) => Rc::ptr_eq(a, b),
        (Value::Iter(a), Value::Iter(b)) => Rc::ptr_eq(a, b),
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
        (Value::Cycler(a), Value::Cycler(b)) => Rc::ptr_eq(a, b),
        (Value::Joiner(a), Value::Joiner(b)) => Rc::ptr_eq(a, b),
        (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
        (Value::Function(a), Value::Function(b)) => a == b,
        _ => false,
    }
}

fn order(a: &Number, b: &Number) -> Option<Ordering> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(b)),
        (Number::Float(a), Number::Float(b)) => a.partial_cmp(b),
        (Number::Float(a), b) => order_with_float(b, *a).map(Ordering::reverse),
        (a, Number::Float(b)) => order_with_float(a, *b),
        (a, b) => Some(a.to_big().cmp(&b.to_big())),
    }
}

/// Exact: a float is compared as the whole number it has, then by what is behind the point.
fn order_with_float(a: &Number, b: f64) -> Option<Ordering> {
    use num_traits::FromPrimitive;
    if b.is_nan() {
        return None;
    }
    match BigInt::from_f64(b.floor()) {
        None => Some(if b > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        }),
        Some(whole) => Some(match a.to_big().cmp(&whole) {
            Ordering::Equal if b.fract() != 0.0 => Ordering::Less,
            order => order,
        }),
    }
}

/// Which way `<` and the like compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::text) enum Order {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Order {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterEqual => order.is_ge(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }
}

/// Fails for what Python does not put in an order, such as a text and a number.
pub(super) fn compare(which: Order, a: &Value, b: &Value) -> Outcome<bool> {
    match (a.defined()?, b.defined()?) {
        (Value::Str(a), Value::Str(b)) => Ok(which.holds((**a).cmp(&**b))),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(which.holds(a.cmp(b))),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            let pairs = a.items.iter().zip(&b.items);
            match pairs.into_iter().find(|(a, b)| !equal(a, b)) {
                Some((a, b)) => compare(which, a, b),
                None => Ok(which.holds(a.items.len().cmp(&b.items.len()))),
            }
        }
        (a, b) => match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => Ok(order(&a, &b).is_some_and(|order| which.holds(order))),
            _ => Err(failed(format!(
                "'{}' not supported between instances of '{}' and '{}'",
                which.sign(),
                a.type_name(),
                b.type_name()
            ))),
        },
    }
}

/// `item in container`
pub(super) fn contains(budget: &Budget, container: &Value, item: &Value) -> Outcome<bool> {
    match (container, item) {
        (Value::Str(text), Value::Str(part)) => {
            budget.text(text.len())?;
            Ok(text.contains(&**part))
        }
        (Value::Str(_), item) => Err(failed(format!(
            "'in <string>' requires string as left operand, not {}",
            item.type_name()
        ))),
        (Value::Dict(dict) | Value::View(View::Keys, dict), item) => Ok(dict.find(item)?.is_some()),
        (Value::Bytes(bytes), Value::Int(byte)) => Ok(bytes.iter().any(|b| i64::from(*b) == *byte)),
        (container, item) => {
            let mut cursor = iterate(container)?;
            while let Some(next) = cursor.next() {
                let next = next?;
                budget.spend(1 + next.weight().min(item.weight()) / 4)?;
                if equal(&next, item) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}
