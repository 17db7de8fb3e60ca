//! Why a command did not do what was asked, and the exit code that says so.

use std::process::ExitCode;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The reader of the output has gone: nothing failed, and nothing more can be written.
    #[error("nobody reads the output any more")]
    Unread,
    /// Ctrl-C ended a wait.
    #[error("{0}")]
    Interrupted(String),
    /// The thing asked failed.
    #[error("{0}")]
    Failed(String),
    /// Wrong usage or settings.
    #[error("{0}")]
    Usage(String),
    #[error(
        "no daemon answers at {url}: {why}\nStart one with `adapterd serve`, or name another with --server."
    )]
    Unreachable { url: String, why: String },
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            // What shells report of a process that SIGINT ended.
            Self::Interrupted(_) => 130,
        }
    }

    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_an_interrupted_wait_no_success() {
        assert_eq!(Failure::from(Error::from(ErrorKind::BrokenPipe)).code(), 0);
        assert_eq!(Failure::from(Error::from(ErrorKind::NotFound)).code(), 1);
        assert_eq!(Failure::Interrupted(String::new()).code(), 130);
    }
}
