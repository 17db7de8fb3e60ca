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
            objective: Objective::Sft,
        }
        .examples(&parsed.rows)
        .map(|(examples, _)| examples)
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

    let [user, assistant] =
        ["user", "assistant"].map(|role| format!(r#"{{"role":"{role}","content":"hi"}}"#));
    let refused = format!(r#"{{"messages":[{user},{user},{assistant}]}}"#);
    let why = &Voice::of("mistral").examples(&refused, 512).unwrap_err()[0].why;
    assert!(why.contains("roles must alternate"), "{why}");

    let twice = "{% if add_generation_prompt %}?{% endif %}{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}";
    let why = &Voice::with_template("qwen2", twice)
        .examples(row, 512)
        .unwrap_err()[0]
        .why;
    assert!(why.contains("does not continue its own prompt"), "{why}");
}

/// What an instruction row trains on under a template of the test, and what the template's warnings are.
fn under(template: &str, row: Value) -> (String, Vec<String>, Vec<String>) {
    let template = ChatTemplate::new(template, None, Some("<|im_end|>")).unwrap();
    let voice = Voice {
        template,
        ..Voice::of("qwen2")
    };
    let parsed = parse(row.to_string().as_bytes());
    let renderer = Renderer {
        tokenizer: &voice.tokenizer,
        template: &voice.template,
        max_seq: 512,
        objective: Objective::Sft,
    };
    let (examples, remarks) = renderer.examples(&parsed.rows).unwrap();
    let whole = voice.whole(&examples[0]);
    (whole, voice.trained(&examples[0]), remarks.warnings())
}

const R1: &str = "{% for m in messages %}{% if m.role == 'assistant' %}{% set c = m.content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}<A>{{ c }}{{ eos_token }}\n{% else %}<U>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<A><think>\n{% endif %}";

#[test]
fn answers_to_a_prompt_that_opens_a_thought_are_trained_in_one_sequence_up_to_their_ends() {
    let (whole, trained, warnings) = under(
        R1,
        json!({"messages": [
            {"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nx\n</think>\n\nfirst"},
            {"role": "user", "content": "b"}, {"role": "assistant", "content": "second", "train": false},
            {"role": "user", "content": "c"}, {"role": "assistant", "content": "third"},
            {"role": "user", "content": "d"},
        ]}),
    );
    assert_eq!(
        whole,
        "<U>a<A>\n\nfirst<|im_end|>\n<U>b<A>second<|im_end|>\n<U>c<A>third<|im_end|>"
    );
    assert_eq!(trained, ["\n\nfirst<|im_end|>", "third<|im_end|>"]);
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert!(
        warning.contains("leaves part of it out (1 row, the first at line 1)"),
        "{warning}"
    );
}

#[test]
fn an_answer_that_is_nothing_but_a_thought_is_refused_where_thoughts_are_left_out() {
    let voice = Voice::with_template("qwen2", &R1.replace("{{ eos_token }}", "<|im_end|>"));
    let row = r#"{"instruction":"a","output":"<think>only this</think>"}"#;
    let why = &voice.examples(row, 512).unwrap_err()[0].why;
    assert!(why.contains("leaves the whole answer out"), "{why}");
    // The same where the answer is marked or follows its prompt.
    for source in [
        "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %} {{ m.content.split('</think>')[-1] }}{% endgeneration %}<|im_end|>{% endif %}{% endfor %}",
        "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    ] {
        let why = &Voice::with_template("qwen2", source)
            .examples(row, 512)
            .unwrap_err()[0]
            .why;
        assert!(why.contains("leaves the whole answer out"), "{why}");
    }
}

#[test]
fn what_a_template_leaves_out_is_told() {
    let (_, trained, warnings) = under(
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content | upper }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
        json!({"system": "Be kind.", "instruction": "1", "output": "b"}),
    );
    assert_eq!(trained, ["B<|im_end|>"]);
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("changes an answer"), "{warnings:?}");
    assert!(warnings[1].contains("a system turn"), "{warnings:?}");
    let (_, _, none) = under(
        "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
        json!({"instruction": " 1\n", "output": " b\n"}),
    );
    assert!(none.is_empty(), "{none:?}");
}

/// By transformers 5.24, `apply_chat_template(..., return_assistant_tokens_mask=True)` with this tokenizer.
#[test]
fn marked_answers_are_those_of_transformers() {
    let open = "{% for m in messages %}{% if m.role == 'assistant' %}";
    let close = "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let row = json!({"messages": [
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "first"},
        {"role": "user", "content": "two"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nsecond answer"},
    ]});
    let asked = [347, 84, 82, 259, 198, 78, 296, 348, 198];
    let header = [347, 64, 82, 82, 314, 83, 64, 260, 198];
    let again = [347, 84, 82, 259, 198, 83, 340, 348, 198];
    let empty = [349, 198, 198, 350, 198];
    let second = [82, 68, 66, 78, 77, 67, 282, 335, 259, 348];
    let thought = [349, 198, 71, 76, 198, 350, 198, 198];
    let plain = [&asked[..], &header, &[311, 81, 334, 348], &again, &header];
    let cases = [
        (
            "<|im_start|>assistant\n{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n",
            [&plain.concat()[..], &thought, &second].concat(),
            vec![18..22, 40..58],
        ),
        (
            "<|im_start|>assistant\n{% generation %}{{ m.content.split('</think>')[-1] | trim }}<|im_end|>{% endgeneration %}\n",
            [&plain.concat()[..], &second].concat(),
            vec![18..22, 40..50],
        ),
        // Here transformers goes on with the new line behind the end of a turn, 27..28 and 69..70, which no model answers.
        (
            "{% generation %}<|im_start|>assistant\n<think>\n\n</think>\n{{ m.content }}<|im_end|>\n{% endgeneration %}",
            [
                &asked[..],
                &header,
                &empty,
                &[311, 81, 334, 348, 198],
                &again,
                &header,
                &empty,
                &thought,
                &second,
            ]
            .concat(),
            vec![9..27, 37..69],
        ),
        // And here it ends before the end of the turn, 21..22 and 58..59, without which a model would not learn to stop.
        (
            "<|im_start|>assistant\n{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n",
            [
                &asked[..],
                &header,
                &[311, 81, 334, 348, 198],
                &again,
                &header,
                &thought,
                &second,
            ]
            .concat(),
            vec![18..22, 41..59],
        ),
    ];
    for (turn, tokens, spans) in cases {
        let voice = Voice::with_template("qwen2", &format!("{open}{turn}{close}"));
        let example = voice.one(row.clone());
        assert_eq!(example.sequences, [Sequence { tokens, spans }], "{turn}");
    }
}

#[test]
fn a_call_is_trained_on_with_the_token_that_ends_it_and_tools_are_told() {
    const TEMPLATE: &str = "{% if tools %}[{{ tools[0].function.name }}]{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}\
        {% for c in m.tool_calls or [] %}({{ c.function.name }} {{ c.function.arguments | tojson }}){% endfor %}</s>\
        {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    let row = json!({"tools": [{"name": "f"}], "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"role": "tool", "content": "r"},
        {"role": "assistant", "content": "done"},
    ]});
    let voice = Voice::with_template("llama", TEMPLATE);
    let example = voice.one(row.clone());
    assert!(voice.whole(&example).contains("[f]<user>q"));
    let trained = voice.trained(&example);
    assert!(trained[0].starts_with("(f {\"a\": 1})"), "{trained:?}");
    assert!(trained[1].starts_with("done"), "{trained:?}");
    let deaf = Voice::with_template(
        "llama",
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    );
    let bad = deaf.examples(&row.to_string(), 512).unwrap_err();
    assert!(bad[0].why.contains("`tools`"), "{}", bad[0].why);
    let mut without = row;
    without["tools"] = json!([]);
    let bad = deaf.examples(&without.to_string(), 512).unwrap_err();
    assert!(bad[0].why.contains("`tool_calls`"), "{}", bad[0].why);
}
