use super::*;

fn scored(tokens: &[(&str, Kind, f32)], prefix: bool) -> Tokenizer {
    let vocabulary = Vocabulary {
        tokens: tokens.iter().map(|(t, ..)| (*t).to_owned()).collect(),
        kinds: tokens.iter().map(|(_, k, _)| *k).collect(),
        pairs: Pairs::Scored {
            scores: tokens.iter().map(|(.., s)| *s).collect(),
            prefix,
        },
        specials: Specials::default(),
        begin: Some(1),
        end: None,
    };
    Tokenizer::from_vocabulary(vocabulary).unwrap()
}

#[test]
fn the_pair_with_the_best_union_is_merged_first() {
    use Kind::{Byte, Control, Normal, Unknown};
    let pieces = [
        ("<unk>", Unknown, 0.0),
        ("<s>", Control, 0.0),
        ("<0xC3>", Byte, 0.0),
        ("<0xA9>", Byte, 0.0),
        ("▁", Normal, -9.0),
        ("a", Normal, -9.0),
        ("b", Normal, -9.0),
        ("c", Normal, -9.0),
        ("ab", Normal, -2.0),
        ("bc", Normal, -1.0),
        ("▁a", Normal, -3.0),
    ];
    let tokenizer = scored(&pieces, true);
    assert_eq!(
        tokenizer.encode("abc", true).unwrap(),
        [1, 10, 9],
        "bc before ab"
    );
    assert_eq!(tokenizer.encode("ab", false).unwrap(), [4, 8]);
    assert_eq!(
        tokenizer.encode("é", false).unwrap(),
        [4, 2, 3],
        "an unknown character is its bytes"
    );
    assert_eq!(tokenizer.decode(&[4, 2, 3], true).unwrap(), "é");
    assert_eq!(tokenizer.encode("<s>ab", false).unwrap(), [1, 4, 8]);
    let bare = scored(&pieces, false);
    assert_eq!(bare.encode("ab", false).unwrap(), [8]);
    assert_eq!(bare.decode(&[4, 8], true).unwrap(), " ab");
}

#[test]
fn splitting_schemes_cut_numbers_and_words_as_their_models_do() {
    let tokens: Vec<String> = spelled_bytes()
        .into_iter()
        .map(|(_, c)| c.to_string())
        .chain(["12".into(), "123".into(), "ĠĠ".into()])
        .collect();
    let split = |pre: &str, text: &str| {
        let vocabulary = Vocabulary {
            kinds: vec![Kind::Normal; tokens.len()],
            tokens: tokens.clone(),
            pairs: Pairs::Ranked {
                merges: vec!["1 2".into(), "12 3".into(), "Ġ Ġ".into()],
                pre: pre.into(),
            },
            specials: Specials::default(),
            begin: None,
            end: None,
        };
        Tokenizer::from_vocabulary(vocabulary).map(|t| t.encode(text, true).unwrap().len())
    };
    assert_eq!(split("llama-bpe", "123"), Ok(1));
    assert_eq!(split("qwen2", "123"), Ok(3));
    assert_eq!(split("smollm", "123"), Ok(3));
    assert_eq!(split("gpt-2", "123"), Ok(1));
    assert_eq!(
        split("gpt-2", "a   b"),
        Ok(4),
        "the last space belongs to the word"
    );
    assert!(split("viking", "1").is_err());
    assert!(begins("llama-bpe") && !begins("qwen2"));
    assert_eq!(scheme_of(QWEN2), Some("qwen2"));
}
