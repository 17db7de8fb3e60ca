//! Puts every name to a variable, and refuses what Jinja's compiler refuses.

mod expressions;

use std::rc::Rc;
use std::sync::Arc;

use super::ast::*;
use super::fault::{Fault, Kind as FaultKind, Outcome};
use super::fold::{fold, within};
use super::parser::Parsed;
use super::symbols::{Symbols, Variables};
use super::walk::{undeclared, writes};

/// A template whose names are variables.
pub(in crate::text) struct Resolved {
    pub root: Block,
    pub blocks: Vec<Block>,
}

struct Resolver {
    /// Of the function being resolved, and of those around it.
    functions: Vec<Variables>,
    scopes: usize,
    has_blocks: bool,
}

#[derive(Clone)]
struct Frame {
    symbols: Rc<Symbols>,
    /// What is set here is seen by blocks.
    top: bool,
    /// In a branch, where an unknown filter fails only when it is reached.
    soft: bool,
    in_loop: bool,
}

impl Frame {
    fn inside(&self, symbols: Symbols) -> Self {
        Self {
            symbols: Rc::new(symbols),
            top: false,
            soft: false,
            in_loop: self.in_loop,
        }
    }
}

pub(super) fn resolve(parsed: Parsed) -> Outcome<Resolved> {
    let mut resolver = Resolver {
        functions: Vec::new(),
        scopes: 0,
        has_blocks: !parsed.blocks.is_empty(),
    };
    let mut root = Block {
        name: "".into(),
        loads: Loads::new(),
        body: parsed.body,
        slots: 0,
        own: Vec::new(),
    };
    resolver.block(&mut root, &["self"], true)?;
    let mut blocks = parsed.blocks;
    for block in &mut blocks {
        resolver.block(block, &["self", "super"], false)?;
    }
    Ok(Resolved { root, blocks })
}

fn fail<T>(line: usize, why: impl Into<String>) -> Outcome<T> {
    Err(Fault::new(FaultKind::Syntax, why).at(line))
}

impl Resolver {
    fn level(&self) -> usize {
        self.functions.len().saturating_sub(1)
    }

    fn variables(&mut self) -> &mut Variables {
        if self.functions.is_empty() {
            self.functions.push(Variables::default());
        }
        let last = self.functions.len() - 1;
        &mut self.functions[last]
    }

    fn leave_function(&mut self) -> usize {
        self.functions.pop().map_or(0, |variables| variables.len())
    }

    fn symbols(&mut self, parent: Option<&Rc<Symbols>>) -> Symbols {
        self.scopes += 1;
        Symbols::new(self.scopes, self.level(), parent.cloned())
    }

    fn block(&mut self, block: &mut Block, own: &[&'static str], top: bool) -> Outcome<()> {
        self.functions.push(Variables::default());
        let mut symbols = self.symbols(None);
        for name in undeclared(&block.body, own) {
            let index = symbols.parameter(self.variables(), &name.into());
            block.own.push((name, index));
        }
        symbols.statements(self.variables(), &block.body);
        block.loads = symbols.loads();
        let frame = Frame {
            symbols: Rc::new(symbols),
            top,
            soft: false,
            in_loop: false,
        };
        self.body(&mut block.body, &frame)?;
        block.slots = self.leave_function();
        Ok(())
    }

    fn body(&mut self, body: &mut Body, frame: &Frame) -> Outcome<()> {
        for statement in body {
            let line = statement.line;
            fold(&mut statement.kind);
            self.statement(&mut statement.kind, frame, line)
                .map_err(|fault| fault.at(line))?;
        }
        Ok(())
    }

    /// A scope whose symbols are what its statements make of them.
    fn scope(&mut self, scope: &mut Scope, frame: &Frame) -> Outcome<Frame> {
        let mut symbols = self.symbols(Some(&frame.symbols));
        symbols.statements(self.variables(), &scope.body);
        scope.loads = symbols.loads();
        let inner = frame.inside(symbols);
        self.body(&mut scope.body, &inner)?;
        Ok(inner)
    }

    fn statement(&mut self, kind: &mut Kind, frame: &Frame, line: usize) -> Outcome<()> {
        match kind {
            Kind::Text(_) => {}
            Kind::Print(value) => self.expr(value, frame)?,
            Kind::Set {
                target,
                value,
                exported,
            } => {
                self.expr(value, frame)?;
                self.target(target, frame)?;
                *exported = frame.top && self.has_blocks;
            }
            Kind::SetBlock(set) => {
                let mut symbols = self.symbols(Some(&frame.symbols));
                symbols.statements(self.variables(), &set.scope.body);
                if let Some(filter) = &set.filter {
                    symbols.reads(self.variables(), filter);
                }
                set.scope.loads = symbols.loads();
                let inner = frame.inside(symbols);
                self.body(&mut set.scope.body, &inner)?;
                if let Some(filter) = &mut set.filter {
                    self.expr(filter, &inner)?;
                }
                self.target(&mut set.target, frame)?;
                set.exported = frame.top && self.has_blocks;
            }
            Kind::If { arms, otherwise } => {
                let soft = Frame {
                    soft: true,
                    ..frame.clone()
                };
                for (test, body) in arms {
                    self.expr(test, &soft)?;
                    self.body(body, &soft)?;
                }
                self.body(otherwise, &soft)?;
            }
            Kind::For(of) => match Arc::get_mut(of) {
                Some(of) => self.for_loop(of, frame)?,
                None => return fail(line, "a loop is shared"),
            },
            Kind::Macro {
                name,
                slot,
                declared,
                exported,
            } => {
                self.macro_body(declared, frame, line)?;
                *slot = self.slot(name, frame, line)?;
                *exported = frame.top && self.has_blocks;
            }
            Kind::Call { body, call } => {
                self.macro_body(body, frame, line)?;
                self.expr(call, frame)?;
            }
            Kind::Generation(body) => self.macro_body(body, frame, line)?,
            Kind::Filter { filter, scope } => {
                let mut symbols = self.symbols(Some(&frame.symbols));
                symbols.statements(self.variables(), &scope.body);
                symbols.reads(self.variables(), filter);
                scope.loads = symbols.loads();
                let inner = frame.inside(symbols);
                self.body(&mut scope.body, &inner)?;
                self.expr(filter, &inner)?;
            }
            Kind::With { values, scope } => {
                let mut symbols = self.symbols(Some(&frame.symbols));
                for (target, _) in values.iter() {
                    symbols.parameters(self.variables(), target);
                }
                symbols.statements(self.variables(), &scope.body);
                scope.loads = symbols.loads();
                let inner = frame.inside(symbols);
                for (target, value) in values {
                    self.expr(value, frame)?;
                    self.target(target, &inner)?;
                }
                self.body(&mut scope.body, &inner)?;
            }
            Kind::AutoEscape { on, scope } => {
                let mut symbols = self.symbols(Some(&frame.symbols));
                symbols.reads(self.variables(), on);
                symbols.statements(self.variables(), &scope.body);
                scope.loads = symbols.loads();
                let inner = frame.inside(symbols);
                self.expr(on, &inner)?;
                self.body(&mut scope.body, &inner)?;
            }
            Kind::Block { locals, .. } => {
                if let Some(locals) = locals {
                    let level = self.level();
                    let all = frame.symbols.all_stores().into_iter();
                    *locals = all
                        .map(|(name, place)| {
                            let up = level - place.level;
                            let index = place.index;
                            (name, Slot { up, index })
                        })
                        .collect();
                }
            }
            Kind::Break | Kind::Continue if frame.in_loop => {}
            Kind::Break => return fail(line, "'break' outside loop"),
            Kind::Continue => return fail(line, "'continue' not properly in loop"),
            Kind::Load(loading) => self.expr(&mut loading.template, frame)?,
        }
        Ok(())
    }

    fn for_loop(&mut self, of: &mut For, frame: &Frame) -> Outcome<()> {
        if writes(of, "loop") {
            return fail(
                of.line,
                "Can't assign to special loop variable in for-loop target",
            );
        }
        within(&mut of.over);
        self.expr(&mut of.over, frame)?;
        if let Some(test) = &mut of.test {
            let mut symbols = self.symbols(Some(&frame.symbols));
            symbols.parameters(self.variables(), &test.target);
            symbols.reads(self.variables(), &test.condition);
            test.loads = symbols.loads();
            let inner = frame.inside(symbols);
            self.target(&mut test.target, &inner)?;
            self.expr(&mut test.condition, &inner)?;
        }
        if of.recursive {
            self.functions.push(Variables::default());
        }
        let mut symbols = self.symbols(Some(&frame.symbols));
        let asks =
            !undeclared(&of.scope.body, &["loop"]).is_empty() || holds_scoped_block(&of.scope.body);
        if of.recursive || asks {
            let index = symbols.parameter(self.variables(), &"loop".into());
            of.loop_slot = Some(Slot { up: 0, index });
        }
        symbols.parameters(self.variables(), &of.target);
        symbols.statements(self.variables(), &of.scope.body);
        of.scope.loads = symbols.loads();
        let mut inner = frame.inside(symbols);
        inner.in_loop = true;
        self.target(&mut of.target, &inner)?;
        self.body(&mut of.scope.body, &inner)?;
        // A loop that is a function is not in the loop around it.
        let outer = Frame {
            in_loop: frame.in_loop && !of.recursive,
            ..frame.clone()
        };
        self.scope(&mut of.otherwise, &outer)?;
        if of.recursive {
            of.slots = self.leave_function();
        }
        Ok(())
    }

    fn macro_body(&mut self, of: &mut Arc<Macro>, frame: &Frame, line: usize) -> Outcome<()> {
        let Some(of) = Arc::get_mut(of) else {
            return fail(line, "a macro is shared");
        };
        self.functions.push(Variables::default());
        let mut symbols = self.symbols(Some(&frame.symbols));
        for parameter in &mut of.parameters {
            let index = symbols.parameter(self.variables(), &parameter.name);
            parameter.slot = Slot { up: 0, index };
        }
        let named = |of: &Macro, name: &str| of.parameters.iter().any(|p| &*p.name == name);
        let asked = undeclared(&of.body, &["caller", "kwargs", "varargs"]);
        for name in asked {
            if name == "caller" {
                of.accesses_caller = true;
                let mut parameters = of.parameters.iter();
                if parameters.any(|p| &*p.name == name && p.default.is_none()) {
                    return fail(
                        line,
                        "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default.",
                    );
                }
            }
            if named(of, name) {
                continue;
            }
            let index = symbols.parameter(self.variables(), &name.into());
            let slot = Some(Slot { up: 0, index });
            match name {
                "caller" => of.caller = slot,
                "kwargs" => of.kwargs = slot,
                _ => of.varargs = slot,
            }
        }
        for default in of.parameters.iter().filter_map(|p| p.default.as_ref()) {
            symbols.reads(self.variables(), default);
        }
        symbols.statements(self.variables(), &of.body);
        of.loads = symbols.loads();
        let mut inner = frame.inside(symbols);
        inner.in_loop = false;
        for parameter in &mut of.parameters {
            if let Some(default) = &mut parameter.default {
                self.expr(default, &inner)?;
            }
        }
        self.body(&mut of.body, &inner)?;
        of.slots = self.leave_function();
        Ok(())
    }

    fn slot(&self, name: &str, frame: &Frame, line: usize) -> Outcome<Slot> {
        match frame.symbols.slot(name, self.level()) {
            Some(slot) => Ok(slot),
            None => fail(line, format!("'{name}' is not known here")),
        }
    }
}

fn holds_scoped_block(body: &[Statement]) -> bool {
    body.iter().any(|statement| match &statement.kind {
        Kind::Block { locals, .. } => locals.is_some(),
        Kind::If { arms, otherwise } => {
            arms.iter().any(|(_, body)| holds_scoped_block(body)) || holds_scoped_block(otherwise)
        }
        Kind::With { scope, .. } | Kind::Filter { scope, .. } => holds_scoped_block(&scope.body),
        _ => false,
    })
}
