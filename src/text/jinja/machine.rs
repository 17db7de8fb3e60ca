//! One rendering: its variables, and what it may still take.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use chrono::{DateTime, Local};
use indexmap::IndexMap;

use super::ast::{Block, For, Load, Loads, Slot};
use super::budget::Budget;
use super::fault::Outcome;
use super::functions::{Function, Namespace};
use super::resolve::Resolved;
use super::value::Value;

/// The variables of one call of a function: a macro, a recursive loop, or the template itself.
pub(in crate::text) struct Activation {
    slots: RefCell<Vec<Option<Value>>>,
    outer: Option<Rc<Activation>>,
}

impl Activation {
    pub fn new(slots: usize, outer: Option<Rc<Self>>) -> Rc<Self> {
        let slots = RefCell::new(vec![None; slots]);
        Rc::new(Self { slots, outer })
    }

    fn reach<T>(&self, slot: Slot, act: impl FnOnce(&mut Option<Value>) -> T) -> Option<T> {
        let mut at = self;
        for _ in 0..slot.up {
            at = at.outer.as_deref()?;
        }
        at.slots.borrow_mut().get_mut(slot.index).map(act)
    }

    /// `None` where it has not been set.
    pub fn get(&self, slot: Slot) -> Option<Value> {
        self.reach(slot, |value| value.clone()).flatten()
    }

    pub fn put(&self, slot: Slot, value: Option<Value>) {
        let old = self.reach(slot, |place| std::mem::replace(place, value));
        drop(old);
    }

    pub fn set(&self, slot: Slot, value: Value) {
        self.put(slot, Some(value));
    }
}

pub(in crate::text) struct Machine<'t> {
    pub budget: Budget,
    pub(super) template: &'t Resolved,
    given: &'t IndexMap<String, Value>,
    /// What the template set at its top, for its blocks.
    exported: RefCell<IndexMap<Arc<str>, Value>>,
    pub(super) captured: RefCell<Vec<Value>>,
    pub(super) escaping: Cell<bool>,
    /// Two characters to put around answers.
    pub(super) fence: Option<(char, char)>,
    time: Option<DateTime<Local>>,
    /// Namespaces and closures may hold themselves; they are emptied when the rendering ends.
    namespaces: RefCell<Vec<Rc<Namespace>>>,
    closures: RefCell<Vec<Rc<Activation>>>,
}

impl<'t> Machine<'t> {
    pub fn new(
        template: &'t Resolved,
        given: &'t IndexMap<String, Value>,
        steps: u64,
        fence: Option<(char, char)>,
        time: Option<DateTime<Local>>,
    ) -> Self {
        Self {
            budget: Budget::new(steps),
            template,
            given,
            exported: RefCell::default(),
            captured: RefCell::default(),
            escaping: Cell::new(false),
            fence,
            time,
            namespaces: RefCell::default(),
            closures: RefCell::default(),
        }
    }

    pub fn render(&self) -> Outcome<String> {
        let mut out = String::new();
        self.run_block(&self.template.root, &mut out)?;
        Ok(out)
    }

    /// The body of the template or of a block, whose names are its own.
    pub(super) fn run_block(&self, block: &Block, out: &mut String) -> Outcome<()> {
        self.budget.deeper()?;
        let activation = Activation::new(block.slots, None);
        for (name, index) in &block.own {
            let value = match *name {
                "self" => Value::Template,
                _ => Value::undefined(format!("there is no parent block called '{}'.", block.name)),
            };
            let index = *index;
            activation.set(Slot { up: 0, index }, value);
        }
        self.enter(&block.loads, &activation)?;
        self.run(&block.body, &activation, out)?;
        Ok(())
    }

    pub fn now(&self) -> DateTime<Local> {
        self.time.unwrap_or_else(Local::now)
    }

    pub fn escaping(&self) -> bool {
        self.escaping.get()
    }

    pub fn has_block(&self, name: &str) -> bool {
        self.block(name).is_some()
    }

    pub(super) fn block(&self, name: &str) -> Option<&'t Block> {
        self.template.blocks.iter().find(|b| *b.name == *name)
    }

    /// What the template was given under a name, or what every template has.
    fn resolve(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.exported.borrow().get(name) {
            return Some(value.clone());
        }
        match self.given.get(name) {
            Some(value) => Some(value.clone()),
            None => Function::named(name).map(Value::Function),
        }
    }

    pub(super) fn export(&self, name: &Arc<str>, value: Value) {
        self.exported.borrow_mut().insert(name.clone(), value);
    }

    /// Runs `act` where these names are set besides.
    pub(super) fn with_locals<T>(
        &self,
        locals: Vec<(Arc<str>, Value)>,
        act: impl FnOnce() -> T,
    ) -> T {
        let before = self.exported.borrow().clone();
        self.exported.borrow_mut().extend(locals);
        let result = act();
        self.exported.replace(before);
        result
    }

    /// Starts the variables of a scope.
    pub fn enter(&self, loads: &Loads, activation: &Rc<Activation>) -> Outcome<()> {
        self.budget.spend(loads.len() as u64)?;
        for (index, load) in loads {
            let value = match load {
                Load::Resolve(name) => self.resolve(name),
                Load::Alias(slot) => activation.get(*slot),
                Load::Missing => None,
            };
            let index = *index;
            activation.put(Slot { up: 0, index }, value);
        }
        Ok(())
    }

    pub fn keep_namespace(&self, namespace: &Rc<Namespace>) {
        self.namespaces.borrow_mut().push(namespace.clone());
    }

    pub(super) fn keep_closure(&self, activation: &Rc<Activation>) {
        let mut closures = self.closures.borrow_mut();
        let known = closures
            .last()
            .is_some_and(|last| Rc::ptr_eq(last, activation));
        if !known {
            closures.push(activation.clone());
        }
    }

    /// Whether a loop's test holds for an item.
    pub fn passes(
        &self,
        of: &Arc<For>,
        activation: &Rc<Activation>,
        item: &Value,
    ) -> Outcome<bool> {
        let Some(test) = &of.test else {
            return Ok(true);
        };
        self.enter(&test.loads, activation)?;
        self.assign(&test.target, item.clone(), activation)?;
        Ok(self.evaluate(&test.condition, activation)?.is_true())
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // One by one, while all are held: whatever they hold of each other is not dropped in depth.
        for namespace in self.namespaces.borrow().iter() {
            let values = namespace.values.take();
            drop(values);
        }
        for closure in self.closures.borrow().iter() {
            let slots = closure.slots.take();
            drop(slots);
        }
    }
}
