//! The product's CUDA kernels on the processor, for tests: the same source compiled by gcc, a fiber for each thread of a block,
//! real barriers and shuffles, and a check mode that sees every access.
//!
//! What it cannot see: speed, occupancy, the weak order of a device's memory, and rounding that differs there (division and
//! square roots do not, sums of products may).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod mutants;
mod raw;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use mutants::{MUTANTS, Mutant};
use raw::Kind;

/// Which of the compiled kernels a device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As gcc optimises them; what is out of bounds may crash.
    Plain,
    /// Every access is checked.
    Checked,
    /// Checked, with the kernels of one file replaced by [`MUTANTS`] of this number.
    Mutant(usize),
}

/// Which runs next, of the threads that can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Forward,
    Backward,
    Random,
    /// One warp as far as it can.
    Rush,
}

impl Order {
    pub const ALL: [Self; 4] = [Self::Forward, Self::Backward, Self::Random, Self::Rush];
}

/// A value for a parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Of a buffer of this device, or null.
    Address(u64),
    U32(u32),
    F32(f32),
}

/// Why a launch did not go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    NoKernel,
    /// The launch itself is wrong.
    Refused(String),
    /// What the kernel did, and which thread of it.
    Fault(String),
}

/// Sizes of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Dynamic shared memory, bytes.
    pub shared: u32,
}

/// Memory and kernels. Devices share the fibers, so launches of all of them run one at a time.
#[derive(Debug)]
pub struct Device {
    build: Build,
    order: Order,
    seed: AtomicU64,
    /// Bytes of each buffer by its address.
    buffers: Mutex<BTreeMap<u64, usize>>,
}

/// Held wherever the C side is called: it keeps its state in statics.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    /// Each launch draws from `seed` anew.
    pub fn new(build: Build, order: Order, seed: u64) -> Self {
        Self {
            build,
            order,
            seed: AtomicU64::new(seed),
            buffers: Mutex::default(),
        }
    }

    fn is_checked(&self) -> bool {
        self.build != Build::Plain
    }

    fn buffers(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of so many bytes of garbage, a multiple of 16; `None` where the system has no more.
    pub fn alloc(&self, bytes: usize) -> Option<u64> {
        let _alone = alone();
        // SAFETY: the C side is entered by one thread at a time.
        let start = unsafe { raw::emu_alloc(bytes.max(1), i32::from(self.is_checked())) } as u64;
        (start != 0).then(|| {
            self.buffers().insert(start, bytes);
            start
        })
    }

    pub fn free(&self, address: u64) {
        if self.buffers().remove(&address).is_some() {
            let _alone = alone();
            // SAFETY: the address is that of a buffer, which is no longer known here.
            unsafe { raw::emu_free(address as *mut _) }
        }
    }

    /// Buffers that were not given back.
    pub fn live(&self) -> usize {
        self.buffers().len()
    }

    fn holds(&self, address: u64, at: usize, bytes: usize) -> bool {
        let end = at.checked_add(bytes);
        let size = self.buffers().get(&address).copied();
        size.is_some_and(|size| end.is_some_and(|end| end <= size))
    }

    /// Copies to a buffer, from byte `at` of it. Whether it has them.
    #[must_use]
    pub fn write(&self, address: u64, at: usize, bytes: &[u8]) -> bool {
        let held = self.holds(address, at, bytes.len());
        if held {
            let _alone = alone();
            // SAFETY: the buffer has these bytes.
            unsafe {
                raw::emu_upload(
                    (address as *mut u8).add(at).cast(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                )
            }
        }
        held
    }

    /// Copies from a buffer, from byte `at` of it. Whether it has them.
    #[must_use]
    pub fn read(&self, address: u64, at: usize, bytes: &mut [u8]) -> bool {
        let held = self.holds(address, at, bytes.len());
        if held {
            let _alone = alone();
            // SAFETY: the buffer has these bytes.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    (address as *const u8).add(at),
                    bytes.as_mut_ptr(),
                    bytes.len(),
                )
            }
        }
        held
    }

    fn find(&self, kernel: &str) -> Option<&'static raw::Kernel> {
        let builds = match self.build {
            Build::Plain => vec!["plain".to_owned()],
            Build::Checked => vec!["checked".to_owned()],
            // Its own file's kernels; those of other files as they are.
            Build::Mutant(at) => vec![format!("mutant_{at}"), "checked".to_owned()],
        };
        let kernel = CString::new(kernel).ok()?;
        builds.into_iter().find_map(|build| {
            let build = CString::new(build).ok()?;
            // SAFETY: two texts; what is found is in a table that is never written.
            unsafe { raw::emu_find(build.as_ptr(), kernel.as_ptr()).as_ref() }
        })
    }

    /// Runs a kernel to its end.
    pub fn launch(&self, kernel: &str, sizes: Sizes, values: &[Value]) -> Result<(), Failure> {
        let found = self.find(kernel).ok_or(Failure::NoKernel)?;
        check(found, sizes, values)?;
        if let Some(stray) = values.iter().find_map(|value| match value {
            Value::Address(address) if *address != 0 && !self.holds(*address, 0, 0) => {
                Some(address)
            }
            _ => None,
        }) {
            return Err(Failure::Refused(format!(
                "{stray:#x} is no buffer of this device"
            )));
        }
        let mut cells: Vec<u64> = values
            .iter()
            .map(|value| match value {
                Value::Address(address) => *address,
                Value::U32(value) => u64::from(*value),
                Value::F32(value) => u64::from(value.to_bits()),
            })
            .collect();
        let mut arguments: Vec<*mut u64> = cells.iter_mut().map(|cell| cell as *mut u64).collect();
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let mut report = std::ptr::null();
        let _alone = alone();
        // SAFETY: the arguments are what the kernel declares, in cells that outlive the call, on one thread at a time.
        let failed = unsafe {
            raw::emu_launch(
                found,
                sizes.grid.as_ptr(),
                sizes.block.as_ptr(),
                sizes.shared as usize,
                arguments.as_mut_ptr().cast(),
                i32::from(self.is_checked()),
                self.order as i32,
                seed,
                &mut report,
            )
        };
        match failed {
            0 => Ok(()),
            // SAFETY: a text that stays as it is until the next launch.
            _ => Err(Failure::Fault(unsafe { raw::text(report) })),
        }
    }
}

/// Everything about a launch that the device itself would refuse.
fn check(kernel: &raw::Kernel, sizes: Sizes, values: &[Value]) -> Result<(), Failure> {
    let refused = |why: String| Err(Failure::Refused(why));
    let threads = sizes.block.iter().map(|n| u64::from(*n)).product::<u64>();
    if threads == 0 || !threads.is_multiple_of(32) || threads > u64::from(kernel.most_threads) {
        return refused(format!(
            "{threads} threads a block; it takes whole warps, up to {}",
            kernel.most_threads
        ));
    }
    if sizes.grid.contains(&0)
        || sizes.grid[0] > i32::MAX as u32
        || sizes.grid[1..].iter().any(|n| *n > 65_535)
    {
        return refused(format!("a grid of {:?} blocks", sizes.grid));
    }
    if sizes.shared > 227 << 10 {
        return refused(format!("{} bytes of shared memory", sizes.shared));
    }
    let kinds = kernel.kinds();
    if kinds.len() != values.len() {
        return refused(format!(
            "{} arguments for {} parameters",
            values.len(),
            kinds.len()
        ));
    }
    for (at, (kind, value)) in kinds.iter().zip(values).enumerate() {
        let fits = matches!(
            (kind, value),
            (Kind::Pointer, Value::Address(_))
                | (Kind::Unsigned, Value::U32(_))
                | (Kind::Float, Value::F32(_))
        );
        if !fits {
            return refused(format!(
                "argument {at} is {value:?}, the parameter {kind:?}"
            ));
        }
    }
    Ok(())
}

impl Drop for Device {
    fn drop(&mut self) {
        let left: Vec<u64> = self.buffers().keys().copied().collect();
        left.into_iter().for_each(|address| self.free(address));
    }
}
