//! Statements, as they are carried out.

use std::rc::Rc;
use std::sync::Arc;

use super::ast::*;
use super::fault::{Outcome, failed};
use super::iterate;
use super::loops::{Loop, Source};
use super::machine::{Activation, Machine};
use super::macros;
use super::markup::escape_value;
use super::repr;
use super::value::{Str, Value};

/// How statements were left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum Flow {
    Next,
    Break,
    Continue,
}

impl Machine<'_> {
    pub fn run(&self, body: &[Statement], on: &Rc<Activation>, out: &mut String) -> Outcome<Flow> {
        self.budget.deeper()?;
        for statement in body {
            self.budget.spend(1)?;
            let flow = self
                .statement(&statement.kind, on, out)
                .map_err(|fault| fault.at(statement.line))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&self, kind: &Kind, on: &Rc<Activation>, out: &mut String) -> Outcome<Flow> {
        match kind {
            Kind::Text(text) => self.write(text, out)?,
            Kind::Print(value) => {
                let value = self.evaluate(value, on)?;
                self.print(&value, out)?;
            }
            Kind::Set {
                target,
                value,
                exported,
            } => {
                self.check_namespaces(target, on)?;
                let value = self.evaluate(value, on)?;
                self.assign(target, value, on)?;
                if *exported {
                    self.export_target(target, on);
                }
            }
            Kind::SetBlock(set) => return self.set_block(set, on),
            Kind::If { arms, otherwise } => {
                for (test, body) in arms {
                    if self.evaluate(test, on)?.is_true() {
                        return self.run(body, on, out);
                    }
                }
                return self.run(otherwise, on, out);
            }
            Kind::For(of) => return self.for_loop(of, on, out),
            Kind::Macro {
                name,
                slot,
                declared,
                exported,
            } => {
                // It will be among the variables that it sees.
                self.keep_closure(on);
                let made = self.close(declared, on);
                if *exported {
                    self.export(name, made.clone());
                }
                on.set(*slot, made);
            }
            Kind::Call { body, call } => {
                let caller = self.close(body, on);
                let value = self.call_with(call, on, Some(caller))?;
                self.write_called(&value, out)?;
            }
            Kind::Generation(body) => {
                let caller = self.close(body, on);
                let value = self.call(&caller, super::args::Args::default())?;
                if let Some((open, _)) = self.fence {
                    out.push(open);
                }
                self.write_called(&value, out)?;
                if let Some((_, close)) = self.fence {
                    out.push(close);
                }
            }
            Kind::Filter { filter, scope } => {
                let mut inner = String::new();
                self.enter(&scope.loads, on)?;
                let flow = self.run(&scope.body, on, &mut inner)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
                let value = self.filtered(filter, inner, on)?;
                self.write_called(&value, out)?;
            }
            Kind::With { values, scope } => {
                self.enter(&scope.loads, on)?;
                for (target, value) in values {
                    let value = self.evaluate(value, on)?;
                    self.assign(target, value, on)?;
                }
                return self.run(&scope.body, on, out);
            }
            Kind::Block {
                name,
                required,
                locals,
            } => {
                if *required {
                    return Err(failed(format!("Required block '{name}' not found")));
                }
                if let Some(block) = self.block(name) {
                    let locals = locals.iter().flatten();
                    let locals = locals.filter_map(|(n, slot)| Some((n.clone(), on.get(*slot)?)));
                    self.with_locals(locals.collect(), || self.run_block(block, out))?;
                }
            }
            Kind::AutoEscape { on: setting, scope } => {
                self.enter(&scope.loads, on)?;
                let setting = self.evaluate(setting, on)?.is_true();
                let before = self.escaping.replace(setting);
                let flow = self.run(&scope.body, on, out);
                self.escaping.set(before);
                return flow;
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            Kind::Load(loading) => {
                self.evaluate(&loading.template, on)?;
                return Err(failed("no loader for this environment specified"));
            }
        }
        Ok(Flow::Next)
    }

    fn write(&self, text: &str, out: &mut String) -> Outcome<()> {
        self.budget.spend((text.len() / 128) as u64)?;
        self.budget.bound(out.len() + text.len())?;
        out.push_str(text);
        Ok(())
    }

    fn print(&self, value: &Value, out: &mut String) -> Outcome<()> {
        match self.escaping() {
            true => out.push_str(&escape_value(&self.budget, value)?),
            false => repr::print(&self.budget, value, out)?,
        }
        self.budget.bound(out.len())
    }

    /// What a block's function returned, which must be text.
    fn write_called(&self, value: &Value, out: &mut String) -> Outcome<()> {
        match value {
            Value::Str(text) => self.write(text, out),
            value => Err(failed(format!(
                "expected str instance, {} found",
                value.type_name()
            ))),
        }
    }

    fn close(&self, declared: &Arc<Macro>, on: &Rc<Activation>) -> Value {
        Value::Macro(Rc::new(macros::Macro {
            declared: declared.clone(),
            closure: on.clone(),
        }))
    }

    fn captured(&self, text: String) -> Value {
        match self.escaping() {
            true => Value::Str(Str::markup(text)),
            false => Value::str(text),
        }
    }

    fn filtered(&self, filter: &Expr, text: String, on: &Rc<Activation>) -> Outcome<Value> {
        let text = self.captured(text);
        self.captured.borrow_mut().push(text);
        let value = self.evaluate(filter, on);
        self.captured.borrow_mut().pop();
        value
    }

    fn set_block(&self, set: &SetBlock, on: &Rc<Activation>) -> Outcome<Flow> {
        let mut inner = String::new();
        self.enter(&set.scope.loads, on)?;
        let flow = self.run(&set.scope.body, on, &mut inner)?;
        if flow != Flow::Next {
            return Ok(flow);
        }
        let value = match &set.filter {
            Some(filter) => self.filtered(filter, inner, on)?,
            None => self.captured(inner),
        };
        self.check_namespaces(&set.target, on)?;
        self.assign(&set.target, value, on)?;
        if set.exported {
            self.export_target(&set.target, on);
        }
        Ok(Flow::Next)
    }

    fn check_namespaces(&self, target: &Target, on: &Rc<Activation>) -> Outcome<()> {
        match target {
            Target::Name { .. } => Ok(()),
            Target::Attribute { slot, .. } => match on.get(*slot) {
                Some(Value::Namespace(_)) => Ok(()),
                _ => Err(failed("cannot assign attribute on non-namespace object")),
            },
            Target::Tuple(items) => items.iter().try_for_each(|t| self.check_namespaces(t, on)),
        }
    }

    pub fn assign(&self, target: &Target, value: Value, on: &Rc<Activation>) -> Outcome<()> {
        match target {
            Target::Name { slot, .. } => {
                on.set(*slot, value);
                Ok(())
            }
            Target::Attribute {
                slot, attribute, ..
            } => match on.get(*slot) {
                Some(Value::Namespace(namespace)) => namespace.set(attribute, value),
                _ => Err(failed("cannot assign attribute on non-namespace object")),
            },
            Target::Tuple(targets) => {
                let mut cursor = iterate::iterate(&value).map_err(|_| {
                    failed(format!(
                        "cannot unpack non-iterable {} object",
                        value.type_name()
                    ))
                })?;
                let mut items = Vec::with_capacity(targets.len());
                for _ in targets {
                    match cursor.next() {
                        Some(item) => items.push(item?),
                        None => {
                            return Err(failed(format!(
                                "not enough values to unpack (expected {}, got {})",
                                targets.len(),
                                items.len()
                            )));
                        }
                    }
                }
                if cursor.next().is_some() {
                    return Err(failed(format!(
                        "too many values to unpack (expected {})",
                        targets.len()
                    )));
                }
                let pairs = targets.iter().zip(items);
                pairs
                    .into_iter()
                    .try_for_each(|(t, item)| self.assign(t, item, on))
            }
        }
    }

    fn export_target(&self, target: &Target, on: &Rc<Activation>) {
        match target {
            Target::Name { name, slot } => {
                if let Some(value) = on.get(*slot) {
                    self.export(name, value);
                }
            }
            Target::Attribute { .. } => {}
            Target::Tuple(items) => items.iter().for_each(|item| self.export_target(item, on)),
        }
    }

    fn for_loop(&self, of: &Arc<For>, on: &Rc<Activation>, out: &mut String) -> Outcome<Flow> {
        let over = self.evaluate(&of.over, on)?;
        if of.recursive {
            let text = self.recurse(of, on, &over, 0)?;
            self.write(&text, out)?;
            return Ok(Flow::Next);
        }
        let test = of.test.is_some().then(|| (of.clone(), on.clone()));
        let source = Source::new(&over, test)?;
        match of.loop_slot {
            None => self.go_through(of, on, None, Some(source), out),
            Some(_) => {
                // The loop is among the variables that its test sees.
                if of.test.is_some() {
                    self.keep_closure(on);
                }
                let seen = Rc::new(Loop::new(&over, source, 0, None));
                self.go_through(of, on, Some(&seen), None, out)
            }
        }
    }

    /// A loop marked `recursive`, which is a function of what it goes through.
    pub fn recurse(
        &self,
        of: &Arc<For>,
        outer: &Rc<Activation>,
        over: &Value,
        depth: usize,
    ) -> Outcome<String> {
        self.budget.deeper()?;
        let on = Activation::new(of.slots, Some(outer.clone()));
        let test = of.test.is_some().then(|| (of.clone(), outer.clone()));
        let source = Source::new(over, test)?;
        let again = Some((of.clone(), outer.clone()));
        let seen = Rc::new(Loop::new(over, source, depth, again));
        let mut out = String::new();
        self.go_through(of, &on, Some(&seen), None, &mut out)?;
        Ok(out)
    }

    fn go_through(
        &self,
        of: &For,
        on: &Rc<Activation>,
        seen: Option<&Rc<Loop>>,
        mut source: Option<Source>,
        out: &mut String,
    ) -> Outcome<Flow> {
        // Jinja takes a loop whose every turn was cut short for one that had none.
        let mut none = true;
        loop {
            let item = match (&mut source, seen) {
                (Some(source), _) => source.next(self)?,
                (None, Some(seen)) => seen.advance(self)?,
                (None, None) => None,
            };
            let Some(item) = item else {
                break;
            };
            self.budget.spend(1)?;
            self.assign(&of.target, item, on)?;
            if let (Some(slot), Some(seen)) = (of.loop_slot, seen) {
                on.set(slot, Value::Loop(seen.clone()));
            }
            self.enter(&of.scope.loads, on)?;
            match self.run(&of.scope.body, on, out)? {
                Flow::Next => none = false,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        if none && !of.otherwise.body.is_empty() {
            self.enter(&of.otherwise.loads, on)?;
            return self.run(&of.otherwise.body, on, out);
        }
        Ok(Flow::Next)
    }
}
