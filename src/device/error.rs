//! Why something could not be computed.

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// Operands that do not fit together, or a fault of what computes them. Callers check requests before they compute, so
/// this is a fault of the program, returned as an error and not as a panic: the text names the operands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// An error of another kind, by its text.
    pub fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<super::DeviceError> for Error {
    fn from(error: super::DeviceError) -> Self {
        Self::of(error)
    }
}

/// candle decodes and encodes weight formats.
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::of(error)
    }
}

/// Returns an [`Error`] with this text.
macro_rules! bail {
    ($($text:tt)*) => {
        return Err($crate::device::Error::new(format!($($text)*)).into())
    };
}
pub(crate) use bail;
