//! What may be wrong with one row by itself: answers that repeat the question, stand for nothing or break off, and
//! characters that were decoded wrongly.

use super::text::{ends_whole, folded, is_unit, units};

/// Words of an answer from which it is a sentence that should end like one, and from which one without an end is long.
const SENTENCE: usize = 4;
const LONG: usize = 12;

/// How an answer in prose ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// No prose, or too short to say.
    None,
    Whole,
    /// Without a final mark, a few words.
    Open,
    /// Without a final mark, many words.
    Long,
    /// In the middle of something.
    Cut,
}

/// Judges the end of an answer; `prose` where it is no list, number, JSON or code.
pub fn ending(answer: &str, prose: bool) -> Ending {
    let answer = answer.trim_end();
    if answer.matches("```").count() % 2 == 1 {
        return Ending::Cut;
    }
    if !prose {
        return Ending::None;
    }
    // A character of a script without spaces is about half a word.
    let weight: usize = units(answer)
        .map(|unit| if unit.single { 1 } else { 2 })
        .sum();
    let words = weight / 2;
    if words < SENTENCE {
        return Ending::None;
    }
    if ends_whole(answer) {
        return Ending::Whole;
    }
    let last = answer.chars().next_back().unwrap_or(' ');
    let breaks = matches!(
        last,
        ',' | ';' | '，' | '、' | '；' | '،' | '(' | '（' | '「' | '『' | '“' | '[' | '{'
    );
    match () {
        () if breaks || unfinished(answer) => Ending::Cut,
        // A number, an address or a formula ends as it likes.
        () if !last.is_alphabetic() && !is_unit(last) => Ending::None,
        () if words >= LONG => Ending::Long,
        () => Ending::Open,
    }
}

/// Words after which a sentence goes on.
const GO_ON: &str = "and or the a an of to with because for that which but is are was were as by from in on at if when und der die das ein eine mit weil et le la les de des une pour que y el los una con por para";
const GO_ON_CHARACTERS: &str = "和与或及在把被从向因跟";
const GO_ON_PHRASES: [&str; 10] = [
    "因为", "但是", "而且", "所以", "以及", "例如", "比如", "如果", "由于", "并且",
];

fn unfinished(answer: &str) -> bool {
    let last = answer
        .rsplit(|c: char| c.is_whitespace())
        .next()
        .unwrap_or_default();
    if last.chars().any(is_unit) {
        let single = answer
            .chars()
            .next_back()
            .is_some_and(|c| GO_ON_CHARACTERS.contains(c));
        return single || GO_ON_PHRASES.iter().any(|phrase| answer.ends_with(phrase));
    }
    // A capital is a name or an abbreviation, such as in `vitamin A`.
    let goes_on = last.chars().next().is_some_and(char::is_lowercase)
        && GO_ON.split(' ').any(|word| word == last);
    let opened = |open: char, close: char| {
        answer.chars().filter(|c| *c == open).count()
            > answer.chars().filter(|c| *c == close).count()
    };
    goes_on || opened('(', ')') || opened('（', '）') || opened('「', '」')
}

/// Texts that stand where an answer is missing.
pub fn is_placeholder(answer: &str) -> bool {
    let text: String = answer.trim().chars().take(40).map(folded).collect();
    let exact = [
        "nan",
        "null",
        "undefined",
        "[object object]",
        "todo",
        "tbd",
        "fixme",
        "xxx",
        "...",
        "…",
        "……",
        "#n/a",
        "#ref!",
        "#value!",
        "<no answer>",
        "待补充",
        "待填写",
        "无答案",
        "暂无",
        "略",
    ];
    exact.contains(&text.as_str()) || text.starts_with("lorem ipsum")
}

/// Whether an answer repeats all that its question says.
pub fn repeats(answer: &str, question: &str) -> bool {
    let letters = |text: &'_ str| -> Vec<char> {
        text.chars()
            .map(folded)
            .filter(|c| c.is_alphanumeric())
            .collect()
    };
    let near = answer.len().abs_diff(question.len()) <= 8 + question.len() / 8;
    near && answer.len() > 3 && {
        let answer = letters(answer);
        !answer.is_empty() && answer == letters(question)
    }
}

/// Where UTF-8 was read as Latin-1 or Windows-1252, or bytes were lost: what shows it.
pub fn mojibake(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    for sign in ["\u{fffd}", "锟斤拷", "烫烫烫", "ï»¿"] {
        if text.contains(sign) {
            return Some(sign.to_owned());
        }
    }
    if !text.chars().any(|c| matches!(c as u32, 0xC2..=0xF4)) {
        return None;
    }
    let chars: Vec<char> = text.chars().take(20_000).collect();
    let mut at = 0;
    let mut pairs: Vec<&[char]> = Vec::new();
    while at < chars.len() {
        let length = match byte(chars[at]) {
            Some(0xC2..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..=0xF4) => 4,
            _ => 0,
        };
        let run = chars.get(at..at + length).unwrap_or_default();
        let continued = length > 0
            && run.len() == length
            && run[1..]
                .iter()
                .all(|c| matches!(byte(*c), Some(0x80..=0xBF)));
        // A blank that does not break stands before closing quotes in French.
        if continued && (!run.contains(&'\u{a0}') || matches!(run[0], 'Ã' | 'Â')) {
            pairs.push(run);
        }
        at += length.max(1);
    }
    // Signs may meet by chance, as in `CAFÉ»`; `Ã` and `Â`, the beginnings of quotes and ideographs, and several of them do not.
    let telling = pairs.iter().find(|run| match run.len() {
        2 => matches!(run[0], 'Ã' | 'Â'),
        _ => matches!(run[0], 'â' | 'ã' | 'ä' | 'å' | 'æ' | 'ï' | 'ð'),
    });
    let first = telling.or_else(|| pairs.first().filter(|_| pairs.len() > 2))?;
    Some(first.iter().collect())
}

/// The byte that a character stands for in Windows-1252, from 0x80.
fn byte(c: char) -> Option<u8> {
    const HIGH: [char; 27] = [
        '€', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', 'Ž', '‘', '’', '“', '”', '•',
        '–', '—', '˜', '™', 'š', '›', 'œ', 'ž', 'Ÿ',
    ];
    const BYTES: [u8; 27] = [
        0x80, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8E, 0x91, 0x92,
        0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9E, 0x9F,
    ];
    match c as u32 {
        code @ 0x80..=0xFF => u8::try_from(code).ok(),
        _ => HIGH.iter().position(|high| *high == c).map(|at| BYTES[at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_breaks_off_is_told_from_one_that_ends() {
        for (answer, expected) in [
            ("The tenant pays the rent on the first day.", Ending::Whole),
            ("The tenant pays the rent and the", Ending::Cut),
            ("The tenant pays the rent, which is due,", Ending::Cut),
            ("The tenant pays (as agreed in the lease", Ending::Cut),
            ("```\nlet x = 1;", Ending::Cut),
            ("The tenant pays the rent", Ending::Open),
            (
                "The tenant pays the rent of the house on the first day of every month unless",
                Ending::Long,
            ),
            ("Rent", Ending::None),
            ("The total is 4284.63", Ending::None),
            (
                "病人应该多休息，少吃盐，每天测量血压，并且按时吃药。",
                Ending::Whole,
            ),
            ("病人应该多休息，少吃盐，每天测量血压，并且", Ending::Cut),
            (
                "病人应该多休息少吃盐每天测量血压按时吃药定期去医院检查身",
                Ending::Long,
            ),
        ] {
            assert_eq!(ending(answer, true), expected, "{answer}");
        }
        assert_eq!(ending("- a\n- b", false), Ending::None);
    }

    #[test]
    fn wrongly_decoded_text_shows_itself_and_foreign_words_do_not() {
        for text in ["fÃ¼r", "donâ€™t", "ä½ å¥½", "Â£20", "a\u{fffd}b", "锟斤拷"] {
            assert!(mojibake(text).is_some(), "{text}");
        }
        for text in [
            "für",
            "don’t",
            "你好",
            "CAFÉ»",
            "Ça coûte 20 £ à Évry",
            "naïve — “quoted”",
            "Ärzte",
        ] {
            assert_eq!(mojibake(text), None, "{text}");
        }
    }

    #[test]
    fn an_answer_may_stand_for_nothing_or_repeat_its_question() {
        assert!(
            is_placeholder(" NaN ")
                && is_placeholder("TODO")
                && is_placeholder("Lorem ipsum dolor")
        );
        assert!(!is_placeholder("None") && !is_placeholder("Nothing is known of it."));
        assert!(repeats("What is blood pressure?", "what is blood pressure"));
        assert!(!repeats("Blood pressure.", "What is blood pressure?"));
    }
}
