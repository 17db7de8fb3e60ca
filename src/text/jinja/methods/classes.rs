//! `isalpha()` and the like.

use crate::text::jinja::repr::is_printable;
use crate::text::jinja::text;

/// `None` where `name` is not one of them.
pub(super) fn test(value: &str, name: &str) -> Option<bool> {
    let all = |class: fn(char) -> bool| !value.is_empty() && value.chars().all(class);
    Some(match name {
        "isalnum" => all(|c| text::is_alphabetic(c) || text::is_numeric(c)),
        "isalpha" => all(text::is_alphabetic),
        "isascii" => value.is_ascii(),
        "isdecimal" => all(text::is_decimal),
        "isdigit" => all(text::is_digit),
        "isnumeric" => all(text::is_numeric),
        "isspace" => all(text::is_space),
        "isidentifier" => text::is_identifier(value),
        "isprintable" => value.chars().all(is_printable),
        "islower" => is_lower(value),
        "isupper" => is_upper(value),
        "istitle" => is_title(value),
        _ => return None,
    })
}

pub(in crate::text::jinja) fn is_lower(value: &str) -> bool {
    let mut cased = value.chars().filter(|c| text::is_cased(*c)).peekable();
    cased.peek().is_some() && cased.all(text::is_lowercase)
}

pub(in crate::text::jinja) fn is_upper(value: &str) -> bool {
    let mut cased = value.chars().filter(|c| text::is_cased(*c)).peekable();
    cased.peek().is_some() && cased.all(text::is_uppercase)
}

/// Every word begins with a capital and goes on with small letters.
fn is_title(value: &str) -> bool {
    let (mut inside, mut any) = (false, false);
    for c in value.chars() {
        let capital = text::is_uppercase(c) || text::is_titlecase(c);
        if capital && inside || text::is_lowercase(c) && !inside {
            return false;
        }
        inside = text::is_cased(c);
        any |= inside;
    }
    any
}
