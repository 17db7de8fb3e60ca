//! `'{} and {name!r:>8}'.format(…)`

use super::args::Args;
use super::attributes;
use super::fault::{Outcome, failed};
use super::machine::Machine;
use super::repr;
use super::spec;
use super::value::{Str, Value};

/// How deep specifications may hold fields of their own.
const MOST_NESTED: usize = 2;

struct Fields<'a> {
    m: &'a Machine<'a>,
    args: &'a Args,
    /// The next field without a name or number; `None` once a number was given.
    next: Option<usize>,
    numbered: bool,
    markup: bool,
}

pub(super) fn format(m: &Machine<'_>, text: &Str, args: &Args) -> Outcome<Value> {
    let mut fields = Fields {
        m,
        args,
        next: Some(0),
        numbered: false,
        markup: text.markup,
    };
    let out = fields.fill(text, MOST_NESTED)?;
    Ok(Value::Str(text.like(out)))
}

impl Fields<'_> {
    fn fill(&mut self, text: &str, depth: usize) -> Outcome<String> {
        if depth == 0 {
            return Err(failed("Max string recursion exceeded"));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                out.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(failed("Single '}' encountered in format string"));
            }
            let end = closing(rest)?;
            let field = &rest[..end];
            rest = &rest[end + 1..];
            out.push_str(&self.field(field, depth)?);
            self.m.budget.text(out.len())?;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// `name!r:spec`
    fn field(&mut self, field: &str, depth: usize) -> Outcome<String> {
        // A `!` or `:` inside an index belongs to it.
        let mut inside = false;
        let end = field.find(|c| {
            match c {
                '[' => inside = true,
                ']' => inside = false,
                _ => {}
            }
            !inside && matches!(c, '!' | ':')
        });
        let (name, tail) = field.split_at(end.unwrap_or(field.len()));
        let (conversion, spec) = match tail.strip_prefix('!') {
            None => (None, tail.strip_prefix(':').unwrap_or("")),
            Some(tail) => {
                let mut chars = tail.chars();
                let kind = chars.next().ok_or_else(|| {
                    failed("end of string while looking for conversion specifier")
                })?;
                match chars.as_str().strip_prefix(':') {
                    Some(spec) => (Some(kind), spec),
                    None if chars.as_str().is_empty() => (Some(kind), ""),
                    None => return Err(failed("expected ':' after conversion specifier")),
                }
            }
        };
        let value = self.value(name)?;
        let value = match conversion {
            None => value,
            Some('s') => Value::str(repr::to_text(&self.m.budget, &value)?),
            Some('r') => Value::str(repr::repr(&self.m.budget, &value)?),
            Some('a') => {
                let text = repr::repr(&self.m.budget, &value)?;
                Value::str(repr::escape_non_ascii(&text))
            }
            Some(other) => {
                return Err(failed(format!("Unknown conversion specifier {other}")));
            }
        };
        let spec = self
            .fill(spec, depth - 1)
            .or_else(|fault| match spec.is_empty() {
                true => Ok(String::new()),
                false => Err(fault),
            })?;
        let text = spec::format(&self.m.budget, &value, &spec)?;
        Ok(match (self.markup, &value) {
            (true, Value::Str(of)) if of.markup => text,
            (true, _) => super::markup::escape(&text),
            _ => text,
        })
    }

    /// `0`, `name`, `name.attribute[item]`
    fn value(&mut self, field: &str) -> Outcome<Value> {
        let end = field.find(['.', '[']).unwrap_or(field.len());
        let (first, mut path) = field.split_at(end);
        if first.is_empty() && !path.is_empty() {
            return Err(failed("''"));
        }
        let mut value = self.first(first)?;
        while !path.is_empty() {
            if let Some(rest) = path.strip_prefix('.') {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (name, rest) = rest.split_at(end);
                if name.is_empty() {
                    return Err(failed("Empty attribute in format string"));
                }
                value = attributes::attribute(self.m, &value, name)?;
                path = rest;
            } else if let Some(rest) = path.strip_prefix('[') {
                let (key, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| failed("Missing ']' in format string"))?;
                if key.is_empty() {
                    return Err(failed("Empty attribute in format string"));
                }
                let key = match key.parse::<i64>() {
                    Ok(number) if key.bytes().all(|b| b.is_ascii_digit()) => Value::Int(number),
                    _ => Value::str(key),
                };
                value = attributes::item(self.m, &value, &key)?;
                path = rest;
            } else {
                return Err(failed(
                    "Only '.' or '[' may follow ']' in format field specifier",
                ));
            }
        }
        Ok(value)
    }

    fn first(&mut self, name: &str) -> Outcome<Value> {
        let index = match name {
            "" => {
                if self.numbered {
                    return Err(failed(
                        "cannot switch from manual field specification to automatic field numbering",
                    ));
                }
                let index = self.next.unwrap_or(0);
                self.next = Some(index + 1);
                Some(index)
            }
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                if self.next.is_some_and(|next| next > 0) {
                    return Err(failed(
                        "cannot switch from automatic field numbering to manual field specification",
                    ));
                }
                self.numbered = true;
                Some(digits.parse().unwrap_or(usize::MAX))
            }
            _ => None,
        };
        let found = match index {
            Some(index) => self.args.positional.get(index).cloned(),
            None => {
                let named = self.args.named.iter().find(|(n, _)| **n == *name);
                named.map(|(_, value)| value.clone())
            }
        };
        found.ok_or_else(|| match index {
            Some(_) => failed("Replacement index out of range for positional args tuple"),
            None => failed(format!("'{name}'")),
        })
    }
}

/// Where the field ends that has just been opened.
fn closing(text: &str) -> Outcome<usize> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Ok(at);
        }
    }
    Err(failed("expected '}' before end of string"))
}
