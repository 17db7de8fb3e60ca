//! Memory of an accelerator: counted while it lives, given back by itself.

use std::fmt;
use std::sync::Arc;

use super::{DeviceError, Part, Reserved};

/// Where an accelerator's buffers come from and go back to.
pub trait Memory: fmt::Debug + Send + Sync {
    /// Takes back what begins at this address. Work that was queued before may still read it: the memory is not given to others
    /// before that is done.
    fn give_back(&self, address: u64, bytes: usize);
}

/// Some bytes of one accelerator. Clones are the same bytes; they go back with the last of them.
#[derive(Clone)]
pub struct Buffer(Arc<Block>);

struct Block {
    memory: Arc<dyn Memory>,
    address: u64,
    bytes: usize,
    reserved: Reserved,
}

impl Buffer {
    /// What an accelerator took at `address`, for the bytes it had reserved for that.
    pub fn new(memory: Arc<dyn Memory>, address: u64, reserved: Reserved) -> Self {
        Self(Arc::new(Block {
            memory,
            address,
            // Reserved for a length that came as one.
            bytes: reserved.bytes() as usize,
            reserved,
        }))
    }

    /// Where it begins, in the accelerator's own numbering.
    pub fn address(&self) -> u64 {
        self.0.address
    }

    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    pub fn part(&self) -> Part {
        self.0.reserved.part()
    }

    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// An error unless it came from this memory.
    pub fn check_owner(&self, memory: &Arc<dyn Memory>) -> Result<(), DeviceError> {
        match Arc::ptr_eq(&self.0.memory, memory) {
            true => Ok(()),
            false => Err(DeviceError::Foreign {
                bytes: self.bytes(),
                part: self.part(),
            }),
        }
    }

    /// An error unless it came from this memory and has `bytes` bytes from byte `at` on.
    pub fn check_range(
        &self,
        memory: &Arc<dyn Memory>,
        at: usize,
        bytes: usize,
    ) -> Result<(), DeviceError> {
        self.check_owner(memory)?;
        match at.checked_add(bytes) {
            Some(end) if end <= self.bytes() => Ok(()),
            _ => Err(DeviceError::Bounds {
                at,
                bytes,
                size: self.bytes(),
            }),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.memory.give_back(self.address, self.bytes);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Buffer[{} bytes of {} at {:#x}]",
            self.bytes(),
            self.part(),
            self.address()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Budget;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Noted(Mutex<Vec<(u64, usize)>>);

    impl Memory for Noted {
        fn give_back(&self, address: u64, bytes: usize) {
            self.0.lock().unwrap().push((address, bytes));
        }
    }

    #[test]
    fn memory_goes_back_once_with_the_last_of_its_clones() {
        let (budget, noted) = (Budget::new(100), Arc::new(Noted::default()));
        let reserved = budget.reserve(Part::Kv, 60).unwrap();
        let buffer = Buffer::new(noted.clone(), 4096, reserved);
        let clone = buffer.clone();
        assert!(clone.is_same(&buffer));
        drop(buffer);
        assert_eq!((budget.left(), noted.0.lock().unwrap().len()), (40, 0));
        drop(clone);
        assert_eq!(budget.left(), 100);
        assert_eq!(*noted.0.lock().unwrap(), [(4096, 60)]);
    }

    #[test]
    fn a_range_past_the_end_or_of_another_device_is_refused() {
        let budget = Budget::new(100);
        let [own, other]: [Arc<dyn Memory>; 2] =
            [Arc::new(Noted::default()), Arc::new(Noted::default())];
        let buffer = Buffer::new(own.clone(), 0, budget.reserve(Part::Base, 60).unwrap());
        assert_eq!(buffer.check_range(&own, 60, 0), Ok(()));
        for (at, bytes) in [(0, 61), (60, 1), (usize::MAX, 2)] {
            let error = buffer.check_range(&own, at, bytes).unwrap_err();
            assert_eq!(
                error,
                DeviceError::Bounds {
                    at,
                    bytes,
                    size: 60
                }
            );
        }
        let error = buffer.check_range(&other, 0, 1).unwrap_err();
        assert!(matches!(error, DeviceError::Foreign { .. }), "{error}");
    }
}
