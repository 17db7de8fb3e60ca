//! A row as the model sees it, with what the loss covers: for people and for programs.

use serde_json::{Value, json};

use super::{Example, Sequence};
use crate::text::Tokenizer;

/// A row for programs: of every sequence its text, its tokens, a 1 for every token that the loss covers, and the
/// texts that it covers.
pub fn to_json(tokenizer: &Tokenizer, example: &Example) -> Value {
    let sequences: Vec<Value> = example
        .sequences
        .iter()
        .map(|sequence| {
            let mut loss = vec![0; sequence.tokens.len()];
            for span in &sequence.spans {
                loss[span.clone()].fill(1);
            }
            let trained: Vec<String> = sequence
                .spans
                .iter()
                .map(|span| spelled(tokenizer, &sequence.tokens[span.clone()]))
                .collect();
            json!({
                "text": spelled(tokenizer, &sequence.tokens),
                "trained": trained,
                "tokens": sequence.tokens,
                "loss": loss,
            })
        })
        .collect();
    json!({ "line": example.line, "sequences": sequences })
}

/// A row for people: its sequences, one after the other, with `marks` around what the loss covers. Special tokens are
/// shown as they are named; characters that would command a terminal are escaped.
pub fn to_text(tokenizer: &Tokenizer, example: &Example, marks: (&str, &str)) -> String {
    let many = example.sequences.len() > 1;
    let mut text = String::new();
    for (at, sequence) in example.sequences.iter().enumerate() {
        let part = match many {
            true => format!(", part {} of {}", at + 1, example.sequences.len()),
            false => String::new(),
        };
        let trained: usize = sequence.spans.iter().map(ExactSizeIterator::len).sum();
        text.push_str(&format!(
            "line {}{part}: {} tokens, the loss covers {trained}\n{}\n",
            example.line,
            sequence.tokens.len(),
            marked(tokenizer, sequence, marks)
        ));
    }
    text
}

fn marked(tokenizer: &Tokenizer, sequence: &Sequence, (open, close): (&str, &str)) -> String {
    let mut text = String::new();
    let mut shown = 0;
    let mut put = |text: &mut String, until: usize| {
        text.push_str(&harmless(&spelled(
            tokenizer,
            &sequence.tokens[shown..until],
        )));
        shown = until;
    };
    for span in &sequence.spans {
        put(&mut text, span.start);
        text.push_str(open);
        put(&mut text, span.end);
        text.push_str(close);
    }
    put(&mut text, sequence.tokens.len());
    text
}

/// What tokens stand for, special ones by their names.
fn spelled(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|id| tokenizer.token_bytes(*id))
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() && !matches!(c, '\n' | '\t') {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::text::ChatTemplate;
    use crate::trainer::data::{Remarks, Renderer, parse};

    #[test]
    fn what_the_loss_covers_is_marked_and_the_terminal_is_left_alone() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/qwen2");
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        let template = ChatTemplate::from_folder(&folder).unwrap();
        let rows = br#"{"messages":[{"role":"user","content":"a\u001b[2J"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}
{"instruction":"more","output":"rows"}"#;
        let parsed = parse(rows);
        let renderer = Renderer {
            tokenizer: &tokenizer,
            template: &template,
            max_seq: usize::MAX,
            objective: parsed.objective(),
        };
        let example = renderer.example(&parsed.rows[0], &mut Remarks::default());
        let example = &example.unwrap();
        let text = to_text(&tokenizer, example, ("[[", "]]"));
        assert!(text.starts_with("line 1: "), "{text}");
        assert!(
            text.contains("a\\u{1b}[2J<|im_end|>\n<|im_start|>assistant\n[[b<|im_end|>]]\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[[d<|im_end|>]]"),
            "{text}"
        );
        let row = to_json(&tokenizer, example);
        let sequence = &row["sequences"][0];
        assert_eq!(sequence["trained"], json!(["b<|im_end|>", "d<|im_end|>"]));
        let count = |key: &str| sequence[key].as_array().map(Vec::len);
        assert_eq!(count("tokens"), count("loss"));
        let ones = sequence["loss"].as_array().unwrap().iter();
        assert_eq!(ones.filter(|one| **one == 1).count(), 4);
    }
}
