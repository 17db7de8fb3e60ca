//! Tokenizers and chat templates against what transformers answers (`tests/golden/expected/tokens`).

use std::path::{Path, PathBuf};

use adapterd::domain::Message;
use adapterd::text::{ChatTemplate, TextError, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    folder: String,
    size: usize,
    bos: Option<u32>,
    eos: u32,
    texts: Vec<Text>,
    chats: Vec<Chat>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    ids_with_special: Vec<u32>,
    decoded: String,
    decoded_without_special: String,
}

#[derive(Deserialize)]
struct Chat {
    messages: serde_json::Value,
    add_generation_prompt: bool,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Rendered { text: String, ids: Vec<u32> },
    Refused { error: String },
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Each file of expectations with its tokenizer and template.
fn each(check: impl Fn(&Expected, &Tokenizer, &ChatTemplate)) {
    let mut seen = 0;
    for entry in std::fs::read_dir(golden().join("expected/tokens")).unwrap() {
        let expected: Expected =
            serde_json::from_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        let folder = golden().join("models").join(&expected.folder);
        check(
            &expected,
            &Tokenizer::from_folder(&folder).unwrap(),
            &ChatTemplate::from_folder(&folder).unwrap(),
        );
        seen += 1;
    }
    assert!(
        seen >= 3,
        "byte-level and byte-fallback vocabularies are both there"
    );
}

#[test]
fn texts_become_the_ids_of_the_reference() {
    each(|expected, tokenizer, _| {
        assert_eq!(tokenizer.vocab_size(), expected.size);
        assert_eq!(tokenizer.bos(), expected.bos);
        assert!(tokenizer.eos().contains(&expected.eos));
        for case in &expected.texts {
            let folder = &expected.folder;
            assert_eq!(
                tokenizer.encode(&case.text, false).unwrap(),
                case.ids,
                "{folder}: {:?}",
                case.text
            );
            assert_eq!(
                tokenizer.encode(&case.text, true).unwrap(),
                case.ids_with_special,
                "{folder}: {:?}",
                case.text
            );
        }
    });
}

#[test]
fn ids_become_the_text_of_the_reference() {
    each(|expected, tokenizer, _| {
        for case in &expected.texts {
            let folder = &expected.folder;
            let ids = &case.ids_with_special;
            assert_eq!(
                tokenizer.decode(ids, false).unwrap(),
                case.decoded,
                "{folder}: {:?}",
                case.text
            );
            assert_eq!(
                tokenizer.decode(ids, true).unwrap(),
                case.decoded_without_special,
                "{folder}: {:?}",
                case.text
            );
        }
    });
}

#[test]
fn conversations_render_as_the_reference_does_and_begin_once() {
    each(|expected, tokenizer, template| {
        let mut compared = 0;
        for chat in &expected.chats {
            // Roles of no API are for the border to refuse.
            let Ok(messages) = serde_json::from_value::<Vec<Message>>(chat.messages.clone()) else {
                continue;
            };
            let rendered = template.render(&messages, chat.add_generation_prompt);
            match &chat.outcome {
                Outcome::Rendered { text, ids } => {
                    let rendered = rendered.unwrap();
                    assert_eq!(rendered, *text, "{}", expected.folder);
                    assert_eq!(
                        tokenizer.encode(&rendered, false).unwrap(),
                        *ids,
                        "{}",
                        expected.folder
                    );
                }
                Outcome::Refused { error } => {
                    assert_eq!(
                        rendered,
                        Err(TextError::Template(error.clone())),
                        "{}",
                        expected.folder
                    );
                }
            }
            compared += 1;
        }
        assert!(compared > 5);
    });
}

#[test]
fn token_by_token_a_text_comes_out_as_it_went_in() {
    each(|expected, tokenizer, _| {
        for case in &expected.texts {
            let mut decoder = tokenizer.decoder();
            let mut text: String = case.ids.iter().filter_map(|id| decoder.push(*id)).collect();
            text.extend(decoder.finish());
            let bytes: Vec<u8> = case
                .ids
                .iter()
                .filter(|id| !tokenizer.is_special(**id))
                .flat_map(|id| tokenizer.token_bytes(*id))
                .collect();
            assert_eq!(text, String::from_utf8_lossy(&bytes));
            // Where the vocabulary puts a space before a text, it is there: an answer's own spaces are exact.
            let whole = tokenizer.decode(&case.ids, true).unwrap();
            assert!(
                text == whole || text.strip_prefix(' ') == Some(&whole),
                "{text:?} {whole:?}"
            );
        }
    });
}
