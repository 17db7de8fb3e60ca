//! `'%s and %d' % values`

use num_bigint::{BigInt, Sign};

use super::budget::Budget;
use super::fault::{Outcome, failed};
use super::floats::{self, Notation};
use super::markup::escape_value;
use super::numbers::{self, Number};
use super::repr;
use super::value::{Str, Value};

#[derive(Default)]
struct Flags {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

struct Arguments<'a> {
    values: Vec<Value>,
    whole: &'a Value,
    used: usize,
}

impl Arguments<'_> {
    fn next(&mut self) -> Outcome<Value> {
        let value = self.values.get(self.used).cloned();
        self.used += 1;
        value.ok_or_else(|| failed("not enough arguments for format string"))
    }

    /// A width or a precision that is given as an argument.
    fn number(&mut self) -> Outcome<i64> {
        match self.next()? {
            Value::Int(value) => Ok(value),
            Value::Bool(value) => Ok(i64::from(value)),
            _ => Err(failed("* wants int")),
        }
    }
}

pub(super) fn format(budget: &Budget, format: &Str, values: &Value) -> Outcome<Value> {
    let mut arguments = Arguments {
        values: match values {
            Value::Tuple(seq) => seq.items.clone(),
            value => vec![value.clone()],
        },
        whole: values,
        used: 0,
    };
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars();
    let mut by_name = false;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut next = || chars.next().ok_or_else(|| failed("incomplete format"));
        let mut c = next()?;
        if c == '%' {
            out.push('%');
            continue;
        }
        let mut named = None;
        if c == '(' {
            let mut name = String::new();
            let mut open = 1;
            loop {
                match chars.next() {
                    None => return Err(failed("incomplete format key")),
                    Some('(') => open += 1,
                    Some(')') => open -= 1,
                    Some(_) => {}
                }
                if open == 0 {
                    break;
                }
                let at = format.len() - chars.as_str().len();
                let shown = format[..at].chars().next_back();
                name.extend(shown);
            }
            let Value::Dict(dict) = arguments.whole else {
                return Err(failed("format requires a mapping"));
            };
            let value = dict.get(&name).cloned();
            named = Some(value.ok_or_else(|| failed(format!("'{name}'")))?);
            by_name = true;
            c = chars.next().ok_or_else(|| failed("incomplete format"))?;
        }
        let mut flags = Flags::default();
        loop {
            match c {
                '-' => flags.left = true,
                '+' => flags.plus = true,
                ' ' => flags.space = true,
                '#' => flags.alternate = true,
                '0' => flags.zero = true,
                _ => break,
            }
            c = chars.next().ok_or_else(|| failed("incomplete format"))?;
        }
        let mut next = || chars.next().ok_or_else(|| failed("incomplete format"));
        if c == '*' {
            let width = arguments.number()?;
            flags.left |= width < 0;
            flags.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
            c = next()?;
        } else {
            flags.width = digits(&mut c, &mut next)?.unwrap_or(0);
        }
        if c == '.' {
            c = next()?;
            flags.precision = Some(if c == '*' {
                let precision = arguments.number()?;
                c = next()?;
                usize::try_from(precision).unwrap_or(0)
            } else {
                digits(&mut c, &mut next)?.unwrap_or(0)
            });
        }
        if matches!(c, 'h' | 'l' | 'L') {
            c = next()?;
        }
        budget.text(flags.width.max(flags.precision.unwrap_or(0)))?;
        let value = match named {
            Some(value) => value,
            None => arguments.next()?,
        };
        conversion(budget, c, &flags, &value, format.markup, &mut out)?;
        budget.text(out.len())?;
    }
    let mapping = matches!(
        values,
        Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Bytes(_) | Value::Undefined(_)
    );
    if arguments.used < arguments.values.len() && !by_name && !mapping {
        return Err(failed(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(Value::Str(format.like(out)))
}

fn digits(c: &mut char, next: &mut impl FnMut() -> Outcome<char>) -> Outcome<Option<usize>> {
    let mut number: Option<usize> = None;
    while let Some(digit) = c.to_digit(10) {
        let so_far = number.unwrap_or(0).checked_mul(10);
        let more = so_far.and_then(|n| n.checked_add(digit as usize));
        number = Some(more.ok_or_else(|| failed("width too big"))?);
        *c = next()?;
    }
    Ok(number)
}

fn conversion(
    budget: &Budget,
    kind: char,
    flags: &Flags,
    value: &Value,
    escaping: bool,
    out: &mut String,
) -> Outcome<()> {
    let cut = |text: String| match flags.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    match kind {
        's' if escaping => pad(cut(escape_value(budget, value)?), flags, out),
        's' => pad(cut(repr::to_text(budget, value)?), flags, out),
        'r' => pad(cut(repr::repr(budget, value)?), flags, out),
        'a' => {
            let text = repr::escape_non_ascii(&repr::repr(budget, value)?);
            pad(cut(text), flags, out);
        }
        'd' | 'i' | 'u' => {
            let whole = match Number::of(value.defined()?) {
                Some(Number::Float(float)) => numbers::truncate(float)?,
                Some(_) => value.clone(),
                None => {
                    return Err(failed(format!(
                        "%{kind} format: a real number is required, not {}",
                        value.type_name()
                    )));
                }
            };
            integer(&big(&whole), 10, "", false, flags, out)?;
        }
        'x' | 'X' | 'o' => {
            let number = match value.defined()? {
                Value::Bool(_) | Value::Int(_) | Value::Big(_) => big(value),
                value => {
                    return Err(failed(format!(
                        "%{kind} format: an integer is required, not {}",
                        value.type_name()
                    )));
                }
            };
            let (radix, prefix) = match kind {
                'x' => (16, "0x"),
                'X' => (16, "0X"),
                _ => (8, "0o"),
            };
            integer(&number, radix, prefix, kind == 'X', flags, out)?;
        }
        'c' => {
            let c = match value.defined()? {
                Value::Str(text) if text.chars().count() == 1 => text.chars().next(),
                Value::Bool(_) | Value::Int(_) => u32::try_from(value.as_index()?)
                    .ok()
                    .and_then(char::from_u32),
                _ => None,
            };
            let c = c.ok_or_else(|| failed("%c requires int or char"))?;
            pad(c.to_string(), flags, out);
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = Number::of(value.defined()?)
                .ok_or_else(|| failed(format!("must be real number, not {}", value.type_name())))?;
            let float = number.to_float()?;
            let digits = flags.precision.unwrap_or(6);
            let notation = match kind {
                'e' | 'E' => Notation::Exponent(digits),
                'f' | 'F' => Notation::Fixed(digits),
                _ => Notation::General(digits),
            };
            let mut body = floats::format(float.abs(), &notation, flags.alternate);
            if kind.is_ascii_uppercase() {
                body.make_ascii_uppercase();
            }
            let negative = float.is_sign_negative() && !float.is_nan();
            signed(negative, "", &body, flags, out);
        }
        kind => {
            return Err(failed(format!("unsupported format character '{kind}'")));
        }
    }
    Ok(())
}

fn big(value: &Value) -> BigInt {
    Number::of(value)
        .map(|number| number.to_big())
        .unwrap_or_default()
}

fn pad(text: String, flags: &Flags, out: &mut String) {
    let missing = flags.width.saturating_sub(text.chars().count());
    if !flags.left {
        out.extend(std::iter::repeat_n(' ', missing));
    }
    out.push_str(&text);
    if flags.left {
        out.extend(std::iter::repeat_n(' ', missing));
    }
}

fn integer(
    number: &BigInt,
    radix: u32,
    prefix: &str,
    upper: bool,
    flags: &Flags,
    out: &mut String,
) -> Outcome<()> {
    if radix == 10 {
        numbers::print_big(number)?;
    }
    let mut body = number.magnitude().to_str_radix(radix);
    if upper {
        body.make_ascii_uppercase();
    }
    let zeros = flags.precision.unwrap_or(0).saturating_sub(body.len());
    let body = "0".repeat(zeros) + &body;
    let prefix = if flags.alternate { prefix } else { "" };
    signed(number.sign() == Sign::Minus, prefix, &body, flags, out);
    Ok(())
}

fn signed(negative: bool, prefix: &str, body: &str, flags: &Flags, out: &mut String) {
    let sign = match (negative, flags.plus, flags.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    let zeros = match flags.zero && !flags.left {
        true => flags
            .width
            .saturating_sub(sign.len() + prefix.len() + body.len()),
        false => 0,
    };
    pad(
        format!("{sign}{prefix}{}{body}", "0".repeat(zeros)),
        flags,
        out,
    );
}
