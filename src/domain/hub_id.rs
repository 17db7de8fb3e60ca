//! What a model hub calls a repository: `OWNER/NAME`, and a revision of it.

use std::fmt;

use super::Reason;

/// Where nothing else is said.
const MAIN: &str = "main";
const LONGEST: usize = 200;

/// A repository at a revision. Neither can lead anywhere else in an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    repo: String,
    revision: String,
}

impl HubId {
    /// `revision`: a branch, a tag or a commit; `main` where absent.
    pub fn new(repo: &str, revision: Option<&str>) -> Result<Self, Reason> {
        if !is_hub_id(repo) {
            let why = "is not of the form OWNER/NAME, of letters, digits, `.`, `_` and `-`";
            return Err(Reason::field("hub", why));
        }
        let revision = revision.unwrap_or(MAIN);
        if revision.len() > LONGEST || !revision.split('/').all(is_plain) {
            let why = "is no branch, tag or commit, of letters, digits, `.`, `_`, `-` and `/`";
            return Err(Reason::field("revision", why));
        }
        Ok(Self {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// `OWNER/NAME`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    pub fn revision(&self) -> &str {
        &self.revision
    }
}

/// `OWNER/NAME@REVISION`.
impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.revision)
    }
}

/// Whether a text is `OWNER/NAME`, as hubs call what they have.
pub fn is_hub_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    parts.len() == 2 && text.len() <= LONGEST && parts.into_iter().all(is_plain)
}

/// A part of a path or an address that leads nowhere else.
pub fn is_plain(part: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_an_owner_a_name_and_a_revision() {
        let main = HubId::new("owner/name.v1", None).unwrap();
        assert_eq!(main.to_string(), "owner/name.v1@main");
        let pull = HubId::new("o/n", Some("refs/pr/3")).unwrap();
        assert_eq!((pull.repo(), pull.revision()), ("o/n", "refs/pr/3"));
    }

    #[test]
    fn nothing_leads_elsewhere() {
        let field = |repo: &str, revision: Option<&str>| match HubId::new(repo, revision) {
            Err(Reason::BadField { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        for repo in [
            "",
            "name",
            "a/b/c",
            "../b",
            "a/..",
            "a/b?x",
            "a/b#x",
            "a@b/c",
            "a/ b",
            "a//b",
            "http://x/y",
            "a/b%2f",
            "a\\b/c",
            ".hidden/b",
            "ä/b",
        ] {
            assert_eq!(field(repo, None), "hub", "{repo}");
        }
        for revision in [
            "",
            "..",
            "a/../b",
            "/a",
            "a/",
            "a?b",
            "a b",
            "a%2fb",
            &"a".repeat(201),
        ] {
            assert_eq!(field("a/b", Some(revision)), "revision", "{revision}");
        }
    }
}
