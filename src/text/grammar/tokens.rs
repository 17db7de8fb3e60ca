//! The tokenizer's vocabulary as the library wants it: bytes by id, special tokens apart from text, ends known as such.

use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId,
};

use super::limits;
use crate::text::Tokenizer;

/// `rows`: ids from here on have no logit and cannot be chosen.
pub fn factory(tokenizer: &Tokenizer, rows: usize) -> Result<ParserFactory, String> {
    let env = environment(tokenizer, rows)?;
    // An answer goes one way, token by token, as the model chooses them: nothing is forced and nothing taken back.
    let capabilities = InferenceCapabilities::default();
    let slices = SlicedBiasComputer::general_slices();
    let mut factory =
        ParserFactory::new(&env, capabilities, &slices).map_err(|error| error.to_string())?;
    factory.quiet();
    *factory.limits_mut() = limits::of_library();
    Ok(factory)
}

fn environment(tokenizer: &Tokenizer, rows: usize) -> Result<TokEnv, String> {
    let size = tokenizer.vocab_size().min(rows);
    let words: Vec<Vec<u8>> = (0..size as u32).map(|id| word(tokenizer, id)).collect();
    let count = u32::try_from(size).map_err(|_| "has too many tokens".to_owned())?;
    // The trie keeps an id in 24 bits.
    if count >= 1 << 24 || count == 0 {
        return Err(format!("has {count} tokens"));
    }
    let ends: Vec<TokenId> = tokenizer
        .eos()
        .iter()
        .copied()
        .filter(|id| *id < count)
        .collect();
    let first = ends.first().copied().unwrap_or(INVALID_TOKEN);
    let mut trie = TokTrie::from(&TokRxInfo::new(count, first), &words);
    if ends.len() > 1 {
        trie = trie.with_eos_tokens(&ends);
    }
    // The library's own tokenizing is used for nothing but what it forces, which this kind never does.
    Ok(Arc::new(ApproximateTokEnv::new(trie)))
}

/// The bytes of a token; none for one that no text may hold. A special token's are marked, so that only a grammar that
/// names it lets it in.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id);
    let marker = TokTrie::SPECIAL_TOKEN_MARKER;
    match tokenizer.is_special(id) {
        true if bytes.is_empty() => Vec::new(),
        true => [&[marker], bytes.as_slice()].concat(),
        // The marker is a byte that UTF-8 does not have.
        false if bytes.contains(&marker) => Vec::new(),
        false => bytes,
    }
}
