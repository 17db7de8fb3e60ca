//! Text to token ids and back.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokenizers::{AddedToken, Tokenizer as Engine};

use super::bytes::{Pieces, take_text};
use super::special::endings;
use super::words::{Fast, Made};
use super::{Decoder, Specials, TextError};
use crate::domain::lfs_pointer;

/// A tokenizer with its special tokens. Cheap to clone; shared between threads.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    bos: Option<u32>,
    /// As [`eos`](Self::eos) gives them.
    eos: Arc<[u32]>,
    /// Ids from here on have no row in the model's embedding.
    rows: usize,
}

/// A text that was encoded, for those that begin alike.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    text: String,
    made: Made,
}

impl Encoded {
    pub fn ids(&self) -> &[u32] {
        &self.made.ids
    }
}

struct Inner {
    engine: Engine,
    pieces: Arc<Pieces>,
    specials: Specials,
    /// What the files say begins and ends a text, which the digest is of; names that end an answer follow from the
    /// definition.
    stated: (Option<u32>, Vec<u32>),
    digest: OnceLock<[u8; 32]>,
    /// `None` inside: the library encodes every text.
    fast: OnceLock<Option<Fast>>,
}

impl Inner {
    /// The faster way, where it agrees with the library; tried when it is first asked for.
    fn fast(&self) -> Option<&Fast> {
        let fast = self.fast.get_or_init(|| Fast::of(&self.engine));
        fast.as_ref()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` and the special tokens of the files beside it. Whether a text gets a begin or end token is
    /// for `tokenizer.json` alone to say, as transformers has it.
    pub fn from_folder(dir: &Path) -> Result<Self, TextError> {
        let path = dir.join("tokenizer.json");
        let json = std::fs::read(&path).map_err(|e| {
            let hint = if dir.join("tokenizer.model").exists() {
                " (tokenizer.model alone is not enough: convert it with transformers)"
            } else {
                ""
            };
            TextError::File(format!("{}: {e}{hint}", path.display()))
        })?;
        if let Some(why) = lfs_pointer(&json) {
            return Err(TextError::File(format!("tokenizer.json: {why}")));
        }
        Self::from_json(&json, Specials::from_folder(dir)?)
    }

    /// From the content of a `tokenizer.json`.
    pub fn from_json(json: &[u8], specials: Specials) -> Result<Self, TextError> {
        let engine = Engine::from_bytes(json)
            .map_err(|e| TextError::Tokenizer(format!("tokenizer.json: {e}")))?;
        Self::of(engine, specials)
    }

    pub(super) fn of(mut engine: Engine, specials: Specials) -> Result<Self, TextError> {
        // Cutting and padding are for batches of training libraries, never for a prompt.
        engine
            .with_truncation(None)
            .map_err(|e| TextError::Tokenizer(e.to_string()))?;
        engine.with_padding(None);
        add(&mut engine, &specials);
        let endings = endings(|token| engine.token_to_id(token));
        hide(&mut engine, &endings);
        let id = |name: &str| {
            specials
                .named
                .get(name)
                .and_then(|token| engine.token_to_id(token))
        };
        let bos = id("bos_token").or_else(|| {
            specials
                .bos_id
                .filter(|_| !specials.named.contains_key("bos_token"))
        });
        let mut stated: Vec<u32> = id("eos_token")
            .into_iter()
            .chain(specials.eos_ids.iter().copied())
            .collect();
        stated.sort_unstable();
        stated.dedup();
        let mut named: Vec<u32> = endings.iter().map(|(_, id)| *id).collect();
        named.retain(|id| !stated.contains(id));
        named.sort_unstable();
        let eos = [stated.as_slice(), &named].concat();
        let pieces = Arc::new(Pieces::of(&engine)?);
        let inner = Arc::new(Inner {
            engine,
            pieces,
            specials,
            stated: (bos, stated),
            digest: OnceLock::new(),
            fast: OnceLock::new(),
        });
        Ok(Self {
            inner,
            bos,
            eos: eos.into(),
            rows: usize::MAX,
        })
    }

    /// The same tokenizer for a model with `rows` embeddings: a text that needs an id beyond them cannot be encoded, and
    /// none of them begins or ends a text.
    pub fn within(self, rows: usize) -> Self {
        let known = |id: &u32| (*id as usize) < rows;
        let beyond: Vec<u32> = self
            .eos
            .iter()
            .chain(&self.bos)
            .copied()
            .filter(|id| !known(id))
            .collect();
        if !beyond.is_empty() {
            tracing::warn!(
                "begin and end tokens {beyond:?} are not ids of the model, which has {rows}; ignored"
            );
        }
        Self {
            bos: self.bos.filter(known),
            eos: self.eos.iter().copied().filter(known).collect(),
            rows,
            ..self
        }
    }

    /// `add_special`: with begin and end tokens as the tokenizer's post-processor adds them. Special tokens written in
    /// the text are recognised as such.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        let engine = &self.inner.engine;
        let fast = self.inner.fast();
        let ids = fast.and_then(|fast| fast.encode(engine, text, add_special));
        let ids = ids.map_or_else(|| self.by_library(text, add_special), Ok)?;
        match ids.iter().find(|id| **id as usize >= self.rows) {
            Some(id) => {
                let token = engine.id_to_token(*id).unwrap_or_default();
                Err(TextError::Tokenizer(format!(
                    "token `{token}` ({id}) is beyond the model's {} embeddings",
                    self.rows
                )))
            }
            None => Ok(ids),
        }
    }

    /// As [`Self::encode`] without special tokens around the text; what `before` became is taken over as far as both texts
    /// certainly begin with the same tokens.
    pub fn encode_after(&self, before: Encoded, text: &str) -> Result<Encoded, TextError> {
        let Some(fast) = self.inner.fast() else {
            return self.encode_anew(text);
        };
        let Encoded {
            text: old,
            mut made,
        } = before;
        let pairs = old.bytes().zip(text.bytes());
        let same = pairs.take_while(|(a, b)| a == b).count();
        fast.cut_back(&mut made, same);
        let from = made.bytes;
        let known = made.ids.len();
        let done = fast.go_on(&self.inner.engine, &text[from..], &mut made);
        match done {
            Some(())
                if made.ids[known..]
                    .iter()
                    .all(|id| (*id as usize) < self.rows) =>
            {
                let text = text.to_owned();
                Ok(Encoded { text, made })
            }
            _ => self.encode_anew(text),
        }
    }

    fn encode_anew(&self, text: &str) -> Result<Encoded, TextError> {
        let made = Made::finished(self.encode(text, false)?);
        // Nothing of it can be gone on with.
        let text = String::new();
        Ok(Encoded { text, made })
    }

    fn by_library(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self.inner.engine.encode_fast(text, add_special);
        let encoding = encoding.map_err(|e| TextError::Tokenizer(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Self::encode`], by the library alone.
    #[cfg(test)]
    pub(super) fn encode_plainly(
        &self,
        text: &str,
        add_special: bool,
    ) -> Result<Vec<u32>, TextError> {
        let ids = self.by_library(text, add_special)?;
        match ids.iter().all(|id| (*id as usize) < self.rows) {
            true => Ok(ids),
            false => Err(TextError::Tokenizer("beyond the model's embeddings".into())),
        }
    }

    #[cfg(test)]
    pub(super) fn is_fast(&self) -> bool {
        self.inner.fast().is_some()
    }

    /// A whole text: a space that encoding put before it is taken off again. Fails on an id outside the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        let pieces = &self.inner.pieces;
        if let Some(id) = ids.iter().find(|id| **id as usize >= pieces.len()) {
            return Err(TextError::Tokenizer(format!(
                "{id} is not below the vocabulary size {}",
                pieces.len()
            )));
        }
        let kept = ids
            .iter()
            .filter(|id| !(skip_special && pieces.is_special(**id)));
        let mut bytes: Vec<u8> = kept.flat_map(|id| pieces.get(*id)).copied().collect();
        let mut text = take_text(&mut bytes);
        text.push_str(&String::from_utf8_lossy(&bytes));
        let spaces = text
            .bytes()
            .take(pieces.stripped)
            .take_while(|b| *b == b' ')
            .count();
        Ok(text.split_off(spaces))
    }

    /// The exact bytes one token stands for, be they part of a character; none for an id outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.inner.pieces.get(id).to_vec()
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.inner.pieces.is_special(id)
    }

    /// The id of a token by its string.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.engine.token_to_id(token)
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Ids that end an answer: those that the files state, ascending, so that the first is what ends a text of training;
    /// then those that do by their names.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Largest id + 1.
    pub fn vocab_size(&self) -> usize {
        self.inner.pieces.len()
    }

    pub fn specials(&self) -> &Specials {
        &self.inner.specials
    }

    /// The definition as `tokenizer.json` holds it.
    pub fn to_json(&self) -> Result<String, TextError> {
        self.inner
            .engine
            .to_string(false)
            .map_err(|e| TextError::Tokenizer(e.to_string()))
    }

    /// BLAKE3 of the definition, in the one form the library writes it, and of the ids that begin and end a text.
    pub fn digest(&self) -> [u8; 32] {
        *self.inner.digest.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(self.to_json().unwrap_or_default().as_bytes());
            let (bos, eos) = &self.inner.stated;
            hasher.update(format!("\n{bos:?} {eos:?}").as_bytes());
            *hasher.finalize().as_bytes()
        })
    }

    /// An incremental detokenizer for one answer; it skips special tokens.
    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.inner.pieces.clone())
    }
}

/// Makes tokens known that only the files beside `tokenizer.json` name. A token that would need an id of its own
/// is added only where those files give that id, since it has to meet its embedding.
fn add(engine: &mut Engine, specials: &Specials) {
    for (id, token) in &specials.added {
        let next = engine.get_vocab_size(true) as u32;
        if *id == next && engine.token_to_id(&token.content).is_none() {
            let added = AddedToken::from(token.content.clone(), token.special)
                .lstrip(token.lstrip)
                .rstrip(token.rstrip)
                .single_word(token.single_word)
                .normalized(token.normalized);
            engine.add_tokens(&[added]);
        }
    }
    let special = specials
        .added
        .values()
        .filter(|t| t.special)
        .map(|t| &t.content);
    for token in special
        .chain(specials.named.values())
        .chain(&specials.others)
    {
        let known = engine.get_added_vocabulary().is_special_token(token);
        if !known && engine.token_to_id(token).is_some() {
            engine.add_special_tokens(&[AddedToken::from(token.clone(), true).normalized(false)]);
        }
    }
}

/// Makes tokens that end an answer special, so that they are never part of its text.
fn hide(engine: &mut Engine, endings: &[(&str, u32)]) {
    for (token, id) in endings {
        if !engine.get_added_vocabulary().is_special_token(token) {
            tracing::warn!("token `{token}` ({id}) ends answers, though it is not called special");
            let special = AddedToken::from((*token).to_owned(), true).normalized(false);
            engine.add_special_tokens(&[special]);
        }
    }
}

#[cfg(test)]
mod tests;
