//! `<tool_call><function=NAME><parameter=KEY>VALUE</parameter>…</function></tool_call>`: Qwen3-Coder and its kin. Values
//! are plain text; the function's schema says which of them are numbers, truth values, lists or objects.

use serde_json::{Map, Value};

use super::{Expected, Forms, Found, Held, Row, Scan, expect, forced, json};
use crate::domain::Tool;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
pub(super) const FUNCTION: &str = "<function=";
pub(super) const FUNCTION_END: &str = "</function>";
pub(super) const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";
/// Bytes of a name.
const LONGEST: usize = 256;

pub(super) const ROW: Row = Row {
    name: "qwen3-coder",
    written_by: |template| template.contains(FUNCTION) && template.contains(PARAMETER),
    markers: &[OPEN, CLOSE],
    scan,
    forms: Forms {
        begin: "<tool_call>\n",
        between: "\n</tool_call>\n<tool_call>\n",
        end: "\n</tool_call>",
        key: None,
        call: forced::tags,
    },
};

/// Why there is no call.
enum Stop {
    Open,
    Bad,
}

fn scan(held: &Held<'_>) -> Scan {
    if let Some(before) = held.before(&[OPEN, FUNCTION]) {
        return before;
    }
    let opened = held.text.starts_with(OPEN);
    let marker = if opened { OPEN } else { FUNCTION };
    let read = match opened {
        true => match expect(&held.text[OPEN.len()..], FUNCTION) {
            Expected::There(bytes) => call(held, OPEN.len() + bytes),
            Expected::Maybe => Err(Stop::Open),
            Expected::Not => Err(Stop::Bad),
        },
        false => call(held, FUNCTION.len()),
    };
    let (end, found) = match read {
        Ok(read) => read,
        Err(Stop::Open) => return Scan::More,
        Err(Stop::Bad) => return Scan::Text(marker.len()),
    };
    match expect(&held.text[end..], CLOSE) {
        Expected::There(bytes) if opened => Scan::Calls(end + bytes, vec![found]),
        Expected::Maybe if opened && !held.ended => Scan::More,
        _ => Scan::Calls(end, vec![found]),
    }
}

/// A call from behind `<function=`, and where it ends.
fn call(held: &Held<'_>, start: usize) -> Result<(usize, Found), Stop> {
    let text = held.text;
    let (name, mut at) = name(text, start)?;
    let tool = held.tools.iter().find(|tool| tool.name == name);
    let mut arguments = Map::new();
    loop {
        match expect(&text[at..], FUNCTION_END) {
            Expected::There(bytes) => {
                if at + bytes - start > json::LONGEST {
                    return Err(Stop::Bad);
                }
                let found = Found {
                    name: name.to_owned(),
                    arguments: Value::Object(arguments).to_string(),
                };
                return Ok((at + bytes, found));
            }
            maybe => match (expect(&text[at..], PARAMETER), maybe) {
                (Expected::There(bytes), _) => at += bytes,
                (Expected::Maybe, _) | (_, Expected::Maybe) => return Err(open(text, start)),
                _ => return Err(Stop::Bad),
            },
        }
        let (key, from) = self::name(text, at)?;
        let end = value_end(text, from).ok_or_else(|| open(text, start))?;
        let value = typed(inside(&text[from..end]), tool, key);
        arguments.insert(key.to_owned(), value);
        at = end + PARAMETER_END.len();
    }
}

/// More may come, unless it is too long already.
fn open(text: &str, start: usize) -> Stop {
    match text.len() - start > json::LONGEST {
        true => Stop::Bad,
        false => Stop::Open,
    }
}

/// A name up to `>`, and what is behind that.
fn name(text: &str, start: usize) -> Result<(&str, usize), Stop> {
    let rest = &text[start..];
    match rest.find(['>', '<', '\n']) {
        Some(end) if end > 0 && end <= LONGEST && rest[end..].starts_with('>') => {
            Ok((&rest[..end], start + end + 1))
        }
        None if rest.len() <= LONGEST => Err(Stop::Open),
        _ => Err(Stop::Bad),
    }
}

/// Where the end of a parameter stands that another one, or the end of the function, follows: values may hold the same tag.
fn value_end(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let end = at + text[at..].find(PARAMETER_END)?;
        let behind = &text[end + PARAMETER_END.len()..];
        let follows = [PARAMETER, FUNCTION_END].map(|marker| expect(behind, marker));
        if follows
            .iter()
            .any(|next| matches!(next, Expected::There(_)))
        {
            return Some(end);
        }
        if follows.contains(&Expected::Maybe) {
            return None;
        }
        at = end + PARAMETER_END.len();
    }
}

/// The value without the line ends that set it apart from its tags.
fn inside(value: &str) -> &str {
    let value = value.strip_prefix('\n').unwrap_or(value);
    value.strip_suffix('\n').unwrap_or(value)
}

/// What the schema says of the kinds of a parameter.
fn kinds<'a>(tool: Option<&'a Tool>, key: &str) -> Vec<&'a str> {
    let schema = tool.and_then(Tool::parameters);
    let schema = schema.and_then(|schema| schema["properties"].get(key));
    match schema.map(|schema| &schema["type"]) {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether the value is text, whatever it looks like.
pub(super) fn is_text(tool: &Tool, key: &str) -> bool {
    kinds(Some(tool), key).iter().all(|kind| *kind == "string")
}

/// What the text means by the schema of the parameter; where that says nothing, it is text.
pub(super) fn typed(text: &str, tool: Option<&Tool>, key: &str) -> Value {
    let kinds = kinds(tool, key);
    let read = || serde_json::from_str::<Value>(text.trim()).ok();
    let fits = |value: &Value| {
        kinds.iter().any(|kind| match *kind {
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => false,
        })
    };
    // Templates write Python's words for these.
    let word = match text.trim() {
        "True" => Some(Value::Bool(true)),
        "False" => Some(Value::Bool(false)),
        "None" => Some(Value::Null),
        _ => None,
    };
    let value = read().or(word).filter(fits);
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}
