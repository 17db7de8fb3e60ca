//! Operators between two values.

use super::budget::Budget;
use super::fault::{Fault, Outcome, failed};
use super::markup::{escape, escape_value};
use super::numbers::{self, Number};
use super::percent;
use super::value::{Str, Value};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::text) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

impl Operator {
    fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::FloorDivide => "//",
            Self::Remainder => "%",
            Self::Power => "** or pow()",
        }
    }
}

pub(super) fn apply(budget: &Budget, operator: Operator, a: &Value, b: &Value) -> Outcome<Value> {
    if let (Value::Str(format), Operator::Remainder) = (a, operator) {
        return percent::format(budget, format, b);
    }
    let (a, b) = (a.defined()?, b.defined()?);
    if let (Some(x), Some(y)) = (Number::of(a), Number::of(b)) {
        return match operator {
            Operator::Add => numbers::add(&x, &y),
            Operator::Subtract => numbers::subtract(&x, &y),
            Operator::Multiply => numbers::multiply(&x, &y),
            Operator::Divide => numbers::divide(&x, &y),
            Operator::FloorDivide => numbers::floor_divide(&x, &y),
            Operator::Remainder => numbers::remainder(&x, &y),
            Operator::Power => {
                budget.spend(64)?;
                numbers::power(&x, &y)
            }
        };
    }
    match operator {
        Operator::Add => add(budget, a, b),
        Operator::Multiply => multiply(budget, a, b),
        operator => Err(unsupported(operator, a, b)),
    }
}

fn unsupported(operator: Operator, a: &Value, b: &Value) -> Fault {
    failed(format!(
        "unsupported operand type(s) for {}: '{}' and '{}'",
        operator.sign(),
        a.type_name(),
        b.type_name()
    ))
}

fn add(budget: &Budget, a: &Value, b: &Value) -> Outcome<Value> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            budget.text(a.len() + b.len())?;
            Ok(match (a.markup, b.markup) {
                (true, false) => Value::Str(Str::markup(format!("{}{}", &**a, escape(b)))),
                (false, true) => Value::Str(Str::markup(format!("{}{}", escape(a), &**b))),
                _ => Value::Str(a.like([&**a, &**b].concat())),
            })
        }
        (Value::List(x), Value::List(y)) | (Value::Tuple(x), Value::Tuple(y)) => {
            budget.items(x.items.len() + y.items.len())?;
            let items = [&*x.items, &*y.items].concat();
            match a {
                Value::List(_) => Value::list(items),
                _ => Value::tuple(items),
            }
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            budget.text(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        (Value::Str(_), b) => Err(failed(format!(
            "can only concatenate str (not \"{}\") to str",
            b.type_name()
        ))),
        (a, b) => Err(unsupported(Operator::Add, a, b)),
    }
}

fn multiply(budget: &Budget, a: &Value, b: &Value) -> Outcome<Value> {
    let (of, times) = match (a, b) {
        (Value::Int(_) | Value::Bool(_) | Value::Big(_), of) => (of, a),
        (of, Value::Int(_) | Value::Bool(_) | Value::Big(_)) => (of, b),
        _ => return Err(unsupported(Operator::Multiply, a, b)),
    };
    let times = || Ok(usize::try_from(times.as_index()?.max(0)).unwrap_or(usize::MAX));
    match of {
        Value::Str(text) => {
            let times = times()?;
            budget.text(text.len().saturating_mul(times))?;
            Ok(Value::Str(text.like(text.repeat(times))))
        }
        Value::List(seq) | Value::Tuple(seq) => {
            let times = times()?;
            budget.items(seq.items.len().saturating_mul(times))?;
            let items = vec![&*seq.items; times].concat();
            match of {
                Value::List(_) => Value::list(items),
                _ => Value::tuple(items),
            }
        }
        Value::Bytes(bytes) => {
            let times = times()?;
            budget.text(bytes.len().saturating_mul(times))?;
            Ok(Value::Bytes(bytes.repeat(times).into()))
        }
        _ => Err(unsupported(Operator::Multiply, a, b)),
    }
}

/// `+value` and `-value`
pub(super) fn sign(negative: bool, value: &Value) -> Outcome<Value> {
    match Number::of(value.defined()?) {
        Some(number) if negative => Ok(numbers::negate(&number)),
        Some(Number::Int(value)) => Ok(Value::Int(value)),
        Some(_) => Ok(value.clone()),
        None => Err(failed(format!(
            "bad operand type for unary {}: '{}'",
            if negative { '-' } else { '+' },
            value.type_name()
        ))),
    }
}

/// `a ~ b ~ c`: everything as text, one after another.
pub(super) fn concatenate(budget: &Budget, values: &[Value], escaping: bool) -> Outcome<Value> {
    let markup = escaping
        && values
            .iter()
            .any(|v| matches!(v, Value::Str(s) if s.markup));
    let mut out = String::new();
    for value in values {
        match markup {
            true => out.push_str(&escape_value(budget, value)?),
            false => super::repr::print(budget, value, &mut out)?,
        }
        budget.bound(out.len())?;
    }
    Ok(match markup {
        true => Value::Str(Str::markup(out)),
        false => Value::str(out),
    })
}
