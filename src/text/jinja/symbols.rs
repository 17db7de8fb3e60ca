//! Which names a scope has, and what each starts as. The rules are Jinja's: a name that a scope writes anywhere is its
//! own throughout and starts as what it is further out; one that it only reads is that of the scope it is written in.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::ast::*;
use super::walk;

/// A variable: the function it belongs to, counted from the outermost, and its place there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub level: usize,
    pub index: usize,
}

/// The variables of a function, by scope and name.
#[derive(Default)]
pub(super) struct Variables(HashMap<(usize, Arc<str>), usize>);

impl Variables {
    fn index(&mut self, scope: usize, name: &Arc<str>) -> usize {
        let next = self.0.len();
        *self.0.entry((scope, name.clone())).or_insert(next)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Clone)]
enum Start {
    Parameter,
    Resolve,
    Alias(Place),
    Missing,
}

#[derive(Clone)]
pub(super) struct Symbols {
    /// Tells scopes of one function apart.
    scope: usize,
    level: usize,
    places: HashMap<Arc<str>, Place>,
    starts: IndexMap<Arc<str>, Start>,
    stores: HashSet<Arc<str>>,
    parent: Option<Rc<Symbols>>,
}

impl Symbols {
    pub fn new(scope: usize, level: usize, parent: Option<Rc<Symbols>>) -> Self {
        Self {
            scope,
            level,
            places: HashMap::new(),
            starts: IndexMap::new(),
            stores: HashSet::new(),
            parent,
        }
    }

    pub fn find(&self, name: &str) -> Option<Place> {
        let outer = || self.parent.as_ref()?.find(name);
        self.places.get(name).copied().or_else(outer)
    }

    /// From a function at `level`.
    pub fn slot(&self, name: &str, level: usize) -> Option<Slot> {
        let place = self.find(name)?;
        Some(Slot {
            up: level - place.level,
            index: place.index,
        })
    }

    /// What to do where the scope is entered.
    pub fn loads(&self) -> Loads {
        let loads = self.starts.iter().filter_map(|(name, start)| {
            let load = match start {
                Start::Parameter => return None,
                Start::Resolve => Load::Resolve(name.clone()),
                Start::Alias(place) => Load::Alias(Slot {
                    up: self.level - place.level,
                    index: place.index,
                }),
                Start::Missing => Load::Missing,
            };
            Some((self.places.get(name)?.index, load))
        });
        loads.collect()
    }

    /// Every name that is written here or further out.
    pub fn all_stores(&self) -> Vec<(Arc<str>, Place)> {
        let mut found: Vec<(Arc<str>, Place)> = Vec::new();
        let mut next = Some(self);
        while let Some(symbols) = next {
            for name in &symbols.stores {
                if let (false, Some(place)) =
                    (found.iter().any(|(n, _)| n == name), self.find(name))
                {
                    found.push((name.clone(), place));
                }
            }
            next = symbols.parent.as_deref();
        }
        found
    }

    fn define(&mut self, variables: &mut Variables, name: &Arc<str>, start: Start) {
        let place = Place {
            level: self.level,
            index: variables.index(self.scope, name),
        };
        self.places.insert(name.clone(), place);
        self.starts.insert(name.clone(), start);
    }

    pub fn parameter(&mut self, variables: &mut Variables, name: &Arc<str>) -> usize {
        self.stores.insert(name.clone());
        self.define(variables, name, Start::Parameter);
        self.places.get(name).map_or(0, |place| place.index)
    }

    fn store(&mut self, variables: &mut Variables, name: &Arc<str>) {
        self.stores.insert(name.clone());
        if self.places.contains_key(name) {
            return;
        }
        let outer = self.parent.as_ref().and_then(|parent| parent.find(name));
        self.define(variables, name, outer.map_or(Start::Missing, Start::Alias));
    }

    fn load(&mut self, variables: &mut Variables, name: &str) {
        if self.find(name).is_none() {
            self.define(variables, &name.into(), Start::Resolve);
        }
    }

    /// Every name that `expr` reads.
    pub fn reads(&mut self, variables: &mut Variables, expr: &Expr) {
        let _ = walk::expression(expr, &mut |name, _| {
            self.load(variables, name);
            ControlFlow::Continue(())
        });
    }

    pub fn statements(&mut self, variables: &mut Variables, body: &[Statement]) {
        for statement in body {
            self.statement(variables, &statement.kind);
        }
    }

    /// What a statement does in this scope; what it encloses has scopes of its own, but for the arms of an `if`.
    fn statement(&mut self, variables: &mut Variables, kind: &Kind) {
        match kind {
            Kind::Print(value) => self.reads(variables, value),
            Kind::Set { target, value, .. } => {
                self.reads(variables, value);
                self.target(variables, target);
            }
            Kind::SetBlock(set) => {
                self.target(variables, &set.target);
            }
            Kind::If { arms, otherwise } => self.branches(variables, arms, otherwise),
            Kind::For(of) => self.reads(variables, &of.over),
            Kind::Macro { name, .. } => self.store(variables, name),
            Kind::Call { call, .. } => self.reads(variables, call),
            Kind::Filter { filter, .. } => self.reads(variables, filter),
            Kind::With { values, .. } => {
                values
                    .iter()
                    .for_each(|(_, value)| self.reads(variables, value));
            }
            Kind::Load(loading) => {
                self.reads(variables, &loading.template);
                loading
                    .names
                    .iter()
                    .for_each(|name| self.store(variables, name));
            }
            Kind::AutoEscape { .. }
            | Kind::Text(_)
            | Kind::Generation(_)
            | Kind::Block { .. }
            | Kind::Break
            | Kind::Continue => {}
        }
    }

    fn branches(&mut self, variables: &mut Variables, arms: &[(Expr, Body)], otherwise: &Body) {
        let mut arms = arms.iter();
        let mut branches = Vec::new();
        if let Some((test, body)) = arms.next() {
            self.reads(variables, test);
            let mut branch = self.clone();
            branch.statements(variables, body);
            branches.push(branch);
        }
        let mut rest = self.clone();
        for (test, body) in arms {
            rest.reads(variables, test);
            let mut branch = rest.clone();
            branch.statements(variables, body);
            let unchanged = rest.clone();
            rest.join(vec![branch, unchanged]);
        }
        branches.push(rest);
        let mut last = self.clone();
        last.statements(variables, otherwise);
        branches.push(last);
        self.join(branches);
    }

    /// A name that an arm writes may not be written: it starts as what it is otherwise.
    fn join(&mut self, branches: Vec<Self>) {
        let stored = branches.iter().flat_map(|branch| &branch.stores);
        let new: HashSet<Arc<str>> = stored
            .filter(|name| !self.stores.contains(*name))
            .cloned()
            .collect();
        for branch in branches {
            self.places.extend(branch.places);
            self.starts.extend(branch.starts);
            self.stores.extend(branch.stores);
        }
        for name in new {
            let outer = self.parent.as_ref().and_then(|parent| parent.find(&name));
            self.starts
                .insert(name, outer.map_or(Start::Resolve, Start::Alias));
        }
    }

    fn target(&mut self, variables: &mut Variables, target: &Target) {
        match target {
            Target::Name { name, .. } => self.store(variables, name),
            Target::Attribute { name, .. } => self.load(variables, name),
            Target::Tuple(items) => {
                items.iter().for_each(|item| self.target(variables, item));
            }
        }
    }

    /// Names that a loop or a `with` gives.
    pub fn parameters(&mut self, variables: &mut Variables, target: &Target) {
        match target {
            Target::Name { name, .. } => {
                self.parameter(variables, name);
            }
            Target::Attribute { name, .. } => self.load(variables, name),
            Target::Tuple(items) => {
                items
                    .iter()
                    .for_each(|item| self.parameters(variables, item));
            }
        }
    }
}
