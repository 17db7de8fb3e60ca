//! Python's numbers: whole ones of any size, and floats.

use num_bigint::BigInt;
use num_traits::{FromPrimitive, ToPrimitive, Zero};

use super::fault::{Outcome, failed};
use super::text::is_space;
use super::value::Value;

/// Bits of a whole number. Python has no such bound, but takes minutes where this ends.
const MOST_BITS: u64 = 1 << 17;

/// Python refuses to print, or read, whole numbers of more digits.
const MOST_DIGITS: usize = 4300;

#[derive(Clone)]
pub(super) enum Number {
    Int(i64),
    Big(BigInt),
    Float(f64),
}

impl Number {
    /// `None` for what is not a number; `true` is one.
    pub fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Int(i64::from(*value)),
            Value::Int(value) => Self::Int(*value),
            Value::Big(value) => Self::Big((**value).clone()),
            Value::Float(value) => Self::Float(*value),
            _ => return None,
        })
    }

    /// Of a whole number.
    pub fn to_big(&self) -> BigInt {
        match self {
            Self::Int(value) => BigInt::from(*value),
            Self::Big(value) => value.clone(),
            Self::Float(value) => BigInt::from_f64(*value).unwrap_or_default(),
        }
    }

    pub fn to_float(&self) -> Outcome<f64> {
        match self {
            Self::Int(value) => Ok(*value as f64),
            Self::Float(value) => Ok(*value),
            Self::Big(value) => match value.to_f64() {
                Some(float) if float.is_finite() => Ok(float),
                _ => Err(failed("int too large to convert to float")),
            },
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Int(value) => *value == 0,
            Self::Big(value) => value.is_zero(),
            Self::Float(value) => *value == 0.0,
        }
    }
}

fn whole(value: BigInt) -> Outcome<Value> {
    match value.bits() <= MOST_BITS {
        true => Ok(Value::big(value)),
        false => Err(failed("a whole number is too large")),
    }
}

fn both(
    a: &Number,
    b: &Number,
    int: fn(i64, i64) -> Option<i64>,
    big: fn(BigInt, BigInt) -> BigInt,
    float: fn(f64, f64) -> f64,
) -> Outcome<Value> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => match int(*a, *b) {
            Some(small) => Ok(Value::Int(small)),
            None => whole(big(BigInt::from(*a), BigInt::from(*b))),
        },
        (Number::Float(_), _) | (_, Number::Float(_)) => {
            Ok(Value::Float(float(a.to_float()?, b.to_float()?)))
        }
        (a, b) => whole(big(a.to_big(), b.to_big())),
    }
}

pub(super) fn add(a: &Number, b: &Number) -> Outcome<Value> {
    both(a, b, i64::checked_add, |a, b| a + b, |a, b| a + b)
}

pub(super) fn subtract(a: &Number, b: &Number) -> Outcome<Value> {
    both(a, b, i64::checked_sub, |a, b| a - b, |a, b| a - b)
}

pub(super) fn multiply(a: &Number, b: &Number) -> Outcome<Value> {
    both(a, b, i64::checked_mul, |a, b| a * b, |a, b| a * b)
}

pub(super) fn divide(a: &Number, b: &Number) -> Outcome<Value> {
    if b.is_zero() {
        return Err(failed("division by zero"));
    }
    Ok(Value::Float(a.to_float()? / b.to_float()?))
}

/// `//` and `%`: rounded down, the remainder with the sign of the divisor.
pub(super) fn floor_divide(a: &Number, b: &Number) -> Outcome<Value> {
    if b.is_zero() {
        return Err(failed("integer division or modulo by zero"));
    }
    both(
        a,
        b,
        |a, b| {
            let quotient = a.checked_div(b)?;
            Some(quotient - i64::from(a % b != 0 && (a < 0) != (b < 0)))
        },
        |a, b| (&a - floor_remainder(&a, &b)) / b,
        |a, b| {
            let quotient = (a - float_remainder(a, b)) / b;
            let floor = quotient.floor();
            match () {
                () if quotient == 0.0 => 0.0_f64.copysign(a / b),
                () if quotient - floor > 0.5 => floor + 1.0,
                () => floor,
            }
        },
    )
}

pub(super) fn remainder(a: &Number, b: &Number) -> Outcome<Value> {
    if b.is_zero() {
        return Err(failed("integer modulo by zero"));
    }
    both(
        a,
        b,
        |a, b| {
            let rest = a.checked_rem(b)?;
            Some(if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            })
        },
        |a, b| floor_remainder(&a, &b),
        float_remainder,
    )
}

fn floor_remainder(a: &BigInt, b: &BigInt) -> BigInt {
    let rest = a % b;
    match !rest.is_zero() && rest.sign() != b.sign() {
        true => rest + b,
        false => rest,
    }
}

fn float_remainder(a: f64, b: f64) -> f64 {
    let rest = a % b;
    match rest {
        0.0 => 0.0_f64.copysign(b),
        rest if (rest < 0.0) != (b < 0.0) => rest + b,
        rest => rest,
    }
}

pub(super) fn power(a: &Number, b: &Number) -> Outcome<Value> {
    let float = |a: f64, b: f64| match () {
        () if a == 0.0 && b < 0.0 => Err(failed("0.0 cannot be raised to a negative power")),
        () if a < 0.0 && a.is_finite() && b.is_finite() && b.fract() != 0.0 => {
            Err(failed("complex numbers are not supported"))
        }
        () => match a.powf(b) {
            result if result.is_infinite() && a.is_finite() && b.is_finite() => {
                Err(failed("Numerical result out of range"))
            }
            result => Ok(Value::Float(result)),
        },
    };
    match (a, b) {
        (Number::Float(_), _) | (_, Number::Float(_)) => float(a.to_float()?, b.to_float()?),
        (a, Number::Int(exponent)) => {
            let base = a.to_big();
            let Ok(exponent) = u32::try_from(*exponent) else {
                return match *exponent < 0 {
                    true => float(a.to_float()?, *exponent as f64),
                    false if base.bits() <= 1 => power(a, &Number::Int(2 - (*exponent % 2))),
                    false => Err(failed("a whole number is too large")),
                };
            };
            match base.bits().saturating_mul(u64::from(exponent)) {
                _ if base.bits() <= 1 => whole(base.pow(2 - exponent % 2).pow(exponent.min(1))),
                bits if bits <= MOST_BITS => whole(base.pow(exponent)),
                _ => Err(failed("a whole number is too large")),
            }
        }
        _ => Err(failed("a whole number is too large")),
    }
}

pub(super) fn negate(a: &Number) -> Value {
    match a {
        Number::Int(value) => match value.checked_neg() {
            Some(value) => Value::Int(value),
            None => Value::big(-BigInt::from(*value)),
        },
        Number::Big(value) => Value::big(-value),
        Number::Float(value) => Value::Float(-value),
    }
}

/// A float without what is behind its point.
pub(super) fn truncate(value: f64) -> Outcome<Value> {
    match BigInt::from_f64(value.trunc()) {
        Some(whole) => Ok(Value::big(whole)),
        None if value.is_nan() => Err(failed("cannot convert float NaN to integer")),
        None => Err(failed("cannot convert float infinity to integer")),
    }
}

/// `int(text, base)`; `None` where Python raises ValueError.
pub(super) fn parse_int(text: &str, base: u32) -> Option<Value> {
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let mut base = base;
    let mut digits = digits;
    let mut underscore_first = false;
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let named = match prefix.as_deref() {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 0,
    };
    if named != 0 && (base == 0 || base == named) {
        base = named;
        digits = digits.get(2..)?;
        underscore_first = true;
    } else if base == 0 {
        base = 10;
        // `010` was octal once, and is refused since.
        if digits.starts_with('0') && digits.chars().any(|c| c.is_ascii_digit() && c != '0') {
            return None;
        }
    }
    let plain = without_underscores(digits, underscore_first)?;
    if plain.len() > MOST_DIGITS {
        return None;
    }
    let value = BigInt::parse_bytes(plain.as_bytes(), base)?;
    Some(Value::big(if negative { -value } else { value }))
}

/// `float(text)`; `None` where Python raises ValueError.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => {
            return Some(if text.starts_with('-') {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            });
        }
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let digits: String = unsigned.chars().map(|c| decimal(c).unwrap_or(c)).collect();
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    // An underscore stands between two digits.
    let bytes = digits.as_bytes();
    let misplaced = |at: usize| {
        let digit = |at: Option<usize>| {
            at.and_then(|at| bytes.get(at))
                .is_some_and(u8::is_ascii_digit)
        };
        !digit(at.checked_sub(1)) || !digit(Some(at + 1))
    };
    if bytes
        .iter()
        .enumerate()
        .any(|(at, b)| *b == b'_' && misplaced(at))
    {
        return None;
    }
    let value: f64 = digits.replace('_', "").parse().ok()?;
    Some(if text.starts_with('-') { -value } else { value })
}

/// The digits alone, each as ASCII; `None` where an underscore is misplaced or there is none.
fn without_underscores(digits: &str, first: bool) -> Option<String> {
    let mut plain = String::new();
    let mut after_digit = first;
    for c in digits.chars() {
        match c {
            '_' if after_digit => after_digit = false,
            '_' => return None,
            c => {
                plain.push(decimal(c).unwrap_or(c));
                after_digit = true;
            }
        }
    }
    let ends_well =
        after_digit && !plain.is_empty() && plain.chars().all(|c| c.is_ascii_alphanumeric());
    ends_well.then_some(plain)
}

/// The ASCII digit of a decimal digit of any script.
fn decimal(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    super::text::decimal_value(c).and_then(|value| char::from_digit(value, 10))
}

/// The digits of a whole number.
pub(super) fn print_big(value: &BigInt) -> Outcome<String> {
    // 0.3 digits a bit: far too large ones are not turned into digits first.
    let digits = match value.bits() <= 15_000 {
        true => value.to_string(),
        false => String::new(),
    };
    match digits.trim_start_matches('-').len() {
        1..=MOST_DIGITS => Ok(digits),
        _ => Err(failed(
            "Exceeds the limit (4300 digits) for integer string conversion",
        )),
    }
}
