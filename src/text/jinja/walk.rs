//! Going through what was parsed, name by name, in the order in which Jinja does.

use std::ops::ControlFlow;

use super::ast::*;

/// What happens to a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
}

type See<'s> = &'s mut dyn FnMut(&str, Use) -> ControlFlow<()>;

/// Which of `names` the statements read before they write them.
pub(super) fn undeclared(body: &[Statement], names: &[&'static str]) -> Vec<&'static str> {
    let mut open = names.to_vec();
    let mut found = Vec::new();
    let _ = statements(body, &mut |name, used| {
        if let Some(at) = open.iter().position(|n| *n == name) {
            let name = open[at];
            match used {
                Use::Write => {
                    open.remove(at);
                }
                Use::Read if !found.contains(&name) => found.push(name),
                Use::Read => {}
            }
        }
        match found.len() == names.len() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    found
}

/// Whether the statements write a variable of this name, however deep.
pub(super) fn writes(of: &For, name: &str) -> bool {
    let mut see = |n: &str, used| match n == name && used == Use::Write {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    for_loop(of, &mut see).is_break()
}

fn statements(body: &[Statement], see: See<'_>) -> ControlFlow<()> {
    body.iter().try_for_each(|s| statement(&s.kind, see))
}

fn statement(kind: &Kind, see: See<'_>) -> ControlFlow<()> {
    match kind {
        Kind::Text(_) | Kind::Break | Kind::Continue | Kind::Block { .. } => {}
        Kind::Print(value) => expression(value, see)?,
        Kind::Set {
            target: to, value, ..
        } => {
            target(to, see)?;
            expression(value, see)?;
        }
        Kind::SetBlock(set) => {
            target(&set.target, see)?;
            set.filter.iter().try_for_each(|f| expression(f, see))?;
            statements(&set.scope.body, see)?;
        }
        Kind::If { arms, otherwise } => {
            for (test, body) in arms {
                expression(test, see)?;
                statements(body, see)?;
            }
            statements(otherwise, see)?;
        }
        Kind::For(of) => for_loop(of, see)?,
        Kind::Macro { declared, .. } | Kind::Generation(declared) => macro_body(declared, see)?,
        Kind::Call { body, call } => {
            expression(call, see)?;
            macro_body(body, see)?;
        }
        Kind::Filter { filter, scope } => {
            statements(&scope.body, see)?;
            expression(filter, see)?;
        }
        Kind::With { values, scope } => {
            values.iter().try_for_each(|(to, _)| target(to, see))?;
            values
                .iter()
                .try_for_each(|(_, value)| expression(value, see))?;
            statements(&scope.body, see)?;
        }
        Kind::AutoEscape { on, scope } => {
            expression(on, see)?;
            statements(&scope.body, see)?;
        }
        Kind::Load(loading) => expression(&loading.template, see)?,
    }
    ControlFlow::Continue(())
}

fn for_loop(of: &For, see: See<'_>) -> ControlFlow<()> {
    target(&of.target, see)?;
    expression(&of.over, see)?;
    statements(&of.scope.body, see)?;
    statements(&of.otherwise.body, see)?;
    of.test
        .iter()
        .try_for_each(|t| expression(&t.condition, see))
}

fn macro_body(of: &Macro, see: See<'_>) -> ControlFlow<()> {
    let mut parameters = of.parameters.iter();
    parameters.try_for_each(|p| see(&p.name, Use::Write))?;
    let mut defaults = of.parameters.iter().filter_map(|p| p.default.as_ref());
    defaults.try_for_each(|d| expression(d, see))?;
    statements(&of.body, see)
}

fn target(to: &Target, see: See<'_>) -> ControlFlow<()> {
    match to {
        Target::Name { name, .. } => see(name, Use::Write),
        Target::Attribute { .. } => ControlFlow::Continue(()),
        Target::Tuple(items) => items.iter().try_for_each(|item| target(item, see)),
    }
}

pub(super) fn expression(of: &Expr, see: See<'_>) -> ControlFlow<()> {
    match of {
        Expr::Const(_) | Expr::Captured => ControlFlow::Continue(()),
        Expr::Name { name, .. } => see(name, Use::Read),
        Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => {
            items.iter().try_for_each(|item| expression(item, see))
        }
        Expr::Dict(entries) => entries.iter().try_for_each(|(key, value)| {
            expression(key, see)?;
            expression(value, see)
        }),
        Expr::Not(of) | Expr::Sign { of, .. } | Expr::Attribute(of, _) => expression(of, see),
        Expr::Binary(_, pair) | Expr::And(pair) | Expr::Or(pair) | Expr::Item(pair) => {
            expression(&pair.0, see)?;
            expression(&pair.1, see)
        }
        Expr::Compare(first, rest) => {
            expression(first, see)?;
            rest.iter().try_for_each(|(_, with)| expression(with, see))
        }
        Expr::If(choice) => {
            expression(&choice.test, see)?;
            expression(&choice.then, see)?;
            choice.otherwise.iter().try_for_each(|o| expression(o, see))
        }
        Expr::Slice(slice) => {
            expression(&slice.of, see)?;
            let bounds = [&slice.start, &slice.stop, &slice.step];
            bounds
                .into_iter()
                .flatten()
                .try_for_each(|b| expression(b, see))
        }
        Expr::Call(call) => {
            expression(&call.callee, see)?;
            arguments(&call.arguments, see)
        }
        Expr::Filter(apply) => {
            expression(&apply.of, see)?;
            arguments(&apply.arguments, see)
        }
        Expr::Check(apply) => {
            expression(&apply.of, see)?;
            arguments(&apply.arguments, see)
        }
    }
}

fn arguments(of: &Arguments, see: See<'_>) -> ControlFlow<()> {
    of.positional.iter().try_for_each(|a| expression(a, see))?;
    of.named.iter().try_for_each(|(_, a)| expression(a, see))?;
    of.starred.iter().try_for_each(|a| expression(a, see))?;
    of.double_starred
        .iter()
        .try_for_each(|a| expression(a, see))
}
