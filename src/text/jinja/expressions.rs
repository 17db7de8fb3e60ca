//! Expressions, by Jinja's precedence, which is not quite Python's.

mod postfix;

use super::ast::*;
use super::compare::Order;
use super::fault::Outcome;
use super::lexer::Token;
use super::numbers::parse_int;
use super::operators::Operator;
use super::parser::{Parser, is_constant};
use super::value::Value;

/// What a list of expressions without brackets may consist of, and what ends it.
#[derive(Default)]
pub(super) struct Until {
    /// No `a if b`.
    pub no_condition: bool,
    /// Nothing but names and what stands in brackets.
    pub primary: bool,
    /// With `primary`: `name.attribute` too.
    pub attributes: bool,
    pub words: &'static [&'static str],
    pub in_parentheses: bool,
}

/// Links of one chain of operators or filters.
const LONGEST_CHAIN: usize = 1000;

impl Parser {
    /// One expression, or several with commas between them, which are a tuple.
    pub(super) fn tuple(&mut self, until: &Until) -> Outcome<Expr> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if !items.is_empty() {
                self.expect_sign(",")?;
            }
            let ends = match self.peek() {
                Token::VariableEnd | Token::BlockEnd => true,
                Token::Sign(sign) => *sign == ")",
                Token::Name(name) => until.words.contains(&name.as_str()),
                _ => false,
            };
            if ends {
                break;
            }
            items.push(match (until.primary, until.no_condition) {
                (true, _) => self.primary(until.attributes)?,
                (false, true) => self.or()?,
                (false, false) => self.expression()?,
            });
            match self.is_sign(",") {
                true => is_tuple = true,
                false => break,
            }
        }
        match (is_tuple, items.len()) {
            (false, 1) => Ok(items.remove(0)),
            (false, _) if !until.in_parentheses => Err(self.fail("Expected an expression")),
            _ => Ok(Expr::Tuple(items)),
        }
    }

    pub(super) fn expression(&mut self) -> Outcome<Expr> {
        self.stack.check()?;
        let mut line = self.line();
        let mut expr = self.or()?;
        let mut chain = 0;
        while self.skip_name("if") {
            let test = self.or()?;
            let otherwise = match self.skip_name("else") {
                true => Some(self.expression()?),
                false => None,
            };
            expr = Expr::If(Box::new(Choice {
                test,
                then: expr,
                otherwise,
                line,
            }));
            line = self.line();
            self.link(&mut chain)?;
        }
        Ok(expr)
    }

    fn link(&self, chain: &mut usize) -> Outcome<()> {
        *chain += 1;
        match *chain <= LONGEST_CHAIN {
            true => Ok(()),
            false => Err(self.fail("the expression is too long")),
        }
    }

    pub(super) fn or(&mut self) -> Outcome<Expr> {
        let mut left = self.and()?;
        let mut chain = 0;
        while self.skip_name("or") {
            left = Expr::Or(Box::new((left, self.and()?)));
            self.link(&mut chain)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Outcome<Expr> {
        let mut left = self.not()?;
        let mut chain = 0;
        while self.skip_name("and") {
            left = Expr::And(Box::new((left, self.not()?)));
            self.link(&mut chain)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Outcome<Expr> {
        self.stack.check()?;
        match self.skip_name("not") {
            true => Ok(Expr::Not(Box::new(self.not()?))),
            false => self.compare(),
        }
    }

    fn compare(&mut self) -> Outcome<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.peek() {
                Token::Sign("==") => Comparison::Equal,
                Token::Sign("!=") => Comparison::NotEqual,
                Token::Sign("<") => Comparison::Ordered(Order::Less),
                Token::Sign("<=") => Comparison::Ordered(Order::LessEqual),
                Token::Sign(">") => Comparison::Ordered(Order::Greater),
                Token::Sign(">=") => Comparison::Ordered(Order::GreaterEqual),
                Token::Name(name) if name == "in" => Comparison::In,
                Token::Name(name)
                    if name == "not"
                        && matches!(self.peek_second(), Token::Name(n) if n == "in") =>
                {
                    self.skip();
                    Comparison::NotIn
                }
                _ => break,
            };
            self.skip();
            rest.push((comparison, self.sum()?));
        }
        Ok(match rest.is_empty() {
            true => first,
            false => Expr::Compare(Box::new(first), rest),
        })
    }

    fn sum(&mut self) -> Outcome<Expr> {
        let mut left = self.concat()?;
        let mut chain = 0;
        loop {
            let operator = match self.peek() {
                Token::Sign("+") => Operator::Add,
                Token::Sign("-") => Operator::Subtract,
                _ => return Ok(left),
            };
            self.skip();
            left = Expr::Binary(operator, Box::new((left, self.concat()?)));
            self.link(&mut chain)?;
        }
    }

    fn concat(&mut self) -> Outcome<Expr> {
        let first = self.product()?;
        if !self.is_sign("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_sign("~") {
            items.push(self.product()?);
        }
        Ok(Expr::Concat(items))
    }

    fn product(&mut self) -> Outcome<Expr> {
        let mut left = self.power()?;
        let mut chain = 0;
        loop {
            let operator = match self.peek() {
                Token::Sign("*") => Operator::Multiply,
                Token::Sign("/") => Operator::Divide,
                Token::Sign("//") => Operator::FloorDivide,
                Token::Sign("%") => Operator::Remainder,
                _ => return Ok(left),
            };
            self.skip();
            left = Expr::Binary(operator, Box::new((left, self.power()?)));
            self.link(&mut chain)?;
        }
    }

    fn power(&mut self) -> Outcome<Expr> {
        let mut left = self.unary(true)?;
        let mut chain = 0;
        while self.skip_sign("**") {
            left = Expr::Binary(Operator::Power, Box::new((left, self.unary(true)?)));
            self.link(&mut chain)?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Outcome<Expr> {
        self.stack.check()?;
        let negative = self.is_sign("-");
        let expr = match negative || self.is_sign("+") {
            true => {
                self.skip();
                let of = Box::new(self.unary(false)?);
                Expr::Sign { negative, of }
            }
            false => self.primary(false)?,
        };
        let expr = self.postfix(expr)?;
        match with_filters {
            true => self.filters_and_tests(expr),
            false => Ok(expr),
        }
    }

    fn primary(&mut self, attributes: bool) -> Outcome<Expr> {
        let constant = match self.peek().clone() {
            Token::Name(name) => {
                self.skip();
                if is_constant(&name) {
                    Const::of_word(&name)
                } else {
                    let slot = Slot::default();
                    let name = Expr::Name {
                        name: name.into(),
                        slot,
                    };
                    if attributes && self.skip_sign(".") {
                        return Ok(Expr::Attribute(Box::new(name), self.name()?));
                    }
                    return Ok(name);
                }
            }
            Token::Str(mut text) => {
                self.skip();
                while let Token::Str(more) = self.peek() {
                    text.push_str(more);
                    self.skip();
                }
                Const::Str(text.into())
            }
            Token::Int(digits) => {
                self.skip();
                match parse_int(&digits, 0) {
                    Some(Value::Int(value)) => Const::Int(value),
                    Some(Value::Big(value)) => Const::Big(value),
                    _ => return Err(self.fail("not a number")),
                }
            }
            Token::Float(value) => {
                self.skip();
                Const::Float(value)
            }
            Token::Sign("(") => {
                self.skip();
                let inner = self.tuple(&Until {
                    in_parentheses: true,
                    ..Until::default()
                })?;
                self.expect_sign(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => return self.list(),
            Token::Sign("{") => return self.dict(),
            _ => return Err(self.unexpected()),
        };
        Ok(Expr::Const(constant))
    }

    fn list(&mut self) -> Outcome<Expr> {
        self.skip();
        let mut items = Vec::new();
        while !self.is_sign("]") {
            if !items.is_empty() {
                self.expect_sign(",")?;
            }
            if self.is_sign("]") {
                break;
            }
            items.push(self.expression()?);
        }
        self.expect_sign("]")?;
        Ok(Expr::List(items))
    }

    fn dict(&mut self) -> Outcome<Expr> {
        self.skip();
        let mut entries = Vec::new();
        while !self.is_sign("}") {
            if !entries.is_empty() {
                self.expect_sign(",")?;
            }
            if self.is_sign("}") {
                break;
            }
            let key = self.expression()?;
            self.expect_sign(":")?;
            entries.push((key, self.expression()?));
        }
        self.expect_sign("}")?;
        Ok(Expr::Dict(entries))
    }

    fn postfix(&mut self, mut expr: Expr) -> Outcome<Expr> {
        let mut chain = 0;
        loop {
            expr = match self.peek() {
                Token::Sign("." | "[") => self.subscript(expr)?,
                Token::Sign("(") => self.call(expr)?,
                _ => return Ok(expr),
            };
            self.link(&mut chain)?;
        }
    }

    fn filters_and_tests(&mut self, mut expr: Expr) -> Outcome<Expr> {
        let mut chain = 0;
        loop {
            expr = match self.peek() {
                Token::Sign("|") => self.filters(expr, false)?,
                Token::Name(name) if name == "is" => self.test(expr)?,
                Token::Sign("(") => self.call(expr)?,
                _ => return Ok(expr),
            };
            self.link(&mut chain)?;
        }
    }
}

impl Const {
    fn of_word(word: &str) -> Self {
        match word {
            "true" | "True" => Self::Bool(true),
            "false" | "False" => Self::Bool(false),
            _ => Self::None,
        }
    }
}
