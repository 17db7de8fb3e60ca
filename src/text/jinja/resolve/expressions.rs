//! Names in expressions and in what is assigned to.

use super::super::ast::*;
use super::super::fault::Outcome;
use super::{Frame, Resolver, fail};

impl Resolver {
    pub(super) fn target(&mut self, target: &mut Target, frame: &Frame) -> Outcome<()> {
        match target {
            Target::Name { name, slot } | Target::Attribute { name, slot, .. } => {
                *slot = self.slot(name, frame, 1)?;
                Ok(())
            }
            Target::Tuple(items) => items
                .iter_mut()
                .try_for_each(|item| self.target(item, frame)),
        }
    }

    pub(super) fn expr(&mut self, expr: &mut Expr, frame: &Frame) -> Outcome<()> {
        match expr {
            Expr::Const(_) | Expr::Captured => Ok(()),
            Expr::Name { name, slot } => {
                *slot = self.slot(name, frame, 1)?;
                Ok(())
            }
            Expr::Tuple(items) | Expr::List(items) | Expr::Concat(items) => {
                items.iter_mut().try_for_each(|item| self.expr(item, frame))
            }
            Expr::Dict(entries) => entries.iter_mut().try_for_each(|(key, value)| {
                self.expr(key, frame)?;
                self.expr(value, frame)
            }),
            Expr::Not(of) | Expr::Sign { of, .. } | Expr::Attribute(of, _) => self.expr(of, frame),
            Expr::Binary(_, pair) | Expr::And(pair) | Expr::Or(pair) | Expr::Item(pair) => {
                self.expr(&mut pair.0, frame)?;
                self.expr(&mut pair.1, frame)
            }
            Expr::Compare(first, rest) => {
                self.expr(first, frame)?;
                rest.iter_mut()
                    .try_for_each(|(_, with)| self.expr(with, frame))
            }
            Expr::If(choice) => {
                let soft = Frame {
                    soft: true,
                    ..frame.clone()
                };
                self.expr(&mut choice.test, &soft)?;
                self.expr(&mut choice.then, &soft)?;
                choice
                    .otherwise
                    .iter_mut()
                    .try_for_each(|o| self.expr(o, &soft))
            }
            Expr::Slice(slice) => {
                self.expr(&mut slice.of, frame)?;
                let bounds = [&mut slice.start, &mut slice.stop, &mut slice.step];
                bounds
                    .into_iter()
                    .flatten()
                    .try_for_each(|b| self.expr(b, frame))
            }
            Expr::Call(call) => {
                self.expr(&mut call.callee, frame)?;
                self.arguments(&mut call.arguments, frame)
            }
            Expr::Filter(apply) => {
                if apply.function.is_none() && !frame.soft {
                    return fail(apply.line, format!("No filter named '{}'.", apply.name));
                }
                self.expr(&mut apply.of, frame)?;
                self.arguments(&mut apply.arguments, frame)
            }
            Expr::Check(apply) => {
                if apply.function.is_none() && !frame.soft {
                    return fail(apply.line, format!("No test named '{}'.", apply.name));
                }
                self.expr(&mut apply.of, frame)?;
                self.arguments(&mut apply.arguments, frame)
            }
        }
    }

    pub(super) fn arguments(&mut self, of: &mut Arguments, frame: &Frame) -> Outcome<()> {
        of.positional
            .iter_mut()
            .try_for_each(|a| self.expr(a, frame))?;
        of.named
            .iter_mut()
            .try_for_each(|(_, a)| self.expr(a, frame))?;
        of.starred
            .iter_mut()
            .try_for_each(|a| self.expr(a, frame))?;
        of.double_starred
            .iter_mut()
            .try_for_each(|a| self.expr(a, frame))
    }
}
