//! A device that has memory and kernels of its own: what every second arm of an operation is written against.

use std::fmt;

use super::{Budget, Buffer, NoRoom, Part};

/// Memory, copies, and kernels by their names. Work is done in the order in which it was asked for, as on one CUDA stream; a
/// download waits for what was asked for before it.
pub trait Accelerator: fmt::Debug + Send + Sync {
    /// For logs: `NVIDIA H200`.
    fn name(&self) -> &str;

    /// What its buffers are counted in.
    fn budget(&self) -> &Budget;

    /// Whether a buffer is of its memory.
    fn owns(&self, buffer: &Buffer) -> bool;

    /// Memory with anything in it, aligned to 16 bytes at least.
    fn alloc(&self, part: Part, bytes: usize) -> Result<Buffer, DeviceError>;

    /// Copies `bytes` to a buffer, from byte `at` of it.
    fn upload(&self, to: &Buffer, at: usize, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies from a buffer, from byte `at` of it.
    fn download(&self, from: &Buffer, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError>;

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError>;

    /// Notes what `work` launches on the accelerator it is given, and runs none of it. Nothing else can be done there: sizes and
    /// memory of a recording are fixed, so what changes is uploaded to its buffers before a replay.
    fn record(&self, work: &mut Work<'_>) -> Result<Box<dyn Recording>, DeviceError>;
}

/// What is to be recorded.
pub type Work<'a> = dyn FnMut(&dyn Accelerator) -> Result<(), DeviceError> + 'a;

/// Launches in their order, a CUDA graph. Holds the buffers they use.
pub trait Recording: fmt::Debug + Send + Sync {
    /// Runs all of it again, with what its buffers hold now.
    fn replay(&self) -> Result<(), DeviceError>;
}

/// One run of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    pub kernel: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of shared memory a block, beside what the kernel declares.
    pub shared: u32,
    /// In the order of the kernel's parameters.
    pub args: &'a [Arg<'a>],
}

#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    Buffer(&'a Buffer),
    /// In place of a buffer that the kernel can do without.
    Null,
    U32(u32),
    F32(f32),
}

/// What an accelerator cannot do, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("there is no accelerator here: {0}")]
    Absent(String),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// Within the budget, but the device itself has no more.
    #[error("{part}: the device has no {bytes} bytes left")]
    OutOfMemory { part: Part, bytes: usize },
    #[error("{operation}: {operand} {problem}")]
    Operand {
        operation: &'static str,
        operand: &'static str,
        problem: String,
    },
    #[error("a copy of {bytes} bytes at byte {at} of a buffer of {size}")]
    Bounds {
        at: usize,
        bytes: usize,
        size: usize,
    },
    #[error("a buffer of {bytes} bytes ({part}) is of another device")]
    Foreign { bytes: usize, part: Part },
    #[error("there is no kernel named {0}")]
    NoKernel(&'static str),
    /// The launch itself is wrong: sizes or arguments.
    #[error("{kernel} cannot be launched like this: {problem}")]
    Launch {
        kernel: &'static str,
        problem: String,
    },
    /// It ran, and did what it must not.
    #[error("{kernel} failed: {problem}")]
    Fault {
        kernel: &'static str,
        problem: String,
    },
    #[error("{0} cannot be recorded, only launches can")]
    Unrecorded(&'static str),
    /// A call of the driver failed.
    #[error("{call}: {problem}")]
    Driver { call: &'static str, problem: String },
}

impl DeviceError {
    /// An operand that does not fit.
    pub fn operand(
        operation: &'static str,
        operand: &'static str,
        problem: impl Into<String>,
    ) -> Self {
        Self::Operand {
            operation,
            operand,
            problem: problem.into(),
        }
    }
}
