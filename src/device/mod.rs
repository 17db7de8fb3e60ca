//! device: what computes, the memory numbers lie in and what it is spent on, whose turn it is, and the seam behind which an
//! accelerator lies. Computes nothing itself: it counts, orders, and says what a device must be able to do. Drivers live in
//! `kernels`.

mod accelerator;
mod array;
mod budget;
mod buffer;
mod error;
pub mod machine;
mod turns;

use std::sync::Arc;

pub use accelerator::{Accelerator, Arg, DeviceError, Launch, Recording, Work};
pub use array::{Array, Half};
pub use budget::{Budget, NoRoom, Part, Reserved};
pub use buffer::{Buffer, Memory};
pub(crate) use error::bail;
pub use error::{Error, Result};
pub use turns::{Coming, ServingTurn, Shares, Sharing, Turns};

/// What computes.
#[derive(Debug, Clone, Default)]
pub enum Device {
    /// This machine's processor and main memory.
    #[default]
    Host,
    Accelerator(Arc<dyn Accelerator>),
}
