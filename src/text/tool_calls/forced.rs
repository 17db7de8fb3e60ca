//! A grammar that leaves a model no choice but to call, in Lark's notation as llguidance reads it.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Syntax;
use crate::domain::{Reason, Tool, ToolChoice};
use crate::text::grammar;

/// The grammar of an answer with these functions; `None` where nothing is to be forced.
///
/// A choice of one function, or of any, leaves nothing but calls; `auto` leaves text too, and holds calls of strict
/// functions to their schemas. `token`: the id of a marker that is a special token.
///
/// # Errors
/// As of a schema, by its place: that of a strict function cannot be followed. Others are held to theirs where they can be.
pub fn forced_call_grammar(
    tools: &[Tool],
    choice: &ToolChoice,
    parallel: bool,
    syntax: Syntax,
    token: &dyn Fn(&str) -> Option<u32>,
) -> Result<Option<String>, Reason> {
    let free = match choice {
        ToolChoice::None => return Ok(None),
        ToolChoice::Auto if !tools.iter().any(|tool| tool.strict) => return Ok(None),
        ToolChoice::Auto => true,
        ToolChoice::Required | ToolChoice::Named(_) => false,
    };
    let may = |(_, tool): &(usize, &Tool)| !matches!(choice, ToolChoice::Named(name) if *name != tool.name);
    let called: Vec<(usize, &Tool)> = tools.iter().enumerate().filter(may).collect();
    let row = syntax.row;
    let literal = |text: &str| literal(text, row.markers, token);
    let (begin, between, end) = (
        literal(row.forms.begin),
        literal(row.forms.between),
        literal(row.forms.end),
    );
    let mut grammar = String::new();
    let more = match parallel && !matches!(choice, ToolChoice::Named(_)) {
        true => format!(" ({between} call)*"),
        false => String::new(),
    };
    let marked = row.markers.first().filter(|_| !row.forms.begin.is_empty());
    let _ = match (free, marked) {
        (false, _) => writeln!(grammar, "start: calls"),
        // A token is no text, so text ends before it.
        (true, Some(_)) if begin.starts_with('<') => {
            writeln!(grammar, "start: TEXT? calls?\nTEXT: /(?s:.+)/")
        }
        // Text up to where calls begin, or text in which none does.
        (true, Some(marker)) => writeln!(
            grammar,
            "start: TEXT? | head call{more} {end}\nhead[suffix={begin}]: /(?s:.*)/\nTEXT: {}",
            text_without(marker)
        ),
        // Any JSON would be a call.
        (true, None) => writeln!(grammar, "start: TEXT | calls\nTEXT: /[^{{\\[\\s](?s:.*)/"),
    };
    if !grammar.contains("head") {
        let _ = writeln!(grammar, "calls: {begin} call{more} {end}");
    }
    let names: Vec<String> = (0..called.len()).map(|at| format!("call_{at}")).collect();
    let _ = writeln!(grammar, "call: {}", names.join(" | "));
    for (name, (at, tool)) in names.iter().zip(called) {
        grammar += &(row.forms.call)(tool, name, &schema(at, tool)?);
    }
    Ok(Some(grammar))
}

/// How a function's call as an object begins, up to its arguments.
pub(super) fn head(tool: &Tool, key: &str) -> String {
    let name = Value::from(tool.name.as_str());
    format!("{{\"name\": {name}, \"{key}\": ")
}

/// A function's call as an object: `{"name": "f", "KEY": {…}}`.
pub(super) fn object(tool: &Tool, rule: &str, key: &str, schema: &Value) -> String {
    let head = quoted(&head(tool, key));
    let schema = grammar::written(schema.clone());
    format!("{rule}: {head} {rule}_given \"}}\"\n{rule}_given: %json {schema}\n")
}

/// A function's call as tags around plain values, in the order of its schema.
pub(super) fn tags(tool: &Tool, rule: &str, schema: &Value) -> String {
    let open = quoted(&format!("<function={}>\n", tool.name));
    let mut call = format!("{rule}: {open}");
    let mut rest = String::new();
    let required = |key: &str| {
        let required = schema["required"].as_array();
        required.is_some_and(|keys| keys.iter().any(|wanted| wanted == key))
    };
    let properties = schema["properties"].as_object();
    for (at, (key, property)) in properties.into_iter().flatten().enumerate() {
        let part = format!("{rule}_{at}");
        let _ = write!(call, " {part}{}", if required(key) { "" } else { "?" });
        let open = quoted(&format!("<parameter={key}>\n"));
        let close = quoted("\n</parameter>\n");
        let choices = property["enum"].as_array();
        let texts: Option<Vec<&str>> =
            choices.and_then(|all| all.iter().map(Value::as_str).collect());
        let kind = property["type"].as_str().unwrap_or("string");
        let _ = match (texts, kind) {
            (Some(texts), _) => {
                let texts: Vec<String> = texts.into_iter().map(quoted).collect();
                writeln!(rest, "{part}: {open} ({}) {close}", texts.join(" | "))
            }
            (None, "string") => writeln!(
                rest,
                "{part}: {open} {part}_text\n{part}_text[suffix={close}]: /(?s:.*)/"
            ),
            (None, _) => {
                let mut property = property.clone();
                // What it refers to stands beside the whole schema's properties.
                for shared in ["$defs", "definitions"] {
                    if let (Some(object), Some(defs)) =
                        (property.as_object_mut(), schema.get(shared))
                    {
                        object.insert(shared.into(), defs.clone());
                    }
                }
                let property = grammar::written(property);
                writeln!(
                    rest,
                    "{part}: {open} {part}_given {close}\n{part}_given: %json {property}"
                )
            }
        };
    }
    call + " \"</function>\"\n" + &rest
}

/// What a function's arguments are held to.
fn schema(at: usize, tool: &Tool) -> Result<Value, Reason> {
    let any = || json!({"type": "object"});
    let Some(sent) = tool.parameters() else {
        return Ok(any());
    };
    let field = format!("tools[{at}].function.parameters");
    match grammar::followed(&field, sent) {
        Err(refusal) if tool.strict => Err(refusal),
        Err(_) => Ok(any()),
        Ok(schema) => Ok(schema),
    }
}

/// Text and special tokens, in a row.
fn literal(text: &str, markers: &[&str], token: &dyn Fn(&str) -> Option<u32>) -> String {
    let special = { markers.iter() }
        .filter_map(|marker| Some((text.find(marker)?, *marker, token(marker)?)))
        .min();
    match special {
        None if text.is_empty() => String::new(),
        None => quoted(text),
        Some((at, marker, id)) => {
            let before = match at {
                0 => String::new(),
                at => quoted(&text[..at]) + " ",
            };
            let after = literal(&text[at + marker.len()..], markers, token);
            format!("{before}<[{id}]> {after}").trim_end().to_owned()
        }
    }
}

/// Any text that does not hold the marker.
fn text_without(marker: &str) -> String {
    let marker = regex::escape(marker);
    format!("/(?s:.+)/ & ~/(?s:.*){marker}(?s:.*)/")
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, strict: bool) -> Tool {
        let sent = json!({"type": "function", "function": {"name": name, "strict": strict, "parameters": {
            "type": "object", "required": ["city"], "properties": {
                "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["c", "f"]}}}}});
        Tool::read(sent).unwrap()
    }

    fn grammar(choice: &ToolChoice, syntax: &str, strict: bool) -> Option<String> {
        let tools = [tool("weather", strict), tool("time", false)];
        let token = |marker: &str| (marker == "[TOOL_CALLS]").then_some(5);
        forced_call_grammar(&tools, choice, true, syntax.parse().unwrap(), &token).unwrap()
    }

    #[test]
    fn a_forced_call_is_one_of_those_offered() {
        let any = grammar(&ToolChoice::Required, "hermes", false).unwrap();
        assert!(any.starts_with("start: calls\ncalls: \"<tool_call>\\n\" call (\"\\n</tool_call>\\n<tool_call>\\n\" call)* \"\\n</tool_call>\"\ncall: call_0 | call_1\n"), "{any}");
        assert!(
            any.contains(
                "call_1: \"{\\\"name\\\": \\\"time\\\", \\\"arguments\\\": \" call_1_given \"}\"\n"
            ),
            "{any}"
        );
        assert!(
            any.contains("call_1_given: %json {\"type\":\"object\""),
            "{any}"
        );
        let one = grammar(&ToolChoice::Named("time".into()), "llama3", false).unwrap();
        assert!(
            one.starts_with("start: calls\ncalls:  call \ncall: call_0\n"),
            "{one}"
        );
        assert!(
            one.contains("\\\"parameters\\\": ") && !one.contains("weather"),
            "{one}"
        );
    }

    #[test]
    fn a_marker_that_is_a_token_is_written_as_one() {
        let grammar = grammar(&ToolChoice::Required, "mistral", false).unwrap();
        assert!(
            grammar.contains("calls: <[5]> \" [\" call (\", \" call)* \"]\"\n"),
            "{grammar}"
        );
    }

    #[test]
    fn values_between_tags_are_typed_by_the_schema() {
        let grammar = grammar(&ToolChoice::Required, "qwen3-coder", false).unwrap();
        for part in [
            "call_0: \"<function=weather>\\n\" call_0_0 call_0_1? call_0_2? \"</function>\"\n",
            "call_0_0: \"<parameter=city>\\n\" call_0_0_text\n",
            "call_0_0_text[suffix=\"\\n</parameter>\\n\"]: /(?s:.*)/\n",
            "call_0_1_given: %json {\"type\":\"integer\",\"x-guidance\":",
            "call_0_2: \"<parameter=unit>\\n\" (\"c\" | \"f\") \"\\n</parameter>\\n\"\n",
        ] {
            assert!(grammar.contains(part), "{part}\n{grammar}");
        }
    }

    #[test]
    fn a_strict_schema_is_followed_or_refused_by_its_place() {
        let forced = |strict: bool| {
            let sent = json!({"function": {"name": "f", "strict": strict, "parameters":
                {"type": "object", "properties": {"a": {"not": {}}}}}});
            let tools = [tool("weather", false), Tool::read(sent).unwrap()];
            let syntax = "hermes".parse().unwrap();
            forced_call_grammar(&tools, &ToolChoice::Required, true, syntax, &|_| None)
        };
        let Err(Reason::BadField { field, .. }) = forced(true) else {
            panic!("was not refused");
        };
        assert_eq!(field, "tools[1].function.parameters.properties.a.not");
        let any = forced(false).unwrap().unwrap();
        assert!(
            any.contains("call_1_given: %json {\"type\":\"object\",\"x-guidance\":"),
            "{any}"
        );
    }

    #[test]
    fn nothing_is_forced_unless_it_must_be() {
        assert_eq!(grammar(&ToolChoice::None, "hermes", true), None);
        assert_eq!(grammar(&ToolChoice::Auto, "hermes", false), None);
        let free = grammar(&ToolChoice::Auto, "hermes", true).unwrap();
        assert!(free.starts_with("start: TEXT? | head call (\"\\n</tool_call>\\n<tool_call>\\n\" call)* \"\\n</tool_call>\"\nhead[suffix=\"<tool_call>\\n\"]: /(?s:.*)/\nTEXT: /(?s:.+)/ & ~/"), "{free}");
        let marked = grammar(&ToolChoice::Auto, "mistral", true).unwrap();
        assert!(
            marked.starts_with("start: TEXT? calls?\nTEXT: /(?s:.+)/\ncalls: <[5]>"),
            "{marked}"
        );
        let bare = grammar(&ToolChoice::Auto, "json", true).unwrap();
        assert!(bare.starts_with("start: TEXT | calls\n"), "{bare}");
    }
}
