//! What can be assigned to.

use std::sync::Arc;

use super::super::ast::*;
use super::super::expressions::Until;
use super::super::fault::Outcome;
use super::{Parser, is_constant};

impl Parser {
    pub(super) fn assignable_name(&mut self) -> Outcome<Arc<str>> {
        let name = self.name()?;
        match is_constant(&name) {
            true => Err(self.fail(format!("can't assign to '{name}'"))),
            false => Ok(name),
        }
    }

    /// What can be assigned to: a name, several of them, or (in `set`) an attribute of a namespace.
    pub(super) fn target(
        &mut self,
        attributes: bool,
        words: &'static [&'static str],
    ) -> Outcome<Target> {
        let target = self.tuple(&Until {
            primary: true,
            attributes,
            words,
            ..Until::default()
        })?;
        self.as_target(target, attributes)
    }

    pub(super) fn as_target(&self, target: Expr, attributes: bool) -> Outcome<Target> {
        match target {
            Expr::Name { name, slot } => Ok(Target::Name { name, slot }),
            Expr::Attribute(of, attribute) if attributes => match *of {
                Expr::Name { name, slot } => Ok(Target::Attribute {
                    name,
                    slot,
                    attribute,
                }),
                _ => Err(self.fail("can't assign to an attribute")),
            },
            Expr::Tuple(items) => {
                let items = items.into_iter();
                let items = items.map(|item| self.as_target(item, attributes));
                Ok(Target::Tuple(items.collect::<Outcome<_>>()?))
            }
            _ => Err(self.fail("can't assign to this")),
        }
    }
}

/// A loop's target is assigned in two places, which see it under names of their own.
pub(super) fn copy(target: &Target) -> Target {
    match target {
        Target::Name { name, slot } => Target::Name {
            name: name.clone(),
            slot: *slot,
        },
        Target::Attribute {
            name,
            slot,
            attribute,
        } => Target::Attribute {
            name: name.clone(),
            slot: *slot,
            attribute: attribute.clone(),
        },
        Target::Tuple(items) => Target::Tuple(items.iter().map(copy).collect()),
    }
}
