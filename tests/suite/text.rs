//! Tokenizers and chat templates against what transformers answers (`tests/golden/expected/tokens`).

use std::path::{Path, PathBuf};

use adapterd::domain::{Message, Tool, ToolCall};
use adapterd::text::{ChatTemplate, TextError, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

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

/// A message as clients send it.
pub fn message(sent: &Value) -> Message {
    let text = |key: &str| sent[key].as_str().map(str::to_owned);
    let role = serde_json::from_value(sent["role"].clone()).unwrap();
    let calls = sent["tool_calls"].as_array().into_iter().flatten();
    Message {
        name: text("name"),
        tool_calls: calls.map(|call| ToolCall::read(call).unwrap()).collect(),
        tool_call_id: text("tool_call_id"),
        ..Message::new(role, text("content").unwrap_or_default())
    }
}

#[test]
fn conversations_with_tools_are_rendered_as_transformers_renders_them() {
    let folder = golden().join("templates");
    let made = std::fs::read_to_string(folder.join("tools.json")).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let tools: Vec<Value> = { made["tools"].as_array().unwrap().iter() }
        .map(|tool| Tool::read(tool.clone()).unwrap().sent)
        .collect();
    let token = |name: &str| made["tokens"][name].as_str();
    let mut seen = 0;
    for file in made["templates"].as_array().unwrap() {
        let name = file["template"].as_str().unwrap();
        let source = std::fs::read_to_string(folder.join("tools").join(name)).unwrap();
        let template = ChatTemplate::new(&source, token("bos_token"), token("eos_token")).unwrap();
        let template = template.at(made["time"].as_i64().unwrap());
        let parts = template.tool_parts();
        assert!(
            parts.tools && parts.calls && parts.results,
            "{name}: {parts:?}"
        );
        for case in file["cases"].as_array().unwrap() {
            let messages: Vec<Message> = { case["messages"].as_array().unwrap().iter() }
                .map(message)
                .collect();
            let told = match case["tools"] == true {
                true => template.with_tools(&tools),
                false => template.clone(),
            };
            let prompt = case["add_generation_prompt"] == true;
            let rendered = told.render(&messages, prompt);
            match case["expected"].as_str() {
                Some(text) => assert_eq!(rendered.as_deref(), Ok(text), "{name}: {}", case["name"]),
                None => assert!(rendered.is_err(), "{name}: {}", case["name"]),
            }
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} conversations");
}
