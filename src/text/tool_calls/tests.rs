//! Every syntax, whole and in pieces.

mod forms;
mod streamed;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn tools() -> Arc<[Tool]> {
    let tool = |name: &str| {
        Tool::read(json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "wide": {"type": ["boolean", "null"]},
            "list": {"type": "array"}, "any": {}}}}}))
        .unwrap()
    };
    [tool("weather"), tool("time")].into()
}

/// What is said, and what is called.
type Read = (String, Vec<(String, String)>);

fn read<'a>(syntax: Syntax, parallel: bool, pieces: impl IntoIterator<Item = &'a str>) -> Read {
    collected(
        CallParser::new(syntax, tools(), parallel, Leaves::Anything),
        pieces,
    )
}

fn collected<'a>(mut parser: CallParser, pieces: impl IntoIterator<Item = &'a str>) -> Read {
    let mut parts = Vec::new();
    for piece in pieces {
        parts.extend(parser.push(piece));
    }
    parts.extend(parser.finish());
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(said) => text += &said,
            Part::Call { name, arguments } => calls.push((name, arguments)),
            Part::Begin(name) => calls.push((name, String::new())),
            Part::Arguments(more) => calls.last_mut().unwrap().1 += &more,
        }
    }
    assert_eq!(parser.calls(), calls.len());
    (text, calls)
}

fn whole(syntax: &str, text: &str) -> Read {
    read(syntax.parse().unwrap(), true, [text])
}

fn calls(found: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, arguments): &(&str, &str)| ((*name).to_owned(), (*arguments).to_owned());
    found.iter().map(owned).collect()
}

/// What a model says, the text in it, and the calls: names and arguments.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Answers and what they mean; every one is also cut in all its places.
fn check(syntax: &str, cases: &[Case<'_>]) {
    for (text, said, called) in cases {
        let expected = ((*said).to_owned(), calls(called));
        assert_eq!(whole(syntax, text), expected, "{text}");
        let single = text
            .char_indices()
            .map(|(at, c)| &text[at..at + c.len_utf8()]);
        assert_eq!(
            read(syntax.parse().unwrap(), true, single),
            expected,
            "{text}"
        );
        for (at, _) in text.char_indices() {
            let (a, b) = text.split_at(at);
            assert_eq!(
                read(syntax.parse().unwrap(), true, [a, b]),
                expected,
                "{a}|{b}"
            );
        }
        for (_, arguments) in &expected.1 {
            assert!(serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object()));
        }
    }
}

#[test]
fn hermes() {
    check(
        "hermes",
        &[
            ("Hello there.\n", "Hello there.\n", &[]),
            (
                "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Łódź\"}}\n</tool_call>",
                "",
                &[("weather", "{\"city\": \"Łódź\"}")],
            ),
            (
                "Let me look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"arguments\": {\"a\": [1.0, 1e5]}, \"name\": \"time\"}\n</tool_call>\n",
                "Let me look.",
                &[("weather", "{}"), ("time", "{\"a\": [1.0, 1e5]}")],
            ),
            (
                "<tool_call>{\"name\": \"f\"}</tool_call> and more",
                "and more",
                &[("f", "{}")],
            ),
            // The end was forgotten, or is in the way.
            (
                "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"</tool_call>\"}}",
                "",
                &[("f", "{\"x\": \"</tool_call>\"}")],
            ),
            (
                "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}<tool_call>{\"name\": \"g\", \"arguments\": null}",
                "",
                &[("f", "{\"a\": 1}"), ("g", "{}")],
            ),
            // No calls.
            (
                "<tool_call>{\"name\": \"f\", \"argum",
                "<tool_call>{\"name\": \"f\", \"argum",
                &[],
            ),
            (
                "<tool_call>f(1)</tool_call> ok",
                "<tool_call>f(1)</tool_call> ok",
                &[],
            ),
            (
                "<tool_call>{'name': 'f'}</tool_call>",
                "<tool_call>{'name': 'f'}</tool_call>",
                &[],
            ),
            (
                "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
                "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
                &[],
            ),
            (
                "<tool_call>{\"name\": 5}\n</tool_call>\n",
                "<tool_call>{\"name\": 5}\n</tool_call>\n",
                &[],
            ),
            ("a <tool_cal b  ", "a <tool_cal b  ", &[]),
            (" \n ", " \n ", &[]),
        ],
    );
}

#[test]
fn llama3() {
    check(
        "llama3",
        &[
            ("It is {warm}.", "It is {warm}.", &[]),
            (
                "{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}",
                "",
                &[("weather", "{\"city\": \"Oslo\"}")],
            ),
            (
                "\n{\"type\": \"function\", \"name\": \"time\", \"parameters\": {}}\n",
                "",
                &[("time", "{}")],
            ),
            (
                "{\"name\": \"time\"}; {\"name\": \"weather\", \"arguments\": {\"days\": 2}};\n<|python_tag|>{\"name\": \"x\"}",
                "",
                &[("time", "{}"), ("weather", "{\"days\": 2}"), ("x", "{}")],
            ),
            (
                "<|python_tag|>{\"name\": \"other\", \"parameters\": {}}{\"name\": \"time\"}",
                "",
                &[("other", "{}"), ("time", "{}")],
            ),
            // An object is an answer like any other unless it names a function; code is text.
            (
                "{\"name\": \"Ada\", \"parameters\": {}} ",
                "{\"name\": \"Ada\", \"parameters\": {}} ",
                &[],
            ),
            ("{\"a\": 1, ", "{\"a\": 1, ", &[]),
            ("<|python_tag|>print(1)", "<|python_tag|>print(1)", &[]),
            ("so: {\"name\": \"time\"}", "so: {\"name\": \"time\"}", &[]),
            ("{\"name\": \"time\"}; that", "; that", &[("time", "{}")]),
            ("{\"name\": \"time\"};", ";", &[("time", "{}")]),
        ],
    );
}

#[test]
fn mistral() {
    check(
        "mistral",
        &[
            (
                "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": \"]\"}}, {\"name\": \"g\", \"arguments\": {}, \"id\": \"abcdefghi\"}]",
                "",
                &[("f", "{\"a\": \"]\"}"), ("g", "{}")],
            ),
            (
                "Well. [TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g{\"b\": 2}",
                "Well.",
                &[("f", "{\"a\": 1}"), ("g", "{\"b\": 2}")],
            ),
            (
                "[TOOL_CALLS]f[CALL_ID]abc123def[ARGS] {\"a\": 1}",
                "",
                &[("f", "{\"a\": 1}")],
            ),
            ("[TOOL_CALLS]{\"name\": \"f\"}", "", &[("f", "{}")]),
            ("[TOOL_CALLS] []", "[TOOL_CALLS] []", &[]),
            ("[TOOL_CALLS] [1]", "[TOOL_CALLS] [1]", &[]),
            ("[TOOL_CALLS]f(1)", "[TOOL_CALLS]f(1)", &[]),
            ("[TOOL_CALLS]f[ARGS]", "[TOOL_CALLS]f[ARGS]", &[]),
            (
                "[TOOL_CALLS][TOOL_CALLS]f[ARGS]{}",
                "[TOOL_CALLS]",
                &[("f", "{}")],
            ),
            ("[TOOL] [1, 2]", "[TOOL] [1, 2]", &[]),
        ],
    );
}

#[test]
fn qwen3_coder() {
    check(
        "qwen3-coder",
        &[
            (
                "Now:\n<tool_call>\n<function=weather>\n<parameter=city>\nNew\nYork\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=wide>\nTrue\n</parameter>\n</function>\n</tool_call>",
                "Now:",
                &[(
                    "weather",
                    "{\"city\":\"New\\nYork\",\"days\":3,\"wide\":true}",
                )],
            ),
            (
                "<function=time></function>\n<tool_call>\n<function=f>\n<parameter=a>1</parameter></function></tool_call>",
                "",
                &[("time", "{}"), ("f", "{\"a\":\"1\"}")],
            ),
            (
                "<tool_call><function=weather><parameter=city>a</parameter> b <parameter=c> </parameter></function>",
                "",
                &[("weather", "{\"city\":\"a</parameter> b <parameter=c> \"}")],
            ),
            (
                "<tool_call>\n<function=weather>\n<parameter=days>many</parameter><parameter=list>[1]</parameter>\n</function>",
                "",
                &[("weather", "{\"days\":\"many\",\"list\":[1]}")],
            ),
            (
                "<tool_call>{\"name\": \"f\"}</tool_call>",
                "<tool_call>{\"name\": \"f\"}</tool_call>",
                &[],
            ),
            ("<function=f>what", "<function=f>what", &[]),
            (
                "<function=f>\n<parameter=a>1",
                "<function=f>\n<parameter=a>1",
                &[],
            ),
            ("if a <function and b", "if a <function and b", &[]),
        ],
    );
}

#[test]
fn bare_json() {
    check(
        "json",
        &[
            (
                "[{\"name\": \"time\", \"arguments\": {}}, {\"name\": \"weather\", \"parameters\": {\"days\": 1}}]",
                "",
                &[("time", "{}"), ("weather", "{\"days\": 1}")],
            ),
            (" {\"name\": \"time\"}\n", "", &[("time", "{}")]),
            (
                "{\"function\": {\"name\": \"time\", \"arguments\": \"{}\"}}",
                "",
                &[("time", "{}")],
            ),
            (
                "{\"name\": \"time\"}\n{\"name\": \"weather\"}",
                "",
                &[("time", "{}"), ("weather", "{}")],
            ),
            ("[1, 2]", "[1, 2]", &[]),
            (
                "[{\"name\": \"time\"}, {\"name\": \"no\"}]",
                "[{\"name\": \"time\"}, {\"name\": \"no\"}]",
                &[],
            ),
            (
                "Sure: {\"name\": \"time\"}",
                "Sure: {\"name\": \"time\"}",
                &[],
            ),
        ],
    );
}

#[test]
fn one_call_is_kept_where_one_is_wanted() {
    let text = "<tool_call>{\"name\": \"f\"}</tool_call><tool_call>{\"name\": \"g\"}</tool_call>";
    let syntax = "hermes".parse().unwrap();
    assert_eq!(
        read(syntax, false, [text]),
        (String::new(), calls(&[("f", "{}")]))
    );
}

#[test]
fn a_call_that_never_ends_is_text_before_it_fills_the_memory() {
    for (syntax, text) in [
        (
            "hermes",
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"",
        ),
        ("qwen3-coder", "<function=f><parameter=a>"),
        ("llama3", "{\"a\": \""),
    ] {
        let mut parser = CallParser::new(syntax.parse().unwrap(), tools(), true, Leaves::Anything);
        let mut told = parser.push(text).len();
        for _ in 0..20 {
            told += parser.push(&"x".repeat(json::LONGEST / 16)).len();
        }
        assert!(told > 0 && parser.calls() == 0, "{syntax}");
    }
}

#[test]
fn text_is_not_held_back_longer_than_it_may_be_a_call() {
    let mut parser = CallParser::new("hermes".parse().unwrap(), tools(), true, Leaves::Anything);
    let mut push = |text: &str| parser.push(text);
    let text = |said: &str| vec![Part::Text(said.to_owned())];
    assert_eq!(push("Hello <"), text("Hello"));
    assert_eq!(push("b"), text(" <b"));
    assert_eq!(push("\n<tool_call>"), []);
    assert_eq!(push("no"), text("\n<tool_call>no"));
    assert_eq!(push(" <tool_call>{\"name\": \"f\"}</tool"), []);
    assert_eq!(push("_call>").len(), 1);
}

#[test]
fn the_syntax_is_found_in_the_template() {
    for (source, name) in [
        ("{{ '<tool_call>\\n{\"name\": \"' }}", "hermes"),
        (
            "<tool_call>\\n<function=' + name + '>\\n<parameter=",
            "qwen3-coder",
        ),
        ("[AVAILABLE_TOOLS] [TOOL_CALLS] [", "mistral"),
        ("<|start_header_id|> '\"parameters\": '", "llama3"),
        ("'<|python_tag|>' + tool_call.name", "llama3"),
        ("<tool_call>name<arg_key>", "json"),
        ("{{ tools | tojson }}", "json"),
    ] {
        assert_eq!(Syntax::of_template(source).name(), name, "{source}");
    }
    let mut rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    let mut names = Syntax::NAMES;
    rows.sort_unstable();
    names.sort_unstable();
    assert_eq!(rows, names);
    assert!("auto".parse::<Syntax>().is_err());
}

/// Pieces of calls and of what is almost one, in any order.
fn answers() -> impl Strategy<Value = Vec<String>> {
    let piece = prop::sample::select(vec![
        "<tool_call>",
        "</tool_call>",
        "<|python_tag|>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "<function=time>",
        "</function>",
        "<parameter=city>",
        "</parameter>",
        "{\"name\": \"time\", \"arguments\": {\"a\": [1, \"é}\"]}}",
        "{\"name\": \"weather\", \"parameters\": {}}",
        "{\"name\": \"time\"",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ";",
        "\n",
        " ",
        "time",
        "\"",
        "é",
        "\\",
        "<",
        "1",
    ]);
    prop::collection::vec(piece.prop_map(str::to_owned), 0..14)
}

proptest! {
    #[test]
    fn an_answer_reads_the_same_in_any_pieces(
        pieces in answers(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6), row in 0..ROWS.len(),
    ) {
        let syntax = Syntax { row: &ROWS[row] };
        let text = pieces.concat();
        let whole = read(syntax, true, [text.as_str()]);
        prop_assert_eq!(&read(syntax, true, pieces.iter().map(String::as_str)), &whole);
        let single = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
        prop_assert_eq!(&read(syntax, true, single), &whole);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).filter(|at| text.is_char_boundary(*at)).collect();
        at.push(0);
        at.push(text.len());
        at.sort_unstable();
        let cut = at.windows(2).map(|pair| &text[pair[0]..pair[1]]);
        prop_assert_eq!(&read(syntax, true, cut), &whole);
        for (name, arguments) in &whole.1 {
            prop_assert!(!name.is_empty());
            prop_assert!(serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object()));
        }
        // Without a call nothing of the answer is changed.
        if whole.1.is_empty() {
            prop_assert_eq!(&whole.0, &text);
        }
    }
}
