//! Grammars of answers that may call: nothing but calls, text and calls, or calls and else a form. In Lark's notation.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::tags::Tags;
use super::{Row, Syntax};
use crate::domain::{CallsOr, Reason, Rule, Tool, ToolChoice, Toolset};
use crate::text::grammar;

/// What is left of an answer in which functions may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// Whatever the model says: no grammar.
    Anything,
    /// Nothing but calls.
    Calls,
    /// Text, calls, or text and calls behind it.
    TextAndCalls,
    /// Calls, or text that begins otherwise.
    Either,
    /// Calls, or JSON, which may begin with the same signs: blanks within a call are as in any JSON.
    EitherJson,
}

impl Leaves {
    /// A choice of one function, or of any, leaves nothing but calls, whatever form is asked for: that is the form of text.
    /// `auto` leaves text too, in the form asked for if there is one, and holds calls of strict functions to their schemas.
    pub fn of(tools: &Toolset, form: Option<&Rule>, syntax: Syntax) -> Self {
        let bare = syntax.row.is_bare();
        match tools.choice() {
            ToolChoice::None => Self::Anything,
            ToolChoice::Required | ToolChoice::Named(_) => Self::Calls,
            ToolChoice::Auto => match form {
                _ if tools.offered().is_empty() => Self::Anything,
                Some(Rule::JsonObject | Rule::JsonSchema(_)) if bare => Self::EitherJson,
                Some(_) => Self::Either,
                None if tools.offered().iter().all(|tool| !tool.strict) => Self::Anything,
                None if bare => Self::Either,
                None => Self::TextAndCalls,
            },
        }
    }
}

impl Row {
    /// Calls are JSON, with nothing that marks them.
    pub(super) fn is_bare(&self) -> bool {
        self.forms.key.is_some() && self.marker().is_none()
    }

    /// What every call begins with.
    pub(super) fn marker(&self) -> Option<&'static str> {
        let begin = self.forms.begin;
        let markers = self.markers.iter().copied();
        { markers }.find(|marker| begin.starts_with(marker))
    }
}

/// The rule of an answer with these functions, beside a form that it is to have; `None` where functions ask for none.
///
/// `token`: the id of a marker that is a special token.
///
/// # Errors
/// As of a schema, by its place: that of a strict function cannot be followed. Others are held to theirs where they can be.
pub fn call_rule(
    tools: &Toolset,
    form: Option<&Rule>,
    syntax: Syntax,
    token: &dyn Fn(&str) -> Option<u32>,
) -> Result<Option<Rule>, Reason> {
    let leaves = Leaves::of(tools, form, syntax);
    let start = match (leaves, syntax.row.marker()) {
        (Leaves::Anything, _) => return Ok(None),
        (Leaves::Calls, _) => "start: calls\n".to_owned(),
        (Leaves::Either | Leaves::EitherJson, _) if form.is_some() => {
            "start: @form | calls\n".to_owned()
        }
        // A token is no text, so text ends before it.
        (Leaves::TextAndCalls, Some(marker)) if token(marker).is_some() => {
            format!("start: TEXT? calls?\nTEXT: {}\n", text_without(marker, "+"))
        }
        // Text up to where calls begin, or text in which none does.
        (Leaves::TextAndCalls, Some(marker)) => {
            let begin = quoted(syntax.row.forms.begin);
            let (text, before) = (text_without(marker, "+"), text_without(marker, "*"));
            format!(
                "start: TEXT? | BEGIN rest\nTEXT: {text}\nBEGIN: BEFORE {begin}\nBEFORE: {before}\n"
            )
        }
        // Any JSON would be a call.
        _ => "start: TEXT | calls\nTEXT: /[^{\\[\\s](?s:.*)/\n".to_owned(),
    };
    let grammar = start + &calls(tools, syntax.row, leaves == Leaves::EitherJson, token)?;
    Ok(Some(match form {
        Some(form) if leaves != Leaves::Calls => Rule::CallsOr(CallsOr {
            grammar,
            form: Box::new(form.clone()),
            begin: begins(tools, syntax.row),
        }),
        _ => Rule::Lark(grammar),
    }))
}

/// The rules of calls, up to the end of the answer: `calls`, and `rest` behind what they begin with.
fn calls(
    tools: &Toolset,
    row: &Row,
    loose: bool,
    token: &dyn Fn(&str) -> Option<u32>,
) -> Result<String, Reason> {
    let literal = |text: &str| literal(text, row.markers, token);
    let (begin, between, end) = (
        literal(row.forms.begin),
        literal(row.forms.between),
        literal(row.forms.end),
    );
    let named = matches!(tools.choice(), ToolChoice::Named(_));
    let more = match tools.parallel() && !named {
        true => format!(" ({between} call)*"),
        false => String::new(),
    };
    let mut grammar = format!("rest: call{more} {end}\n");
    let called = called(tools);
    let names = |rule: &str| -> Vec<String> {
        (0..called.len()).map(|at| format!("{rule}_{at}")).collect()
    };
    let (calls, firsts) = (names("call"), names("first"));
    let _ = writeln!(grammar, "call: {}", calls.join(" | "));
    // Text may begin with the same sign: one word for all of the first call's beginning sets it apart.
    let apart = row
        .forms
        .key
        .filter(|_| row.is_bare() && !begin.is_empty() && !loose);
    let _ = match apart {
        Some(_) => writeln!(
            grammar,
            "calls: first{more} {end}\nfirst: {}",
            firsts.join(" | ")
        ),
        None => writeln!(grammar, "calls: {begin} rest"),
    };
    for ((call, first), (at, tool)) in calls.iter().zip(&firsts).zip(&called) {
        let schema = schema(*at, tool)?;
        if let Some(key) = apart {
            let head = quoted(&format!("{}{}", row.forms.begin, head(tool, key)));
            let _ = writeln!(grammar, "{first}: {head} {call}_given \"}}\"");
        }
        grammar += &match row.forms.key.filter(|_| loose) {
            Some(key) => loose_object(tool, call, key, schema),
            None => (row.forms.call)(tool, call, &schema),
        };
    }
    Ok(grammar)
}

/// The functions that may be called, and their places among `tools`.
fn called(tools: &Toolset) -> Vec<(usize, &Tool)> {
    let may = |(_, tool): &(usize, &Tool)| !matches!(tools.choice(), ToolChoice::Named(name) if *name != tool.name);
    tools.offered().iter().enumerate().filter(may).collect()
}

/// Expressions for how calls begin.
fn begins(tools: &Toolset, row: &Row) -> Vec<String> {
    match (row.marker(), row.forms.key) {
        (None, Some(key)) => { called(tools).into_iter() }
            .map(|(_, tool)| regex::escape(&format!("{}{}", row.forms.begin, head(tool, key))))
            .collect(),
        (marker, _) => vec![regex::escape(marker.unwrap_or(row.forms.begin))],
    }
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

/// A function's call as an object with blanks as in any JSON.
fn loose_object(tool: &Tool, rule: &str, key: &str, schema: Value) -> String {
    let schema = placed(schema, &format!("/properties/{key}"));
    let call = json!({"type": "object", "properties": {"name": {"const": tool.name}, key: schema},
        "required": ["name", key], "additionalProperties": false});
    format!("{rule}: %json {}\n", grammar::written(call))
}

/// The schema as a part of another, at that pointer: references lead to its own parts.
fn placed(mut schema: Value, at: &str) -> Value {
    fn each(schema: &mut Value, at: &str) {
        match schema {
            Value::Object(map) => {
                for (key, value) in map {
                    match (key.as_str(), value) {
                        ("$ref", Value::String(to)) if to.starts_with('#') => to.insert_str(1, at),
                        // What is compared with values holds no references.
                        ("enum" | "const" | "default" | "examples", _) => {}
                        // Their keys are names, which may be any of these.
                        (key, Value::Object(named)) if grammar::MAPS.contains(&key) => {
                            named.values_mut().for_each(|schema| each(schema, at));
                        }
                        (_, value) => each(value, at),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| each(item, at)),
            _ => {}
        }
    }
    each(&mut schema, at);
    schema
}

/// A function's call as tags around plain values, in the order of its schema.
pub(super) fn tags(tool: &Tool, rule: &str, schema: &Value) -> String {
    let open = quoted(&Tags::head(tool));
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
        let [open, close] = Tags::around(key).map(|text| quoted(&text));
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
        Ok(mut schema) => {
            // Arguments are an object, also where the schema does not say so, or allows null beside it.
            let map = schema.as_object_mut();
            map.map(|map: &mut Map<_, _>| map.insert("type".into(), "object".into()));
            Ok(schema)
        }
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

/// Any text, of so many characters, that does not hold the marker.
fn text_without(marker: &str, many: &str) -> String {
    let marker = regex::escape(marker);
    format!("/(?s:.{many})/ & ~/(?s:.*){marker}(?s:.*)/")
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

    fn told(tools: Vec<Tool>, choice: ToolChoice) -> Toolset {
        Toolset::check(
            tools.into_iter().map(|tool| tool.sent).collect(),
            choice,
            true,
        )
        .unwrap()
    }

    fn grammar(choice: &ToolChoice, syntax: &str, strict: bool) -> Option<String> {
        let tools = told(
            vec![tool("weather", strict), tool("time", false)],
            choice.clone(),
        );
        let token = |marker: &str| (marker == "[TOOL_CALLS]").then_some(5);
        match call_rule(&tools, None, syntax.parse().unwrap(), &token).unwrap()? {
            Rule::Lark(grammar) => Some(grammar),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_forced_call_is_one_of_those_offered() {
        let any = grammar(&ToolChoice::Required, "hermes", false).unwrap();
        assert!(any.starts_with("start: calls\nrest: call (\"\\n</tool_call>\\n<tool_call>\\n\" call)* \"\\n</tool_call>\"\ncall: call_0 | call_1\ncalls: \"<tool_call>\\n\" rest\n"), "{any}");
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
            one.starts_with("start: calls\nrest: call \ncall: call_0\ncalls:  rest\n"),
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
            grammar.contains("rest: call (\", \" call)* \"]\"\n")
                && grammar.contains("calls: <[5]> \" [\" rest\n"),
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
            let tools = vec![tool("weather", false), Tool::read(sent).unwrap()];
            let syntax = "hermes".parse().unwrap();
            call_rule(&told(tools, ToolChoice::Required), None, syntax, &|_| None)
        };
        let Err(Reason::BadField { field, .. }) = forced(true) else {
            panic!("was not refused");
        };
        assert_eq!(field, "tools[1].function.parameters.properties.a.not");
        let Some(Rule::Lark(any)) = forced(false).unwrap() else {
            panic!("forces nothing");
        };
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
        assert!(
            free.starts_with("start: TEXT? | BEGIN rest\nTEXT: /(?s:.+)/ & ~/"),
            "{free}"
        );
        let marked = grammar(&ToolChoice::Auto, "mistral", true).unwrap();
        assert!(
            marked.starts_with("start: TEXT? calls?\nTEXT: /(?s:.+)/ & ~/")
                && marked.contains("\ncalls: <[5]>"),
            "{marked}"
        );
        let bare = grammar(&ToolChoice::Auto, "json", true).unwrap();
        assert!(bare.starts_with("start: TEXT | calls\n"), "{bare}");
    }

    #[test]
    fn references_of_a_schema_within_another_lead_to_its_own_parts() {
        let schema = json!({"$defs": {"a": {"enum": [{"$ref": "#/x"}]}}, "properties": {"$ref": {"$ref": "#/$defs/a"}, "enum": {"$ref": "#"}}});
        assert_eq!(
            placed(schema, "/properties/arguments"),
            json!({"$defs": {"a": {"enum": [{"$ref": "#/x"}]}}, "properties": {
                "$ref": {"$ref": "#/properties/arguments/$defs/a"}, "enum": {"$ref": "#/properties/arguments"}}})
        );
    }
}
