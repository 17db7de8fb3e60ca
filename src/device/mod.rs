//! device: whose turn it is on the processor, what its memory is spent on, and the seam behind which an accelerator lies.
//! Computes nothing itself: it counts, orders, and says what a device must be able to do. Drivers live in `kernels`.

mod accelerator;
mod budget;
mod buffer;
mod turns;

pub use accelerator::{Accelerator, Arg, DeviceError, Launch, Recording, Work};
pub use budget::{Budget, NoRoom, Part, Reserved};
pub use buffer::{Buffer, Memory};
pub use turns::{ServingTurn, Turns};
