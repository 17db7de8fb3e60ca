use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::trainer::data::parse;

fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(path)
}

struct Voice {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Voice {
    fn of(model: &str) -> Self {
        let folder = golden(&format!("models/{model}"));
        Self {
            tokenizer: Tokenizer::from_folder(&folder).unwrap(),
            template: ChatTemplate::from_folder(&folder).unwrap(),
        }
    }

    fn with_template(model: &str, source: &str) -> Self {
        let template = ChatTemplate::new(source, None, None).unwrap();
        Self {
            template,
            ..Self::of(model)
        }
    }

    fn examples(&self, text: &str, max_seq: usize) -> Result<Vec<Example>, Vec<BadRow>> {
        let parsed = parse(text.as_bytes());
        assert!(parsed.bad.is_empty(), "{:?}", parsed.bad);
        Renderer {
            tokenizer: &self.tokenizer,
            template: &self.template,
            max_seq,
        }
        .examples(&parsed.rows)
    }

    fn one(&self, row: Value) -> Example {
        self.examples(&row.to_string(), 512).unwrap().remove(0)
    }

    /// The texts the loss covers.
    fn trained(&self, example: &Example) -> Vec<String> {
        let spans = example
            .sequences
            .iter()
            .flat_map(|s| s.spans.iter().map(|span| &s.tokens[span.clone()]));
        spans
            .map(|ids| self.tokenizer.decode(ids, false).unwrap())
            .collect()
    }

    fn whole(&self, example: &Example) -> String {
        self.tokenizer
            .decode(&example.sequences[0].tokens, false)
            .unwrap()
    }
}

#[test]
fn instruction_rows_are_tokenized_as_transformers_does() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(golden("training/expected.json")).unwrap()).unwrap();
    let rows = std::fs::read_to_string(golden("training/rows.jsonl")).unwrap();
    let examples = Voice::of("llama").examples(&rows, 512).unwrap();
    let expected = expected["rows"].as_array().unwrap();
    assert_eq!(examples.len(), expected.len());
    for (example, expected) in examples.iter().zip(expected) {
        let [sequence] = example.sequences.as_slice() else {
            panic!("one sequence")
        };
        assert_eq!(json!(sequence.tokens), expected["ids"]);
        assert_eq!(sequence.spans.len(), 1);
        assert_eq!(json!(sequence.spans[0].start), expected["answer_from"]);
        assert_eq!(sequence.spans[0].end, sequence.tokens.len());
    }
}

#[test]
fn nothing_behind_the_end_of_turn_is_kept() {
    let voice = Voice::of("qwen2");
    let example = voice.one(json!({"instruction": "Name it.", "input": "a cat", "output": "Tom"}));
    assert!(
        voice
            .whole(&example)
            .ends_with("user\nName it.\na cat<|im_end|>\n<|im_start|>assistant\nTom<|im_end|>")
    );
    assert_eq!(voice.trained(&example), ["Tom<|im_end|>"]);
}

#[test]
fn every_assistant_turn_with_weight_is_trained_in_one_sequence() {
    let voice = Voice::of("qwen2");
    let example = voice.one(json!({"messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "first"},
        {"role": "user", "content": "two"}, {"role": "assistant", "content": "second", "weight": 0},
        {"role": "user", "content": "three"}, {"role": "assistant", "content": "third", "weight": 1},
    ]}));
    assert_eq!(example.sequences.len(), 1);
    assert_eq!(
        voice.trained(&example),
        ["first<|im_end|>", "third<|im_end|>"]
    );
}

#[test]
fn a_conversation_is_kept_up_to_its_last_trained_turn() {
    let voice = Voice::of("qwen2");
    let example = voice.one(json!({"messages": [
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "first"}, {"role": "user", "content": "two"},
    ]}));
    assert!(voice.whole(&example).ends_with("first<|im_end|>"));
}

#[test]
fn a_template_that_rewrites_earlier_turns_gives_a_sequence_a_turn() {
    let voice = Voice::of("qwen3");
    let example = voice.one(json!({"messages": [
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "<think>\nhm\n</think>\nfirst"},
        {"role": "user", "content": "two"}, {"role": "assistant", "content": "second"},
    ]}));
    assert_eq!(example.sequences.len(), 2);
    assert_eq!(
        voice.trained(&example),
        ["<think>\nhm\n</think>\nfirst<|im_end|>", "second<|im_end|>"]
    );
}

#[test]
fn an_answer_whose_first_characters_merge_with_the_prompt_is_tokenized_by_itself() {
    // "\n\n" is a token of its own in this vocabulary when nothing keeps the two apart.
    let template = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}<|im_end|>{% endfor %}\
                    {% if add_generation_prompt %}assistant:\n{% endif %}";
    let voice = Voice::with_template("qwen2", template);
    for answer in ["\nTom", " Tom", "Tom"] {
        let example = voice.one(json!({"instruction": "Name it.", "output": answer}));
        let prompt = voice
            .template
            .render(&[Message::new(crate::domain::Role::User, "Name it.")], true)
            .unwrap();
        let asked = voice.tokenizer.encode(&prompt, false).unwrap();
        assert!(example.sequences[0].tokens.starts_with(&asked));
        assert_eq!(voice.trained(&example), [format!("{answer}<|im_end|>")]);
    }
}

#[test]
fn raw_completions_train_the_completion_and_the_end_token() {
    let voice = Voice::of("llama");
    let example = voice.one(json!({"prompt": "The sky is", "completion": " blue."}));
    let sequence = &example.sequences[0];
    assert_eq!(sequence.tokens[0], voice.tokenizer.bos().unwrap());
    assert_eq!(sequence.tokens.last(), voice.tokenizer.eos().first());
    let end = voice
        .tokenizer
        .decode(&sequence.tokens[sequence.tokens.len() - 1..], false)
        .unwrap();
    assert_eq!(voice.trained(&example), [format!(" blue.{end}")]);
}

#[test]
fn rows_that_cannot_be_rendered_say_why() {
    let row = r#"{"instruction":"Name it.","output":"Tom"}"#;
    let long = Voice::of("llama")
        .examples(&format!("{row}\n{row}"), 8)
        .unwrap_err();
    assert_eq!(long.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 2]);
    assert!(
        long[0].why.contains("tokens; max_seq is 8"),
        "{}",
        long[0].why
    );

    let first = r#"{"messages":[{"role":"assistant","content":"hi"}]}"#;
    let why = &Voice::of("llama").examples(first, 512).unwrap_err()[0].why;
    assert!(
        why.contains("`messages[0]` is an answer to nothing"),
        "{why}"
    );

    let [user, assistant] =
        ["user", "assistant"].map(|role| format!(r#"{{"role":"{role}","content":"hi"}}"#));
    let refused = format!(r#"{{"messages":[{user},{user},{assistant}]}}"#);
    let why = &Voice::of("mistral").examples(&refused, 512).unwrap_err()[0].why;
    assert!(why.contains("roles must alternate"), "{why}");

    let twisted = "{% if add_generation_prompt %}?{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}";
    let why = &Voice::with_template("qwen2", twisted)
        .examples(row, 512)
        .unwrap_err()[0]
        .why;
    assert!(why.contains("does not continue its own prompt"), "{why}");
}
