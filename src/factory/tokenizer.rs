//! The tokenizer of the base: byte-level BPE, learned from the general skills.

use std::str::FromStr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{
    AddedToken, DecoderWrapper, Result, SplitDelimiterBehavior, Tokenizer, TokenizerBuilder,
};

use super::skills::{SKILLS, WORDS};
use super::words::{Draw, Side};

pub const VOCABULARY: usize = 1536;
/// In this order, ids 0 to 5.
pub const SPECIAL: [&str; 6] = [
    "<|pad|>",
    "<|begin|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
];
pub const BEGIN: &str = SPECIAL[1];
pub const USER: &str = SPECIAL[3];
pub const ASSISTANT: &str = SPECIAL[4];
pub const END: &str = SPECIAL[5];
/// Renders a conversation as the corpus shows it.
pub const CHAT_TEMPLATE: &str = "<|begin|>{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
/// A capital or a digit never carries the space before it: a name or number is the same tokens wherever it stands,
/// which is what makes it easy to copy.
const PIECES: &str =
    r#"\p{Lu}\p{L}*| ?[\p{Ll}\p{Lm}\p{Lo}]\p{L}*|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s"#;

/// Learns the vocabulary from `records` records of each skill.
pub fn learn(seed: u64, records: usize) -> Result<Tokenizer> {
    let mut draw = Draw::new(ChaCha8Rng::seed_from_u64(seed), Side::Train);
    let mut lines: Vec<String> = Vec::new();
    for skill in &SKILLS {
        for _ in 0..records {
            let record = skill.record(&mut draw);
            lines.push(record.question());
            lines.push(record.output);
        }
    }
    // Every ordinary word and every pair of digits, often enough to become one token.
    for _ in 0..records / 5 {
        lines.extend(WORDS.iter().map(|word| format!("a {word}")));
        lines.extend((0..100).map(|number| format!("{number:02}")));
        lines.push(
            "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec The This All No Upon Unless Take Stop"
                .into(),
        );
    }
    let special = SPECIAL.map(|token| AddedToken::from(token, true)).to_vec();
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(VOCABULARY)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let split = Split::new(
        SplitPattern::Regex(PIECES.into()),
        SplitDelimiterBehavior::Isolated,
        false,
    )?;
    let bytes = ByteLevel::new(false, true, false);
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_normalizer(None)
    .with_pre_tokenizer(Some(PreTokenizerWrapper::from(Sequence::new(vec![
        split.into(),
        bytes.into(),
    ]))))
    .with_post_processor(None)
    .with_decoder(Some(bytes.into()))
    .build()?;
    tokenizer.train(&mut trainer, lines.into_iter())?;
    Tokenizer::from_str(&tokenizer.to_string(false)?)
}
