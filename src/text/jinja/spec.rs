//! The format specification of `str.format`: `{:>8.2f}`.

use num_bigint::{BigInt, Sign};

use super::budget::Budget;
use super::fault::{Fault, Outcome, failed};
use super::floats::{self, Notation};
use super::numbers::Number;
use super::repr;
use super::value::Value;

#[derive(Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

const TOO_MANY: &str = "Too many decimal digits in format string";

fn parse(spec: &str) -> Outcome<Spec> {
    let invalid = || failed("Invalid format specifier");
    let mut out = Spec::default();
    let chars: Vec<char> = spec.chars().collect();
    let at = |at: usize| chars.get(at).copied();
    let mut i = 0;
    let is_align = |c: Option<char>| matches!(c, Some('<' | '>' | '=' | '^'));
    if is_align(at(1)) {
        (out.fill, out.align) = (at(0), at(1));
        i = 2;
    } else if is_align(at(0)) {
        out.align = at(0);
        i = 1;
    }
    if let Some(sign @ ('+' | '-' | ' ')) = at(i) {
        out.sign = Some(sign);
        i += 1;
    }
    if at(i) == Some('z') {
        return Err(invalid());
    }
    if at(i) == Some('#') {
        out.alternate = true;
        i += 1;
    }
    if at(i) == Some('0') && out.fill.is_none() {
        out.zero = true;
        i += 1;
    }
    let number = |i: &mut usize| -> Outcome<Option<usize>> {
        let start = *i;
        while chars.get(*i).is_some_and(char::is_ascii_digit) {
            *i += 1;
        }
        if start == *i {
            return Ok(None);
        }
        let digits: String = chars[start..*i].iter().collect();
        digits.parse().map(Some).map_err(|_| failed(TOO_MANY))
    };
    out.width = number(&mut i)?.unwrap_or(0);
    if let Some(grouping @ (',' | '_')) = at(i) {
        out.grouping = Some(grouping);
        i += 1;
    }
    if at(i) == Some('.') {
        i += 1;
        let precision = number(&mut i)?;
        out.precision =
            Some(precision.ok_or_else(|| failed("Format specifier missing precision"))?);
    }
    if let Some(kind) = at(i) {
        out.kind = Some(kind);
        i += 1;
    }
    match i < chars.len() {
        true => Err(invalid()),
        false => Ok(out),
    }
}

/// `format(value, spec)`
pub(super) fn format(budget: &Budget, value: &Value, spec: &str) -> Outcome<String> {
    if spec.is_empty() {
        return repr::to_text(budget, value);
    }
    let parsed = || parse(spec);
    match value {
        Value::Str(text) => format_text(budget, text, &parsed()?),
        Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_) => {
            let spec = parsed()?;
            budget.text(spec.width.max(spec.precision.unwrap_or(0)))?;
            match Number::of(value) {
                Some(Number::Float(float)) => format_float(float, &spec),
                Some(number) => format_int(value, &number, &spec),
                None => Ok(String::new()),
            }
        }
        value => Err(failed(format!(
            "unsupported format string passed to {}.__format__",
            value.type_name()
        ))),
    }
}

fn unknown(kind: char, of: &str) -> Fault {
    failed(format!(
        "Unknown format code '{kind}' for object of type '{of}'"
    ))
}

fn format_text(budget: &Budget, text: &str, spec: &Spec) -> Outcome<String> {
    if let Some(kind) = spec.kind.filter(|kind| *kind != 's') {
        return Err(unknown(kind, "str"));
    }
    if spec.sign.is_some() || spec.alternate || spec.grouping.is_some() || spec.align == Some('=') {
        return Err(failed("not allowed in string format specifier"));
    }
    budget.text(text.len() + spec.width)?;
    let cut: String = match spec.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    };
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    Ok(pad(&cut, spec.width, fill, spec.align.unwrap_or('<')))
}

fn pad(text: &str, width: usize, fill: char, align: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = match align {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    let mut out: String = std::iter::repeat_n(fill, left).collect();
    out.push_str(text);
    out.extend(std::iter::repeat_n(fill, missing - left));
    out
}

/// Sign, prefix and digits, filled up to the width and grouped.
fn put_together(negative: bool, prefix: &str, body: &str, group: usize, spec: &Spec) -> String {
    let sign = match (negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let head = format!("{sign}{prefix}");
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    let align = spec.align.unwrap_or(if spec.zero { '=' } else { '>' });
    let whole_len = body
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(body.len());
    let whole_len = match body[..whole_len].find('e') {
        Some(at) if group == 3 => at,
        _ => whole_len,
    };
    let (whole, rest) = body.split_at(whole_len);
    let whole = match spec.grouping {
        None => whole.to_owned(),
        Some(separator) => {
            let least = match align == '=' && fill == '0' {
                true => spec.width.saturating_sub(head.len() + rest.len()),
                false => 0,
            };
            grouped(whole, separator, group, least)
        }
    };
    match align {
        '=' => {
            let width = spec.width.saturating_sub(head.len());
            format!("{head}{}", pad(&format!("{whole}{rest}"), width, fill, '>'))
        }
        align => pad(&format!("{head}{whole}{rest}"), spec.width, fill, align),
    }
}

/// With zeros in front until it is `least` wide.
fn grouped(digits: &str, separator: char, group: usize, least: usize) -> String {
    let mut reversed = Vec::new();
    let mut digits = digits.chars().rev();
    let mut count = 0;
    loop {
        let next = digits.next();
        if next.is_none() && reversed.len() >= least {
            break;
        }
        if count > 0 && count % group == 0 {
            reversed.push(separator);
        }
        reversed.push(next.unwrap_or('0'));
        count += 1;
    }
    reversed.into_iter().rev().collect()
}

fn format_int(value: &Value, number: &Number, spec: &Spec) -> Outcome<String> {
    let kind = match (spec.kind, value) {
        // `format(True, "5")` is that of the number, as for any specification.
        (None, _) => 'd',
        (Some(kind), _) => kind,
    };
    if "eEfFgG%".contains(kind) {
        return format_float(number.to_float()?, spec);
    }
    let big: BigInt = number.to_big();
    let (radix, prefix) = match kind {
        'd' | 'n' => (10, ""),
        'b' => (2, "0b"),
        'o' => (8, "0o"),
        'x' => (16, "0x"),
        'X' => (16, "0X"),
        'c' => return format_char(&big, spec),
        kind => return Err(unknown(kind, value.type_name())),
    };
    if spec.precision.is_some() {
        return Err(failed("Precision not allowed in integer format specifier"));
    }
    if spec.grouping == Some(',') && radix != 10 {
        return Err(failed(format!("Cannot specify ',' with '{kind}'.")));
    }
    if radix == 10 {
        super::numbers::print_big(&big)?;
    }
    let mut digits = big.magnitude().to_str_radix(radix);
    if kind == 'X' {
        digits.make_ascii_uppercase();
    }
    let group = if radix == 10 { 3 } else { 4 };
    let prefix = if spec.alternate { prefix } else { "" };
    let negative = big.sign() == Sign::Minus;
    Ok(put_together(negative, prefix, &digits, group, spec))
}

fn format_char(code: &BigInt, spec: &Spec) -> Outcome<String> {
    let c = u32::try_from(code).ok().and_then(char::from_u32);
    let c = c.ok_or_else(|| failed("%c arg not in range(0x110000)"))?;
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    let align = spec.align.unwrap_or('<');
    Ok(pad(&c.to_string(), spec.width, fill, align))
}

fn format_float(value: f64, spec: &Spec) -> Outcome<String> {
    let magnitude = value.abs();
    let negative = value.is_sign_negative() && !value.is_nan();
    let precision = spec.precision;
    let notation = match spec.kind {
        None => match precision {
            None => {
                let body = match magnitude.is_finite() {
                    true => repr::float(magnitude),
                    false => floats::not_finite(magnitude, false),
                };
                return Ok(put_together(negative, "", &body, 3, spec));
            }
            Some(digits) => Notation::Shortest(digits),
        },
        Some('f' | 'F') => Notation::Fixed(precision.unwrap_or(6)),
        Some('e' | 'E') => Notation::Exponent(precision.unwrap_or(6)),
        Some('g' | 'G' | 'n') => Notation::General(precision.unwrap_or(6)),
        Some('%') => Notation::Fixed(precision.unwrap_or(6)),
        Some(kind) => return Err(unknown(kind, "float")),
    };
    let shown = if spec.kind == Some('%') {
        magnitude * 100.0
    } else {
        magnitude
    };
    let mut body = floats::format(shown, &notation, spec.alternate);
    if matches!(spec.kind, Some('E' | 'F' | 'G')) {
        body.make_ascii_uppercase();
    }
    if spec.kind == Some('%') {
        body.push('%');
    }
    Ok(put_together(negative, "", &body, 3, spec))
}
