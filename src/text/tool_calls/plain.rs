//! A bare JSON object or a list of them, as all that is said: for templates that write calls in none of the other ways.

use super::json::Read;
use super::{Forms, Held, Place, Row, Scan, forced, json, read};

pub(super) const ROW: Row = Row {
    name: "json",
    written_by: |_| false,
    markers: &[],
    scan,
    forms: Forms {
        begin: "[",
        between: ", ",
        end: "]",
        key: Some("arguments"),
        call: |tool, rule, schema| forced::object(tool, rule, "arguments", schema),
    },
};

fn scan(held: &Held<'_>) -> Scan {
    let text = held.text;
    if held.place == Place::Text || !text.starts_with(['{', '[']) {
        return Scan::Text(text.len());
    }
    let calls = match json::value(text) {
        Read::Whole(bytes) => read::any(&text[..bytes]).map(|calls| (bytes, calls)),
        Read::Open => return Scan::More,
        Read::Bad => None,
    };
    // Any JSON may be an answer; only functions that were offered make it calls.
    match calls.filter(|(_, calls)| calls.iter().all(|call| held.knows(&call.name))) {
        Some((bytes, calls)) => Scan::Calls(bytes, calls),
        None => Scan::Text(1),
    }
}
