//! `<tool_call>{"name": …, "arguments": …}</tool_call>`: Hermes 2 and 3, Qwen2.5, Qwen3 and many after them.

use super::json::Read;
use super::{Expected, Forms, Held, Row, Scan, expect, forced, json, read};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

pub(super) const ROW: Row = Row {
    name: "hermes",
    // Others write the same tag around something else.
    written_by: |template| template.contains(OPEN) && !template.contains("<arg_key>"),
    markers: &[OPEN, CLOSE],
    scan,
    forms: Forms {
        begin: "<tool_call>\n",
        between: "\n</tool_call>\n<tool_call>\n",
        end: "\n</tool_call>",
        key: Some("arguments"),
        call: |tool, rule, schema| forced::object(tool, rule, "arguments", schema),
    },
};

fn scan(held: &Held<'_>) -> Scan {
    if let Some(before) = held.before(&[OPEN]) {
        return before;
    }
    // A tag that opens no call is text, and so may be what follows it.
    let text = Scan::Text(OPEN.len());
    let body = &held.text[OPEN.len()..];
    let start = OPEN.len() + body.len() - body.trim_start().len();
    let end = match json::value(&held.text[start..]) {
        Read::Whole(bytes) => start + bytes,
        Read::Open => return Scan::More,
        Read::Bad => return text,
    };
    let Some(calls) = read::any(&held.text[start..end]) else {
        return text;
    };
    match expect(&held.text[end..], CLOSE) {
        Expected::There(bytes) => Scan::Calls(end + bytes, calls),
        Expected::Maybe if !held.ended => Scan::More,
        // The call is there, be its end forgotten.
        _ => Scan::Calls(end, calls),
    }
}
