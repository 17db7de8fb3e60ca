use super::*;
use crate::text::vocabulary::spelled_bytes;

const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

/// A byte-level vocabulary: 256 bytes, `<s>` with id 256, then these tokens of these kinds.
fn ranked(more: &[(&str, i64)]) -> Metadata {
    let mut tokens: Vec<String> = spelled_bytes().iter().map(|(_, c)| c.to_string()).collect();
    let mut kinds = vec![NORMAL; 256];
    for (token, kind) in std::iter::once(&("<s>", CONTROL)).chain(more) {
        tokens.push((*token).to_owned());
        kinds.push(*kind);
    }
    Metadata::from([
        (key("model"), Value::Text("gpt2".into())),
        (key("pre"), Value::Text("gpt-2".into())),
        (key("tokens"), Value::Texts(tokens)),
        (key("token_type"), Value::Ints(kinds)),
        (key("merges"), Value::Texts(vec![])),
        (key("bos_token_id"), Value::Int(256)),
    ])
}

/// A SentencePiece-style vocabulary: `<unk>`, `<s>`, `</s>`, a few letters, then these tokens of these kinds.
fn scored(more: &[(&str, i64)]) -> Metadata {
    let first = [
        ("<unk>", 2),
        ("<s>", CONTROL),
        ("</s>", CONTROL),
        ("▁", NORMAL),
        ("a", NORMAL),
        ("b", NORMAL),
    ];
    let all = || first.iter().chain(more);
    Metadata::from([
        (key("model"), Value::Text("llama".into())),
        (key("scores"), Value::Floats(all().map(|_| -1.0).collect())),
        (
            key("tokens"),
            Value::Texts(all().map(|(token, _)| (*token).into()).collect()),
        ),
        (
            key("token_type"),
            Value::Ints(all().map(|(_, kind)| *kind).collect()),
        ),
        (key("bos_token_id"), Value::Int(1)),
        (key("eos_token_id"), Value::Int(2)),
    ])
}

fn with(mut metadata: Metadata, name: &str, value: Value) -> Metadata {
    metadata.insert(key(name), value);
    metadata
}

#[test]
fn special_ids_outside_of_the_vocabulary_are_dropped_whatever_they_are_of() {
    let plain = tokenizer(&ranked(&[])).unwrap();
    for name in [
        "padding_token_id",
        "unknown_token_id",
        "eos_token_id",
        "eot_token_id",
        "eom_token_id",
        "seperator_token_id",
        "mask_token_id",
        "fim_pre_token_id",
    ] {
        for id in [
            257,
            4_294_967_295,
            -1,
            i128::from(i64::MIN),
            i128::from(u64::MAX),
        ] {
            let odd = with(ranked(&[]), name, Value::Int(id));
            let read = tokenizer(&odd).unwrap();
            assert_eq!(
                (read.bos(), read.eos()),
                (Some(256), &[][..]),
                "{name} {id}"
            );
            assert_eq!(read.digest(), plain.digest(), "{name} {id}");
            assert!(template(&odd).is_ok(), "{name} {id}");
        }
    }
    let without = with(ranked(&[]), "bos_token_id", Value::Int(-1));
    assert_eq!(tokenizer(&without).unwrap().bos(), None);
    let text = with(ranked(&[]), "eos_token_id", Value::Text("</s>".into()));
    assert!(tokenizer(&text).is_err(), "what is no number is no id");
}

#[test]
fn a_sentencepiece_vocabulary_begins_and_ends_where_it_usually_does() {
    let mut odd = scored(&[]);
    for name in ["bos_token_id", "eos_token_id", "unknown_token_id"] {
        odd = with(odd, name, Value::Int(4_294_967_295));
    }
    let (read, plain) = (tokenizer(&odd).unwrap(), tokenizer(&scored(&[])).unwrap());
    assert_eq!((read.bos(), read.eos()), (Some(1), &[2][..]));
    assert_eq!(
        read.encode("ab", true).unwrap(),
        plain.encode("ab", true).unwrap()
    );
    let Some(Value::Texts(tokens)) = odd.get_mut(&key("tokens")) else {
        unreachable!()
    };
    tokens[2] = "c".into();
    assert!(tokenizer(&odd).unwrap().eos().is_empty());
}

#[test]
fn tokens_named_as_ends_end_an_answer_and_are_not_printed_whatever_their_type() {
    for name in [
        "<|im_end|>",
        "<|eot_id|>",
        "<end_of_turn>",
        "<EOT>",
        "<|end|>",
    ] {
        for kind in [NORMAL, USER_DEFINED, CONTROL] {
            for metadata in [ranked(&[(name, kind)]), scored(&[(name, kind)])] {
                let read = tokenizer(&metadata).unwrap();
                let id = read.id(name).unwrap();
                assert!(read.eos().contains(&id), "{name} {kind}");
                assert!(read.is_special(id), "{name} {kind}");
                let ids = read.encode(&format!("ab{name}ab"), false).unwrap();
                assert!(ids.contains(&id), "{name} {kind}");
                assert_eq!(read.decode(&[id], true).unwrap(), "", "{name} {kind}");
            }
        }
    }
    let read = tokenizer(&ranked(&[("<|im_start|>", USER_DEFINED), ("end", NORMAL)])).unwrap();
    assert!(read.eos().is_empty());
}

#[test]
fn unknown_kinds_are_read_as_normal() {
    let plain = tokenizer(&ranked(&[("the", NORMAL)])).unwrap();
    for kind in [0, 7, 99, -1, i64::MAX] {
        let read = tokenizer(&ranked(&[("the", kind)])).unwrap();
        assert_eq!(read.digest(), plain.digest(), "{kind}");
    }
}

#[test]
fn the_digest_of_a_file_that_was_right_is_what_it_was() {
    let ends = [
        ("<|endoftext|>", CONTROL),
        ("<|im_end|>", CONTROL),
        ("<|end|>", CONTROL),
    ];
    let metadata = with(ranked(&ends), "eos_token_id", Value::Int(258));
    let read = tokenizer(&metadata).unwrap();
    let before = format!("\n{:?} {:?}", Some(256u32), [257u32, 258]);
    let whole = [read.to_json().unwrap().as_bytes(), before.as_bytes()].concat();
    assert_eq!(read.digest(), *blake3::hash(&whole).as_bytes());
    assert_eq!(read.eos(), [257, 258, 259]);
}
