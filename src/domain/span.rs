//! Times as people write them.

use super::LONGEST_SPAN;

/// Seconds of `45s`, `30m`, `12h` or `7d`; 0 needs no unit.
pub fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time as 45s, 30m, 12h or 7d");
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "" if number == "0" => 1,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(unit).filter(|&all| all <= LONGEST_SPAN);
    seconds.ok_or_else(|| format!("`{text}` is more than ten years"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_unit() {
        for (text, expected) in [
            ("0", 0),
            ("45s", 45),
            ("30m", 1800),
            ("12h", 43_200),
            ("30d", 2_592_000),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in ["", "7", "d", "1w", "-1d", "1.5h", "99999d", "é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
