//! How far names, numbers and texts in quotes reach, and what a text in quotes stands for.

pub(super) fn name_len(rest: &str) -> Option<usize> {
    let end = rest
        .find(|c: char| !(c == '_' || c.is_alphanumeric() || super::text::is_identifier_part(c)))
        .unwrap_or(rest.len());
    (end > 0).then_some(end)
}

/// Digits, with single underscores between them.
pub(super) fn digits_len(text: &str, digit: fn(&char) -> bool) -> usize {
    let mut len = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if digit(&c) => len = at + 1,
            '_' if len > 0 && len == at && chars.peek().is_some_and(|(_, c)| digit(c)) => {}
            _ => break,
        }
    }
    len
}

pub(super) fn float_len(source: &str, at: usize) -> Option<usize> {
    let rest = &source[at..];
    if source[..at].ends_with('.') {
        return None;
    }
    let decimal: fn(&char) -> bool = char::is_ascii_digit;
    let whole = digits_len(rest, decimal);
    if whole == 0 {
        return None;
    }
    let mut end = whole;
    if let Some(behind) = rest[end..].strip_prefix('.') {
        let len = digits_len(behind, decimal);
        if len > 0 {
            end += 1 + len;
        }
    }
    let power = rest[end..].strip_prefix(['e', 'E']).and_then(|behind| {
        let digits = behind.strip_prefix(['+', '-']).unwrap_or(behind);
        let len = digits_len(digits, decimal);
        (len > 0).then_some(1 + behind.len() - digits.len() + len)
    });
    match power {
        Some(len) => Some(end + len),
        None => (end > whole).then_some(end),
    }
}

pub(super) fn int_len(rest: &str) -> Option<usize> {
    let prefixed = |prefix: &str, digit: fn(&char) -> bool| {
        let head = rest.get(..2)?;
        if !head.eq_ignore_ascii_case(prefix) {
            return None;
        }
        let digits = &rest[2..];
        let skipped = usize::from(digits.starts_with('_'));
        let len = digits_len(&digits[skipped..], digit);
        (len > 0).then_some(2 + skipped + len)
    };
    let special = prefixed("0b", |c| matches!(c, '0' | '1'))
        .or_else(|| prefixed("0o", |c| matches!(c, '0'..='7')))
        .or_else(|| prefixed("0x", char::is_ascii_hexdigit));
    if special.is_some() {
        return special;
    }
    let len = match rest.starts_with('0') {
        true => digits_len(rest, |c| *c == '0'),
        false => digits_len(rest, char::is_ascii_digit),
    };
    (len > 0).then_some(len)
}

pub(super) fn string_len(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Python's escapes. Behind a backslash, what is not ASCII becomes its own escape, backslash and all.
pub(super) fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(escaped) = chars.next() else {
            return Err("\\ at end of string".into());
        };
        match escaped {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(escaped),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                let rest = chars.as_str();
                let more = rest
                    .chars()
                    .take(2)
                    .take_while(|c| matches!(c, '0'..='7'))
                    .count();
                let digits = format!("{escaped}{}", &rest[..more]);
                chars = rest[more..].chars();
                let code = u32::from_str_radix(&digits, 8).unwrap_or(0);
                out.extend(char::from_u32(code));
            }
            'x' | 'u' | 'U' => {
                let len = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let rest = chars.as_str();
                let digits = rest
                    .get(..len)
                    .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                let digits = digits.ok_or_else(|| format!("truncated \\{escaped} escape"))?;
                chars = rest[len..].chars();
                let code = u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                out.push(code.ok_or("illegal Unicode character")?);
            }
            'N' => return Err("character names are not supported".into()),
            c if !c.is_ascii() => {
                let code = u32::from(c);
                out.push_str(&match code {
                    ..0x100 => format!("\\x{code:02x}"),
                    0x100..0x1_0000 => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
            c => out.extend(['\\', c]),
        }
    }
    Ok(out)
}
