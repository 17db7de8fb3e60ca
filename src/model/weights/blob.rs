//! The bytes of a file, mapped or in memory. The only `unsafe` of this layer.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, UncheckedAdvice};

use super::WeightError;

/// Immutable bytes; cheap to clone.
///
/// A mapped file is read as it is used. Replacing it (write aside, rename) is safe; cutting it short while it is open
/// is not, and ends the process with a bus error. Nothing here keeps others from doing so.
#[derive(Clone)]
pub struct Blob(Arc<Bytes>);

const HASHED_AT_ONCE: usize = 32 << 20;

enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl Blob {
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let wrong = |e: std::io::Error| WeightError::new(path.display().to_string(), e.to_string());
        let file = File::open(path).map_err(wrong)?;
        let meta = file.metadata().map_err(wrong)?;
        if !meta.is_file() {
            return Err(WeightError::new(
                path.display().to_string(),
                "is not a file",
            ));
        }
        if meta.len() == 0 {
            return Err(WeightError::new(path.display().to_string(), "is empty"));
        }
        // SAFETY: the mapping is private and read-only, and is exposed only as `&[u8]`, valid for any bit pattern. What
        // remains is a file that another process changes while it is mapped: weights are published by rename, and the
        // type's documentation states the limit.
        let map = unsafe { Mmap::map(&file) }.map_err(wrong)?;
        Ok(Self(Arc::new(Bytes::Mapped(map))))
    }

    pub fn of(bytes: &'static [u8]) -> Self {
        Self(Arc::new(Bytes::Static(bytes)))
    }

    /// Lets go of the memory behind `range`; it is read from the file again if it is wanted again. A load that does so
    /// never holds the file beside what it makes of it.
    pub fn release(&self, range: Range<usize>) {
        if let Bytes::Mapped(map) = &*self.0 {
            // SAFETY: the mapping is read-only and backed by a file, so that dropped pages come back with the same
            // bytes; slices into them stay valid.
            let advised = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
            };
            if let Err(error) = advised {
                tracing::debug!(%error, "mapped memory is kept");
            }
        }
    }

    /// Adds all bytes to a hash.
    pub fn hash_into(&self, hasher: &mut blake3::Hasher) {
        for start in (0..self.len()).step_by(HASHED_AT_ONCE) {
            let range = start..(start + HASHED_AT_ONCE).min(self.len());
            hasher.update_rayon(&self[range.clone()]);
            self.release(range);
        }
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}
