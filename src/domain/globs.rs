//! Patterns of adapters' names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::AdapterName;

/// Patterns of one key: each is tried on every adapter of a listing.
const MOST_GLOBS: usize = 64;
/// Bytes of a pattern, as of an adapter's name.
const LONGEST_GLOB: usize = 128;

/// The adapters that a key may know of: names in which `*` stands for any letters, at least one pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct AdapterGlobs(Vec<String>);

impl Default for AdapterGlobs {
    /// Every adapter.
    fn default() -> Self {
        Self(vec!["*".to_owned()])
    }
}

impl AdapterGlobs {
    pub fn allow(&self, name: &AdapterName) -> bool {
        let name = name.as_str().as_bytes();
        self.0.iter().any(|glob| fits(glob.as_bytes(), name))
    }

    /// Bytes of names and patterns: of two that allow the same, the longer says more.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(String::len).sum()
    }
}

impl FromStr for AdapterGlobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let globs: Vec<String> = entries(text).map(str::to_owned).collect();
        globs.try_into()
    }
}

impl TryFrom<Vec<String>> for AdapterGlobs {
    type Error = String;

    fn try_from(globs: Vec<String>) -> Result<Self, String> {
        if globs.is_empty() || globs.len() > MOST_GLOBS {
            return Err(format!(
                "has 1 to {MOST_GLOBS} names or patterns; leave it out for every adapter"
            ));
        }
        let letter = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte)
        };
        for glob in &globs {
            if glob.is_empty() || glob.len() > LONGEST_GLOB || !glob.bytes().all(letter) {
                let shown: String = glob.chars().take(160).collect();
                return Err(format!(
                    "`{shown}` is no adapter's name or a pattern of one, as `legal` or `team-a-*`"
                ));
            }
        }
        Ok(Self(globs))
    }
}

impl From<AdapterGlobs> for Vec<String> {
    fn from(globs: AdapterGlobs) -> Self {
        globs.0
    }
}

impl fmt::Display for AdapterGlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// Only the last `*` is ever tried again, so the time is bounded by the product of the two lengths.
fn fits(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g + 1, n));
                g += 1;
            }
            Some(byte) if *byte == name[n] => {
                g += 1;
                n += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    g = after;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

/// What a list says that commas separate.
pub(super) fn entries(text: &str) -> impl Iterator<Item = &str> {
    let entries = text.split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters_and_nothing_else_does() {
        let fits = |globs: &str, name: &str| {
            let globs: AdapterGlobs = globs.parse().unwrap();
            globs.allow(&name.parse().unwrap())
        };
        for (globs, name, expected) in [
            ("legal", "legal", true),
            ("legal", "legal2", false),
            ("legal", "a-legal", false),
            ("legal, team-a-*", "team-a-1", true),
            ("team-a-*", "team-a-", true),
            ("team-a-*", "team-a", false),
            ("team-a-*", "team-ab", false),
            ("*", "x", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("*-v2", "legal-v2-v2", true),
            ("*-v2", "legal-v3", false),
            ("a.c", "abc", false),
            ("**", "x", true),
        ] {
            assert_eq!(fits(globs, name), expected, "{globs} {name}");
        }
        // As long as both may be, and never a match.
        let globs = format!("{}b", "a*".repeat(60));
        assert!(!fits(&globs, &"a".repeat(128)));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", " , ", "Legal", "a/b", "a?", "[a]"] {
            assert!(bad.parse::<AdapterGlobs>().is_err(), "{bad}");
        }
        assert!(AdapterGlobs::try_from(vec![String::new()]).is_err());
    }
}
