//! Keys, card numbers, accounts, addresses and phone numbers in a text: found by their form and their check digits, and
//! only ever shown masked.

use serde::Serialize;

use super::phones::{self, Digits};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    PrivateKey,
    AccessKey,
    CardNumber,
    Iban,
    NationalId,
    Email,
    Phone,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::PrivateKey,
        Self::AccessKey,
        Self::CardNumber,
        Self::Iban,
        Self::NationalId,
        Self::Email,
        Self::Phone,
    ];

    pub const fn plural(self) -> &'static str {
        match self {
            Self::PrivateKey => "private keys",
            Self::AccessKey => "access keys and tokens",
            Self::CardNumber => "card numbers",
            Self::Iban => "bank accounts (IBAN)",
            Self::NationalId => "identity numbers",
            Self::Email => "email addresses",
            Self::Phone => "phone numbers",
        }
    }

    /// Whether it lets somebody in, or takes somebody's money.
    pub const fn is_secret(self) -> bool {
        matches!(
            self,
            Self::PrivateKey | Self::AccessKey | Self::CardNumber | Self::Iban
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kind: Kind,
    /// With all but a few of its characters hidden.
    pub masked: String,
}

/// Prefixes of tokens that services give out: what follows them, how many characters at least.
const TOKENS: [(&str, usize, &[u8]); 19] = [
    ("AKIA", 16, UPPER),
    ("ASIA", 16, UPPER),
    ("sk-ant-", 24, WORD),
    ("sk-proj-", 24, WORD),
    ("sk-", 20, WORD),
    ("ghp_", 36, ALNUM),
    ("gho_", 36, ALNUM),
    ("ghs_", 36, ALNUM),
    ("ghu_", 36, ALNUM),
    ("github_pat_", 30, WORD),
    ("glpat-", 20, WORD),
    ("AIza", 35, WORD),
    ("xoxb-", 20, WORD),
    ("xoxp-", 20, WORD),
    ("sk_live_", 16, ALNUM),
    ("rk_live_", 16, ALNUM),
    ("hf_", 30, ALNUM),
    ("npm_", 36, ALNUM),
    ("SG.", 40, WORD),
];
const UPPER: &[u8] = b"A0";
const ALNUM: &[u8] = b"Aa0";
const WORD: &[u8] = b"Aa0_";
/// Findings of one row.
const MOST: usize = 16;

/// What is found in a text, in its order.
pub fn scan(text: &str, found: &mut Vec<Found>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() && found.len() < MOST {
        let byte = bytes[at];
        let step = match byte {
            b'@' => email(text, at, found),
            b'0'..=b'9' | b'+' | b'(' => number(text, at, found),
            b'-' => private_key(text, at, found),
            _ if byte.is_ascii_alphabetic() => token(text, at, found),
            _ => 1,
        };
        at += step.max(1);
    }
}

/// At the beginning of a word: an access key, a web token or an account. Steps over the word.
fn token(text: &str, at: usize, found: &mut Vec<Found>) -> usize {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    let word = rest
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric())
        .count();
    if let Some(length) = key(rest).or_else(|| web_token(rest)) {
        found.push(Found {
            kind: Kind::AccessKey,
            masked: masked(&text[at..at + length], 4, 4),
        });
        return length;
    }
    if let Some(length) = iban(rest) {
        found.push(Found {
            kind: Kind::Iban,
            masked: masked(&text[at..at + length], 4, 2),
        });
        return length;
    }
    word
}

fn key(rest: &[u8]) -> Option<usize> {
    // Nearly all words begin otherwise.
    let begins = matches!(
        rest.get(..3)?,
        b"AKI"
            | b"ASI"
            | b"AIz"
            | b"sk-"
            | b"sk_"
            | b"rk_"
            | b"ghp"
            | b"gho"
            | b"ghs"
            | b"ghu"
            | b"git"
            | b"glp"
            | b"xox"
            | b"hf_"
            | b"npm"
            | b"SG."
    );
    if !begins {
        return None;
    }
    let (prefix, least, of) =
        { TOKENS.iter() }.find(|(prefix, ..)| rest.starts_with(prefix.as_bytes()))?;
    let body = &rest[prefix.len()..];
    let allowed = |b: &u8| match b {
        b'A'..=b'Z' => true,
        b'0'..=b'9' => true,
        b'a'..=b'z' => of.contains(&b'a'),
        b'_' | b'-' => of.contains(&b'_'),
        b'.' => *prefix == "SG.",
        _ => false,
    };
    let length = body.iter().take_while(|b| allowed(b)).count();
    let exact = **of == *UPPER;
    let fits = if exact {
        length == *least
    } else {
        length >= *least
    };
    // Words joined by hyphens are no key: one has digits and letters.
    let body = &body[..length];
    let mixed = body.iter().any(u8::is_ascii_digit) && body.iter().any(u8::is_ascii_alphabetic);
    (fits && mixed && varied(body)).then_some(prefix.len() + length)
}

/// Placeholders such as `sk-xxxxxxxx…` repeat themselves.
fn varied(body: &[u8]) -> bool {
    let mut seen = [false; 256];
    body.iter().for_each(|b| seen[usize::from(*b)] = true);
    seen.iter().filter(|seen| **seen).count() >= 7
}

/// Three parts of base64, the first of them a JSON header.
fn web_token(rest: &[u8]) -> Option<usize> {
    if !rest.starts_with(b"eyJ") {
        return None;
    }
    let part = |from: usize| {
        let body = rest.get(from..).unwrap_or_default();
        let of = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        body.iter().take_while(of).count()
    };
    let mut at = 0;
    for least in [12, 12, 16] {
        let length = part(at);
        if length < least || (at > 0 && rest[at - 1] != b'.') {
            return None;
        }
        at += length + 1;
    }
    Some(at - 1)
}

fn private_key(text: &str, at: usize, found: &mut Vec<Found>) -> usize {
    let rest = &text[at..];
    if !rest.starts_with("-----BEGIN ") {
        return rest.bytes().take_while(|b| *b == b'-').count();
    }
    let head: String = rest.chars().skip(11).take(40).collect();
    match head.split_once("-----") {
        Some((name, _)) if name.ends_with("PRIVATE KEY") || name.ends_with("PRIVATE KEY BLOCK") => {
            found.push(Found {
                kind: Kind::PrivateKey,
                masked: format!("-----BEGIN {name}----- …"),
            });
            // The base64 behind it is not looked at again.
            rest.find("-----END ").map_or(rest.len(), |end| end + 9)
        }
        _ => 11,
    }
}

/// Lengths of accounts by country.
const COUNTRIES: &str = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LI21LT20LU20LV21MC27MD24ME22MK19MR27MT31MU30NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20";

/// In groups of four or without blanks; the remainder of division by 97 must be 1.
fn iban(rest: &[u8]) -> Option<usize> {
    let code = rest.get(..4)?;
    if !(code[..2].iter().all(u8::is_ascii_uppercase) && code[2..].iter().all(u8::is_ascii_digit)) {
        return None;
    }
    let country = std::str::from_utf8(&code[..2]).ok()?;
    let entry = COUNTRIES
        .as_bytes()
        .chunks(4)
        .find(|entry| entry.starts_with(country.as_bytes()))?;
    let wanted = usize::from(entry[2] - b'0') * 10 + usize::from(entry[3] - b'0');
    let mut digits: Vec<u8> = Vec::with_capacity(wanted);
    let mut at = 0;
    while digits.len() < wanted {
        match rest.get(at)? {
            b' ' if !digits.is_empty() && digits.len().is_multiple_of(4) => {}
            byte if byte.is_ascii_uppercase() || byte.is_ascii_digit() => digits.push(*byte),
            _ => return None,
        }
        at += 1;
    }
    if rest.get(at).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    digits.rotate_left(4);
    let remainder = digits.iter().fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    (remainder == 1).then_some(at)
}

/// Around an `@`: what stands before and behind it. Domains kept for examples are none.
fn email(text: &str, at: usize, found: &mut Vec<Found>) -> usize {
    let bytes = text.as_bytes();
    let local =
        |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'+' | b'-');
    let before = bytes[..at].iter().rev().take_while(local).count();
    let of_domain = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let behind = bytes[at + 1..].iter().take_while(of_domain).count();
    let name = text[at - before..at].trim_start_matches('.');
    let domain = text[at + 1..at + 1 + behind].trim_end_matches(['.', '-']);
    let Some((host, top)) = domain.rsplit_once('.') else {
        return 1;
    };
    let named = top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic());
    if name.is_empty() || host.is_empty() || !named || is_example(host, top) {
        return 1 + behind;
    }
    let first = name.chars().next().unwrap_or('*');
    found.push(Found {
        kind: Kind::Email,
        masked: format!("{first}***@{}***.{top}", host.chars().next().unwrap_or('*')),
    });
    1 + behind
}

fn is_example(host: &str, top: &str) -> bool {
    let top = top.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    ["example", "invalid", "test", "localhost", "local"].contains(&top.as_str())
        || host
            .split('.')
            .any(|part| part.starts_with("example") || part == "domain" || part == "yourdomain")
}

/// At the beginning of a number: a card, an identity or a phone number. Steps over the number.
fn number(text: &str, at: usize, found: &mut Vec<Found>) -> usize {
    let bytes = text.as_bytes();
    // In the middle of a word or of a longer number, or behind a decimal point.
    let inside = at > 0
        && (bytes[at - 1].is_ascii_alphanumeric()
            || matches!(bytes[at - 1], b'.' | b'_' | b'/' | b'=' | b'#' | b'-'));
    let Some(digits) = Digits::read(bytes, at) else {
        return 1;
    };
    let kind = match () {
        () if inside => None,
        () if phones::is_card(&digits) => Some(Kind::CardNumber),
        () if phones::is_identity(&digits) => Some(Kind::NationalId),
        () if phones::is_phone(&digits) => Some(Kind::Phone),
        () => None,
    };
    if let Some(kind) = kind {
        found.push(Found {
            kind,
            masked: masked(text[at..at + digits.bytes].trim(), 3, 2),
        });
    }
    digits.bytes
}

/// Shows the first and the last characters, and stars for those between.
fn masked(text: &str, first: usize, last: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (first, last) = match chars.len() > 2 * (first + last) {
        true => (first, last),
        false => (1, 1),
    };
    let behind = chars.len().saturating_sub(last);
    let hidden = (behind.saturating_sub(first)).clamp(3, 8);
    let begin: String = chars[..first.min(behind)].iter().collect();
    let end: String = chars[behind..].iter().collect();
    format!("{begin}{}{end}", "*".repeat(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let mut found = Vec::new();
        scan(text, &mut found);
        found.into_iter().map(|found| found.kind).collect()
    }

    #[test]
    fn what_opens_doors_or_names_people_is_found() {
        for (text, kind) in [
            ("my key is AKIAIOSFODNN7EXAMPLE, keep it", Kind::AccessKey),
            (
                "OPENAI_API_KEY=sk-abcd1234EFGH5678ijkl9012MNOP",
                Kind::AccessKey,
            ),
            (
                "token ghp_16C7e42F292c6912E7710c838347Ae178B4a",
                Kind::AccessKey,
            ),
            (
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
                Kind::AccessKey,
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
                Kind::PrivateKey,
            ),
            ("pay with 4111 1111 1111 1111 today", Kind::CardNumber),
            ("卡号：5500-0000-0000-0004。", Kind::CardNumber),
            ("card 378282246310005.", Kind::CardNumber),
            ("4111 1111 1111 1111 12/25", Kind::CardNumber),
            ("DE89 3704 0044 0532 0130 00", Kind::Iban),
            ("GB82WEST12345698765432 please", Kind::Iban),
            ("write to jane.doe@mail.acme.org.", Kind::Email),
            ("call +49 30 901820 now", Kind::Phone),
            ("(212) 867-5309", Kind::Phone),
            ("212-867-5309", Kind::Phone),
            ("请拨打13812345678联系", Kind::Phone),
            ("身份证11010519491231002X", Kind::NationalId),
            ("SSN 536-90-4399", Kind::NationalId),
        ] {
            assert_eq!(kinds(text), [kind], "{text}");
        }
    }

    #[test]
    fn ordinary_numbers_and_words_are_left_alone() {
        for text in [
            "paid 4284.63 on 2024-01-15 at 10:30",
            "4111 1111 1111 1112",
            "ISBN 978-3-16-148410-0, version 1.2.3-4",
            "order 1234567890123456, batch 20240115093000",
            "an sk-learn pipeline, a sk-based-approach-to-everything-we-do",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
            "mail user@example.com or a@b",
            "call 555-0123, room 212, 1-2-3",
            "from 1998-2004 and 10-20-30",
            "DE00 3704 0044 0532 0130 00",
            "-----BEGIN PUBLIC KEY-----",
            "3.14159265358979 and 299792458",
            "x = 13812345678.5",
        ] {
            assert_eq!(kinds(text), [], "{text}");
        }
    }

    #[test]
    fn nothing_is_shown_whole() {
        let mut found = Vec::new();
        scan(
            "AKIAIOSFODNN7EXAMPLE 4111111111111111 jane@acme.org +4930901820",
            &mut found,
        );
        let shown: Vec<&str> = found.iter().map(|found| found.masked.as_str()).collect();
        assert_eq!(
            shown,
            [
                "AKIA********MPLE",
                "411********11",
                "j***@a***.org",
                "+49******20"
            ]
        );
    }
}
