//! What a key of a recipe became, as it is kept with the job and shown.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// Its path, the file's name first: `deepspeed.zero_optimization.stage`.
    pub key: String,
    pub value: Value,
    pub becomes: String,
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Settings of the job.
    Setting,
    /// No setting: what it asks for holds anyway, or changes no result.
    #[default]
    None,
    /// No setting, or one beside it: what happens differs from what the key says.
    Differs,
}

impl Effect {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::None => "none",
            Self::Differs => "differs",
        }
    }
}

/// Of a value that says nothing.
pub(super) const NOTHING: &str = "says nothing";

impl Mapping {
    /// `deepspeed.zero_optimization.stage = 3`
    pub fn said(&self) -> String {
        format!("{} = {}", self.key, shown(&self.value))
    }

    pub fn says_nothing(&self) -> bool {
        self.becomes == NOTHING
    }
}

/// A line for people.
impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.said(), self.becomes)
    }
}

/// All lines, what each becomes below the one before. Keys that say nothing share a line at the end.
pub fn table(mappings: &[Mapping]) -> String {
    let (silent, telling): (Vec<_>, Vec<_>) =
        mappings.iter().partition(|mapping| mapping.says_nothing());
    let width = |mapping: &&Mapping| mapping.said().chars().count();
    let widest = telling.iter().map(width).max().unwrap_or_default();
    let lines = telling.iter().map(|mapping| {
        let said = mapping.said();
        format!("{said:<widest$} → {}\n", mapping.becomes)
    });
    let mut text: String = lines.collect();
    if !silent.is_empty() {
        let keys: Vec<&str> = silent.iter().map(|mapping| mapping.key.as_str()).collect();
        text.push_str(&format!("{} → {NOTHING}\n", keys.join(", ")));
    }
    text
}

/// Values are shown up to this many characters.
const CLIP: usize = 60;

/// A value as its file has it, without quotation marks; whole numbers without a fraction.
pub(super) fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(whole) if number.is_f64() && whole.fract() == 0.0 && whole.abs() < 1e15 => {
                (whole as i64).to_string()
            }
            // The shorter of 0.0002 and 1e-8.
            Some(fraction) if number.is_f64() => format!("{fraction:?}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    match text.char_indices().nth(CLIP) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_aligned_and_silent_keys_share_one() {
        let mapping = |key: &str, value: Value, becomes: &str| Mapping {
            key: key.into(),
            value,
            becomes: becomes.into(),
            effect: Effect::None,
        };
        let told = table(&[
            mapping("f.stage", json!(3), "held once"),
            mapping("f.a", Value::Null, NOTHING),
            mapping("f.bucket_size", json!(5e8), "nothing is sent"),
            mapping("f.b", json!(false), NOTHING),
        ]);
        let lines = "f.stage = 3               → held once\n\
                     f.bucket_size = 500000000 → nothing is sent\n\
                     f.a, f.b → says nothing\n";
        assert_eq!(told, lines);
    }

    #[test]
    fn long_values_are_cut_and_numbers_are_as_people_write_them() {
        assert_eq!(shown(&json!("é".repeat(100))).chars().count(), CLIP + 1);
        assert_eq!(shown(&json!(-1.0)), "-1");
        assert_eq!(shown(&json!(2e-5)), "2e-5");
        assert_eq!(shown(&json!([0.9, 0.95])), "[0.9,0.95]");
    }
}
