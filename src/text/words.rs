//! A faster way to the ids of a text, for byte-level tokenizers: cut into the pieces that the tokenizer's library would cut
//! it into, by patterns that need no looking ahead, with the ids of each piece remembered.
//!
//! The library remains the truth. A tokenizer that is not understood, or whose answers to some probes differ, is left to
//! it, and so is a text that is not plain: what normalization may change, tokens that take blanks beside them.

mod cut;
mod memory;
mod probes;

use std::collections::HashMap;
use std::sync::Mutex;

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::{AddedToken, Model, Tokenizer as Engine};

use self::cut::{Cut, Scratch};
use self::memory::Words;

/// Scratch space that is kept for the next texts.
const KEPT: usize = 8;

pub(super) struct Fast {
    /// Whether texts are normalized before they are cut.
    normalizes: bool,
    /// Tokens that are found in a text before it is cut: those that are looked for first, and those that are looked for
    /// in what is left.
    tokens: [Option<Tokens>; 2],
    cut: Cut,
    words: Words,
    /// What is put around a text.
    frame: [Vec<u32>; 2],
    scratch: Mutex<Vec<Scratch>>,
}

/// Tokens of a text that are written out in it.
struct Tokens {
    finder: AhoCorasick,
    /// Of each, its id; `None` where more than the token itself would be taken.
    ids: Vec<Option<u32>>,
    /// Bytes of the longest.
    longest: usize,
}

impl Fast {
    /// `None` where the library has to do it.
    pub fn of(engine: &Engine) -> Option<Self> {
        let normalizes = match engine.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        let added = engine.get_added_tokens_decoder();
        let added: HashMap<u32, AddedToken> = added.into_iter().collect();
        let of = |normalized: bool| Tokens::of(&added, normalized);
        let mut fast = Self {
            normalizes,
            tokens: [of(false)?, of(true)?],
            cut: Cut::of(engine.get_pre_tokenizer()?)?,
            words: Words::default(),
            frame: [Vec::new(), Vec::new()],
            scratch: Mutex::default(),
        };
        fast.frame = fast.framed(engine)?;
        probes::texts()
            .all(|text| fast.agrees(engine, &text))
            .then_some(fast)
    }

    /// What the library puts around a text where special tokens are asked for.
    fn framed(&self, engine: &Engine) -> Option<[Vec<u32>; 2]> {
        let framed = engine.encode_fast("a", true).ok()?;
        let plain = engine.encode_fast("a", false).ok()?;
        let (framed, plain) = (framed.get_ids(), plain.get_ids());
        if plain.is_empty() {
            return None;
        }
        let at = framed.windows(plain.len()).position(|ids| ids == plain)?;
        let behind = at + plain.len();
        Some([framed[..at].to_vec(), framed[behind..].to_vec()])
    }

    fn agrees(&self, engine: &Engine, text: &str) -> bool {
        [true, false].into_iter().all(|special| {
            let ids = engine.encode_fast(text, special);
            match (self.encode(engine, text, special), ids) {
                (Some(fast), Ok(ids)) => fast == ids.get_ids(),
                // Left to the library.
                (None, _) => true,
                (Some(_), Err(_)) => false,
            }
        })
    }

    /// The ids of a text, as the library gives them; `None` where it has to be asked.
    pub fn encode(&self, engine: &Engine, text: &str, special: bool) -> Option<Vec<u32>> {
        let mut made = Made::default();
        let [before, behind] = &self.frame;
        made.ids.reserve(text.len() / 3 + 4);
        made.ids.extend(before.iter().filter(|_| special));
        self.go_on(engine, text, &mut made)?;
        made.ids.extend(behind.iter().filter(|_| special));
        Some(made.ids)
    }

    /// Adds the ids of `text` behind what was made of the text before it, which ends with one of the added tokens, or is
    /// empty.
    pub fn go_on(&self, engine: &Engine, text: &str, made: &mut Made) -> Option<()> {
        if self.normalizes && !is_normal(text) {
            return None;
        }
        let kept = || self.scratch.lock().ok();
        let scratch = kept().and_then(|mut kept| kept.pop());
        let mut scratch = scratch.unwrap_or_else(|| self.cut.scratch());
        let done = self.sections(engine, text, &mut scratch, made);
        if let Some(mut kept) = kept()
            && kept.len() < KEPT
        {
            kept.push(scratch);
        }
        done
    }

    fn sections(
        &self,
        engine: &Engine,
        text: &str,
        scratch: &mut Scratch,
        made: &mut Made,
    ) -> Option<()> {
        let Made { ids, bytes, marks } = made;
        let [first, _] = &self.tokens;
        let mut read = 0;
        for (start, end, id) in Tokens::find(first.as_ref(), text) {
            self.section(engine, &text[read..start], scratch, ids)?;
            ids.push(id?);
            marks.push((*bytes + end, ids.len()));
            read = end;
        }
        *bytes += text.len();
        self.section(engine, &text[read..], scratch, ids)
    }

    /// A part of a text between those tokens that are found first.
    fn section(
        &self,
        engine: &Engine,
        text: &str,
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) -> Option<()> {
        let [_, second] = &self.tokens;
        let mut read = 0;
        for (start, end, id) in Tokens::find(second.as_ref(), text) {
            self.plain(engine, &text[read..start], scratch, ids)?;
            ids.push(id?);
            read = end;
        }
        self.plain(engine, &text[read..], scratch, ids)
    }

    /// A part without any of these tokens.
    fn plain(
        &self,
        engine: &Engine,
        text: &str,
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) -> Option<()> {
        let model = engine.get_model();
        self.cut.pieces(text, scratch, &mut |piece| {
            self.words.ids(piece.as_bytes(), ids, |word| {
                let tokens = model.tokenize(word).ok()?;
                Some(tokens.iter().map(|token| token.id).collect())
            })
        })
    }

    /// Where another text that begins alike may be gone on with: behind the last added token which is the same in both,
    /// whatever follows. `same`: bytes that both begin with.
    pub fn cut_back(&self, made: &mut Made, same: usize) {
        let first = self.tokens[0].as_ref();
        let longest = first.map_or(0, |tokens| tokens.longest);
        // A longer token may begin where a shorter one was found.
        let shared = made.marks.partition_point(|(end, _)| end + longest <= same);
        made.marks.truncate(shared);
        let (bytes, ids) = made.marks.last().copied().unwrap_or_default();
        made.bytes = bytes;
        made.ids.truncate(ids);
    }
}

/// What became of a text.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    pub ids: Vec<u32>,
    /// Of the text.
    pub bytes: usize,
    /// Where an added token ends: so many bytes, so many ids.
    marks: Vec<(usize, usize)>,
}

impl Made {
    /// Of a text that no other goes on with.
    pub fn finished(ids: Vec<u32>) -> Self {
        Self {
            ids,
            ..Self::default()
        }
    }
}

impl Tokens {
    /// Those of `added` whose text is looked for in the normalized text, or not. `Some(None)`: there is none.
    fn of(added: &HashMap<u32, AddedToken>, normalized: bool) -> Option<Option<Self>> {
        let mut tokens: Vec<(&u32, &AddedToken)> = { added.iter() }
            .filter(|(_, token)| token.normalized == normalized)
            .collect();
        if tokens.is_empty() {
            return Some(None);
        }
        tokens.sort_by_key(|(id, _)| **id);
        let contents = tokens.iter().map(|(_, token)| &token.content);
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(contents)
            .ok()?;
        let ids = tokens.iter().map(|(id, token)| {
            let alone = !(token.single_word || token.lstrip || token.rstrip);
            alone.then_some(**id)
        });
        let lengths = tokens.iter().map(|(_, token)| token.content.len());
        Some(Some(Self {
            finder,
            ids: ids.collect(),
            longest: lengths.max().unwrap_or(0),
        }))
    }

    /// Each one in a text: where it begins and ends, and its id.
    fn find<'t>(
        tokens: Option<&'t Self>,
        text: &'t str,
    ) -> impl Iterator<Item = (usize, usize, Option<u32>)> {
        let found = tokens.map(|tokens| {
            let found = tokens.finder.find_iter(text);
            found.map(|found| {
                let id = tokens.ids[found.pattern().as_usize()];
                (found.start(), found.end(), id)
            })
        });
        found.into_iter().flatten()
    }
}

/// Whether a text is certain to be in normal form C. Only characters are let pass that neither change nor combine with
/// others of these: of Latin, Greek, Cyrillic, Chinese, Japanese and Korean text, with symbols.
fn is_normal(text: &str) -> bool {
    text.is_ascii() || text.chars().all(is_stable)
}

fn is_stable(c: char) -> bool {
    matches!(c,
        '\0'..='\u{2ff}'
        | '\u{391}'..='\u{3a1}'
        | '\u{3a3}'..='\u{3ff}'
        | '\u{400}'..='\u{482}'
        | '\u{48a}'..='\u{52f}'
        | '\u{1e00}'..='\u{1eff}'
        | '\u{2002}'..='\u{2027}'
        | '\u{2030}'..='\u{205e}'
        | '\u{20a0}'..='\u{20bf}'
        | '\u{2190}'..='\u{21ff}'
        | '\u{2500}'..='\u{27bf}'
        | '\u{3000}'..='\u{3029}'
        | '\u{3030}'..='\u{303f}'
        | '\u{3041}'..='\u{3096}'
        | '\u{309b}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{ff01}'..='\u{ffee}'
        | '\u{1f300}'..='\u{1faff}')
}

#[cfg(test)]
mod tests;
