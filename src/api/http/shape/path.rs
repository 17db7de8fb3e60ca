//! Where in a JSON value we are; written out only when something is wrong there.

use std::fmt;

#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// Names from a request are repeated up to this many characters.
const CLIP: usize = 80;

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(up, key) => {
                write!(f, "{up}")?;
                if !matches!(up, Path::Root) {
                    f.write_str(".")?;
                }
                key.chars().take(CLIP).try_for_each(|c| write!(f, "{c}"))
            }
            Self::Index(up, at) => write!(f, "{up}[{at}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_programmers_write_it() {
        let messages = Path::Key(&Path::Root, "messages");
        let second = Path::Index(&messages, 1);
        assert_eq!(
            Path::Key(&second, "content").to_string(),
            "messages[1].content"
        );
        assert_eq!(
            Path::Key(&Path::Root, &"x".repeat(500)).to_string().len(),
            CLIP
        );
    }
}
