//! Markup: text that has been escaped for HTML, and stays so.

use super::budget::Budget;
use super::fault::Outcome;
use super::repr;
use super::value::Value;

/// `&`, `<`, `>` and quotes as HTML writes them.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Of Markup itself, it is the text as it stands.
pub(super) fn escape_value(budget: &Budget, value: &Value) -> Outcome<String> {
    match value {
        Value::Str(text) if text.markup => Ok(text.to_string()),
        value => {
            let text = repr::to_text(budget, value)?;
            budget.text(text.len() * 5)?;
            Ok(escape(&text))
        }
    }
}
