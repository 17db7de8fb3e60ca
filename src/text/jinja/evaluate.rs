//! Expressions, as they are computed.

use std::rc::Rc;

use super::args::Args;
use super::ast::*;
use super::attributes;
use super::compare::{compare, contains, equal};
use super::dict::Dict;
use super::fault::{Outcome, failed};
use super::iterate;
use super::machine::{Activation, Machine};
use super::operators;
use super::value::{Str, Value};

impl Machine<'_> {
    pub fn evaluate(&self, expr: &Expr, on: &Rc<Activation>) -> Outcome<Value> {
        self.budget.spend(1)?;
        match expr {
            Expr::Const(constant) => return Ok(Value::from(constant)),
            Expr::Name { name, slot } => {
                return Ok(on.get(*slot).unwrap_or_else(|| Value::unknown(name)));
            }
            _ => self.budget.deeper()?,
        }
        Ok(match expr {
            Expr::Const(_) | Expr::Name { .. } => Value::None,
            Expr::Tuple(items) => Value::tuple(self.all(items, on)?)?,
            Expr::List(items) => Value::list(self.all(items, on)?)?,
            Expr::Dict(entries) => {
                let mut dict = Dict::default();
                for (key, value) in entries {
                    dict.insert(self.evaluate(key, on)?, self.evaluate(value, on)?)?;
                }
                Value::dict(dict)
            }
            Expr::Not(of) => Value::Bool(!self.evaluate(of, on)?.is_true()),
            Expr::Sign { negative, of } => operators::sign(*negative, &self.evaluate(of, on)?)?,
            Expr::Binary(operator, pair) => {
                let a = self.evaluate(&pair.0, on)?;
                let b = self.evaluate(&pair.1, on)?;
                operators::apply(&self.budget, *operator, &a, &b)?
            }
            Expr::And(pair) => match self.evaluate(&pair.0, on)? {
                value if value.is_true() => self.evaluate(&pair.1, on)?,
                value => value,
            },
            Expr::Or(pair) => match self.evaluate(&pair.0, on)? {
                value if value.is_true() => value,
                _ => self.evaluate(&pair.1, on)?,
            },
            Expr::Concat(items) => {
                let items = self.all(items, on)?;
                operators::concatenate(&self.budget, &items, self.escaping())?
            }
            Expr::Compare(first, rest) => self.compare(first, rest, on)?,
            Expr::If(choice) => match self.evaluate(&choice.test, on)?.is_true() {
                true => self.evaluate(&choice.then, on)?,
                false => match &choice.otherwise {
                    Some(otherwise) => self.evaluate(otherwise, on)?,
                    None => Value::undefined(format!(
                        "the inline if-expression on line {} evaluated to false and no else section was defined.",
                        choice.line
                    )),
                },
            },
            Expr::Attribute(of, name) => {
                attributes::attribute(self, &self.evaluate(of, on)?, name)?
            }
            Expr::Item(pair) => {
                let value = self.evaluate(&pair.0, on)?;
                attributes::item(self, &value, &self.evaluate(&pair.1, on)?)?
            }
            Expr::Slice(slice) => self.slice(slice, on)?,
            Expr::Call(_) => self.call_with(expr, on, None)?,
            Expr::Filter(apply) => {
                let function = apply
                    .function
                    .ok_or_else(|| failed(format!("No filter named '{}' found.", apply.name)))?;
                let args = self.applied(&apply.of, &apply.arguments, on)?;
                (function.0)(self, args).map_err(|fault| fault.at(apply.line))?
            }
            Expr::Check(apply) => {
                let function = apply
                    .function
                    .ok_or_else(|| failed(format!("No test named '{}' found.", apply.name)))?;
                let args = self.applied(&apply.of, &apply.arguments, on)?;
                let holds = (function.0)(self, args).map_err(|fault| fault.at(apply.line))?;
                Value::Bool(holds)
            }
            Expr::Captured => self
                .captured
                .borrow()
                .last()
                .cloned()
                .unwrap_or(Value::None),
        })
    }

    fn all(&self, items: &[Expr], on: &Rc<Activation>) -> Outcome<Vec<Value>> {
        items.iter().map(|item| self.evaluate(item, on)).collect()
    }

    fn compare(
        &self,
        first: &Expr,
        rest: &[(Comparison, Expr)],
        on: &Rc<Activation>,
    ) -> Outcome<Value> {
        let mut left = self.evaluate(first, on)?;
        for (comparison, with) in rest {
            let right = self.evaluate(with, on)?;
            self.budget.spend(left.weight().min(right.weight()) / 4)?;
            let holds = match comparison {
                Comparison::Equal => equal(&left, &right),
                Comparison::NotEqual => !equal(&left, &right),
                Comparison::Ordered(order) => compare(*order, &left, &right)?,
                Comparison::In => contains(&self.budget, &right, &left)?,
                Comparison::NotIn => !contains(&self.budget, &right, &left)?,
            };
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn slice(&self, slice: &Slice, on: &Rc<Activation>) -> Outcome<Value> {
        let value = self.evaluate(&slice.of, on)?;
        let bound = |bound: &Option<Expr>| match bound {
            Some(bound) => self.evaluate(bound, on),
            None => Ok(Value::None),
        };
        let at = attributes::Slice {
            start: bound(&slice.start)?,
            stop: bound(&slice.stop)?,
            step: bound(&slice.step)?,
        };
        match attributes::slice(self, &value, &at) {
            Err(_) if slice.constant && !value.is_undefined() => {
                Ok(Value::undefined("a value has no such slice"))
            }
            sliced => sliced,
        }
    }

    /// The value that a filter or a test is applied to, and its arguments behind it.
    fn applied(&self, of: &Expr, arguments: &Arguments, on: &Rc<Activation>) -> Outcome<Args> {
        let first = self.evaluate(of, on)?;
        self.arguments(Some(first), arguments, on)
    }

    fn arguments(
        &self,
        first: Option<Value>,
        arguments: &Arguments,
        on: &Rc<Activation>,
    ) -> Outcome<Args> {
        let mut args = Args::default();
        args.positional.extend(first);
        for argument in &arguments.positional {
            args.positional.push(self.evaluate(argument, on)?);
        }
        for (name, argument) in &arguments.named {
            args.named
                .push((name.clone(), self.evaluate(argument, on)?));
        }
        if let Some(starred) = &arguments.starred {
            let more = self.evaluate(starred, on)?;
            args.positional.extend(iterate::items(&self.budget, &more)?);
        }
        if let Some(starred) = &arguments.double_starred {
            let more = self.evaluate(starred, on)?;
            let Value::Dict(dict) = &more else {
                return Err(failed(format!(
                    "argument after ** must be a mapping, not {}",
                    more.type_name()
                )));
            };
            for (key, value) in dict.iter() {
                let Value::Str(name) = key else {
                    return Err(failed("keywords must be strings"));
                };
                if args.named.iter().any(|(n, _)| **n == **name) {
                    return Err(failed(format!(
                        "got multiple values for keyword argument '{}'",
                        &**name
                    )));
                }
                args.named.push((name.shared(), value.clone()));
            }
        }
        Ok(args)
    }

    /// A call, and what it is given beside its own arguments.
    pub(super) fn call_with(
        &self,
        expr: &Expr,
        on: &Rc<Activation>,
        caller: Option<Value>,
    ) -> Outcome<Value> {
        let Expr::Call(call) = expr else {
            return Err(failed("expected call"));
        };
        let callee = self.evaluate(&call.callee, on)?;
        let mut args = self.arguments(None, &call.arguments, on)?;
        args.named
            .extend(caller.map(|caller| ("caller".into(), caller)));
        self.call(&callee, args)
            .map_err(|fault| fault.at(call.line))
    }

    pub fn call(&self, callee: &Value, args: Args) -> Outcome<Value> {
        match callee.defined()? {
            Value::Macro(of) => of.call(self, args),
            Value::Function(function) => function.call(self, args),
            Value::Method(method) => match &method.receiver {
                Value::Loop(of) => of.call(self, method.name, args),
                Value::Cycler(cycler) => cycler.call(method.name, args),
                _ => super::methods::call(self, method, args),
            },
            Value::Joiner(joiner) => joiner.call(args),
            Value::Loop(of) => {
                let over = args.bind("loop", &["iterable"])?.need(0);
                let Some((again, outer)) = of.recursion() else {
                    return Err(failed(
                        "The loop must have the 'recursive' marker to be called recursively.",
                    ));
                };
                let text = self.recurse(again, outer, &over, of.depth())?;
                Ok(match self.escaping() {
                    true => Value::Str(Str::markup(text)),
                    false => Value::str(text),
                })
            }
            Value::Block(name) => {
                args.plain("block", 0, 0)?;
                let mut out = String::new();
                if let Some(block) = self.block(name) {
                    self.run_block(block, &mut out)?;
                }
                Ok(Value::str(out))
            }
            value => Err(failed(format!(
                "'{}' object is not callable",
                value.type_name()
            ))),
        }
    }
}

impl From<&Const> for Value {
    fn from(constant: &Const) -> Self {
        match constant {
            Const::None => Self::None,
            Const::Bool(value) => Self::Bool(*value),
            Const::Int(value) => Self::Int(*value),
            Const::Big(value) => Self::Big(value.clone()),
            Const::Float(value) => Self::Float(*value),
            Const::Str(text) => Self::str(text.clone()),
        }
    }
}
