//! An NVIDIA device behind its driver, which is loaded when [`Cuda::open`] is called: a program starts where there is none.
//! Tests alone call it so far.
//!
//! Any driver since CUDA 12 will do, which the PTX asks for. Each function is looked up in the driver's library when it
//! is first called, and those that are called here have been there since CUDA 11.4, whatever version cudarc's feature
//! names. What that does choose is the enum of results, to which newer drivers add and which has to have what a driver
//! returns: so it names CUDA 13, of which nothing is needed.
//!
//! Written without a device at hand: what compiles here has yet to be run on one.

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::device::{
    Accelerator, Arg, Budget, Buffer, DeviceError, Launch, Memory, Part, Recording, Work,
};

use super::graph;
use super::ptx::MODULES;

/// One device, and one stream of work on it.
#[derive(Debug)]
pub struct Cuda {
    card: Arc<Card>,
    memory: Arc<dyn Memory>,
    budget: Budget,
    name: String,
}

/// What buffers and recordings keep alive.
#[derive(Debug)]
pub(super) struct Card {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub stream: sys::CUstream,
    functions: HashMap<&'static str, sys::CUfunction>,
}

// SAFETY: handles of the driver, which may be used from any thread; `enter` makes the context the calling thread's.
unsafe impl Send for Card {}
// SAFETY: as above; nothing of it changes once it is open.
unsafe impl Sync for Card {}

pub(super) fn failed(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Driver {
        call,
        problem: error.to_string(),
    }
}

impl Cuda {
    /// The device of this number. Its buffers are counted in `limit` bytes, or in what is free on it now.
    pub fn open(ordinal: u16, limit: Option<u64>) -> Result<Self, DeviceError> {
        // SAFETY: looks for the library by its names and runs nothing of it.
        if !unsafe { sys::is_culib_present() } {
            let problem = "libcuda, the driver's library, is not installed";
            return Err(DeviceError::Absent(problem.to_owned()));
        }
        result::init().map_err(|error| DeviceError::Absent(error.to_string()))?;
        let device = result::device::get(c_int::from(ordinal))
            .map_err(|error| DeviceError::Absent(format!("device {ordinal}: {error}")))?;
        let name = result::device::get_name(device).map_err(failed("cuDeviceGetName"))?;
        // SAFETY: a device that the driver has just named.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(failed("cuDevicePrimaryCtxRetain"))?;
        // From here on, what was opened is closed by its owner's drop.
        let mut card = Card {
            device,
            context,
            stream: std::ptr::null_mut(),
            functions: HashMap::new(),
        };
        card.enter()?;
        card.stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(failed("cuStreamCreate"))?;
        card.load()?;
        let free = || result::mem_get_info().map(|(free, _)| free as u64);
        let limit = limit
            .map_or_else(free, Ok)
            .map_err(failed("cuMemGetInfo"))?;
        let card = Arc::new(card);
        Ok(Self {
            memory: card.clone(),
            card,
            budget: Budget::new(limit),
            name,
        })
    }
}

impl Card {
    /// Makes the device the calling thread's.
    pub fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: a context that is retained until this is dropped.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("cuCtxSetCurrent"))
    }

    /// Loads all kernels. Modules stay loaded with the context.
    fn load(&mut self) -> Result<(), DeviceError> {
        for module in &MODULES {
            let image = text(module.ptx);
            // SAFETY: a text that ends with a zero and outlives the call.
            let loaded = unsafe { result::module::load_data(image.as_ptr().cast::<c_void>()) }
                .map_err(|error| DeviceError::Driver {
                    call: "cuModuleLoadData",
                    problem: format!("{}.ptx: {error}", module.name),
                })?;
            for kernel in module.kernels {
                // SAFETY: the module is loaded.
                let function = unsafe { result::module::get_function(loaded, text(kernel)) }
                    .map_err(failed("cuModuleGetFunction"))?;
                self.functions.insert(kernel, function);
            }
        }
        Ok(())
    }

    /// Queues a kernel on a stream of this device.
    pub fn launch(
        &self,
        memory: &Arc<dyn Memory>,
        stream: sys::CUstream,
        launch: &Launch<'_>,
    ) -> Result<(), DeviceError> {
        let function = self.functions.get(launch.kernel).copied();
        let function = function.ok_or(DeviceError::NoKernel(launch.kernel))?;
        let mut cells = Vec::with_capacity(launch.args.len());
        for arg in launch.args {
            cells.push(match arg {
                Arg::Buffer(buffer) => {
                    buffer.check_owner(memory)?;
                    buffer.address()
                }
                Arg::Null => 0,
                Arg::U32(value) => u64::from(*value),
                Arg::F32(value) => u64::from(value.to_bits()),
            });
        }
        let mut places: Vec<*mut c_void> = cells
            .iter_mut()
            .map(|cell| std::ptr::from_mut(cell).cast())
            .collect();
        let sizes = |[x, y, z]: [u32; 3]| (x, y, z);
        self.enter()?;
        // SAFETY: the driver copies the values before it returns; each launch side gives its kernel what that declares, which
        // tests hold on an emulated device.
        unsafe {
            result::launch_kernel(
                function,
                sizes(launch.grid),
                sizes(launch.block),
                launch.shared,
                stream,
                &mut places,
            )
        }
        .map_err(|error| DeviceError::Launch {
            kernel: launch.kernel,
            problem: error.to_string(),
        })
    }
}

/// As C has it; the texts here have no zeros.
fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

impl Memory for Card {
    fn give_back(&self, address: u64, _bytes: usize) {
        let entered = self.enter().is_ok();
        // SAFETY: an address of this device that its last owner gives up, and the stream is done with what was queued before.
        let freed = entered
            && unsafe {
                result::stream::synchronize(self.stream).ok();
                result::free_sync(address).is_ok()
            };
        if !freed {
            tracing::error!(address, "the CUDA driver did not take a buffer back");
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        // SAFETY: what `open` made, which is no longer used; a device that is gone has nothing to close.
        unsafe {
            if !self.stream.is_null() {
                result::stream::synchronize(self.stream).ok();
                result::stream::destroy(self.stream).ok();
            }
            result::primary_ctx::release(self.device).ok();
        }
    }
}

impl Accelerator for Cuda {
    fn name(&self) -> &str {
        &self.name
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn owns(&self, buffer: &Buffer) -> bool {
        buffer.check_owner(&self.memory).is_ok()
    }

    fn alloc(&self, part: Part, bytes: usize) -> Result<Buffer, DeviceError> {
        let reserved = self.budget.reserve(part, bytes as u64)?;
        self.card.enter()?;
        // SAFETY: memory with anything in it, which only kernels read.
        match unsafe { result::malloc_sync(bytes.max(1)) } {
            Ok(address) => Ok(Buffer::new(self.memory.clone(), address, reserved)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                Err(DeviceError::OutOfMemory { part, bytes })
            }
            Err(error) => Err(failed("cuMemAlloc")(error)),
        }
    }

    fn upload(&self, to: &Buffer, at: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        to.check_range(&self.memory, at, bytes.len())?;
        self.card.enter()?;
        // SAFETY: the buffer has these bytes. The source is ordinary memory, which the driver has copied when it returns.
        unsafe { result::memcpy_htod_async(to.address() + at as u64, bytes, self.card.stream) }
            .map_err(failed("cuMemcpyHtoDAsync"))
    }

    fn download(&self, from: &Buffer, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        from.check_range(&self.memory, at, bytes.len())?;
        self.card.enter()?;
        let (place, stream) = (from.address() + at as u64, self.card.stream);
        // SAFETY: the buffer has these bytes, and the target lives until the stream is done with it. What kernels did wrong
        // before is reported here too.
        unsafe {
            let copied = result::memcpy_dtoh_async(bytes, place, stream);
            let done = result::stream::synchronize(stream);
            copied.and(done)
        }
        .map_err(failed("cuMemcpyDtoHAsync"))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        self.card.launch(&self.memory, self.card.stream, launch)
    }

    fn record(&self, work: &mut Work<'_>) -> Result<Box<dyn Recording>, DeviceError> {
        graph::record(self, &self.card, &self.memory, work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_driver_the_error_says_so_and_with_one_it_opens() {
        // SAFETY: as in `open`.
        let present = unsafe { sys::is_culib_present() };
        match Cuda::open(0, Some(1 << 20)) {
            Ok(cuda) => assert!(present && !cuda.name().is_empty()),
            Err(error) => assert!(matches!(error, DeviceError::Absent(_)), "{error}"),
        }
    }
}
