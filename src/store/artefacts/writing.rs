//! Files that are hashed while they are written, and need not fit in memory.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::SLICE;
use crate::kernels::pool;
use crate::store::disk::FileError;

/// Files that are being staged.
pub struct Writing<'a> {
    folder: &'a Path,
    digests: Vec<(String, blake3::Hash)>,
}

impl<'a> Writing<'a> {
    pub(super) const fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            digests: Vec::new(),
        }
    }

    /// Of all that was written, by name.
    pub(super) fn digests(self) -> Vec<(String, blake3::Hash)> {
        self.digests
    }

    /// Has `write` write a new file, and waits until it is on the device; returns its digest.
    pub fn file(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<blake3::Hash> {
        let written = File::create_new(self.folder.join(name)).and_then(|file| {
            let mut hashing = Hashing {
                file,
                hasher: blake3::Hasher::new(),
            };
            write(&mut hashing)?;
            hashing.file.sync_all()?;
            Ok(hashing.hasher.finalize())
        });
        let digest = written.map_err(|error| FileError::Write {
            name: name.to_owned(),
            error,
        })?;
        self.digests.push((name.to_owned(), digest));
        Ok(digest)
    }
}

/// Writes a file and hashes it.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        pool::give_way();
        let some = &bytes[..bytes.len().min(SLICE)];
        let written = self.file.write(some)?;
        self.hasher.update(&some[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::sync::Arc;

    use super::*;
    use crate::store::Artefacts;
    use crate::store::failpoint::{Damage, Failpoints, NoFailpoints};

    #[test]
    fn a_file_that_is_written_piece_by_piece_is_verified_by_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let staging = dir.path().join("staging");
        let whole: Vec<u8> = (0..2 * SLICE + 7).map(|at| at as u8).collect();
        let put = |failpoints: Arc<dyn Failpoints>| {
            let artefacts = Artefacts::new(dir.path().join("a"), staging.clone(), failpoints);
            let put = artefacts.put_written("one", |files| {
                let digest = files.file("weights", |out| {
                    out.write_all(&whole[..5])?;
                    out.write_all(&whole[5..])
                })?;
                assert_eq!(digest, blake3::hash(&whole));
                Ok(())
            });
            put.map(|()| artefacts)
        };
        let artefacts = put(Arc::new(NoFailpoints)).unwrap();
        let (mut file, digest) = artefacts.open("one", "weights").unwrap();
        assert_eq!(digest, blake3::hash(&whole));
        assert_eq!(file.read(&mut [0]).unwrap(), 0, "it was read to its end");
        let read = artefacts.read("one", "weights", u64::MAX).unwrap();
        assert!(read == whole);
        let damaged = put(Arc::new(Damage(staging.clone()))).err().unwrap();
        assert!(
            damaged.to_string().contains("weights read back"),
            "{damaged}"
        );
        let failed = artefacts.put_written("two", |files| {
            files.file("weights", |_| Err(ErrorKind::StorageFull.into()))?;
            Ok(())
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(artefacts.keys().unwrap(), ["one"]);
        assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
    }
}
