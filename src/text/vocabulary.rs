//! A tokenizer from a bare vocabulary, as GGUF files carry it.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer as Engine,
};

use super::{Specials, TextError, Tokenizer};

#[cfg(test)]
pub(crate) use super::bytes::spelled_bytes;

/// What kind of token an entry is; the numbers are those of GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl Kind {
    pub fn from_number(number: i64) -> Option<Self> {
        [
            Self::Normal,
            Self::Unknown,
            Self::Control,
            Self::UserDefined,
            Self::Unused,
            Self::Byte,
        ]
        .into_iter()
        .find(|kind| *kind as i64 == number)
    }
}

/// How pieces are put together.
#[derive(Debug, Clone, PartialEq)]
pub enum Pairs {
    /// Byte-level pieces merged in the order of `merges` ("left right"); `pre` names how a text is split first.
    Ranked { merges: Vec<String>, pre: String },
    /// SentencePiece: the pair whose union scores highest is merged; spaces are `▁`, unknown characters fall back to
    /// bytes. `prefix`: a space is put before a text.
    Scored { scores: Vec<f32>, prefix: bool },
}

/// Entries by id, with all that turns text into them.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    pub tokens: Vec<String>,
    pub kinds: Vec<Kind>,
    pub pairs: Pairs,
    pub specials: Specials,
    /// Token put before a text.
    pub begin: Option<u32>,
    /// Token put after a text.
    pub end: Option<u32>,
}

/// What the name of a splitting scheme stands for.
struct Scheme {
    names: &'static [&'static str],
    /// Applied in turn, each to the pieces of the one before.
    splits: &'static [&'static str],
    /// Whether whole words of the vocabulary are taken before any merge.
    whole_words: bool,
    normalizes: bool,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const SCHEMES: [Scheme; 6] = [
    Scheme {
        names: &["llama-bpe", "llama3", "llama-v3"],
        splits: &[LLAMA3],
        whole_words: true,
        normalizes: false,
    },
    Scheme {
        names: &["qwen2", "deepseek-r1-qwen"],
        splits: &[QWEN2],
        whole_words: false,
        normalizes: true,
    },
    Scheme {
        names: &["gpt-2"],
        splits: &[GPT2],
        whole_words: false,
        normalizes: false,
    },
    Scheme {
        names: &["smollm", "starcoder", "refact"],
        splits: &[r"\p{N}", GPT2],
        whole_words: false,
        normalizes: false,
    },
    Scheme {
        names: &["tekken"],
        splits: &[TEKKEN],
        whole_words: true,
        normalizes: false,
    },
    // What files without a name mean.
    Scheme {
        names: &["default", ""],
        splits: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        whole_words: false,
        normalizes: false,
    },
];

/// The name of the scheme whose one split is `regex`, if there is one.
pub fn scheme_of(regex: &str) -> Option<&'static str> {
    SCHEMES
        .iter()
        .find(|s| s.splits == [regex])
        .map(|s| s.names[0])
}

/// Whether the scheme of that name puts the begin token before a text where the file says nothing.
pub fn begins(pre: &str) -> bool {
    SCHEMES[0].names.contains(&pre)
}

impl Tokenizer {
    pub fn from_vocabulary(vocabulary: Vocabulary) -> Result<Self, TextError> {
        let mut engine = match &vocabulary.pairs {
            Pairs::Ranked { merges, pre } => ranked(&vocabulary, merges, pre)?,
            Pairs::Scored { scores, prefix } => scored(&vocabulary, scores, *prefix)?,
        };
        engine.with_post_processor(frame(&vocabulary)?);
        let of = |kind: Kind| {
            vocabulary
                .tokens
                .iter()
                .zip(&vocabulary.kinds)
                .filter(move |(_, k)| **k == kind)
                .map(|(t, _)| t)
        };
        let special: Vec<_> = of(Kind::Control)
            .chain(of(Kind::Unknown))
            .map(|token| AddedToken::from(token.clone(), true).normalized(false))
            .collect();
        let plain: Vec<_> = of(Kind::UserDefined)
            .map(|token| AddedToken::from(token.clone(), false).normalized(false))
            .collect();
        engine.add_special_tokens(&special);
        engine.add_tokens(&plain);
        Self::of(engine, vocabulary.specials)
    }
}

fn ranked(vocabulary: &Vocabulary, merges: &[String], pre: &str) -> Result<Engine, TextError> {
    let Some(scheme) = SCHEMES.iter().find(|s| s.names.contains(&pre)) else {
        let known: Vec<_> = SCHEMES
            .iter()
            .flat_map(|s| s.names)
            .filter(|n| !n.is_empty())
            .copied()
            .collect();
        return Err(TextError::Tokenizer(format!(
            "splitting scheme `{pre}` is not supported; known: {}",
            known.join(", ")
        )));
    };
    let pairs = merges
        .iter()
        .map(|merge| match merge.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(TextError::Tokenizer(format!(
                "merge `{merge}` is not a pair"
            ))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let model = BPE::builder()
        .vocab_and_merges(ids(vocabulary), pairs)
        .ignore_merges(scheme.whole_words)
        .build()
        .map_err(|e| TextError::Tokenizer(e.to_string()))?;
    let mut engine = Engine::new(model);
    let mut steps: Vec<Value> = scheme
        .splits
        .iter()
        .map(|split| json!({"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false}))
        .collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    steps.push(level.clone());
    if scheme.normalizes {
        engine.with_normalizer(Some(part::<NormalizerWrapper>(json!({"type": "NFC"}))?));
    }
    engine.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>(
        json!({"type": "Sequence", "pretokenizers": steps}),
    )?));
    engine.with_decoder(Some(part::<DecoderWrapper>(level)?));
    Ok(engine)
}

fn scored(vocabulary: &Vocabulary, scores: &[f32], prefix: bool) -> Result<Engine, TextError> {
    let unknown = vocabulary
        .kinds
        .iter()
        .position(|kind| *kind == Kind::Unknown);
    let mut builder = BPE::builder()
        .vocab_and_merges(ids(vocabulary), merges(vocabulary, scores))
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(vocabulary.tokens[unknown].clone());
    }
    let mut engine = Engine::new(
        builder
            .build()
            .map_err(|e| TextError::Tokenizer(e.to_string()))?,
    );
    let mut normalizers =
        vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    engine.with_normalizer(Some(part::<NormalizerWrapper>(
        json!({"type": "Sequence", "normalizers": normalizers}),
    )?));
    engine.with_decoder(Some(part::<DecoderWrapper>(
        json!({"type": "Sequence", "decoders": decoders}),
    )?));
    Ok(engine)
}

/// All pairs whose union is a piece, best first: by its score, then by the lengths of the two.
fn merges(vocabulary: &Vocabulary, scores: &[f32]) -> Vec<(String, String)> {
    let normal = |id: usize| vocabulary.kinds[id] == Kind::Normal;
    let known: std::collections::HashMap<&str, usize> = vocabulary
        .tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| normal(*id))
        .map(|(id, t)| (t.as_str(), id))
        .collect();
    let mut found = Vec::new();
    for (piece, id) in &known {
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if let (Some(l), Some(r)) = (known.get(left), known.get(right)) {
                found.push((scores[*id], left, right, *l, *r));
            }
        }
    }
    found.sort_by(|a, b| {
        let lengths =
            |x: &(f32, &str, &str, usize, usize)| (x.1.chars().count(), x.2.chars().count());
        b.0.total_cmp(&a.0)
            .then_with(|| lengths(b).cmp(&lengths(a)))
            .then_with(|| (a.3, a.4).cmp(&(b.3, b.4)))
    });
    found
        .into_iter()
        .map(|(_, left, right, ..)| (left.to_owned(), right.to_owned()))
        .collect()
}

fn ids(vocabulary: &Vocabulary) -> Vocab {
    vocabulary.tokens.iter().cloned().zip(0u32..).collect()
}

/// The post-processor that puts begin and end tokens around a text.
fn frame(vocabulary: &Vocabulary) -> Result<Option<PostProcessorWrapper>, TextError> {
    let token = |id: Option<u32>| id.and_then(|id| Some((id, vocabulary.tokens.get(id as usize)?)));
    let (begin, end) = (token(vocabulary.begin), token(vocabulary.end));
    if begin.is_none() && end.is_none() {
        return Ok(None);
    }
    let special = |(_, token): (u32, &String), which: u32| json!({"SpecialToken": {"id": token, "type_id": which}});
    let sequence = |name: &str, which: u32| {
        let body = json!({"Sequence": {"id": name, "type_id": which}});
        begin
            .map(|b| special(b, which))
            .into_iter()
            .chain([body])
            .chain(end.map(|e| special(e, which)))
            .collect::<Vec<_>>()
    };
    let tokens: serde_json::Map<String, Value> = [begin, end]
        .into_iter()
        .flatten()
        .map(|(id, token)| {
            (
                token.clone(),
                json!({"id": token, "ids": [id], "tokens": [token]}),
            )
        })
        .collect();
    let pair: Vec<_> = sequence("A", 0)
        .into_iter()
        .chain(sequence("B", 1))
        .collect();
    part(json!({"type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": tokens})).map(Some)
}

fn part<T: DeserializeOwned>(value: Value) -> Result<T, TextError> {
    serde_json::from_value(value).map_err(|e| TextError::Tokenizer(e.to_string()))
}

#[cfg(test)]
mod tests;
