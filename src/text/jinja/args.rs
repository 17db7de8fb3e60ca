//! Arguments of a call, put to parameters as Python does.

use std::sync::Arc;

use super::fault::{Outcome, failed};
use super::value::{Str, Value};

#[derive(Default)]
pub(in crate::text) struct Args {
    pub positional: Vec<Value>,
    pub named: Vec<(Arc<str>, Value)>,
}

impl Args {
    pub fn of(positional: Vec<Value>) -> Self {
        let named = Vec::new();
        Self { positional, named }
    }

    pub fn take_named(&mut self, name: &str) -> Option<Value> {
        let at = self.named.iter().position(|(n, _)| **n == *name)?;
        Some(self.named.remove(at).1)
    }

    /// Puts them to `parameters`: `name`, `name?` where it may be absent, `/name` where only its place names it.
    pub fn bind(self, function: &str, parameters: &[&str]) -> Outcome<Bound> {
        let mut values: Vec<Option<Value>> = self.positional.into_iter().map(Some).collect();
        if values.len() > parameters.len() {
            return Err(failed(format!(
                "{function}() takes at most {} arguments ({} given)",
                parameters.len(),
                values.len()
            )));
        }
        values.resize_with(parameters.len(), || None);
        for (name, value) in self.named {
            let at = parameters
                .iter()
                .position(|p| p.strip_suffix('?').unwrap_or(p) == &*name);
            match at.and_then(|at| values.get_mut(at)) {
                None => {
                    return Err(failed(format!(
                        "{function}() got an unexpected keyword argument '{name}'"
                    )));
                }
                Some(Some(_)) => {
                    return Err(failed(format!(
                        "{function}() got multiple values for argument '{name}'"
                    )));
                }
                Some(place) => *place = Some(value),
            }
        }
        for (parameter, value) in parameters.iter().zip(&values) {
            if value.is_none() && !parameter.ends_with('?') {
                return Err(failed(format!(
                    "{function}() missing required argument: '{}'",
                    parameter.trim_start_matches('/')
                )));
            }
        }
        Ok(Bound(values))
    }

    /// No named ones, and `least` to `most` others.
    pub fn plain(self, function: &str, least: usize, most: usize) -> Outcome<Vec<Value>> {
        if !self.named.is_empty() {
            return Err(failed(format!("{function}() takes no keyword arguments")));
        }
        match (least..=most).contains(&self.positional.len()) {
            true => Ok(self.positional),
            false => Err(failed(format!(
                "{function}() takes {least} to {most} arguments ({} given)",
                self.positional.len()
            ))),
        }
    }
}

pub(in crate::text) struct Bound(Vec<Option<Value>>);

impl Bound {
    pub fn get(&mut self, at: usize) -> Option<Value> {
        self.0.get_mut(at)?.take()
    }

    /// Of a parameter that has no `?`.
    pub fn need(&mut self, at: usize) -> Value {
        self.get(at).unwrap_or(Value::None)
    }

    pub fn or(&mut self, at: usize, default: Value) -> Value {
        self.get(at).unwrap_or(default)
    }

    /// Whether it is true; `false` where absent.
    pub fn flag(&mut self, at: usize) -> bool {
        self.get(at).is_some_and(|value| value.is_true())
    }

    /// As [`Self::flag`], where Python takes nothing but a whole number.
    pub fn switch(&mut self, at: usize) -> Outcome<bool> {
        Ok(self.index(at, 0)? != 0)
    }

    pub fn index(&mut self, at: usize, default: i64) -> Outcome<i64> {
        match self.get(at) {
            Some(value) => value.as_index(),
            None => Ok(default),
        }
    }

    /// A text, which nothing else stands for.
    pub fn text(&mut self, at: usize) -> Outcome<Str> {
        let value = self.need(at);
        text(&value)
    }

    /// A text, or `None` where it is absent or none.
    pub fn maybe_text(&mut self, at: usize) -> Outcome<Option<Str>> {
        match self.get(at) {
            None | Some(Value::None) => Ok(None),
            Some(value) => text(&value).map(Some),
        }
    }
}

pub(super) fn text(value: &Value) -> Outcome<Str> {
    match value.defined()? {
        Value::Str(text) => Ok(text.clone()),
        value => Err(failed(format!("must be str, not {}", value.type_name()))),
    }
}
