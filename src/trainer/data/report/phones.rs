//! Numbers that name a person or an account: cards, identities, phones.

/// A number with the blanks, hyphens, dots and brackets that people write into it.
#[derive(Debug, PartialEq, Eq)]
pub struct Digits {
    /// Each 0 to 9, or 10 for a final `X`.
    values: Vec<u8>,
    /// Lengths of the runs between separators.
    groups: Vec<usize>,
    plus: bool,
    bracket: bool,
    dots: bool,
    /// A number goes on behind it, such as decimals or a word.
    goes_on: bool,
    /// Bytes of text it takes.
    pub bytes: usize,
}

/// Digits that are read at most.
const LONGEST: usize = 32;

impl Digits {
    /// From `at`, a digit, `+` or `(`; `None` where no digit follows.
    pub fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let mut digits = Self {
            values: Vec::with_capacity(20),
            groups: vec![0],
            plus: bytes[at] == b'+',
            bracket: false,
            dots: false,
            goes_on: false,
            bytes: 0,
        };
        let mut here = at + usize::from(digits.plus);
        let mut end = here;
        while let Some(byte) = bytes.get(here) {
            match byte {
                b'0'..=b'9' if digits.values.len() < LONGEST => {
                    digits.values.push(byte - b'0');
                    *digits.groups.last_mut()? += 1;
                    end = here + 1;
                }
                // One separator between groups; a bracket may stand beside a blank.
                b' ' | b'-' | b'.' | b'(' | b')' => {
                    let next = bytes.get(here + 1).copied().unwrap_or(b' ');
                    let joins = next.is_ascii_digit()
                        || (matches!(byte, b')' | b' ') && matches!(next, b' ' | b'-' | b'('));
                    let opens = *byte == b'(' && next.is_ascii_digit();
                    if !(joins || opens) || (here > at && bytes[here - 1] == *byte) {
                        break;
                    }
                    digits.bracket |= *byte == b'(';
                    digits.dots |= *byte == b'.';
                    if digits.groups.last() != Some(&0) {
                        digits.groups.push(0);
                    }
                }
                _ => break,
            }
            here += 1;
        }
        if digits.values.is_empty() {
            return None;
        }
        if digits.groups.last() == Some(&0) {
            digits.groups.pop();
        }
        if digits.values.len() == 17 && matches!(bytes.get(end), Some(b'X' | b'x')) {
            digits.values.push(10);
            end += 1;
        }
        let next = bytes.get(end).copied().unwrap_or(b' ');
        let behind = bytes.get(end + 1).copied().unwrap_or(b' ');
        digits.goes_on = next.is_ascii_alphanumeric()
            || (matches!(next, b'.' | b',' | b'-' | b':' | b'/' | b'_' | b'%')
                && behind.is_ascii_alphanumeric());
        digits.bytes = end - at;
        Some(digits)
    }

    fn number(&self, from: usize, length: usize) -> u32 {
        self.values
            .iter()
            .skip(from)
            .take(length)
            .fold(0, |sum, digit| sum * 10 + u32::from(*digit))
    }

    fn is_plain(&self) -> bool {
        !(self.plus || self.bracket || self.dots || self.goes_on)
    }

    fn alike(&self) -> bool {
        self.values.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// Groups in which cards are printed; or all digits are one group.
const PRINTED: [&[usize]; 4] = [&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];

/// By its issuer's prefix and length, and the check digit of Luhn. Other numbers may stand before and behind it.
pub fn is_card(digits: &Digits) -> bool {
    if digits.plus || digits.bracket || digits.dots || digits.values.contains(&10) {
        return false;
    }
    (0..digits.groups.len()).any(|first| {
        let from: usize = digits.groups[..first].iter().sum();
        let groups = &digits.groups[first..];
        let printed = PRINTED.iter().find(|printed| groups.starts_with(printed));
        let count = printed.map_or(groups[0], |printed| printed.iter().sum());
        let cut = digits.goes_on && from + count == digits.values.len();
        !cut && is_issued(&digits.values[from..from + count])
    })
}

fn is_issued(values: &[u8]) -> bool {
    let number = |length: usize| {
        values
            .iter()
            .take(length)
            .fold(0, |sum, digit| sum * 10 + u32::from(*digit))
    };
    let (two, three, four) = (number(2), number(3), number(4));
    let issued = match values.len() {
        19 => values[0] == 4 || two == 62,
        14 => two == 36 || two == 38 || (300..=305).contains(&three),
        15 => two == 34 || two == 37,
        16 => {
            values[0] == 4
                || (51..=55).contains(&two)
                || (2221..=2720).contains(&four)
                || four == 6011
                || two == 65
                || (644..=649).contains(&three)
                || two == 62
                || (3528..=3589).contains(&four)
        }
        _ => false,
    };
    issued && different(values) > 1 && luhn(values)
}

fn luhn(values: &[u8]) -> bool {
    let sum: u32 = values
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (1, digit) if digit > 4 => 2 * digit - 9,
            (1, digit) => 2 * digit,
            (_, digit) => digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A Chinese identity card by its date and check digit; a number of the American social security by its groups.
pub fn is_identity(digits: &Digits) -> bool {
    if !digits.is_plain() {
        return false;
    }
    let date = |year, month, day| {
        (1900..=2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
    };
    match (digits.values.len(), digits.groups.as_slice()) {
        (18, [17 | 18]) => {
            const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
            let sum: u32 = { digits.values.iter().zip(WEIGHTS) }
                .map(|(digit, weight)| u32::from(*digit) * weight)
                .sum();
            let check = [1, 0, 10, 9, 8, 7, 6, 5, 4, 3, 2][sum as usize % 11];
            digits.values[17] == check
                && (11..=82).contains(&digits.number(0, 2))
                && date(
                    digits.number(6, 4),
                    digits.number(10, 2),
                    digits.number(12, 2),
                )
        }
        (9, [3, 2, 4]) => {
            let area = digits.number(0, 3);
            area != 0
                && area != 666
                && area < 900
                && digits.number(3, 2) != 0
                && digits.number(5, 4) != 0
        }
        _ => false,
    }
}

/// With a country's code, in the groups of North America, or a Chinese mobile number.
pub fn is_phone(digits: &Digits) -> bool {
    let count = digits.values.len();
    if digits.goes_on || digits.alike() {
        return false;
    }
    if digits.plus {
        // Codes that are kept for examples begin so in North America, too.
        return (9..=15).contains(&count) && digits.values[0] != 0 && !is_fictional(digits, 1);
    }
    let american = |from: usize| {
        digits.number(from, 3) >= 201
            && digits.number(from + 3, 3) >= 200
            && !is_fictional(digits, from)
    };
    match digits.groups.as_slice() {
        [3, 3, 4] => american(0),
        [1, 3, 3, 4] => digits.values[0] == 1 && american(1),
        [11] => {
            !digits.bracket
                && digits.values[0] == 1
                && digits.values[1] >= 3
                && different(&digits.values) >= 4
        }
        [3, 4, 4] => {
            digits.values[0] == 1 && digits.values[1] >= 3 && different(&digits.values) >= 4
        }
        _ => false,
    }
}

/// How many different digits there are.
fn different(values: &[u8]) -> usize {
    let mut seen = [false; 11];
    values
        .iter()
        .for_each(|digit| seen[usize::from(*digit)] = true);
    seen.iter().filter(|seen| **seen).count()
}

/// 555-0100 to 555-0199, which films use.
fn is_fictional(digits: &Digits, from: usize) -> bool {
    digits.values.len() == from + 10 && digits.number(from + 3, 5) == 55501
}
