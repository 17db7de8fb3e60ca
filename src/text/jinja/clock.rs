//! `datetime.now().strftime`, as the C library of most machines writes it.

use std::fmt::Write;

use chrono::{DateTime, Local};

/// What stands for something behind a `%`. The rest is written as it is.
const KNOWN: &str = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyY";

pub(super) fn strftime(time: &DateTime<Local>, format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let len = directive(time, rest, &mut out);
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

/// Writes the directive that `text` begins with, and tells its length.
fn directive(time: &DateTime<Local>, text: &str, out: &mut String) -> usize {
    let flags: &str = &text[1..];
    let flags = &flags[..flags.len() - flags.trim_start_matches(['-', '_', '0', '^', '#']).len()];
    let behind = &text[1 + flags.len()..];
    let digits = &behind[..behind.len()
        - behind
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len()];
    let behind = &behind[digits.len()..];
    let modifier = behind.len() - behind.strip_prefix(['E', 'O']).unwrap_or(behind).len();
    let kind = behind[modifier..].chars().next();
    let len = 1 + flags.len() + digits.len() + modifier + kind.map_or(0, char::len_utf8);
    match kind {
        Some('%') => out.push('%'),
        // Python's own: microseconds.
        Some('f') if len == 2 => {
            let _ = write!(out, "{:06}", time.timestamp_subsec_micros());
        }
        // The time has no zone.
        Some('z' | 'Z') => {}
        Some(kind) if KNOWN.contains(kind) => {
            let padding = flags.chars().rfind(|c| matches!(c, '-' | '_' | '0'));
            let padding = padding.map(String::from).unwrap_or_default();
            let mut shown = String::new();
            let _ = write!(shown, "{}", time.format(&format!("%{padding}{kind}")));
            if flags.contains('^') || flags.contains('#') && "aAbBh".contains(kind) {
                shown = shown.to_uppercase();
            } else if flags.contains('#') {
                shown = shown.to_lowercase();
            }
            let width: usize = digits.parse().unwrap_or(0).min(1024);
            let fill = match shown.bytes().all(|b| b.is_ascii_digit()) && padding != "_" {
                true => '0',
                false => ' ',
            };
            out.extend(std::iter::repeat_n(fill, width.saturating_sub(shown.len())));
            out.push_str(&shown);
        }
        _ => out.push_str(&text[..len]),
    }
    len
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    #[test]
    fn dates_are_written_as_the_c_library_writes_them() {
        let time = Local.with_ymd_and_hms(2024, 7, 6, 9, 5, 3).unwrap();
        for (format, expected) in [
            ("%d %b %Y", "06 Jul 2024"),
            ("%Y-%m-%d %H:%M:%S", "2024-07-06 09:05:03"),
            ("%-d/%-m %e|%_d|%I %p %P", "6/7  6| 6|09 AM am"),
            ("%A %^a %B %j %U %u %w", "Saturday SAT July 188 26 6 6"),
            ("%%d %Q %", "%d %Q %"),
            ("%5Y|%z%Z|%D|%T|%f", "02024||07/06/24|09:05:03|000000"),
            ("é%y", "é24"),
        ] {
            assert_eq!(strftime(&time, format), expected, "{format}");
        }
    }
}
