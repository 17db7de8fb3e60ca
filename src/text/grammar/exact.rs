//! Keywords that the library follows less exactly than the standard, said so that it follows them: bounds that are open or
//! beyond what doubles hold, parts of the calendar, sets of characters as ECMAScript reads them. What cannot be said so is
//! refused, with the keyword and why.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value, json};

type Refusal = (&'static str, String);

/// Whole numbers up to here are doubles, all of them.
const WHOLE: f64 = (1u64 << 53) as f64;
/// The library counts whole numbers by 64 bits.
const LARGEST: i128 = (1 << 63) - 2048;
/// Numbers nearer to 0 are not written where 0 itself is not allowed.
const LEAST: f64 = 1e-15;

/// A map of a schema's keywords, in place.
pub fn rewrite(map: &mut Map<String, Value>) -> Result<(), Refusal> {
    bound(map, "maximum", "exclusiveMaximum", true)?;
    bound(map, "minimum", "exclusiveMinimum", false)?;
    multiple(map)?;
    calendar(map);
    if let Some(Value::String(pattern)) = map.get_mut("pattern") {
        *pattern = ecma(pattern);
    }
    if let Some(Value::Object(patterns)) = map.get_mut("patternProperties") {
        let named = std::mem::take(patterns).into_iter();
        *patterns = named.map(|(key, of)| (ecma(&key), of)).collect();
    }
    if let Some(value) = map.get("const") {
        literal(value).map_err(|why| ("const", why))?;
    }
    if let Some(value) = map.get("enum") {
        literal(value).map_err(|why| ("enum", why))?;
    }
    names(map)
}

/// Both bounds of one side as the one that is not open: a number of many digits that is below an open bound may be read as
/// the bound itself, and one below the double before it may not.
fn bound(
    map: &mut Map<String, Value>,
    closed: &'static str,
    open: &'static str,
    upper: bool,
) -> Result<(), Refusal> {
    let whole = map.get("type").is_some_and(|name| name == "integer");
    let number = |key: &str| map.get(key).and_then(Value::as_number);
    let (at, beyond) = match map.get(open) {
        // Draft 4 says with a flag that the other bound is open.
        Some(Value::Bool(true)) => (None, number(closed)),
        _ => (number(closed), number(open)),
    };
    let large = |number: &Number| number.as_f64().is_some_and(|n| n.abs() >= WHOLE);
    if beyond.is_none() && !at.is_some_and(large) {
        return Ok(());
    }
    let side = Side { whole, upper };
    let at = at.map(|number| side.within(number, false).ok_or(closed));
    let beyond = beyond.map(|number| side.within(number, true).ok_or(open));
    let too_far = |key| (key, "is beyond the numbers that are counted".to_owned());
    let found = match (at.transpose(), beyond.transpose()) {
        (Err(key), _) | (_, Err(key)) => return Err(too_far(key)),
        (Ok(Some(a)), Ok(Some(b))) if upper => a.min(b),
        (Ok(Some(a)), Ok(Some(b))) => a.max(b),
        (Ok(a), Ok(b)) => match a.or(b) {
            Some(found) => found,
            None => return Ok(()),
        },
    };
    map.shift_remove(open);
    map.insert(closed.to_owned(), json!(found));
    Ok(())
}

#[derive(Clone, Copy)]
struct Side {
    /// Only whole numbers are meant.
    whole: bool,
    upper: bool,
}

impl Side {
    /// The last double that is within a bound; `None` where the library would count beyond it.
    fn within(self, bound: &Number, open: bool) -> Option<f64> {
        let f = bound.as_f64()?;
        if f.abs() < WHOLE {
            return Some(match (open, self.whole) {
                (false, _) => f,
                (true, true) if self.upper => (f - 1.0).ceil() + 0.0,
                (true, true) => (f + 1.0).floor() + 0.0,
                (true, false) if f == 0.0 => self.inward() * LEAST,
                (true, false) => self.next(f),
            });
        }
        let step = i128::from(open) * self.inward() as i128;
        let exact = of_number(bound, f).saturating_add(step);
        if self.upper && exact < -LARGEST || !self.upper && exact > LARGEST {
            return None;
        }
        let mut f = exact.clamp(-LARGEST, LARGEST) as f64;
        while self.passes(written(f), exact) || self.passes(f as i128, exact) {
            f = self.next(f);
        }
        Some(f)
    }

    fn inward(self) -> f64 {
        if self.upper { -1.0 } else { 1.0 }
    }

    fn next(self, f: f64) -> f64 {
        if self.upper {
            f.next_down()
        } else {
            f.next_up()
        }
    }

    fn passes(self, number: i128, bound: i128) -> bool {
        if self.upper {
            number > bound
        } else {
            number < bound
        }
    }
}

/// A large number, which is whole.
fn of_number(number: &Number, f: f64) -> i128 {
    let whole = number.as_i64().map(i128::from);
    whole
        .or(number.as_u64().map(i128::from))
        .unwrap_or(f as i128)
}

/// A large double as the library writes it: the digits that tell it from others, then zeros.
fn written(f: f64) -> i128 {
    format!("{f}").parse().unwrap_or(f as i128)
}

/// The library counts with 32 bits what is left of a number so far.
const MULTIPLE: u64 = 300_000_000;
const PLACES: u32 = 8;

fn multiple(map: &mut Map<String, Value>) -> Result<(), Refusal> {
    let Some(of) = map.get("multipleOf").and_then(Value::as_f64) else {
        return Ok(());
    };
    if of <= 0.0 {
        return Err(("multipleOf", "must be more than 0".to_owned()));
    }
    let Some(read) = as_it_reads(of) else {
        let why = match of > MULTIPLE as f64 {
            true => format!("is above {MULTIPLE}"),
            false => format!(
                "is not read exactly, as 0.01 is, has more than {PLACES} digits behind the point, or is above {MULTIPLE} without the point"
            ),
        };
        return Err(("multipleOf", why));
    };
    if read != of {
        map.insert("multipleOf".to_owned(), json!(read));
    }
    Ok(())
}

/// The double of which the library reads these digits. It multiplies by 10 until nothing is left behind the point, which goes
/// wrong with 0.07 and not with the double before it, and goes wrong with 0.57 in any case.
fn as_it_reads(of: f64) -> Option<f64> {
    let meant = digits(of)?;
    let mut near = [of, of.next_down(), of.next_up()].into_iter();
    near.find(|near| read(*near) == Some(meant))
}

/// A number without its point, and how many digits are behind it.
fn digits(of: f64) -> Option<(u64, u32)> {
    let text = of.to_string();
    let (whole, places) = text.split_once('.').unwrap_or((&text, ""));
    let number = format!("{whole}{places}").parse().ok()?;
    let few = number <= MULTIPLE && places.len() <= PLACES as usize;
    few.then_some((number, places.len() as u32))
}

fn read(mut of: f64) -> Option<(u64, u32)> {
    let mut places = 0;
    while of.fract() != 0.0 {
        if places == PLACES {
            return None;
        }
        of *= 10.0;
        places += 1;
    }
    Some((of as u64, places))
}

/// Any number of names that are not fixed may be one name several times.
fn names(map: &Map<String, Value>) -> Result<(), Refusal> {
    let required = map.get("required").and_then(Value::as_array);
    let required: BTreeSet<&str> = { required.into_iter().flatten() }
        .filter_map(Value::as_str)
        .collect();
    let least = map.get("minProperties").and_then(Value::as_f64);
    match least {
        Some(least) if least > required.len() as f64 + 1.0 => {
            let why = "is followed up to one name more than `required` has";
            Err(("minProperties", why.to_owned()))
        }
        _ => Ok(()),
    }
}

/// Values that an answer repeats as they are.
fn literal(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) if !is_exact(number) => Err(format!(
            "holds {number}, which has more digits than are followed"
        )),
        Value::String(text) if text.chars().any(is_unwritten) => {
            Err("holds a control character, which answers do not write".to_owned())
        }
        Value::Array(items) => items.iter().try_for_each(literal),
        Value::Object(map) => map.values().try_for_each(literal),
        _ => Ok(()),
    }
}

fn is_exact(number: &Number) -> bool {
    let Some(f) = number.as_f64() else {
        return false;
    };
    match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => f as i128 == i128::from(whole) && whole != i64::MIN,
        (None, Some(whole)) => f as i128 == i128::from(whole) && written(f) == f as i128,
        (None, None) => f.abs() < WHOLE || format!("{f}") == format!("{f:.0}"),
    }
}

/// Without a letter of its own behind a backslash.
fn is_unwritten(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}') && !matches!(c, '\u{8}' | '\t' | '\n' | '\u{c}' | '\r')
}

const YEAR: &str = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})";
const LEAP: &str = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)";
const MONTH_AND_DAY: &str = r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))";
const TIME: &str =
    r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:[zZ]|[+-](?:[01]\d|2[0-3]):[0-5]\d)";

/// Days that exist, and seconds that every day has.
fn calendar(map: &mut Map<String, Value>) {
    let date = || format!("(?:{YEAR}-{MONTH_AND_DAY}|{LEAP}-02-29)");
    let pattern = match map.get("format").and_then(Value::as_str) {
        Some("date") => format!("^{}$", date()),
        Some("time") => format!("^{TIME}$"),
        Some("date-time") => format!("^{}[tT]{TIME}$", date()),
        _ => return,
    };
    if map.contains_key("pattern") {
        let all = map.entry("allOf").or_insert_with(|| json!([]));
        let Some(all) = all.as_array_mut() else {
            return;
        };
        all.push(json!({"pattern": pattern}));
    } else {
        map.insert("pattern".to_owned(), pattern.into());
    }
    map.shift_remove("format");
}

/// Of an address, as zod writes it: with look-ahead, which no automaton has, against points side by side and one in front.
const EMAIL: &str = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$";
/// The same without.
const EMAIL_PLAIN: &str = r"^(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+\-]@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$";

/// An expression whose sets of characters hold what ECMAScript reads in them: no sets within sets, and no `&&`, `--`, `~~`.
fn ecma(pattern: &str) -> String {
    if pattern == EMAIL {
        return EMAIL_PLAIN.to_owned();
    }
    let mut said = String::with_capacity(pattern.len());
    let (mut set, mut before) = (false, None);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (set, c) {
            (_, '\\') => {
                said.push(c);
                said.extend(chars.next());
                before = None;
                continue;
            }
            (false, '[') => set = true,
            (true, ']') => set = false,
            (true, '[') => said.push('\\'),
            (true, '&' | '-' | '~') if before == Some(c) => said.push('\\'),
            _ => {}
        }
        said.push(c);
        before = Some(c);
    }
    said
}
