//! What grammars of calls leave of an answer, walked at random: calls that are found and follow their schemas, or text of
//! the form that is asked for, whatever the syntax.

use regex::Regex;

use super::*;
use crate::domain::{Rule, ToolChoice, Toolset};
use crate::text::grammar::tests::{CALL, grammars, guide, tokenizer, walk};

fn toolset(choice: ToolChoice, strict: bool) -> Toolset {
    let tool = |name: &str, properties: Value| {
        json!({"function": {"name": name, "strict": strict, "parameters": {"type": ["object", "null"], "properties": properties,
            "required": ["n"], "additionalProperties": false}, }})
    };
    let near = json!({"n": {"type": "integer", "minimum": 1, "maximum": 99}, "unit": {"enum": ["c", "f"]}});
    let far = json!({"n": {"type": "boolean"}, "note": {"type": "string", "maxLength": 5}});
    Toolset::check(vec![tool("near", near), tool("far", far)], choice, true).unwrap()
}

fn follows(name: &str, given: &Value) -> bool {
    let known = |known: &[&str]| {
        given
            .as_object()
            .unwrap()
            .keys()
            .all(|key| known.contains(&key.as_str()))
    };
    match name {
        "near" => {
            known(&["n", "unit"])
                && given["n"].as_u64().is_some_and(|n| (1..100).contains(&n))
                && [json!("c"), json!("f"), Value::Null].contains(&given["unit"])
        }
        "far" => known(&["n", "note"]) && given["n"].is_boolean() && !given["note"].is_number(),
        _ => false,
    }
}

struct Seen {
    texts: Vec<String>,
    calls: Vec<String>,
}

/// Walks, and reads each answer in pieces of every size.
fn seen(syntax: Syntax, tools: &Toolset, form: Option<&Rule>, token: bool) -> Seen {
    let grammars = grammars();
    let marker = |text: &str| (token && text == "<tool_call>").then_some(CALL);
    let rule = call_rule(tools, form, syntax, &marker).unwrap().unwrap();
    let leaves = Leaves::of(tools, form, syntax);
    let mut seen = Seen {
        texts: Vec::new(),
        calls: Vec::new(),
    };
    let tokenizer = tokenizer();
    // Until both were seen, which chance may take its time for.
    for seed in 0..60 {
        if seed >= 12 && !seen.texts.is_empty() && !seen.calls.is_empty() {
            break;
        }
        let answer =
            guide(&grammars, rule.clone()).unwrap_or_else(|flaw| panic!("{flaw:?}: {rule:?}"));
        let Some(text) = walk(&tokenizer, answer, 160, seed) else {
            continue;
        };
        let parser = || CallParser::new(syntax, tools.offered().into(), true, leaves);
        let (said, found) = collected(parser(), [text.as_str()]);
        let chars: Vec<&str> = text
            .char_indices()
            .map(|(at, c)| &text[at..at + c.len_utf8()])
            .collect();
        for size in 1..=chars.len().max(1) {
            let pieces: Vec<String> = chars.chunks(size).map(<[&str]>::concat).collect();
            let again = collected(parser(), pieces.iter().map(String::as_str));
            assert_eq!(again, (said.clone(), found.clone()), "{size} of {text}");
        }
        for (name, given) in &found {
            let given: Value =
                serde_json::from_str(given).unwrap_or_else(|_| panic!("{given} of {text}"));
            assert!(follows(name, &given), "{name} {given} of {text}");
            seen.calls.push(name.clone());
        }
        if found.is_empty() || !said.is_empty() {
            seen.texts.push(said);
        }
    }
    seen
}

/// Whether a text has a form.
type Holds<'a> = &'a dyn Fn(&str) -> bool;

#[test]
fn a_form_binds_text_and_calls_come_in_its_place() {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}, "n": {"type": "null"}},
        "required": ["name", "n"], "additionalProperties": false});
    let of_schema = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        value["name"].is_string() && value["n"].is_null()
    };
    let object = |text: &str| serde_json::from_str::<Value>(text).unwrap().is_object();
    let of =
        |expression: &'static str| move |text: &str| Regex::new(expression).unwrap().is_match(text);
    let forms: [(Rule, Holds<'_>); 6] = [
        (Rule::JsonSchema(schema), &of_schema),
        (Rule::JsonObject, &object),
        (
            Rule::Regex("[<{\\[a-c]{1,9}".into()),
            &of("^[<{\\[a-c]{1,9}$"),
        ),
        (Rule::Regex(".{0,20}".into()), &of("^.{0,20}$")),
        (
            Rule::Choice(vec!["yes".into(), "{no}".into()]),
            &of("^(yes|\\{no\\})$"),
        ),
        (
            Rule::Lark("start: WORD (\" \" WORD)*\nWORD: /[a-d]+/\n".into()),
            &of("^[a-d]+( [a-d]+)*$"),
        ),
    ];
    for row in &ROWS {
        let syntax = Syntax { row };
        for (form, holds) in &forms {
            for token in [false, true] {
                let tools = toolset(ToolChoice::Auto, token);
                let seen = seen(syntax, &tools, Some(form), token);
                let told = format!("{syntax:?} {form:?} {:?} {:?}", seen.texts, seen.calls);
                assert!(seen.texts.iter().all(|text| holds(text)), "{told}");
                // Chance seldom spells what begins a call where any text, or an object's name, begins the same.
                let json = matches!(form, Rule::JsonObject | Rule::JsonSchema(_));
                let rare = matches!(form, Rule::Regex(_)) || (json && row.is_bare());
                assert!(
                    !seen.texts.is_empty() && (rare || !seen.calls.is_empty()),
                    "{told}"
                );
            }
        }
    }
}

#[test]
fn calls_that_must_come_come_whatever_the_form() {
    for row in &ROWS {
        let syntax = Syntax { row };
        let (any, one) = (ToolChoice::Required, ToolChoice::Named("far".into()));
        let seen_any = seen(syntax, &toolset(any, false), Some(&Rule::JsonObject), true);
        assert!(seen_any.texts.is_empty(), "{:?}", seen_any.texts);
        assert!(
            ["near", "far"]
                .iter()
                .all(|name| seen_any.calls.iter().any(|call| call == name))
        );
        let seen_one = seen(syntax, &toolset(one, false), Some(&Rule::JsonObject), false);
        assert!(seen_one.texts.is_empty() && seen_one.calls.iter().all(|name| name == "far"));
    }
}

#[test]
fn strict_functions_leave_text_that_holds_no_mark() {
    for row in &ROWS {
        for token in [false, true] {
            let tools = toolset(ToolChoice::Auto, true);
            let seen = seen(Syntax { row }, &tools, None, token);
            assert!(!seen.texts.is_empty(), "{}", row.name);
            if let Some(marker) = row.marker() {
                assert!(seen.texts.iter().all(|text| !text.contains(marker)));
            }
        }
    }
}

/// A call of `near`.
fn spelled(row: &Row, tools: &Toolset, n: u32) -> String {
    let tool = &tools.offered()[0];
    let call = match row.forms.key {
        Some(key) => format!("{}{{\"n\": {n}}}}}", forced::head(tool, key)),
        None => format!("<function=near>\n<parameter=n>\n{n}\n</parameter>\n</function>"),
    };
    format!("{}{call}{}", row.forms.begin, row.forms.end)
}

/// Random walks rarely come upon a call where any text is allowed beside it.
#[test]
fn calls_come_beside_any_form_and_only_as_their_schemas_allow() {
    let any = Rule::Regex("(?s:.{0,300})".into());
    let grammar = Rule::Lark("start: WORD\nWORD: /[a-d]+/\n".into());
    let schema = Rule::JsonSchema(
        json!({"type": "object", "properties": {"name": {"enum": ["near", "x"]}}}),
    );
    let list = Rule::JsonSchema(json!({"type": "array", "items": {"type": "integer"}}));
    // Each with a text of it.
    let forms = [
        (None, "So"),
        (Some(any), "[{\"name\": <tool_"),
        (Some(grammar), "abc"),
        (Some(schema), "{\"name\": \"x\"}"),
        (Some(Rule::JsonObject), "{\"name\": \"near\", \"a\": [1]}"),
        (Some(list), "[1, 2]"),
    ];
    let all = ROWS
        .iter()
        .flat_map(|row| forms.iter().map(move |form| (row, form)));
    for (row, (form, text)) in all {
        for token in [false, true] {
            let tools = toolset(ToolChoice::Auto, true);
            let marker = |text: &str| (token && text == "<tool_call>").then_some(CALL);
            let rule = call_rule(&tools, form.as_ref(), Syntax { row }, &marker);
            let guide = guide(&grammars(), rule.unwrap().unwrap()).unwrap();
            let taken = |n: u32, before: &str| {
                let mut ids = Vec::new();
                for (at, part) in format!("{before}{}", spelled(row, &tools, n))
                    .split("<tool_call>")
                    .enumerate()
                {
                    let marked = if token {
                        vec![CALL]
                    } else {
                        "<tool_call>".bytes().map(u32::from).collect()
                    };
                    ids.extend(if at > 0 { marked } else { Vec::new() });
                    ids.extend(part.bytes().map(u32::from));
                }
                guide.clone().allowed(&ids) == ids.len()
            };
            let place = format!("{} {form:?} {token}", row.name);
            assert!(taken(42, ""), "{place}");
            let text: Vec<u32> = text.bytes().map(u32::from).collect();
            assert_eq!(guide.clone().allowed(&text), text.len(), "{place}");
            // Any object is also one that looks like a call.
            let looks =
                row.is_bare() && matches!(form, Some(Rule::JsonObject | Rule::JsonSchema(_)));
            assert!(looks || !taken(420, ""), "{place}");
            // Behind a text it is a call where both may come, and where any text may, a part of that.
            let marked = token && row.marker() == Some("<tool_call>");
            let behind = match form {
                None => true,
                Some(Rule::Regex(_)) => !marked,
                Some(_) => false,
            };
            assert_eq!(taken(42, "So: "), behind, "{place}");
            // Behind blanks it would be read as a call, so no form's text begins so.
            let behind_blanks = form.is_none() && !row.is_bare();
            assert_eq!(taken(42, " \n"), behind_blanks, "{place}");
            assert!(!taken(420, " \n"), "{place}");
            assert!(
                row.is_bare() || form.is_some() || !taken(420, "So: "),
                "{place}"
            );
        }
    }
}
