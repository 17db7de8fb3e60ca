//! `{"name": …, "parameters": …}`, after `<|python_tag|>` or as all that is said; several are parted by `;`: Llama 3.1 and
//! later.

use super::json::Read;
use super::{Forms, Held, Place, Row, Scan, forced, json, read};

const TAG: &str = "<|python_tag|>";

pub(super) const ROW: Row = Row {
    name: "llama3",
    written_by: |template| {
        template.contains(TAG)
            || (template.contains("<|start_header_id|>") && template.contains("\"parameters\": "))
    },
    markers: &[TAG],
    scan,
    forms: Forms {
        begin: "",
        between: "; ",
        end: "",
        key: Some("parameters"),
        call: |tool, rule, schema| forced::object(tool, rule, "parameters", schema),
    },
};

fn scan(held: &Held<'_>) -> Scan {
    let text = held.text;
    if held.place != Place::Text {
        let parted = text.strip_prefix(';').filter(|_| held.place == Place::Call);
        let body = parted.unwrap_or(text).trim_start();
        let start = text.len() - body.len();
        if body.starts_with('{') {
            // Any object may begin an answer; only a function that was offered makes it a call.
            return object(held, start, |name| held.knows(name)).unwrap_or(Scan::Text(start + 1));
        }
        if start > 0 && !body.starts_with(TAG) {
            return match TAG.starts_with(body) {
                true => Scan::More,
                false => Scan::Text(start),
            };
        }
        if start > 0 {
            return tagged(held, start).unwrap_or(Scan::Text(start));
        }
    }
    match held.before(&[TAG]) {
        Some(before) => before,
        None => tagged(held, 0).unwrap_or(Scan::Text(TAG.len())),
    }
}

/// A call behind the tag that stands at `at`; a tag before anything else (code, say) is text.
fn tagged(held: &Held<'_>, at: usize) -> Option<Scan> {
    let behind = at + TAG.len();
    let body = held.text[behind..].trim_start();
    let start = held.text.len() - body.len();
    match body.starts_with('{') {
        true => object(held, start, |_| true),
        false => body.is_empty().then_some(Scan::More),
    }
}

fn object(held: &Held<'_>, start: usize, may: impl Fn(&str) -> bool) -> Option<Scan> {
    match json::value(&held.text[start..]) {
        Read::Whole(bytes) => {
            let found = read::call(&held.text[start..start + bytes])?;
            may(&found.name).then(|| Scan::Calls(start + bytes, vec![found]))
        }
        Read::Open => Some(Scan::More),
        Read::Bad => None,
    }
}
