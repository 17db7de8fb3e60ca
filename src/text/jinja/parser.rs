//! Statements.

mod loading;
mod targets;

use std::sync::Arc;

use super::ast::*;
use super::budget::Stack;
use super::expressions::Until;
use super::fault::{Fault, Kind as FaultKind, Outcome};
use super::lexer::{Placed, Token, tokenize};
use targets::copy;

/// Bytes of stack: what was parsed is walked with less.
const MOST_STACK: usize = 384 << 10;

pub(super) struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    pub stack: Stack,
    pub blocks: Vec<(Block, bool)>,
    pub marks_answers: bool,
}

/// What a template consists of, before its names are resolved.
pub(super) struct Parsed {
    pub body: Body,
    pub blocks: Vec<Block>,
    pub marks_answers: bool,
}

pub(super) fn parse(source: &str) -> Outcome<Parsed> {
    let mut parser = Parser {
        tokens: tokenize(source)?,
        at: 0,
        stack: Stack::here(MOST_STACK),
        blocks: Vec::new(),
        marks_answers: false,
    };
    let body = parser.body(&[])?;
    Ok(Parsed {
        body,
        blocks: parser.blocks.into_iter().map(|(block, _)| block).collect(),
        marks_answers: parser.marks_answers,
    })
}

impl Parser {
    pub fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |t| &t.token)
    }

    pub fn peek_second(&self) -> &Token {
        self.tokens
            .get(self.at + 1)
            .map_or(&Token::End, |t| &t.token)
    }

    pub fn line(&self) -> usize {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.at.min(last)).map_or(1, |t| t.line)
    }

    pub fn skip(&mut self) {
        self.at += 1;
    }

    pub fn fail(&self, why: impl Into<String>) -> Fault {
        Fault::new(FaultKind::Syntax, why).at(self.line())
    }

    pub fn unexpected(&self) -> Fault {
        let what = match self.peek() {
            Token::Data(_) => "text".to_owned(),
            Token::VariableBegin => "'{{'".to_owned(),
            Token::VariableEnd => "'}}'".to_owned(),
            Token::BlockBegin => "'{%'".to_owned(),
            Token::BlockEnd => "'%}'".to_owned(),
            Token::Name(name) => format!("'{name}'"),
            Token::Str(_) => "a string".to_owned(),
            Token::Int(_) | Token::Float(_) => "a number".to_owned(),
            Token::Sign(sign) => format!("'{sign}'"),
            Token::End => "end of template".to_owned(),
        };
        self.fail(format!("unexpected {what}"))
    }

    pub fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(s) if *s == sign)
    }

    pub fn skip_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    pub fn expect_sign(&mut self, sign: &str) -> Outcome<()> {
        match self.skip_sign(sign) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    pub fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(n) if n == name)
    }

    pub fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    fn expect_word(&mut self, name: &str) -> Outcome<()> {
        match self.skip_name(name) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    pub fn name(&mut self) -> Outcome<Arc<str>> {
        match self.peek() {
            Token::Name(name) => {
                let name = name.as_str().into();
                self.skip();
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn expect(&mut self, token: &Token) -> Outcome<()> {
        match self.peek() == token {
            true => {
                self.skip();
                Ok(())
            }
            false => Err(self.unexpected()),
        }
    }

    /// Statements up to a tag of one of these names, whose name is next; or up to the end where there are none.
    fn body(&mut self, ends: &[&str]) -> Outcome<Body> {
        self.stack.check()?;
        let mut body = Body::new();
        loop {
            let line = self.line();
            let mut add = |kind| body.push(Statement { line, kind });
            match self.peek() {
                Token::End if ends.is_empty() => return Ok(body),
                Token::End => {
                    return Err(self.fail(format!(
                        "Unexpected end of template, where '{}' is missing",
                        ends.join("' or '")
                    )));
                }
                Token::Data(text) => {
                    add(Kind::Text(text.as_str().into()));
                    self.skip();
                }
                Token::VariableBegin => {
                    self.skip();
                    let value = self.tuple(&Until::default())?;
                    self.expect(&Token::VariableEnd)?;
                    body.push(Statement {
                        line,
                        kind: Kind::Print(value),
                    });
                }
                Token::BlockBegin => {
                    self.skip();
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(body);
                    }
                    let kinds = self.statement()?;
                    self.expect(&Token::BlockEnd)?;
                    body.extend(kinds.into_iter().map(|kind| Statement { line, kind }));
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// The body of a statement whose head ends here.
    fn inner(&mut self, ends: &[&str]) -> Outcome<Body> {
        self.skip_sign(":");
        self.expect(&Token::BlockEnd)?;
        self.body(ends)
    }

    /// The body of a statement that ends in one way, and that end.
    fn whole(&mut self, end: &str) -> Outcome<Body> {
        let body = self.inner(&[end])?;
        self.skip();
        Ok(body)
    }

    fn scope(&mut self, end: &str) -> Outcome<Scope> {
        let body = self.whole(end)?;
        Ok(Scope {
            body,
            ..Scope::default()
        })
    }

    fn statement(&mut self) -> Outcome<Vec<Kind>> {
        self.stack.check()?;
        let line = self.line();
        let name = self.name()?;
        let kind = match &*name {
            "set" => self.set()?,
            "for" => self.for_loop(line)?,
            "if" => self.if_block()?,
            "with" => self.with()?,
            "macro" => self.macro_block()?,
            "call" => self.call_block()?,
            "filter" => {
                let filter = self.filters(Expr::Captured, true)?;
                let scope = self.scope("endfilter")?;
                Kind::Filter { filter, scope }
            }
            "generation" => {
                self.marks_answers = true;
                let body = self.whole("endgeneration")?;
                Kind::Generation(Arc::new(Macro {
                    body,
                    ..Macro::default()
                }))
            }
            "autoescape" => {
                let on = self.expression()?;
                let scope = self.scope("endautoescape")?;
                Kind::AutoEscape { on, scope }
            }
            "print" => return self.print(),
            "block" => self.block()?,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "extends" | "include" | "import" | "from" => Kind::Load(self.loading(&name)?),
            other => return Err(self.fail(format!("Encountered unknown tag '{other}'."))),
        };
        Ok(vec![kind])
    }

    fn set(&mut self) -> Outcome<Kind> {
        let target = self.target(true, &[])?;
        let exported = false;
        if self.skip_sign("=") {
            let value = self.tuple(&Until::default())?;
            return Ok(Kind::Set {
                target,
                value,
                exported,
            });
        }
        let filter = match self.is_sign("|") {
            true => Some(self.filters(Expr::Captured, false)?),
            false => None,
        };
        let scope = self.scope("endset")?;
        Ok(Kind::SetBlock(Box::new(SetBlock {
            target,
            filter,
            scope,
            exported,
        })))
    }

    fn for_loop(&mut self, line: usize) -> Outcome<Kind> {
        let target = self.target(false, &["in"])?;
        self.expect_word("in")?;
        let over = self.tuple(&Until {
            no_condition: true,
            words: &["recursive"],
            ..Until::default()
        })?;
        let test = match self.skip_name("if") {
            true => Some(Test {
                target: copy(&target),
                loads: Loads::new(),
                condition: self.expression()?,
            }),
            false => None,
        };
        let recursive = self.skip_name("recursive");
        let body = self.inner(&["endfor", "else"])?;
        let otherwise = match self.skip_name("else") {
            true => self.whole("endfor")?,
            false => {
                self.skip();
                Body::new()
            }
        };
        let scope = |body| Scope {
            body,
            ..Scope::default()
        };
        Ok(Kind::For(Arc::new(For {
            line,
            target,
            over,
            test,
            recursive,
            loop_slot: None,
            scope: scope(body),
            otherwise: scope(otherwise),
            slots: 0,
        })))
    }

    fn if_block(&mut self) -> Outcome<Kind> {
        let plain = Until {
            no_condition: true,
            ..Until::default()
        };
        let mut arms = Vec::new();
        loop {
            let test = self.tuple(&plain)?;
            let body = self.inner(&["elif", "else", "endif"])?;
            arms.push((test, body));
            if self.skip_name("elif") {
                continue;
            }
            let otherwise = match self.skip_name("else") {
                true => self.whole("endif")?,
                false => {
                    self.skip();
                    Body::new()
                }
            };
            return Ok(Kind::If { arms, otherwise });
        }
    }

    fn with(&mut self) -> Outcome<Kind> {
        let mut values = Vec::new();
        while *self.peek() != Token::BlockEnd {
            if !values.is_empty() {
                self.expect_sign(",")?;
            }
            let target = self.target(false, &[])?;
            self.expect_sign("=")?;
            values.push((target, self.expression()?));
        }
        let scope = self.scope("endwith")?;
        Ok(Kind::With { values, scope })
    }

    fn macro_block(&mut self) -> Outcome<Kind> {
        let name = self.assignable_name()?;
        let parameters = self.parameters()?;
        let body = self.whole("endmacro")?;
        let declared = Arc::new(Macro {
            name: Some(name.clone()),
            parameters,
            body,
            ..Macro::default()
        });
        Ok(Kind::Macro {
            name,
            slot: Slot::default(),
            declared,
            exported: false,
        })
    }

    fn call_block(&mut self) -> Outcome<Kind> {
        let parameters = match self.is_sign("(") {
            true => self.parameters()?,
            false => Vec::new(),
        };
        let call = self.expression()?;
        if !matches!(call, Expr::Call(_)) {
            return Err(self.fail("expected call"));
        }
        let body = Arc::new(Macro {
            parameters,
            body: self.whole("endcall")?,
            ..Macro::default()
        });
        Ok(Kind::Call { body, call })
    }

    fn parameters(&mut self) -> Outcome<Vec<Parameter>> {
        self.expect_sign("(")?;
        let mut parameters: Vec<Parameter> = Vec::new();
        while !self.is_sign(")") {
            if !parameters.is_empty() {
                self.expect_sign(",")?;
            }
            let name = self.assignable_name()?;
            if parameters.iter().any(|p| p.name == name) {
                return Err(self.fail(format!("two parameters are named '{name}'")));
            }
            let default = match self.skip_sign("=") {
                true => Some(self.expression()?),
                false if parameters.last().is_some_and(|p| p.default.is_some()) => {
                    return Err(self.fail("non-default argument follows default argument"));
                }
                false => None,
            };
            let slot = Slot::default();
            parameters.push(Parameter {
                name,
                slot,
                default,
            });
        }
        self.expect_sign(")")?;
        Ok(parameters)
    }

    fn print(&mut self) -> Outcome<Vec<Kind>> {
        let mut kinds = Vec::new();
        while *self.peek() != Token::BlockEnd {
            if !kinds.is_empty() {
                self.expect_sign(",")?;
            }
            kinds.push(Kind::Print(self.expression()?));
        }
        Ok(kinds)
    }
}

pub(super) fn is_constant(name: &str) -> bool {
    matches!(name, "true" | "false" | "none" | "True" | "False" | "None")
}
