//! Floats in the notations of C: fixed, with an exponent, and whichever is shorter.

pub(super) enum Notation {
    /// `%f`: digits behind the point.
    Fixed(usize),
    /// `%e`: digits behind the point.
    Exponent(usize),
    /// `%g`: digits that count.
    General(usize),
    /// As `General`, but a whole number keeps a `.0`.
    Shortest(usize),
}

/// Digits beyond these are zeros for every float there is.
const MOST_DIGITS: usize = 1100;

/// Of a number that is not negative.
pub(super) fn format(value: f64, notation: &Notation, alternate: bool) -> String {
    if !value.is_finite() {
        return not_finite(value, false);
    }
    match *notation {
        Notation::Fixed(digits) => {
            let body = fixed(value, digits);
            if alternate && digits == 0 {
                body + "."
            } else {
                body
            }
        }
        Notation::Exponent(digits) => exponent(value, digits),
        Notation::General(digits) => general(value, digits, alternate, false),
        Notation::Shortest(digits) => general(value, digits, alternate, true),
    }
}

pub(super) fn not_finite(value: f64, upper: bool) -> String {
    let name = if value.is_nan() { "nan" } else { "inf" };
    if upper {
        name.to_ascii_uppercase()
    } else {
        name.to_owned()
    }
}

fn fixed(value: f64, digits: usize) -> String {
    let mut body = format!("{value:.*}", digits.min(MOST_DIGITS));
    body.extend(std::iter::repeat_n('0', digits.saturating_sub(MOST_DIGITS)));
    body
}

fn exponent(value: f64, digits: usize) -> String {
    let body = format!("{value:.*e}", digits.min(MOST_DIGITS));
    let (mantissa, power) = body.split_once('e').unwrap_or((&body, "0"));
    let zeros = "0".repeat(digits.saturating_sub(MOST_DIGITS));
    format!(
        "{mantissa}{zeros}{}",
        power_of_ten(power.parse().unwrap_or(0))
    )
}

fn power_of_ten(power: i32) -> String {
    let sign = if power < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", power.unsigned_abs())
}

fn general(value: f64, digits: usize, keep_zeros: bool, keep_point: bool) -> String {
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", (digits - 1).min(MOST_DIGITS));
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    // Where a point with a zero behind it is kept, that takes a digit.
    let most = i32::try_from(digits).unwrap_or(i32::MAX) - i32::from(keep_point);
    let strip = |body: &str| match (keep_zeros, body.contains('.')) {
        (false, true) => body.trim_end_matches('0').trim_end_matches('.').to_owned(),
        _ => body.to_owned(),
    };
    match power < -4 || power >= most.max(i32::from(!keep_point)) {
        true => format!("{}{}", strip(mantissa), power_of_ten(power)),
        false => {
            let behind = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - power;
            let body = strip(&fixed(value, usize::try_from(behind).unwrap_or(0)));
            if keep_point && !body.contains('.') {
                body + ".0"
            } else {
                body
            }
        }
    }
}
