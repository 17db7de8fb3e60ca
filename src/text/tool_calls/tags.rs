//! Arguments between tags, as a grammar leaves them, to the text of an object: that of a value which is text is told while
//! it comes, any other when it is whole.

use serde_json::Value;

use super::qwen3_coder::{FUNCTION, FUNCTION_END, PARAMETER, is_text, typed};
use crate::domain::Tool;
use crate::text::stop::overlap;

const OPENED: &str = ">\n";
const CLOSE: &str = "\n</parameter>\n";

pub(super) struct Tags {
    tool: Tool,
    /// What is told before the next argument.
    opening: &'static str,
    /// Within the value of this name.
    key: Option<String>,
}

impl Tags {
    /// What stands before the first argument.
    pub fn head(tool: &Tool) -> String {
        format!("{FUNCTION}{}>\n", tool.name)
    }

    /// What stands before and behind the value of an argument.
    pub fn around(key: &str) -> [String; 2] {
        [format!("{PARAMETER}{key}{OPENED}"), CLOSE.to_owned()]
    }

    pub fn of(tool: &Tool) -> Self {
        Self {
            tool: tool.clone(),
            opening: "{",
            key: None,
        }
    }

    /// What is certain of the object, and whether it is whole. Takes what it read.
    pub fn read(&mut self, held: &mut String) -> (String, bool) {
        let mut told = String::new();
        let mut whole = false;
        while !whole && self.step(held, &mut told, &mut whole) {}
        (told, whole)
    }

    /// True where there may be more to read.
    fn step(&mut self, held: &mut String, told: &mut String, whole: &mut bool) -> bool {
        let Some(key) = self.key.take() else {
            return self.between(held, told, whole);
        };
        let text = is_text(&self.tool, &key);
        let end = held.find(CLOSE);
        let sure = match end {
            Some(end) => end,
            None if text => held.len() - overlap(held, CLOSE),
            None => 0,
        };
        let value: String = held.drain(..sure).collect();
        match (text, end) {
            (true, _) => *told += inside(&Value::from(value).to_string()),
            (false, Some(_)) => *told += &typed(&value, Some(&self.tool), &key).to_string(),
            (false, None) => {}
        }
        match end {
            Some(_) => {
                held.drain(..CLOSE.len());
                *told += if text { "\"" } else { "" };
            }
            None => self.key = Some(key),
        }
        end.is_some()
    }

    /// An argument's name, or the end of all.
    fn between(&mut self, held: &mut String, told: &mut String, whole: &mut bool) -> bool {
        if held.starts_with(FUNCTION_END) {
            held.drain(..FUNCTION_END.len());
            // Of no argument at all.
            *told += if self.opening == "{" { "{}" } else { "}" };
            *whole = true;
            return true;
        }
        let behind = held.strip_prefix(PARAMETER);
        let Some(bytes) = behind.and_then(|rest| rest.find(OPENED)) else {
            return false;
        };
        let key = held[PARAMETER.len()..PARAMETER.len() + bytes].to_owned();
        held.drain(..PARAMETER.len() + bytes + OPENED.len());
        let quote = if is_text(&self.tool, &key) { "\"" } else { "" };
        *told += &format!("{}{}:{quote}", self.opening, Value::from(key.as_str()));
        self.opening = ",";
        self.key = Some(key);
        true
    }
}

/// A text as JSON spells it, without its quotes.
fn inside(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
}
