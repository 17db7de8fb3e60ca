//! The emulated device as an [`Accelerator`].

use std::sync::{Arc, Mutex, PoisonError};

use adapterd::device::{
    Accelerator, Arg, Budget, Buffer, DeviceError, Launch, Memory, Part, Recording, Work,
};
use emulator::{Build, Device, Failure, Order, Sizes, Value};

/// The chip itself: what buffers and recordings keep alive.
#[derive(Debug)]
struct Chip(Device);

#[derive(Debug)]
pub struct Emulated {
    chip: Arc<Chip>,
    memory: Arc<dyn Memory>,
    budget: Budget,
}

impl Memory for Chip {
    fn give_back(&self, address: u64, _bytes: usize) {
        self.0.free(address);
    }
}

impl Chip {
    fn run(&self, launch: &Noted) -> Result<(), DeviceError> {
        let values: Vec<Value> = launch.args.iter().map(Kept::value).collect();
        let kernel = launch.kernel;
        let done = self.0.launch(kernel, launch.sizes, &values);
        done.map_err(|failure| match failure {
            Failure::NoKernel => DeviceError::NoKernel(kernel),
            Failure::Refused(problem) => DeviceError::Launch { kernel, problem },
            Failure::Fault(problem) => DeviceError::Fault { kernel, problem },
        })
    }
}

impl Emulated {
    /// One with a gigabyte.
    pub fn new(build: Build, order: Order, seed: u64) -> Self {
        Self::with_limit(build, order, seed, 1 << 30)
    }

    pub fn with_limit(build: Build, order: Order, seed: u64, bytes: u64) -> Self {
        let chip = Arc::new(Chip(Device::new(build, order, seed)));
        Self {
            memory: chip.clone(),
            chip,
            budget: Budget::new(bytes),
        }
    }

    /// One that checks, and runs threads in any order.
    pub fn checked(seed: u64) -> Self {
        Self::new(Build::Checked, Order::Random, seed)
    }

    /// Buffers that were not given back.
    pub fn live(&self) -> usize {
        self.chip.0.live()
    }
}

/// A launch that can be run later.
#[derive(Debug)]
struct Noted {
    kernel: &'static str,
    sizes: Sizes,
    args: Vec<Kept>,
}

#[derive(Debug)]
enum Kept {
    Buffer(Buffer),
    Value(Value),
}

impl Kept {
    fn value(&self) -> Value {
        match self {
            Self::Buffer(buffer) => Value::Address(buffer.address()),
            Self::Value(value) => *value,
        }
    }
}

impl Noted {
    /// An error where a buffer is of another device.
    fn of(launch: &Launch<'_>, memory: &Arc<dyn Memory>) -> Result<Self, DeviceError> {
        let keep = |arg: &Arg<'_>| match arg {
            Arg::Buffer(buffer) => {
                buffer.check_owner(memory)?;
                Ok::<_, DeviceError>(Kept::Buffer((*buffer).clone()))
            }
            Arg::Null => Ok(Kept::Value(Value::Address(0))),
            Arg::U32(value) => Ok(Kept::Value(Value::U32(*value))),
            Arg::F32(value) => Ok(Kept::Value(Value::F32(*value))),
        };
        Ok(Self {
            kernel: launch.kernel,
            sizes: Sizes {
                grid: launch.grid,
                block: launch.block,
                shared: launch.shared,
            },
            args: launch.args.iter().map(keep).collect::<Result<_, _>>()?,
        })
    }
}

impl Accelerator for Emulated {
    fn name(&self) -> &str {
        "emulated"
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn owns(&self, buffer: &Buffer) -> bool {
        buffer.check_owner(&self.memory).is_ok()
    }

    fn alloc(&self, part: Part, bytes: usize) -> Result<Buffer, DeviceError> {
        let reserved = self.budget.reserve(part, bytes as u64)?;
        let address = self.chip.0.alloc(bytes);
        let address = address.ok_or(DeviceError::OutOfMemory { part, bytes })?;
        Ok(Buffer::new(self.memory.clone(), address, reserved))
    }

    fn upload(&self, to: &Buffer, at: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        to.check_range(&self.memory, at, bytes.len())?;
        assert!(self.chip.0.write(to.address(), at, bytes), "{to:?}");
        Ok(())
    }

    fn download(&self, from: &Buffer, at: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        from.check_range(&self.memory, at, bytes.len())?;
        assert!(self.chip.0.read(from.address(), at, bytes), "{from:?}");
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        self.chip.run(&Noted::of(launch, &self.memory)?)
    }

    fn record(&self, work: &mut Work<'_>) -> Result<Box<dyn Recording>, DeviceError> {
        let recorder = Recorder {
            device: self,
            launches: Mutex::default(),
        };
        work(&recorder)?;
        let launches = recorder.launches.into_inner();
        Ok(Box::new(Recorded {
            chip: self.chip.clone(),
            launches: launches.unwrap_or_else(PoisonError::into_inner),
        }))
    }
}

/// Stands in for the device while it records.
#[derive(Debug)]
struct Recorder<'a> {
    device: &'a Emulated,
    launches: Mutex<Vec<Noted>>,
}

impl Accelerator for Recorder<'_> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn budget(&self) -> &Budget {
        &self.device.budget
    }

    fn owns(&self, buffer: &Buffer) -> bool {
        self.device.owns(buffer)
    }

    fn alloc(&self, _part: Part, _bytes: usize) -> Result<Buffer, DeviceError> {
        Err(DeviceError::Unrecorded("an allocation"))
    }

    fn upload(&self, _to: &Buffer, _at: usize, _bytes: &[u8]) -> Result<(), DeviceError> {
        Err(DeviceError::Unrecorded("an upload"))
    }

    fn download(&self, _from: &Buffer, _at: usize, _bytes: &mut [u8]) -> Result<(), DeviceError> {
        Err(DeviceError::Unrecorded("a download"))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        let noted = Noted::of(launch, &self.device.memory)?;
        let launches = self.launches.lock();
        launches.unwrap_or_else(PoisonError::into_inner).push(noted);
        Ok(())
    }

    fn record(&self, _work: &mut Work<'_>) -> Result<Box<dyn Recording>, DeviceError> {
        Err(DeviceError::Unrecorded("a recording"))
    }
}

#[derive(Debug)]
struct Recorded {
    chip: Arc<Chip>,
    launches: Vec<Noted>,
}

impl Recording for Recorded {
    fn replay(&self) -> Result<(), DeviceError> {
        self.launches
            .iter()
            .try_for_each(|launch| self.chip.run(launch))
    }
}
