//! Numbers of bytes as people write them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// So many bytes; from a number, or a text such as `2GiB`. What is neither is kept for [`count`](Self::count) to say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Value", into = "Value")]
pub enum Bytes {
    Count(u64),
    Unread(String),
}

/// Each with its bytes; the longer of two that end alike comes first.
const UNITS: [(&str, u64); 13] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
];

impl Bytes {
    /// `2GiB`, `800 MB`, `1.5gib`, `1048576`.
    pub fn from_text(text: &str) -> Self {
        match read(text) {
            Some(count) => Self::Count(count),
            None => Self::Unread(text.to_owned()),
        }
    }

    /// # Errors
    /// What is wrong with what was said.
    pub fn count(&self) -> Result<u64, String> {
        match self {
            Self::Count(0) => Err("0 bytes hold nothing; leave it out for no limit".to_owned()),
            Self::Count(count) => Ok(*count),
            Self::Unread(text) => Err(format!(
                "`{text}` is not a number of bytes such as 2GiB, 800MB or 1073741824"
            )),
        }
    }
}

fn read(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let unit = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit));
    let (number, unit) = match unit {
        Some((name, unit)) => (text[..text.len() - name.len()].trim_end(), unit),
        None => (text.as_str(), 1),
    };
    // Whole numbers are read as such: all bits of them count.
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let number: f64 = number.parse().ok()?;
    let bytes = number * unit as f64;
    (1.0..9e18).contains(&bytes).then_some(bytes as u64)
}

impl From<Value> for Bytes {
    fn from(value: Value) -> Self {
        match value.as_u64() {
            Some(count) => Self::Count(count),
            None => match value {
                Value::String(text) => Self::from_text(&text),
                other => Self::Unread(other.to_string()),
            },
        }
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        match bytes {
            Bytes::Count(count) => count.into(),
            Bytes::Unread(text) => text.into(),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Unread(text) => f.write_str(text),
        }
    }
}

/// Bytes with a binary unit, for people.
pub fn shown_bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        for (text, count) in [
            ("2GiB", 2 << 30),
            ("800MB", 800_000_000),
            ("1.5 gib", 3 << 29),
            ("512 KiB", 512 << 10),
            ("7b", 7),
            ("10G", 10 << 30),
            ("1073741824", 1 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(Bytes::from_text(text).count(), Ok(count), "{text}");
            let json: Bytes = serde_json::from_value(text.into()).unwrap();
            assert_eq!(json.count(), Ok(count));
            let kept = serde_json::to_value(&json).unwrap();
            assert_eq!(kept, count);
            assert_eq!(serde_json::from_value::<Bytes>(kept).unwrap(), json);
        }
        for text in [
            "",
            "GiB",
            "-1",
            "2 GB of it",
            "1e40GiB",
            "nan",
            "0.1b",
            "2gi",
        ] {
            let why = Bytes::from_text(text).count().unwrap_err();
            assert!(why.contains("2GiB"), "{text}: {why}");
        }
        assert!(Bytes::Count(0).count().is_err());
        assert!(Bytes::from(serde_json::json!(-3)).count().is_err());
        assert!(Bytes::from(serde_json::json!(1.5)).count().is_err());
    }

    #[test]
    fn bytes_are_shown_with_a_unit() {
        assert_eq!(shown_bytes(512), "512 B");
        assert_eq!(shown_bytes(3 << 20), "3.0 MiB");
        assert_eq!(shown_bytes(108_000_000_000), "100.6 GiB");
    }
}
