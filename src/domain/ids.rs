//! Names and identities. Each is checked once, where it is made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the name or identity it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

/// The served name of an adapter: `[a-z0-9][a-z0-9._-]{0,127}`, never `none`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AdapterName(String);

impl AdapterName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AdapterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let starts_well = text.chars().next().is_some_and(plain);
        let goes_on_well = text
            .chars()
            .all(|c| plain(c) || matches!(c, '.' | '_' | '-'));
        if !starts_well || !goes_on_well || text.len() > 128 {
            return Err(NameError(format!(
                "`{}` is not an adapter name: 1 to 128 of a-z, 0-9, `.`, `_`, `-`, the first a letter or digit",
                text.chars().take(160).collect::<String>()
            )));
        }
        if text == "none" {
            return Err(NameError(
                "`none` means the base model and cannot name an adapter".into(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for AdapterName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<AdapterName> for String {
    fn from(name: AdapterName) -> Self {
        name.0
    }
}

impl fmt::Display for AdapterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An immutable adapter version, named by the hash of its content: 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Generation([u8; 32]);

impl Generation {
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({self})")
    }
}

impl FromStr for Generation {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError("a generation is 64 hex digits".to_owned());
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut digest = [0u8; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

impl TryFrom<String> for Generation {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Generation> for String {
    fn from(generation: Generation) -> Self {
        generation.to_string()
    }
}

/// What stands before the number of a checkpoint's step.
pub const STEP: &str = "step-";

/// What answers as it was after a step of the job for `name`.
pub fn checkpoint_name(name: impl fmt::Display, step: u64) -> String {
    format!("{name}@{STEP}{step}")
}

/// The first hex digits (8 to 64) of a generation, as in `legal@1f2e3d4c`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pin(String);

impl Pin {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, generation: &Generation) -> bool {
        generation.to_string().starts_with(&self.0)
    }
}

impl From<Generation> for Pin {
    fn from(generation: Generation) -> Self {
        Self(generation.to_string())
    }
}

impl FromStr for Pin {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let hex = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex || !(8..=64).contains(&text.len()) {
            return Err(NameError(
                "a pinned generation is 8 to 64 lower-case hex digits, and a checkpoint `step-` and a number".into(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &str = $prefix;

            /// `unique` is the part after the prefix.
            pub fn new(unique: &str) -> Self {
                Self(format!("{}{unique}", Self::PREFIX))
            }

            /// Takes any text: an id that was never issued is simply not found.
            pub fn from_text(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

opaque_id!(
    /// A fine-tuning job.
    JobId, "ftjob-"
);
opaque_id!(
    /// An uploaded file.
    FileId, "file-"
);

opaque_id!(
    /// A key: the part of its text that is no secret.
    KeyId, ""
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapter_names_keep_to_their_alphabet() {
        for good in ["legal", "a", "0x", "team.legal-v2_b"] {
            assert!(good.parse::<AdapterName>().is_ok(), "{good}");
        }
        let long = "a".repeat(129);
        for bad in [
            "",
            "none",
            "Legal",
            ".x",
            "-x",
            "a/b",
            "../x",
            "a b",
            "é",
            long.as_str(),
        ] {
            assert!(bad.parse::<AdapterName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_generation_survives_its_text() {
        let generation = Generation::new(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(
            generation.to_string().parse::<Generation>().unwrap(),
            generation
        );
        assert!("zz".repeat(32).parse::<Generation>().is_err());
        assert!("é".repeat(32).parse::<Generation>().is_err());
    }

    #[test]
    fn a_pin_needs_eight_digits_and_matches_a_prefix() {
        let generation = Generation::new([0xab; 32]);
        assert!("abababab".parse::<Pin>().unwrap().matches(&generation));
        assert!(!"abababac".parse::<Pin>().unwrap().matches(&generation));
        assert!("ababab".parse::<Pin>().is_err());
        assert!("ABABABAB".parse::<Pin>().is_err());
    }
}
