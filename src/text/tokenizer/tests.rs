use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::text::bytes::spelled_bytes;
use crate::text::special::Added;

/// All bytes as GPT-2 spells them, two merges, and an end token with id 258.
fn byte_level() -> Value {
    let mut vocab: serde_json::Map<String, Value> = spelled_bytes()
        .iter()
        .map(|(byte, c)| (c.to_string(), json!(byte)))
        .collect();
    vocab.insert("Ġa".into(), json!(256));
    vocab.insert("ab".into(), json!(257));
    json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 258, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["Ġ a", "a b"]},
    })
}

/// Bytes as `<0xNN>`, `▁` for a space, and a few letters.
fn byte_fallback() -> Value {
    let mut vocab: serde_json::Map<String, Value> = (0..256)
        .map(|b| (format!("<0x{b:02X}>"), json!(b)))
        .collect();
    for (i, piece) in ["▁", "a", "b", "▁a", "<unk>"].into_iter().enumerate() {
        vocab.insert(piece.into(), json!(256 + i));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab, "merges": ["▁ a"]},
    })
}

fn tokenizer(json: &Value) -> Tokenizer {
    Tokenizer::from_json(json.to_string().as_bytes(), Specials::default()).unwrap()
}

fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = tokenizer.decoder();
    let mut text: String = ids.iter().filter_map(|id| decoder.push(*id)).collect();
    text.extend(decoder.finish());
    text
}

#[test]
fn a_token_is_the_bytes_it_stands_for() {
    let level = tokenizer(&byte_level());
    for byte in 0..=255u8 {
        assert_eq!(level.token_bytes(byte.into()), [byte]);
    }
    assert_eq!(level.token_bytes(256), b" a");
    assert_eq!(level.token_bytes(258), b"<end>");
    assert!(level.token_bytes(9999).is_empty());
    let fallback = tokenizer(&byte_fallback());
    assert_eq!(fallback.token_bytes(0xe2), [0xe2]);
    assert_eq!(fallback.token_bytes(259), b" a");
}

#[test]
fn special_tokens_are_spelled_only_where_they_are_wanted() {
    let tokenizer = tokenizer(&byte_level());
    let ids = [u32::from(b'a'), 258, u32::from(b'b')];
    assert!(tokenizer.is_special(258));
    assert_eq!(stream(&tokenizer, &ids), "ab");
    let mut decoder = tokenizer.decoder().spelling(&[258]);
    let text: String = ids.iter().filter_map(|id| decoder.push(*id)).collect();
    assert_eq!(text, "a<end>b");
}

#[test]
fn half_a_character_is_held_until_the_other_half_comes() {
    for json in [byte_level(), byte_fallback()] {
        let tokenizer = tokenizer(&json);
        let mut decoder = tokenizer.decoder();
        let bytes = "é€".as_bytes();
        let texts: Vec<_> = bytes.iter().map(|b| decoder.push(u32::from(*b))).collect();
        assert_eq!(
            texts,
            [None, Some("é".into()), None, None, Some("€".into())]
        );
        assert_eq!(decoder.push(0xe2), None);
        assert_eq!(
            decoder.finish(),
            Some("\u{fffd}".into()),
            "what never became whole is marked"
        );
        assert_eq!(decoder.finish(), None);
    }
}

#[test]
fn leading_spaces_are_exact_in_an_answer_and_taken_off_a_whole_text() {
    let tokenizer = tokenizer(&byte_fallback());
    let ids = tokenizer.encode("a", false).unwrap();
    assert_eq!(ids, [259]);
    assert_eq!(stream(&tokenizer, &ids), " a");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "a");
}

#[test]
fn special_tokens_are_recognised_in_a_text_and_left_out_of_an_answer() {
    let tokenizer = tokenizer(&byte_level());
    let ids = tokenizer.encode("ab<end> ab ab ab", false).unwrap();
    assert_eq!(
        ids[..2],
        [257, 258],
        "and the file's truncation is not applied: {ids:?}"
    );
    assert_eq!(ids.len(), 8);
    assert_eq!(stream(&tokenizer, &[257, 258, 257]), "abab");
    assert_eq!(tokenizer.decode(&[257, 258], false).unwrap(), "ab<end>");
    assert_eq!(tokenizer.decode(&[257, 258], true).unwrap(), "ab");
    assert!(tokenizer.decode(&[700], true).is_err());
}

#[test]
fn tokens_that_only_the_config_names_are_known() {
    let mut specials = Specials::default();
    specials.named.insert("bos_token".into(), "ab".into());
    specials.named.insert("eos_token".into(), "<end>".into());
    specials.eos_ids.extend([7, 258]);
    let added = Added {
        content: "<new>".into(),
        special: true,
        lstrip: false,
        rstrip: false,
        single_word: false,
        normalized: false,
    };
    specials.added.insert(259, added);
    let tokenizer = Tokenizer::from_json(byte_level().to_string().as_bytes(), specials).unwrap();
    assert_eq!(tokenizer.encode("<new>", false).unwrap(), [259]);
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos()),
        (Some(257), &[7, 258][..])
    );
    assert!(
        tokenizer.is_special(257),
        "a vocabulary entry becomes special by its name"
    );
    assert_eq!(tokenizer.vocab_size(), 260);

    let narrow = tokenizer.within(259);
    assert!(narrow.encode("ab", false).is_ok());
    assert!(
        narrow.encode("<new>", false).is_err(),
        "an id without an embedding must not reach the model"
    );
}

#[test]
fn special_tokens_are_read_from_old_and_new_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| {
        std::fs::write(dir.path().join(name), value.to_string()).unwrap()
    };
    write(
        "tokenizer_config.json",
        json!({"bos_token": null, "eos_token": {"content": "<end>", "lstrip": false}, "extra_special_tokens": ["x"]}),
    );
    write(
        "special_tokens_map.json",
        json!({"bos_token": "<s>", "pad_token": {"content": "<pad>"}, "eos_token": "</s>"}),
    );
    write("generation_config.json", json!({"eos_token_id": [5, 6]}));
    write("config.json", json!({"eos_token_id": 7, "bos_token_id": 1}));
    let specials = Specials::from_folder(dir.path()).unwrap();
    assert_eq!(
        specials.named.get("bos_token"),
        None,
        "null says that there is none"
    );
    assert_eq!(specials.named["eos_token"], "<end>");
    assert_eq!(specials.named["pad_token"], "<pad>");
    assert_eq!(specials.eos_ids.into_iter().collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!(specials.bos_id, Some(1));
    assert!(specials.others.contains("x"));
    write("tokenizer_config.json", json!([]));
    assert!(Specials::from_folder(dir.path()).is_err());
}

/// The byte-level tokenizer with more entries: in the vocabulary, from id 258 on and before `<end>`, or beside it after
/// `<end>` as tokens that are special or not.
fn with_entries(entries: &[(&str, Option<bool>)], specials: Specials) -> Tokenizer {
    let mut json = byte_level();
    let mut ids = 258..;
    for (content, _) in entries.iter().filter(|(_, added)| added.is_none()) {
        json["model"]["vocab"][*content] = json!(ids.next());
    }
    json["added_tokens"][0]["id"] = json!(ids.next());
    for (content, special) in entries.iter().filter(|(_, added)| added.is_some()) {
        let token = json!({"id": ids.next(), "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": special});
        json["added_tokens"].as_array_mut().unwrap().push(token);
    }
    Tokenizer::from_json(json.to_string().as_bytes(), specials).unwrap()
}

#[test]
fn tokens_named_as_ends_end_an_answer_and_are_not_printed_whatever_their_kind() {
    for name in [
        "<|im_end|>",
        "<|eot_id|>",
        "<|endoftext|>",
        "<end_of_turn>",
        "<|end|>",
        "<EOT>",
        "<｜end▁of▁sentence｜>",
    ] {
        for kind in [None, Some(false), Some(true)] {
            let mut specials = Specials::default();
            specials.named.insert("eos_token".into(), "<end>".into());
            let tokenizer = with_entries(&[("<new>", Some(true)), (name, kind)], specials);
            let id = |token: &str| tokenizer.id(token).unwrap();
            assert_eq!(tokenizer.eos(), [id("<end>"), id(name)], "{name} {kind:?}");
            assert!(tokenizer.is_special(id(name)), "{name} {kind:?}");
            assert_eq!(tokenizer.encode(name, false).unwrap(), [id(name)]);
            assert_eq!(stream(&tokenizer, &[257, id(name)]), "ab");
        }
    }
    for other in [
        "<|im_start|>",
        "im_end",
        "<|IM_END|>",
        "<|end",
        " <EOT>",
        "</s>",
        "<|end|>x",
    ] {
        let tokenizer = with_entries(&[(other, Some(false))], Specials::default());
        assert!(tokenizer.eos().is_empty(), "{other}");
        assert!(!tokenizer.is_special(259), "{other}");
    }
}

#[test]
fn ends_that_files_state_come_first_and_alone_enter_the_digest() {
    let entries = [("<|endoftext|>", Some(true)), ("<|im_end|>", Some(true))];
    let mut specials = Specials::default();
    specials
        .named
        .insert("eos_token".into(), "<|im_end|>".into());
    let tokenizer = with_entries(&entries, specials.clone());
    assert_eq!(tokenizer.eos(), [260, 259]);
    let stated = format!("\n{:?} {:?}", None::<u32>, [260u32]);
    let whole = [tokenizer.to_json().unwrap().as_bytes(), stated.as_bytes()].concat();
    assert_eq!(tokenizer.digest(), *blake3::hash(&whole).as_bytes());
    specials.eos_ids.insert(259);
    assert_ne!(
        with_entries(&entries, specials).digest(),
        tokenizer.digest()
    );
}

#[test]
fn an_answer_of_several_messages_is_not_ended_by_the_first() {
    let names = [
        ("<|end|>", Some(true)),
        ("<|return|>", Some(true)),
        ("<|call|>", Some(true)),
    ];
    let tokenizer = with_entries(&names, Specials::default());
    assert_eq!(tokenizer.eos(), [260, 261]);
}

#[test]
fn ids_that_the_model_does_not_have_end_nothing() {
    let mut specials = Specials::default();
    specials.eos_ids.extend([5, 400, u32::MAX]);
    specials.bos_id = Some(1 << 20);
    let tokenizer = with_entries(&[("<|im_end|>", None)], specials);
    let digest = tokenizer.digest();
    let wide = tokenizer.clone().within(512);
    assert_eq!((wide.bos(), wide.eos()), (None, &[5, 400, 258][..]));
    let narrow = tokenizer.within(258);
    assert_eq!((narrow.bos(), narrow.eos()), (None, &[5][..]));
    assert_eq!(narrow.digest(), digest);
}

#[test]
fn numbers_that_are_no_ids_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for odd in [
        json!(-1),
        json!(1.5),
        json!("<s>"),
        json!(1u64 << 40),
        json!([]),
    ] {
        let config = json!({"eos_token_id": [odd, 7], "bos_token_id": odd, "pad_token_id": odd});
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let specials = Specials::from_folder(dir.path()).unwrap();
        assert_eq!(
            specials.eos_ids.into_iter().collect::<Vec<_>>(),
            [7],
            "{odd}"
        );
        assert_eq!(specials.bos_id, None, "{odd}");
    }
}

#[test]
fn a_git_lfs_pointer_is_named_for_what_it_is() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 98\n";
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), byte_level().to_string()).unwrap();
        std::fs::write(dir.path().join(name), pointer).unwrap();
        let error = Tokenizer::from_folder(dir.path())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with(name) && error.contains("git lfs pull"),
            "{error}"
        );
    }
}

#[test]
fn the_digest_is_that_of_the_definition() {
    let a = tokenizer(&byte_level());
    assert_eq!(a.digest(), tokenizer(&byte_level()).digest());
    assert_ne!(a.digest(), tokenizer(&byte_fallback()).digest());
    let again = Tokenizer::from_json(a.to_json().unwrap().as_bytes(), Specials::default()).unwrap();
    assert_eq!(a.digest(), again.digest());
}

#[test]
fn a_decoder_that_cannot_be_followed_token_by_token_is_refused() {
    let mut json = byte_level();
    json["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    let error = Tokenizer::from_json(json.to_string().as_bytes(), Specials::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("WordPiece"));
    assert!(Tokenizer::from_json(b"{", Specials::default()).is_err());
    let missing = tempfile::tempdir().unwrap();
    assert!(
        matches!(Tokenizer::from_folder(missing.path()), Err(TextError::File(why)) if why.contains("tokenizer.json"))
    );
}

proptest! {
    #[test]
    fn the_pieces_of_a_stream_join_to_the_whole_text(ids in proptest::collection::vec(0u32..258, 0..40)) {
        let tokenizer = tokenizer(&byte_level());
        prop_assert_eq!(stream(&tokenizer, &ids), tokenizer.decode(&ids, true).unwrap());
        // The library's own decoder agrees.
        prop_assert_eq!(stream(&tokenizer, &ids), tokenizer.inner.engine.decode(&ids, true).unwrap());
    }

    #[test]
    fn any_text_comes_back(text in "\\PC{0,30}") {
        for json in [byte_level(), byte_fallback()] {
            let tokenizer = tokenizer(&json);
            let ids = tokenizer.encode(&text, false).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, true).unwrap(), text.as_str());
        }
    }
}
