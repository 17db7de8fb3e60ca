//! Why a command did not do what was asked, and the exit code that says so.

use std::process::ExitCode;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
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
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
        })
    }

    pub fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}
