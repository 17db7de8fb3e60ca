//! Keys: what one may do, with which adapters, and what is told of it. The secret itself is no part of these values.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::globs::entries;
use super::{AdapterGlobs, KeyId, KeyLimits, Reason};

/// What every key's text begins with.
const MARK: &str = "sk-adp-";
/// Bytes of a key's name.
const LONGEST_NAME: usize = 128;
/// Bytes of what a certificate calls its holder.
const LONGEST_IDENTITY: usize = 256;
/// Seconds until a key expires, or its replaced secret ends: ten years.
pub const LONGEST_SPAN: u64 = 10 * 366 * 86_400;
/// Seconds for which the secret before a rotation counts, where nothing is said.
pub const OVERLAP: u64 = 3600;

/// A part of the interface that a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Ask, and tokenize.
    Infer,
    /// Upload files and run jobs.
    Train,
    /// See and change adapters.
    Adapters,
    /// All of it, with the jobs and files of every key, and keys.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Infer, Self::Train, Self::Adapters, Self::Admin];
    /// In the order of [`ALL`](Self::ALL).
    pub const NAMES: &[&str] = &["infer", "train", "adapters", "admin"];

    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// At least one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Scopes(u8);

impl Scopes {
    pub fn allow(self, scope: Scope) -> bool {
        let admin = 1 << Scope::Admin as u8;
        self.0 & (1 << scope as u8 | admin) != 0
    }

    pub fn names(self) -> Vec<&'static str> {
        let held = |scope: &Scope| self.0 & (1 << *scope as u8) != 0;
        let held = Scope::ALL.into_iter().filter(held);
        held.map(Scope::as_str).collect()
    }

    /// From their names.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        let mut held = 0;
        for name in names {
            let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == name);
            let scope = found.ok_or_else(|| {
                let shown: String = name.chars().take(40).collect();
                format!("`{shown}` is none of {}", Scope::NAMES.join(", "))
            })?;
            held |= 1 << scope as u8;
        }
        match held {
            0 => Err(format!("needs at least one of {}", Scope::NAMES.join(", "))),
            held => Ok(Self(held)),
        }
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::of(entries(text))
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        Self::of(names.iter().map(String::as_str))
    }
}

impl From<Scopes> for Vec<String> {
    fn from(scopes: Scopes) -> Self {
        scopes.names().into_iter().map(str::to_owned).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

/// A key as asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyAsk {
    /// For people.
    pub name: String,
    pub scopes: Scopes,
    pub adapters: AdapterGlobs,
    /// What it gets beside other keys where not all get what they ask for; 1 where absent.
    pub weight: Option<f64>,
    /// Seconds.
    pub expires_in: Option<u64>,
    pub limits: KeyLimits,
    /// What a client's certificate calls the key's holder, who then needs no secret.
    pub identity: Option<String>,
}

impl KeyAsk {
    /// From what a caller wrote. Every adapter where it names none.
    pub fn of(
        name: String,
        scopes: Vec<String>,
        adapters: Option<Vec<String>>,
    ) -> Result<Self, Reason> {
        let adapters = adapters.map_or_else(|| Ok(AdapterGlobs::default()), TryInto::try_into);
        Ok(Self {
            name,
            scopes: Scopes::try_from(scopes).map_err(|why| Reason::field("scopes", why))?,
            adapters: adapters.map_err(|why| Reason::field("adapters", why))?,
            weight: None,
            expires_in: None,
            limits: KeyLimits::default(),
            identity: None,
        })
    }

    pub fn check(&self) -> Result<(), Reason> {
        if self.scopes.allow(Scope::Admin) && self.adapters != AdapterGlobs::default() {
            let why = "cannot be limited for a key with the scope `admin`, which may make keys for all of them";
            return Err(Reason::field("adapters", why));
        }
        let name = self.name.trim();
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            let why = format!("has 1 to {LONGEST_NAME} bytes and no control characters");
            return Err(Reason::field("name", why));
        }
        if self.weight.is_some_and(|w| !(0.01..=100.0).contains(&w)) {
            return Err(Reason::field("weight", "is between 0.01 and 100"));
        }
        self.limits.check()?;
        if self.identity.as_deref().is_some_and(|it| !is_identity(it)) {
            let why = format!(
                "is a URI, a DNS name or a common name as a certificate has it: 1 to {LONGEST_IDENTITY} visible letters without `*`"
            );
            return Err(Reason::field("identity", why));
        }
        match self.expires_in {
            Some(0) => Err(Reason::field("expires_in", "is at least 1 second")),
            span => check_span("expires_in", span.unwrap_or(1)),
        }
    }
}

/// Whether a certificate's name can be looked for by this text.
fn is_identity(text: &str) -> bool {
    let visible = |c: char| !c.is_control() && !c.is_whitespace() && c != '*';
    (1..=LONGEST_IDENTITY).contains(&text.len()) && text.chars().all(visible)
}

/// How an identity is written: names of hosts mean the same in either case, URIs do not.
pub fn plain_identity(text: &str) -> String {
    match text.contains([':', '/']) {
        true => text.to_owned(),
        false => text.to_ascii_lowercase(),
    }
}

/// Whether so many seconds are a time that a key can be given.
pub fn check_span(field: &str, seconds: u64) -> Result<(), Reason> {
    match seconds {
        0..=LONGEST_SPAN => Ok(()),
        _ => Err(Reason::field(field, "is at most ten years")),
    }
}

/// What is told of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyView {
    pub id: KeyId,
    /// `key`.
    pub object: String,
    pub name: String,
    pub scopes: Scopes,
    pub adapters: AdapterGlobs,
    pub weight: Option<f64>,
    #[serde(flatten)]
    pub limits: KeyLimits,
    /// Unix seconds, as all times here.
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub revoked_at: Option<i64>,
    /// After a crash up to a minute behind.
    pub last_used_at: Option<i64>,
    /// What a client's certificate calls its holder.
    pub identity: Option<String>,
}

/// A key with its secret, which is told once.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct IssuedKey {
    #[serde(flatten)]
    pub key: KeyView,
    /// `sk-adp-<id>-…`, what callers send.
    pub secret: String,
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedKey of {}", self.key.id)
    }
}

/// The text of a key: what callers send.
pub fn key_text(id: &KeyId, secret: &str) -> String {
    format!("{MARK}{id}-{secret}")
}

/// The id in a key's text.
pub fn id_in_key(text: &str) -> Option<&str> {
    Some(text.strip_prefix(MARK)?.split_once('-')?.0)
}

/// Who asks for jobs and files, which belong to the key that made them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asker {
    /// What is made belongs to it.
    pub key: Option<KeyId>,
    /// Only what belongs to the key exists for it.
    pub only_own: bool,
    /// How much of it may belong to the key.
    pub limits: KeyLimits,
}

impl Asker {
    pub fn sees(&self, owner: Option<&KeyId>) -> bool {
        !self.only_own || (owner.is_some() && owner == self.key.as_ref())
    }

    /// Whose things there are for it; `None`: everybody's.
    pub fn whose(&self) -> Option<&str> {
        let own = self.key.as_ref().map_or("", KeyId::as_str);
        self.only_own.then_some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_is_every_scope_and_the_others_are_themselves() {
        for scope in Scope::ALL {
            let held = Scopes::of([scope.as_str()]).unwrap();
            for asked in Scope::ALL {
                let allowed = scope == asked || scope == Scope::Admin;
                assert_eq!(held.allow(asked), allowed, "{scope} {asked}");
            }
        }
        let two: Scopes = "train, infer".parse().unwrap();
        assert_eq!(two.to_string(), "infer,train");
        assert!(!two.allow(Scope::Admin));
        assert!("".parse::<Scopes>().is_err() && "root".parse::<Scopes>().is_err());
    }

    #[test]
    fn a_keys_text_tells_its_id_and_other_texts_none() {
        let text = key_text(&KeyId::new("0a1b"), "ff");
        assert_eq!(text, "sk-adp-0a1b-ff");
        assert_eq!(id_in_key(&text), Some("0a1b"));
        for other in ["", "sk-1", "sk-adp-", "sk-adp-0a1b", "none"] {
            assert_eq!(id_in_key(other), None, "{other}");
        }
    }

    #[test]
    fn only_own_things_are_seen_and_those_without_an_owner_by_nobody_but_who_sees_all() {
        let (mine, other) = (KeyId::new("1"), KeyId::new("2"));
        let asker = Asker {
            key: Some(mine.clone()),
            only_own: true,
            ..Asker::default()
        };
        assert!(asker.sees(Some(&mine)) && !asker.sees(Some(&other)) && !asker.sees(None));
        let all = Asker::default();
        assert!(all.sees(Some(&other)) && all.sees(None));
        assert_eq!((asker.whose(), all.whose()), (Some("1"), None));
    }
}
