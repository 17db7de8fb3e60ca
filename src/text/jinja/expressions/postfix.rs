//! What stands behind an operand: subscripts, calls, filters and tests.

use std::sync::Arc;

use super::super::ast::*;
use super::super::checks::Check;
use super::super::fault::Outcome;
use super::super::filters::Filter;
use super::super::lexer::Token;
use super::super::parser::Parser;

impl Parser {
    pub(super) fn subscript(&mut self, of: Expr) -> Outcome<Expr> {
        if self.skip_sign(".") {
            return match self.peek().clone() {
                Token::Name(name) => {
                    self.skip();
                    Ok(Expr::Attribute(Box::new(of), name.into()))
                }
                Token::Int(_) => {
                    let index = self.primary(false)?;
                    Ok(Expr::Item(Box::new((of, index))))
                }
                _ => Err(self.fail("expected name or number")),
            };
        }
        self.expect_sign("[")?;
        let mut items = Vec::new();
        let mut slice = None;
        while !self.is_sign("]") {
            if !items.is_empty() || slice.is_some() {
                self.expect_sign(",")?;
            }
            let start = match self.is_sign(":") {
                true => None,
                false => Some(self.expression()?),
            };
            match self.skip_sign(":") {
                false => items.extend(start),
                true => {
                    let stop = self.bound()?;
                    let step = match self.skip_sign(":") {
                        true => self.bound()?,
                        false => None,
                    };
                    slice = Some((start, stop, step));
                }
            }
        }
        self.expect_sign("]")?;
        match (slice, items.len()) {
            (Some((start, stop, step)), 0) => Ok(Expr::Slice(Box::new(Slice {
                of,
                start,
                stop,
                step,
                constant: false,
            }))),
            (Some(_), _) => Err(self.fail("a slice cannot be one of several subscripts")),
            (None, 1) => Ok(Expr::Item(Box::new((of, items.remove(0))))),
            (None, _) => Ok(Expr::Item(Box::new((of, Expr::Tuple(items))))),
        }
    }

    pub(super) fn bound(&mut self) -> Outcome<Option<Expr>> {
        match self.peek() {
            Token::Sign(":" | "]" | ",") => Ok(None),
            _ => self.expression().map(Some),
        }
    }

    pub(super) fn call(&mut self, callee: Expr) -> Outcome<Expr> {
        let line = self.line();
        let arguments = self.arguments()?;
        Ok(Expr::Call(Box::new(Call {
            callee,
            arguments,
            line,
        })))
    }

    pub(super) fn arguments(&mut self) -> Outcome<Arguments> {
        self.expect_sign("(")?;
        let mut made = Arguments::default();
        let mut first = true;
        let invalid = "invalid syntax for function call expression";
        while !self.is_sign(")") {
            if !first {
                self.expect_sign(",")?;
                if self.is_sign(")") {
                    break;
                }
            }
            first = false;
            let starred = made.starred.is_some() || made.double_starred.is_some();
            if self.skip_sign("*") {
                if starred {
                    return Err(self.fail(invalid));
                }
                made.starred = Some(self.expression()?);
            } else if self.skip_sign("**") {
                if made.double_starred.is_some() {
                    return Err(self.fail(invalid));
                }
                made.double_starred = Some(self.expression()?);
            } else if matches!(self.peek(), Token::Name(_))
                && matches!(self.peek_second(), Token::Sign("="))
            {
                if made.double_starred.is_some() {
                    return Err(self.fail(invalid));
                }
                let name = self.name()?;
                self.skip();
                if made.named.iter().any(|(n, _)| *n == name) {
                    return Err(self.fail(format!("keyword argument repeated: {name}")));
                }
                made.named.push((name, self.expression()?));
            } else {
                if starred || !made.named.is_empty() {
                    return Err(self.fail(invalid));
                }
                made.positional.push(self.expression()?);
            }
        }
        self.expect_sign(")")?;
        Ok(made)
    }

    pub(super) fn dotted_name(&mut self) -> Outcome<Arc<str>> {
        let mut name = self.name()?;
        while self.skip_sign(".") {
            name = format!("{name}.{}", self.name()?).into();
        }
        Ok(name)
    }

    /// `| name(…) | name`; `inline` where the first has no `|`.
    pub(in crate::text::jinja) fn filters(
        &mut self,
        mut of: Expr,
        mut inline: bool,
    ) -> Outcome<Expr> {
        let mut chain = 0;
        while inline || self.skip_sign("|") {
            inline = false;
            let line = self.line();
            let name = self.dotted_name()?;
            let arguments = match self.is_sign("(") {
                true => self.arguments()?,
                false => Arguments::default(),
            };
            let function = Filter::named(&name);
            of = Expr::Filter(Box::new(Apply {
                name,
                function,
                of,
                arguments,
                line,
            }));
            self.link(&mut chain)?;
        }
        Ok(of)
    }

    pub(super) fn test(&mut self, of: Expr) -> Outcome<Expr> {
        let line = self.line();
        self.skip();
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        let mut arguments = Arguments::default();
        let takes = match self.peek() {
            Token::Name(name) => !matches!(name.as_str(), "else" | "or" | "and"),
            Token::Str(_) | Token::Int(_) | Token::Float(_) => true,
            Token::Sign(sign) => matches!(*sign, "[" | "{"),
            _ => false,
        };
        if self.is_sign("(") {
            arguments = self.arguments()?;
        } else if takes {
            if self.is_name("is") {
                return Err(self.fail("You cannot chain multiple tests with is"));
            }
            let argument = self.primary(false)?;
            arguments.positional.push(self.postfix(argument)?);
        }
        let function = Check::named(&name);
        let check = Expr::Check(Box::new(Apply {
            name,
            function,
            of,
            arguments,
            line,
        }));
        Ok(match negated {
            true => Expr::Not(Box::new(check)),
            false => check,
        })
    }
}
