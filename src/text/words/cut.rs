//! Where a byte-level tokenizer cuts a text into the pieces that it then takes one by one.

use regex_automata::Input;
use regex_automata::meta::{Cache, Regex};
use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::pre_tokenizers::PreTokenizerWrapper as Wrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;

/// Of GPT-2, which stands for itself in a definition.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// How all patterns end that leave the last blank before a word to the word.
const LEAVES_BLANK: &str = r"|\s+(?!\S)|\s+";
/// In such a pattern: line breaks are taken first, and leave nothing.
const BREAKS: &str = r"|\s*[\r\n]+|";

/// The steps of cutting: each cuts the pieces of the one before.
pub struct Cut(Vec<Step>);

enum Step {
    Pattern(Pattern),
    /// Each numeral by itself.
    Numerals,
}

struct Pattern {
    regex: Regex,
    /// A piece of blanks before a word leaves its last one.
    leaves_blank: bool,
    breaks_first: bool,
}

/// What matching needs beside a pattern.
pub struct Scratch(Vec<Option<Cache>>);

impl Cut {
    /// `None` where the steps are not understood, or do not end in bytes.
    pub fn of(pre: &Wrapper) -> Option<Self> {
        let one = std::slice::from_ref(pre);
        let all = match pre {
            Wrapper::Sequence(sequence) => sequence.as_ref(),
            _ => one,
        };
        let (Wrapper::ByteLevel(bytes), before) = all.split_last()? else {
            return None;
        };
        if bytes.add_prefix_space {
            return None;
        }
        let mut steps = Vec::new();
        for step in before {
            steps.push(match step {
                Wrapper::Split(split) if split.behavior == Isolated && !split.invert => {
                    let SplitPattern::Regex(source) = &split.pattern else {
                        return None;
                    };
                    Step::Pattern(Pattern::of(source)?)
                }
                Wrapper::Digits(digits) if digits.individual_digits => Step::Numerals,
                _ => return None,
            });
        }
        if bytes.use_regex {
            steps.push(Step::Pattern(Pattern::of(GPT2)?));
        }
        Some(Self(steps))
    }

    pub fn scratch(&self) -> Scratch {
        let cache = |step: &Step| match step {
            Step::Pattern(pattern) => Some(pattern.regex.create_cache()),
            Step::Numerals => None,
        };
        Scratch(self.0.iter().map(cache).collect())
    }

    /// Gives every piece to `take`, in order; `None` as soon as that does.
    pub fn pieces(
        &self,
        text: &str,
        scratch: &mut Scratch,
        take: &mut impl FnMut(&str) -> Option<()>,
    ) -> Option<()> {
        match text.is_empty() {
            true => Some(()),
            false => cut(&self.0, &mut scratch.0, text, take),
        }
    }
}

fn cut(
    steps: &[Step],
    caches: &mut [Option<Cache>],
    text: &str,
    take: &mut impl FnMut(&str) -> Option<()>,
) -> Option<()> {
    let Some((step, later)) = steps.split_first() else {
        return take(text);
    };
    let (cache, caches) = caches.split_first_mut()?;
    match step {
        Step::Numerals => {
            let mut begins = 0;
            for (at, c) in text.char_indices().filter(|(_, c)| c.is_numeric()) {
                if begins < at {
                    cut(later, caches, &text[begins..at], take)?;
                }
                begins = at + c.len_utf8();
                cut(later, caches, &text[at..begins], take)?;
            }
            if begins < text.len() {
                cut(later, caches, &text[begins..], take)?;
            }
        }
        Step::Pattern(pattern) => {
            let cache = cache.as_mut()?;
            let mut begins = 0;
            while let Some((start, end)) = pattern.next(cache, text, begins) {
                if begins < start {
                    cut(later, caches, &text[begins..start], take)?;
                }
                cut(later, caches, &text[start..end], take)?;
                begins = end;
            }
            if begins < text.len() {
                cut(later, caches, &text[begins..], take)?;
            }
        }
    }
    Some(())
}

impl Pattern {
    fn of(source: &str) -> Option<Self> {
        let head = source.strip_suffix(LEAVES_BLANK);
        let simple = match head {
            Some(head) => format!(r"{head}|\s+"),
            None => source.to_owned(),
        };
        // Looking around and back is what this kind of expression does not have.
        let regex = Regex::new(&simple).ok()?;
        Some(Self {
            regex,
            leaves_blank: head.is_some(),
            breaks_first: simple.contains(BREAKS),
        })
    }

    /// The first piece that begins at `from` or later and is not empty.
    fn next(&self, cache: &mut Cache, text: &str, from: usize) -> Option<(usize, usize)> {
        let input = Input::new(text).span(from..text.len());
        let found = self.regex.search_with(cache, &input)?;
        let (start, mut end) = (found.start(), found.end());
        if start == end {
            return None;
        }
        if self.leaves_blank && end < text.len() {
            let piece = &text[start..end];
            let mut blanks = piece.chars().rev();
            let last = blanks.next()?;
            let ends_line = matches!(last, '\r' | '\n');
            let is_blank = last.is_whitespace() && blanks.clone().all(char::is_whitespace);
            if is_blank && blanks.next().is_some() && !(self.breaks_first && ends_line) {
                end -= last.len_utf8();
            }
        }
        Some((start, end))
    }
}
