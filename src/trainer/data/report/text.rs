//! What analyses share of a text: its letters folded, its units (words, or characters where a script has no spaces), its
//! script, how it ends.

use std::hash::Hasher;

use serde::Serialize;

/// Writing systems that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    Latin,
    Chinese,
    Japanese,
    Korean,
    Thai,
    Arabic,
    Cyrillic,
    Greek,
    Hebrew,
    Devanagari,
    Other,
}

impl Script {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latin => "Latin script",
            Self::Chinese => "Chinese",
            Self::Japanese => "Japanese",
            Self::Korean => "Korean",
            Self::Thai => "Thai",
            Self::Arabic => "Arabic script",
            Self::Cyrillic => "Cyrillic script",
            Self::Greek => "Greek",
            Self::Hebrew => "Hebrew",
            Self::Devanagari => "Devanagari",
            Self::Other => "another script",
        }
    }

    /// That of one letter; `Chinese` for ideographs, whatever language they write.
    fn of_letter(c: char) -> Self {
        match c as u32 {
            0x41..=0x5A | 0x61..=0x7A | 0xAA..=0x24F | 0x1E00..=0x1EFF => Self::Latin,
            0x370..=0x3FF | 0x1F00..=0x1FFF => Self::Greek,
            0x400..=0x52F => Self::Cyrillic,
            0x590..=0x5FF => Self::Hebrew,
            0x600..=0x6FF | 0x750..=0x77F | 0x8A0..=0x8FF | 0xFB50..=0xFDFF | 0xFE70..=0xFEFC => {
                Self::Arabic
            }
            0x900..=0x97F => Self::Devanagari,
            0xE00..=0xE7F => Self::Thai,
            0x3040..=0x30FF | 0xFF66..=0xFF9F => Self::Japanese,
            0x1100..=0x11FF | 0x3130..=0x318F | 0xAC00..=0xD7AF => Self::Korean,
            0x3005..=0x3007 | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF => Self::Chinese,
            0x2_0000..=0x3_FFFF => Self::Chinese,
            _ => Self::Other,
        }
    }

    /// The script of most of a text; `None` where it has hardly any letter.
    pub fn of(text: &str) -> Option<Self> {
        let mut counts = [0_usize; 11];
        for c in text.chars().take(SEEN) {
            if c.is_ascii() {
                counts[Self::Latin as usize] += usize::from(c.is_ascii_alphabetic());
            } else if c.is_alphabetic() {
                // A syllable or an ideograph says as much as two or three letters.
                let script = Self::of_letter(c);
                counts[script as usize] += if is_unit(c) || script == Self::Korean {
                    3
                } else {
                    1
                };
            }
        }
        if counts[Self::Japanese as usize] * 8 >= counts[Self::Chinese as usize] {
            // Japanese is written with ideographs and kana.
            counts[Self::Japanese as usize] += match counts[Self::Japanese as usize] {
                0 => 0,
                _ => std::mem::take(&mut counts[Self::Chinese as usize]),
            };
        }
        let all: usize = counts.iter().sum();
        let most = SCRIPTS
            .into_iter()
            .max_by_key(|script| counts[*script as usize])?;
        (all >= 4 && counts[most as usize] * 2 > all).then_some(most)
    }
}

/// Last first: of equal counts the last is the largest.
const SCRIPTS: [Script; 11] = [
    Script::Other,
    Script::Devanagari,
    Script::Hebrew,
    Script::Greek,
    Script::Cyrillic,
    Script::Arabic,
    Script::Thai,
    Script::Korean,
    Script::Japanese,
    Script::Chinese,
    Script::Latin,
];
/// Characters of a text by which its script is judged.
const SEEN: usize = 2000;

/// Whether a character is a unit by itself: of a script that is written without spaces between words.
pub const fn is_unit(c: char) -> bool {
    (c as u32) >= 0xE00
        && matches!(c as u32,
        0xE00..=0xEFF          // Thai, Lao
        | 0x1000..=0x109F      // Burmese
        | 0x1780..=0x17FF      // Khmer
        | 0x3005..=0x3007
        | 0x3040..=0x30FF      // kana
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF      // ideographs
        | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9F
        | 0x2_0000..=0x3_FFFF)
}

/// A character without case and width: full-width forms are those of ASCII, typographic quotes are plain.
pub fn folded(c: char) -> char {
    match c {
        'A'..='Z' => c.to_ascii_lowercase(),
        '\0'..='\u{7f}' => c,
        '\u{ff01}'..='\u{ff5e}' => {
            let ascii = char::from_u32(c as u32 - 0xFEE0).unwrap_or(c);
            ascii.to_ascii_lowercase()
        }
        '\u{3000}' | '\u{a0}' => ' ',
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        _ if is_unit(c) => c,
        _ => c.to_lowercase().next().unwrap_or(c),
    }
}

/// A hash that grows by one number after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain(u64);

impl Chain {
    pub const fn push(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    pub const fn end(self) -> u64 {
        mix(self.0)
    }
}

/// Hashes the keys of tables that are part of the program: nobody can make many of those fall together.
#[derive(Clone, Copy, Default)]
pub struct Quick(Chain);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0.push(u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        self.0.end()
    }
}

/// The finalizer of SplitMix64.
pub const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash that is the same for texts that differ in case, width, blanks and punctuation at their ends only.
pub fn normal_hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut chain = Chain::default();
    for part in parts {
        let mut kept = chain;
        let mut blank = false;
        let mut after_unit = true;
        for c in part.chars() {
            let c = folded(c);
            if c.is_whitespace() {
                blank = true;
                continue;
            }
            // Blanks beside characters that need none say nothing.
            if std::mem::take(&mut blank) && !after_unit && !is_unit(c) {
                chain.push(u64::from(u32::from(' ')));
            }
            after_unit = is_unit(c);
            chain.push(u64::from(u32::from(c)));
            if !ends_sentence(c) && !matches!(c, '"' | '\'') {
                kept = chain;
            }
        }
        chain = kept;
        // A border, so that no text can move from one part to the other.
        chain.push(1 << 40);
    }
    chain.end()
}

/// The units of a text in order: each with its hash, whether it is a single character, and where it stands.
pub const fn units(text: &str) -> Units<'_> {
    Units { text, at: 0 }
}

pub struct Units<'a> {
    text: &'a str,
    at: usize,
}

impl Units<'_> {
    /// The next character, folded, and where it ends.
    fn peek(&self) -> Option<(char, usize)> {
        let byte = *self.text.as_bytes().get(self.at)?;
        if byte.is_ascii() {
            return Some((char::from(byte.to_ascii_lowercase()), self.at + 1));
        }
        let c = self.text[self.at..].chars().next()?;
        Some((folded(c), self.at + c.len_utf8()))
    }
}

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        loop {
            let start = self.at;
            let (c, end) = self.peek()?;
            self.at = end;
            let single = is_unit(c);
            if !single && !c.is_alphanumeric() {
                continue;
            }
            let mut chain = Chain::default();
            chain.push(u64::from(u32::from(c)));
            while let Some((c, end)) = self.peek()
                && !single
                && !is_unit(c)
                && (c.is_alphanumeric() || is_mark(c))
            {
                self.at = end;
                chain.push(u64::from(u32::from(c)));
            }
            return Some(Unit {
                hash: chain.end(),
                single,
                start,
                end: self.at,
            });
        }
    }
}

/// Marks of vowels are no letters, but part of words in Arabic, Hebrew and Devanagari.
const fn is_mark(c: char) -> bool {
    matches!(c as u32, 0x300..=0x36F | 0x591..=0x5C7 | 0x64B..=0x65F | 0x93A..=0x94F)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    pub hash: u64,
    /// Of a script without spaces.
    pub single: bool,
    pub start: usize,
    pub end: usize,
}

/// Whether a (folded) character ends a sentence, in any script.
pub const fn ends_sentence(c: char) -> bool {
    matches!(
        c,
        '.' | '!'
            | '?'
            | '…'
            | '。'
            | '！'
            | '？'
            | '｡'
            | '؟'
            | '۔'
            | '।'
            | '॥'
            | '։'
            | '។'
            | '။'
    )
}

/// Characters that may follow the end of a sentence: closing quotes and brackets, emphasis.
const fn closes(c: char) -> bool {
    matches!(
        c,
        '"' | '\''
            | ')'
            | ']'
            | '}'
            | '*'
            | '_'
            | '”'
            | '’'
            | '»'
            | '」'
            | '』'
            | '）'
            | '】'
            | '》'
            | '›'
    )
}

/// Whether a text ends as a sentence does. Thai has no such sign: its texts always do.
pub fn ends_whole(text: &str) -> bool {
    let end = text.trim_end();
    let last = end.chars().rev().find(|c| !closes(*c));
    last.is_none_or(|c| {
        ends_sentence(c)
            || matches!(c as u32, 0xE00..=0xE7F)
            // A sign of its own, such as an emoji, closes as well.
            || (c as u32 >= 0x2190 && !c.is_alphanumeric() && !matches!(c, '、' | '，' | '；' | '：' | '·'))
    })
}

/// The first characters of a text on one line, as reports quote it.
pub fn quoted(text: &str, most: usize) -> String {
    let mut short = String::with_capacity(text.len().min(most + 3));
    let mut blank = false;
    let mut taken = 0;
    for c in text.trim().chars() {
        if c.is_whitespace() || c.is_control() {
            blank = true;
            continue;
        }
        if taken >= most {
            short.push('…');
            break;
        }
        if std::mem::take(&mut blank) {
            short.push(' ');
        }
        short.push(c);
        taken += 1;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_texts_script_is_that_of_most_of_it() {
        for (text, script) in [
            ("Where is the station?", Some(Script::Latin)),
            ("车站在哪里？", Some(Script::Chinese)),
            ("駅はどこですか。", Some(Script::Japanese)),
            ("역이 어디에 있습니까?", Some(Script::Korean)),
            ("สถานีอยู่ที่ไหน", Some(Script::Thai)),
            ("أين المحطة؟", Some(Script::Arabic)),
            ("Где вокзал?", Some(Script::Cyrillic)),
            ("स्टेशन कहाँ है?", Some(Script::Devanagari)),
            ("我用 GPU 训练模型，速度很快。", Some(Script::Chinese)),
            ("12.5 + 3", None),
        ] {
            assert_eq!(Script::of(text), script, "{text}");
        }
    }

    #[test]
    fn case_width_blanks_and_a_final_mark_do_not_matter_and_words_do() {
        let same = |a: &str, b: &str| normal_hash([a]) == normal_hash([b]);
        assert!(same("What is  BP?", "what is bp"));
        assert!(same("什么是 血压？", "什么是血压"));
        assert!(same("ＡＢＣ　１２", "abc 12."));
        assert!(!same("What is BP", "What is HR"));
        assert!(!same("a b", "ab"));
        assert!(!same("1.5", "15"));
        assert_ne!(normal_hash(["a", "b"]), normal_hash(["ab", ""]));
    }

    #[test]
    fn units_are_words_or_single_characters() {
        let of = |text: &str| -> Vec<String> {
            units(text)
                .map(|unit| text[unit.start..unit.end].to_owned())
                .collect()
        };
        assert_eq!(of("Don't stop, 42!"), ["Don", "t", "stop", "42"]);
        assert_eq!(of("用 Rust 写。"), ["用", "Rust", "写"]);
        assert_eq!(of(""), [] as [&str; 0]);
    }

    #[test]
    fn sentences_end_in_many_scripts() {
        for text in [
            "Yes.",
            "“Yes.”",
            "是的。",
            "そうです。」",
            "نعم؟",
            "हाँ।",
            "ใช่",
            "Fine 🙂",
        ] {
            assert!(ends_whole(text), "{text}");
        }
        for text in ["and then the", "然后", "first,", "然后，"] {
            assert!(!ends_whole(text), "{text}");
        }
    }

    #[test]
    fn a_quotation_is_one_line_and_bounded() {
        assert_eq!(quoted("  a\n\tb  ", 10), "a b");
        assert_eq!(quoted("血压是什么意思", 3), "血压是…");
    }
}
