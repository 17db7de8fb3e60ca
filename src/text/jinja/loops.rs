//! `for` loops, and the `loop` that their bodies see.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::args::Args;
use super::ast::For;
use super::compare::equal;
use super::fault::{Outcome, failed};
use super::iterate::{Cursor, iterate};
use super::machine::{Activation, Machine};
use super::methods::Method;
use super::value::Value;

pub(in crate::text) struct Loop {
    source: RefCell<Source>,
    /// Of what is gone through, where that is known beforehand.
    len: Cell<Option<usize>>,
    index0: Cell<i64>,
    depth0: usize,
    after: RefCell<Option<Value>>,
    before: RefCell<Option<Value>>,
    current: RefCell<Option<Value>>,
    last_changed: RefCell<Option<Vec<Value>>>,
    /// For loops marked `recursive`: the loop itself and where it was entered.
    recursion: Option<(Arc<For>, Rc<Activation>)>,
}

/// Items, and the test that picks among them when they are asked for.
pub(in crate::text) struct Source {
    cursor: Cursor,
    test: Option<(Arc<For>, Rc<Activation>)>,
    /// Items that were taken early, to count them.
    ahead: std::collections::VecDeque<Value>,
}

impl Source {
    pub fn new(value: &Value, test: Option<(Arc<For>, Rc<Activation>)>) -> Outcome<Self> {
        Ok(Self {
            cursor: iterate(value)?,
            test,
            ahead: std::collections::VecDeque::new(),
        })
    }

    pub fn next(&mut self, m: &Machine<'_>) -> Outcome<Option<Value>> {
        if let Some(item) = self.ahead.pop_front() {
            return Ok(Some(item));
        }
        while let Some(item) = self.cursor.next() {
            m.budget.spend(1)?;
            let item = item?;
            match &self.test {
                Some((of, activation)) if !m.passes(of, activation, &item)? => {}
                _ => return Ok(Some(item)),
            }
        }
        Ok(None)
    }
}

impl Loop {
    pub fn new(
        value: &Value,
        source: Source,
        depth0: usize,
        recursion: Option<(Arc<For>, Rc<Activation>)>,
    ) -> Self {
        let len = match (value, &source.test) {
            (Value::Iter(_), _) | (_, Some(_)) => None,
            (value, None) => value.len(),
        };
        Self {
            source: RefCell::new(source),
            len: Cell::new(len),
            index0: Cell::new(-1),
            depth0,
            after: RefCell::new(None),
            before: RefCell::new(None),
            current: RefCell::new(None),
            last_changed: RefCell::new(None),
            recursion,
        }
    }

    pub fn index0(&self) -> i64 {
        self.index0.get()
    }

    pub fn known_len(&self) -> Option<usize> {
        self.len.get()
    }

    /// Its length decides, as for anything that has one.
    pub fn is_true(&self) -> bool {
        self.len.get() != Some(0)
    }

    pub fn recursion(&self) -> Option<&(Arc<For>, Rc<Activation>)> {
        self.recursion.as_ref()
    }

    pub fn depth(&self) -> usize {
        self.depth0 + 1
    }

    pub fn advance(&self, m: &Machine<'_>) -> Outcome<Option<Value>> {
        let ahead = self.after.borrow_mut().take();
        let next = match ahead {
            Some(item) => Some(item),
            None => self.take(m)?,
        };
        if let Some(item) = &next {
            self.index0.set(self.index0.get() + 1);
            let before = self.current.replace(Some(item.clone()));
            self.before.replace(before);
        }
        Ok(next)
    }

    fn take(&self, m: &Machine<'_>) -> Outcome<Option<Value>> {
        match self.source.try_borrow_mut() {
            Ok(mut source) => source.next(m),
            // The loop's own test asks for what comes next.
            Err(_) => Err(failed("generator already executing")),
        }
    }

    fn peek(&self, m: &Machine<'_>) -> Outcome<Option<Value>> {
        if let Some(item) = &*self.after.borrow() {
            return Ok(Some(item.clone()));
        }
        let next = self.take(m)?;
        self.after.replace(next.clone());
        Ok(next)
    }

    /// Goes through what is left where nothing else tells.
    pub fn len(&self, m: &Machine<'_>) -> Outcome<usize> {
        if let Some(len) = self.len.get() {
            return Ok(len);
        }
        let mut rest = std::collections::VecDeque::new();
        while let Some(item) = self.take(m)? {
            rest.push_back(item);
        }
        let ahead = usize::from(self.after.borrow().is_some());
        let index = usize::try_from(self.index0.get() + 1).unwrap_or(0);
        let len = rest.len() + index + ahead;
        self.source.borrow_mut().ahead = rest;
        self.len.set(Some(len));
        Ok(len)
    }

    pub fn attribute(self: &Rc<Self>, m: &Machine<'_>, name: &str) -> Outcome<Option<Value>> {
        let method = |name| {
            let receiver = Value::Loop(self.clone());
            Value::Method(Method { receiver, name }.into())
        };
        let index0 = self.index0.get();
        let len = || Ok(i64::try_from(self.len(m)?).unwrap_or(i64::MAX));
        Ok(Some(match name {
            "index0" => Value::Int(index0),
            "index" => Value::Int(index0 + 1),
            "revindex0" => Value::Int(len()? - index0 - 1),
            "revindex" => Value::Int(len()? - index0),
            "first" => Value::Bool(index0 == 0),
            "last" => Value::Bool(self.peek(m)?.is_none()),
            "length" => Value::Int(len()?),
            "depth" => Value::int(self.depth()),
            "depth0" => Value::int(self.depth0),
            "previtem" => match index0 {
                0 => Value::undefined("there is no previous item"),
                _ => self.before.borrow().clone().unwrap_or(Value::None),
            },
            "nextitem" => self
                .peek(m)?
                .unwrap_or_else(|| Value::undefined("there is no next item")),
            "cycle" => method("cycle"),
            "changed" => method("changed"),
            _ => return Ok(None),
        }))
    }

    pub fn call(&self, m: &Machine<'_>, name: &'static str, args: Args) -> Outcome<Value> {
        let values = args.plain(name, 0, usize::MAX)?;
        if name == "changed" {
            let weight: u64 = values.iter().map(Value::weight).sum();
            m.budget.spend(weight)?;
            let mut last = self.last_changed.borrow_mut();
            let same = last.as_ref().is_some_and(|last| {
                last.len() == values.len() && last.iter().zip(&values).all(|(a, b)| equal(a, b))
            });
            if !same {
                *last = Some(values);
            }
            return Ok(Value::Bool(!same));
        }
        if values.is_empty() {
            return Err(failed("no items for cycling given"));
        }
        let at = usize::try_from(self.index0.get()).unwrap_or(0) % values.len();
        Ok(values.get(at).cloned().unwrap_or(Value::None))
    }
}
