//! What answers can be under every sort of rule, walked at random over a vocabulary of bytes and a few longer tokens.

mod hostile;
mod schemas;
mod valid;

use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::domain::Rule;
use crate::text::Specials;
use crate::text::vocabulary::spelled_bytes;

/// Tokens beside the 256 bytes.
const LONGER: &[&str] = &[
    "\":", "\",", "{\"", "\"}", "true", "false", "null", "12", " \"", "], ", "name", "\n  ", "]}",
    ", ",
];
const END: u32 = 256 + LONGER.len() as u32;
const TURN: u32 = END + 1;
/// Special, and no end: what marks calls of functions.
pub const CALL: u32 = END + 2;
const VOCAB: usize = CALL as usize + 1;

/// Two tokens end an answer; `<turn>` is one of them.
pub fn tokenizer() -> Tokenizer {
    let spelled = spelled_bytes();
    let spell = |text: &str| -> String {
        let char_of = |byte: u8| spelled.iter().find(|(b, _)| *b == byte).unwrap().1;
        text.bytes().map(char_of).collect()
    };
    let mut vocab = serde_json::Map::new();
    for (byte, char) in &spelled {
        vocab.insert(char.to_string(), (*byte).into());
    }
    for (text, id) in LONGER.iter().zip(256u32..) {
        vocab.insert(spell(text), id.into());
    }
    let special = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [special(END, "<end>"), special(TURN, "<turn>"), special(CALL, "<tool_call>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let mut specials = Specials::default();
    specials.named.insert("eos_token".into(), "<end>".into());
    specials.eos_ids = [END, TURN].into();
    Tokenizer::from_json(json.to_string().as_bytes(), specials).unwrap()
}

pub fn grammars() -> Grammars {
    Grammars::new(tokenizer(), VOCAB, Arc::new(Unobserved))
}

pub fn guide(grammars: &Grammars, rule: Rule) -> Result<Guide, Reason> {
    guide_with(grammars, rule, &Effort::default())
}

fn guide_with(grammars: &Grammars, rule: Rule, effort: &Effort) -> Result<Guide, Reason> {
    let constraint = Constraint::new("form", rule);
    Ok(grammars.guides(&constraint, 0, 1, effort)?.pop().unwrap())
}

fn ids(mask: &Mask) -> Vec<u32> {
    (0..VOCAB as u32).filter(|id| mask.allows(*id)).collect()
}

/// An answer at random, if it ends within so many tokens. Ends and what closes are likelier than among all that is allowed.
pub fn walk(tokenizer: &Tokenizer, mut guide: Guide, most: usize, seed: u64) -> Option<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut said = Vec::new();
    for _ in 0..most {
        let allowed = ids(&guide.mask().unwrap());
        assert_eq!(
            allowed.contains(&END),
            allowed.contains(&TURN),
            "every end or none"
        );
        if allowed.contains(&END) && (random.random_bool(0.3) || allowed.len() == 2) {
            return Some(String::from_utf8(said).unwrap());
        }
        let end = |id: &u32| *id == END || *id == TURN;
        let texts: Vec<u32> = allowed.into_iter().filter(|id| !end(id)).collect();
        let closing: Vec<u32> = texts
            .iter()
            .copied()
            .filter(|id| {
                tokenizer
                    .token_bytes(*id)
                    .iter()
                    .any(|b| b"\"]}".contains(b))
            })
            .collect();
        let pool = match !closing.is_empty() && random.random_bool(0.4) {
            true => &closing,
            false => &texts,
        };
        let id = *pool.choose(&mut random).unwrap();
        assert_eq!(guide.allowed(&[id]), 1, "what may come is what is accepted");
        said.extend(tokenizer.token_bytes(id));
        if guide.accept(id).unwrap() {
            return Some(String::from_utf8(said).unwrap());
        }
    }
    None
}

/// Every text in so many walks that come to an end.
fn walks(grammars: &Grammars, rule: &Rule, most: usize) -> Vec<String> {
    let tokenizer = tokenizer();
    let walk = |seed| {
        let guide = guide(grammars, rule.clone()).unwrap();
        walk(&tokenizer, guide, most, seed)
    };
    (0..12).filter_map(walk).collect()
}

#[test]
fn an_expression_matches_the_answer_as_a_whole() {
    let grammars = grammars();
    for expression in [
        r"\d{3}-[a-z]+",
        "(yes|no) sir",
        r"^[A-Z]\w*\.$",
        "a/b|c\nd",
        "é{2,4}",
    ] {
        let whole = expression.trim_matches(['^', '$']);
        let check = regex::Regex::new(&format!("^(?:{whole})$")).unwrap();
        let said = walks(&grammars, &Rule::Regex(expression.to_owned()), 80);
        assert!(said.len() > 3, "{expression}: {said:?}");
        assert!(
            said.iter().all(|text| check.is_match(text)),
            "{expression}: {said:?}"
        );
    }
    let digits = walks(&grammars, &Rule::Regex(r"\d".into()), 5);
    assert!(
        digits.iter().all(|text| text.parse::<u8>().is_ok()),
        "{digits:?}"
    );
}

#[test]
fn a_choice_is_one_of_the_texts() {
    let texts = ["yes", "yes, please", "no (never)", "a|b"].map(str::to_owned);
    let said = walks(&grammars(), &Rule::Choice(texts.to_vec()), 40);
    assert!(
        said.len() > 8 && said.iter().all(|text| texts.contains(text)),
        "{said:?}"
    );
}

#[test]
fn a_grammar_is_followed() {
    let grammar =
        "start: item (\",\" item)*\nitem: NAME \"=\" NUMBER\nNAME: /[a-c]+/\nNUMBER: /[0-9]/\n";
    let said = walks(&grammars(), &Rule::Lark(grammar.into()), 60);
    let check = regex::Regex::new("^[a-c]+=[0-9](,[a-c]+=[0-9])*$").unwrap();
    assert!(
        said.len() > 3 && said.iter().all(|text| check.is_match(text)),
        "{said:?}"
    );
}

#[test]
fn a_special_token_is_said_only_where_a_grammar_names_it() {
    let grammars = grammars();
    let rules = [
        Rule::JsonObject,
        Rule::Regex("(?s:.*)".into()),
        Rule::JsonSchema(serde_json::json!({"type": "string"})),
    ];
    for rule in rules {
        let mut guide = guide(&grammars, rule).unwrap();
        // Inside of whatever text comes first.
        for id in [b'{', b'"'] {
            if guide.allowed(&[u32::from(id)]) == 1 {
                guide.accept(id.into()).unwrap();
            }
        }
        let mask = guide.mask().unwrap();
        // As text it may stand in a string, letter by letter.
        assert_eq!(
            guide.allowed(&"<turn>".bytes().map(u32::from).collect::<Vec<_>>()),
            6
        );
        assert_eq!(mask.allows(TURN), mask.allows(END));
    }
    let mut named = guide(&grammars, Rule::Lark("start: <turn> \"a\"".into())).unwrap();
    assert_eq!(ids(&named.mask().unwrap()), [TURN]);
}

#[test]
fn what_is_allowed_of_several_tokens_is_what_would_be_accepted() {
    let grammars = grammars();
    let mut guide = guide(&grammars, Rule::Regex("abc*".into())).unwrap();
    let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
    assert_eq!(guide.allowed(&ids("abccd")), 4);
    assert_eq!(guide.allowed(&ids("b")), 0);
    assert_eq!(guide.allowed(&[97, u32::MAX]), 1);
    assert_eq!(guide.allowed(&[]), 0);
    // Asking changes nothing, and neither does what a copy goes through.
    let before = guide.mask().unwrap();
    let mut ahead = guide.clone();
    assert!(!ahead.accept(97).unwrap());
    assert!(matches!(ahead.accept(97), Err(Reason::GrammarStuck { .. })));
    assert_eq!(guide.mask().unwrap(), before);
}

#[test]
fn a_guide_that_is_stopped_says_that_it_took_too_long() {
    let grammars = grammars();
    let mut guides = grammars
        .guides(
            &Constraint::new("form", Rule::JsonObject),
            0,
            2,
            &Effort::default(),
        )
        .unwrap();
    guides[0].stopper().stop();
    let told = guides[0].mask();
    assert!(
        matches!(&told, Err(Reason::GrammarTooComplex { field, .. }) if field == "form"),
        "{told:?}"
    );
    assert!(guides[1].mask().is_ok(), "others go on");
}

#[test]
fn what_was_compiled_is_found_by_its_owner() {
    #[derive(Default)]
    struct Told(std::sync::Mutex<(usize, Vec<bool>)>);
    impl Observe for Told {
        fn compiled(&self, _: f64) {
            self.0.lock().unwrap().0 += 1;
        }
        fn looked_up(&self, found: bool) {
            self.0.lock().unwrap().1.push(found);
        }
    }
    let told = Arc::new(Told::default());
    let grammars = Grammars::new(tokenizer(), VOCAB, told.clone());
    for owner in [1, 1, 2] {
        let constraint = Constraint::new("form", Rule::JsonObject);
        assert_eq!(
            grammars
                .guides(&constraint, owner, 3, &Effort::default())
                .unwrap()
                .len(),
            3
        );
    }
    assert_eq!(*told.0.lock().unwrap(), (2, vec![false, true, false]));
}
