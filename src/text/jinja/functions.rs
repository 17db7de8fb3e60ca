//! Functions that every template has, and what they make.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::args::Args;
use super::clock;
use super::dict::Dict;
use super::fault::{Fault, Kind, Outcome, failed};
use super::iterate;
use super::machine::Machine;
use super::methods::Method;
use super::repr;
use super::value::{Extent, Range, Value, extent};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Function {
    Range,
    Dict,
    Lipsum,
    Cycler,
    Joiner,
    Namespace,
    RaiseException,
    StrftimeNow,
}

/// The sandbox makes no longer ones.
const LONGEST_RANGE: i128 = 100_000;

impl Function {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "range" => Self::Range,
            "dict" => Self::Dict,
            "lipsum" => Self::Lipsum,
            "cycler" => Self::Cycler,
            "joiner" => Self::Joiner,
            "namespace" => Self::Namespace,
            "raise_exception" => Self::RaiseException,
            "strftime_now" => Self::StrftimeNow,
            _ => return None,
        })
    }

    pub fn call(self, m: &Machine<'_>, args: Args) -> Outcome<Value> {
        match self {
            Self::Range => range(args),
            Self::Dict => Ok(Value::dict(make_dict(m, args)?)),
            Self::Lipsum => lipsum(m, args),
            Self::Cycler => Cycler::made_of(args),
            Self::Joiner => {
                let mut args = args.bind("joiner", &["sep?"])?;
                Ok(Value::Joiner(Rc::new(Joiner {
                    separator: args.or(0, Value::str(", ")),
                    used: Cell::new(false),
                })))
            }
            Self::Namespace => namespace(m, args),
            Self::RaiseException => {
                let mut args = args.bind("raise_exception", &["message"])?;
                let message = repr::to_text(&m.budget, &args.need(0))?;
                Err(Fault::new(Kind::Raised, message))
            }
            Self::StrftimeNow => {
                let mut args = args.bind("strftime_now", &["format"])?;
                let format = args.text(0)?;
                Ok(Value::str(clock::strftime(&m.now(), &format)))
            }
        }
    }
}

fn range(args: Args) -> Outcome<Value> {
    let args = args.plain("range", 1, 3)?;
    let numbers: Vec<i64> = args.iter().map(Value::as_index).collect::<Outcome<_>>()?;
    let (start, stop, step) = match *numbers {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => (0, 0, 1),
    };
    let distance = match step {
        0 => return Err(failed("range() arg 3 must not be zero")),
        1.. => i128::from(stop) - i128::from(start),
        _ => i128::from(start) - i128::from(stop),
    };
    let width = i128::from(step).abs();
    let len = ((distance + width - 1) / width).max(0);
    if len > LONGEST_RANGE {
        return Err(failed(
            "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).",
        ));
    }
    Ok(Value::Range(Rc::new(Range {
        start,
        stop,
        step,
        len: len as usize,
    })))
}

/// `dict(mapping or pairs, name=value)`
fn make_dict(m: &Machine<'_>, args: Args) -> Outcome<Dict> {
    let mut made = Dict::default();
    if args.positional.len() > 1 {
        return Err(failed("dict expected at most 1 argument"));
    }
    match args.positional.first() {
        None => {}
        Some(Value::Dict(dict)) => made = (**dict).clone(),
        Some(pairs) => {
            for pair in iterate::items(&m.budget, pairs)? {
                let mut pair = iterate::items(&m.budget, &pair)?.into_iter();
                match (pair.next(), pair.next(), pair.next()) {
                    (Some(key), Some(value), None) => made.insert(key, value)?,
                    _ => {
                        return Err(failed(
                            "dictionary update sequence element has the wrong length; 2 is required",
                        ));
                    }
                }
            }
        }
    }
    for (name, value) in args.named {
        made.insert(Value::str(name), value)?;
    }
    m.budget.items(made.len())?;
    Ok(made)
}

/// What `namespace()` makes: the one thing a template can change.
pub(in crate::text) struct Namespace {
    pub values: RefCell<IndexMap<Arc<str>, Value>>,
}

fn namespace(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut values = IndexMap::new();
    for (key, value) in make_dict(m, args)?.iter() {
        // Nothing can ask for what has another key.
        if let Value::Str(name) = key {
            check_attribute(name)?;
            values.insert(name.shared(), value.clone());
        }
    }
    let values = RefCell::new(values);
    let made = Rc::new(Namespace { values });
    m.keep_namespace(&made);
    Ok(Value::Namespace(made))
}

fn check_attribute(name: &str) -> Outcome<()> {
    match name.starts_with('_') {
        true => Err(failed(format!(
            "Chat templates cannot store underscore-prefixed attributes on a namespace, but got '{name}'"
        ))),
        false => Ok(()),
    }
}

impl Namespace {
    pub fn set(&self, name: &Arc<str>, value: Value) -> Outcome<()> {
        check_attribute(name)?;
        self.values.borrow_mut().insert(name.clone(), value);
        Ok(())
    }
}

pub(in crate::text) struct Cycler {
    items: Vec<Value>,
    at: Cell<usize>,
    pub extent: Extent,
}

impl Cycler {
    fn made_of(args: Args) -> Outcome<Value> {
        let items = args.plain("cycler", 0, usize::MAX)?;
        if items.is_empty() {
            return Err(failed("at least one item has to be provided"));
        }
        Ok(Value::Cycler(Rc::new(Self {
            extent: extent(&items)?,
            items,
            at: Cell::new(0),
        })))
    }

    pub fn attribute(&self, of: &Value, name: &str) -> Outcome<Option<Value>> {
        let method = |name| {
            let receiver = of.clone();
            Value::Method(Method { receiver, name }.into())
        };
        Ok(Some(match name {
            "next" => method("next"),
            "reset" => method("reset"),
            "current" => self.current(),
            "items" => Value::tuple(self.items.clone())?,
            "pos" => Value::int(self.at.get()),
            _ => return Ok(None),
        }))
    }

    fn current(&self) -> Value {
        self.items
            .get(self.at.get())
            .cloned()
            .unwrap_or(Value::None)
    }

    pub fn call(&self, name: &'static str, args: Args) -> Outcome<Value> {
        args.plain(name, 0, 0)?;
        if name == "reset" {
            self.at.set(0);
            return Ok(Value::None);
        }
        let current = self.current();
        self.at.set((self.at.get() + 1) % self.items.len());
        Ok(current)
    }
}

pub(in crate::text) struct Joiner {
    separator: Value,
    used: Cell<bool>,
}

impl Joiner {
    pub fn attribute(&self, name: &str) -> Option<Value> {
        match name {
            "sep" => Some(self.separator.clone()),
            "used" => Some(Value::Bool(self.used.get())),
            _ => None,
        }
    }

    /// Nothing the first time.
    pub fn call(&self, args: Args) -> Outcome<Value> {
        args.plain("joiner", 0, 0)?;
        match self.used.replace(true) {
            true => Ok(self.separator.clone()),
            false => Ok(Value::str("")),
        }
    }
}

/// Python makes random paragraphs; these are always the same.
fn lipsum(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("lipsum", &["n?", "html?", "min?", "max?"])?;
    let paragraphs = usize::try_from(args.index(0, 5)?).unwrap_or(0);
    let html = args.or(1, Value::Bool(true)).is_true();
    let text = "Lorem ipsum dolor sit amet consectetuer adipiscing elit.";
    m.budget.text(paragraphs.saturating_mul(text.len() + 8))?;
    Ok(match html {
        true => {
            let one = format!("<p>{text}</p>");
            Value::Str(super::value::Str::markup(vec![one; paragraphs].join("\n")))
        }
        false => Value::str(vec![text; paragraphs].join("\n\n")),
    })
}
