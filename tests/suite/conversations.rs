//! Some hundred conversations with functions by published chat templates: rendered as transformers renders them, and the calls
//! at their ends found again as a model would write them (`tests/golden/templates/conversations.json.gz`).

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use adapterd::domain::{Message, Tool};
use adapterd::text::{CallParser, ChatTemplate, Leaves, Part, Syntax};
use serde_json::Value;

use crate::text::message;

/// One template, and what each conversation becomes by it; `None` where it refuses.
struct Family {
    name: String,
    template: ChatTemplate,
    expected: Vec<Option<String>>,
}

struct Made {
    families: Vec<Family>,
    conversations: Vec<(Vec<Value>, Vec<Message>)>,
}

fn made() -> Made {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/templates");
    let packed = std::fs::read(folder.join("conversations.json.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    let made: Value = serde_json::from_str(&text).unwrap();
    let token = |name: &str| made["tokens"][name].as_str();
    let family = |(name, expected): (&String, &Value)| {
        let source = std::fs::read_to_string(folder.join("tools").join(name)).unwrap();
        let template = ChatTemplate::new(&source, token("bos_token"), token("eos_token")).unwrap();
        Family {
            name: name.clone(),
            template: template.at(made["time"].as_i64().unwrap()),
            expected: serde_json::from_value(expected.clone()).unwrap(),
        }
    };
    let conversation = |case: &Value| {
        let tools = case["tools"].as_array().unwrap().iter();
        let tools = tools.map(|tool| Tool::read(tool.clone()).unwrap().sent);
        let messages = case["messages"].as_array().unwrap();
        (tools.collect(), messages.iter().map(message).collect())
    };
    let cases = made["conversations"].as_array().unwrap();
    Made {
        families: made["templates"]
            .as_object()
            .unwrap()
            .iter()
            .map(family)
            .collect(),
        conversations: cases.iter().map(conversation).collect(),
    }
}

#[test]
fn made_conversations_are_rendered_as_transformers_renders_them() {
    let made = made();
    assert_eq!(made.families.len(), 7);
    for family in &made.families {
        let mut seen = 0;
        for (at, (tools, messages)) in made.conversations.iter().enumerate() {
            let told = family.template.with_tools(tools);
            let calls = messages
                .last()
                .is_some_and(|last| !last.tool_calls.is_empty());
            let rendered = told.render(messages, !calls);
            match &family.expected[at] {
                Some(text) => assert_eq!(rendered.as_ref(), Ok(text), "{} {at}", family.name),
                None => assert!(rendered.is_err(), "{} {at}", family.name),
            }
            seen += usize::from(rendered.is_ok());
        }
        assert!(seen >= 200, "{}: {seen} conversations", family.name);
    }
}

/// What an answer says in pieces of so many characters: text, and calls by name and arguments.
fn read(
    syntax: Syntax,
    tools: &Arc<[Tool]>,
    answer: &str,
    piece: usize,
) -> (String, Vec<(String, Value)>) {
    let mut parser = CallParser::new(syntax, tools.clone(), true, Leaves::Anything);
    let chars: Vec<char> = answer.chars().collect();
    let mut parts = Vec::new();
    for piece in chars.chunks(piece) {
        parts.extend(parser.push(&piece.iter().collect::<String>()));
    }
    parts.extend(parser.finish());
    let (mut said, mut calls) = (String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(text) => said += &text,
            Part::Call { name, arguments } => {
                calls.push((name, serde_json::from_str(&arguments).unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }
    (said, calls)
}

#[test]
fn calls_are_found_again_as_templates_write_them_in_any_pieces() {
    let made = made();
    for family in &made.families {
        let syntax = Syntax::of_template(family.template.call_source());
        let mut seen = 0;
        for (at, (sent, messages)) in made.conversations.iter().enumerate() {
            let Some((last, before)) = messages.split_last() else {
                continue;
            };
            let (Some(whole), false) = (&family.expected[at], last.tool_calls.is_empty()) else {
                continue;
            };
            let told = family.template.with_tools(sent);
            let asked = told.render(before, true).unwrap();
            // Mistral's has the system's words only in front of a last message of the user; its prompts end in `[/INST]`.
            let behind = |mark: &str| whole.rsplit_once(mark).map(|(_, answer)| answer);
            let end = asked.rfind('[').map_or("", |at| &asked[at..]);
            let answer = whole.strip_prefix(&asked).or_else(|| behind(end));
            let answer = answer.unwrap();
            let end = ["<|im_end|>", "<|eot_id|>", "</s>"];
            let end = end.iter().find_map(|end| answer.rfind(end)).unwrap();
            let tools: Arc<[Tool]> = { sent.iter() }
                .map(|tool| Tool::read(tool.clone()).unwrap())
                .collect();
            // Values between tags are read by the schema, which made arguments do not follow.
            let typed = syntax.name() != "qwen3-coder";
            let called = { last.tool_calls.iter() }
                .map(|call| (call.name.clone(), Value::Object(call.arguments.clone())));
            let called: Vec<(String, Value)> = called.collect();
            for piece in [1, 2, 3, 7, 20, answer.len()] {
                let (said, found) = read(syntax, &tools, &answer[..end], piece);
                let place = format!("{} {at} by {piece}: {answer}", family.name);
                let marked = syntax.markers().iter().any(|marker| said.contains(marker));
                assert!(!marked, "{place}");
                match typed {
                    true => assert_eq!(found, called, "{place}"),
                    false => assert!(
                        found
                            .iter()
                            .map(|(name, _)| name)
                            .eq(called.iter().map(|(name, _)| name)),
                        "{place}"
                    ),
                }
            }
            seen += 1;
        }
        assert!(seen >= 200, "{}: {seen} answers", family.name);
    }
}
