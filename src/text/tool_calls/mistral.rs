//! `[TOOL_CALLS] [{"name": …, "arguments": …}, …]`, and as newer models write it, a call at a time:
//! `[TOOL_CALLS]name[ARGS]{…}`, with or without `[CALL_ID]` before, or without `[ARGS]`.

use super::json::Read;
use super::{Forms, Found, Held, Row, Scan, forced, json, read};

const OPEN: &str = "[TOOL_CALLS]";
const ID: &str = "[CALL_ID]";
const ARGS: &str = "[ARGS]";
/// Bytes of a name or an id.
const LONGEST: usize = 256;

pub(super) const ROW: Row = Row {
    name: "mistral",
    written_by: |template| template.contains(OPEN),
    markers: &[OPEN, ID, ARGS],
    scan,
    forms: Forms {
        begin: "[TOOL_CALLS] [",
        between: ", ",
        end: "]",
        key: Some("arguments"),
        call: |tool, rule, schema| forced::object(tool, rule, "arguments", schema),
    },
};

fn scan(held: &Held<'_>) -> Scan {
    if let Some(before) = held.before(&[OPEN]) {
        return before;
    }
    let body = held.text[OPEN.len()..].trim_start();
    let start = held.text.len() - body.len();
    if body.is_empty() {
        return Scan::More;
    }
    let told = match body.starts_with(['[', '{']) {
        true => match json::value(body) {
            Read::Whole(bytes) => {
                read::any(&body[..bytes]).map(|calls| Scan::Calls(start + bytes, calls))
            }
            Read::Open => Some(Scan::More),
            Read::Bad => None,
        },
        false => named(body, start),
    };
    told.unwrap_or(Scan::Text(OPEN.len()))
}

/// A name, perhaps an id, and an object.
fn named(body: &str, start: usize) -> Option<Scan> {
    let word = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    let part = |from: usize| {
        let rest = &body[from..];
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        (end <= LONGEST).then_some(from + end)
    };
    let mut at = part(0).filter(|end| *end > 0)?;
    let name = &body[..at];
    if body[at..].starts_with(ID) {
        at = part(at + ID.len())?;
    } else if opens(&body[at..], ID) {
        return Some(Scan::More);
    }
    if body[at..].starts_with(ARGS) {
        at += ARGS.len();
    } else if opens(&body[at..], ARGS) {
        return Some(Scan::More);
    }
    let object = body[at..].trim_start();
    let at = body.len() - object.len();
    if object.is_empty() {
        return Some(Scan::More);
    }
    if !object.starts_with('{') {
        return None;
    }
    match json::value(object) {
        Read::Whole(bytes) => {
            let found = Found {
                name: name.to_owned(),
                arguments: read::arguments(&object[..bytes])?,
            };
            Some(Scan::Calls(start + at + bytes, vec![found]))
        }
        Read::Open => Some(Scan::More),
        Read::Bad => None,
    }
}

/// Whether the text is a beginning of the marker.
fn opens(text: &str, marker: &str) -> bool {
    !text.is_empty() && marker.starts_with(text)
}
