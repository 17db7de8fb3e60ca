//! Folders of immutable files, each under a key. One that has its key is complete: its files are written, synchronised and
//! read back in staging first, and the folder is then renamed.

mod writing;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::disk::{self, FileError, create_folder, sync_folder, write_synced};
use super::failpoint::{Failpoint, Failpoints, NoFailpoints};
use crate::kernels::pool;

pub use writing::Writing;

/// Bytes that are read or written before others get their turn.
pub const SLICE: usize = 256 << 10;

/// Cheap to clone.
#[derive(Clone)]
pub struct Artefacts {
    folder: PathBuf,
    staging: PathBuf,
    failpoints: Arc<dyn Failpoints>,
}

/// Written and verified, under no key yet. Dropping it removes it.
pub struct Staged(TempDir);

/// No longer under their keys; the files go when this is dropped.
#[must_use]
pub struct Removed(#[expect(dead_code, reason = "held for its drop")] TempDir);

impl Artefacts {
    /// In `folder`, with what is unfinished in `staging`, which has to be on the same file system.
    pub fn new(folder: PathBuf, staging: PathBuf, failpoints: Arc<dyn Failpoints>) -> Self {
        Self {
            folder,
            staging,
            failpoints,
        }
    }

    /// In `folder`, with what is unfinished in a folder beside the keys.
    pub fn within(folder: &Path) -> Self {
        let staging = folder.join(".staging");
        Self::new(folder.to_owned(), staging, Arc::new(NoFailpoints))
    }

    pub fn create(&self) -> io::Result<()> {
        create_folder(&self.folder)?;
        create_folder(&self.staging)
    }

    /// Writes the files aside, synchronises them, reads them back and compares. An error names the file, and
    /// [`disk_fault`](super::disk_fault) says it too.
    pub fn stage(&self, files: &[(&str, &[u8])]) -> io::Result<Staged> {
        let folder = self.aside("publish-")?;
        for (name, bytes) in files {
            let written = write_synced(&folder.path().join(name), bytes);
            written.map_err(|error| FileError::Write {
                name: (*name).to_owned(),
                error,
            })?;
        }
        sync_folder(folder.path())?;
        self.failpoints.reached(Failpoint::Written);
        for (name, bytes) in files {
            if !holds_exactly(&folder.path().join(name), bytes)? {
                let name = (*name).to_owned();
                return Err(FileError::Differs { name }.into());
            }
        }
        self.failpoints.reached(Failpoint::Verified);
        Ok(Staged(folder))
    }

    /// As [`stage`](Self::stage), of files that `write` makes one after the other, which need not fit in memory.
    fn stage_written(
        &self,
        write: impl FnOnce(&mut Writing<'_>) -> io::Result<()>,
    ) -> io::Result<Staged> {
        let folder = self.aside("publish-")?;
        let mut writing = Writing::new(folder.path());
        write(&mut writing)?;
        let digests = writing.digests();
        sync_folder(folder.path())?;
        self.failpoints.reached(Failpoint::Written);
        for (name, digest) in digests {
            if disk::read_through(&mut File::open(folder.path().join(&name))?, |_| ())? != digest {
                return Err(FileError::Differs { name }.into());
            }
        }
        self.failpoints.reached(Failpoint::Verified);
        Ok(Staged(folder))
    }

    /// Gives what is staged its key, in the place of what had it. That is removed only when the key is the new one's for
    /// good, and has its key again where the new one cannot get it; a crash between the two renames leaves none with the key.
    pub fn place(&self, key: &str, staged: Staged) -> io::Result<()> {
        let place = self.folder.join(key);
        let aside = self.aside("discard-")?;
        let old = aside.path().join("old");
        let replaces = self.holds(key);
        if replaces {
            fs::rename(&place, &old)?;
        }
        if let Err(error) = fs::rename(staged.0.path(), &place) {
            if replaces {
                fs::rename(&old, &place)?;
            }
            return Err(error);
        }
        // The folder has moved: there is nothing left to remove.
        let _ = staged.0.keep();
        self.failpoints.reached(Failpoint::Renamed);
        sync_folder(&self.folder)?;
        self.failpoints.reached(Failpoint::Placed);
        Ok(())
    }

    /// Stores files under a key, in the place of what had it; both folders are created where there are none.
    pub fn put(&self, key: &str, files: &[(&str, &[u8])]) -> io::Result<()> {
        self.create()?;
        self.place(key, self.stage(files)?)
    }

    /// As [`put`](Self::put), of files that `write` makes one after the other, which need not fit in memory.
    pub fn put_written(
        &self,
        key: &str,
        write: impl FnOnce(&mut Writing<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.create()?;
        self.place(key, self.stage_written(write)?)
    }

    pub fn holds(&self, key: &str) -> bool {
        self.folder.join(key).is_dir()
    }

    /// Every key, in no order.
    pub fn keys(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut keys = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string();
            keys.extend(
                name.ok()
                    .filter(|name| self.folder.join(name) != self.staging),
            );
        }
        Ok(keys)
    }

    /// All of a file, unless it has more than `most` bytes.
    pub fn read(&self, key: &str, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.folder.join(key).join(name))?;
        let length = file.metadata()?.len();
        if length > most {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        while (&mut file).take(SLICE as u64).read_to_end(&mut bytes)? > 0 {
            pool::give_way();
        }
        Ok(bytes)
    }

    /// A file, to be read some at a time, and its digest.
    pub fn open(&self, key: &str, name: &str) -> io::Result<(File, blake3::Hash)> {
        let mut file = File::open(self.folder.join(key).join(name))?;
        let digest = disk::read_through(&mut file, |_| ())?;
        Ok((file, digest))
    }

    /// Changes with every change of a file.
    pub fn stamp(&self, key: &str, name: &str) -> io::Result<String> {
        let of = fs::metadata(self.folder.join(key).join(name))?;
        // The second cannot be set by the writer.
        let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
        Ok(format!("{} {times:?}", of.len()))
    }

    /// Takes keys away: their folders are moved aside, so that no half of one is left under its key. A key that there is
    /// none of is no fault; where one cannot be moved, the others are.
    pub fn remove<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> io::Result<Removed> {
        let aside = self.aside("discard-")?;
        let mut outcome = Ok(());
        for key in keys {
            match fs::rename(self.folder.join(key), aside.path().join(key)) {
                Err(error) if error.kind() != ErrorKind::NotFound => outcome = Err(error),
                _ => {}
            }
        }
        sync_folder(&self.folder)?;
        outcome.map(|()| Removed(aside))
    }

    /// Removes all that is unfinished, and the keys that `is_known` says no of. Returns how much that was. Only while
    /// nothing is being stored.
    pub fn sweep(&self, is_known: impl Fn(&str) -> bool) -> io::Result<usize> {
        let unfinished = disk::sweep(&self.staging, |_| false)?;
        let unknown = disk::sweep(&self.folder, |key| {
            self.folder.join(key) == self.staging || is_known(key)
        })?;
        Ok(unfinished + unknown)
    }

    fn aside(&self, prefix: &str) -> io::Result<TempDir> {
        tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(&self.staging)
    }
}

/// Whether a file has these bytes, without a second copy of them in memory.
fn holds_exactly(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut read = vec![0; SLICE.min(bytes.len())];
    for slice in bytes.chunks(SLICE) {
        let read = &mut read[..slice.len()];
        file.read_exact(read)?;
        if read != slice {
            return Ok(false);
        }
        pool::give_way();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::disk_fault;
    use super::*;
    use crate::domain::Reason;
    use crate::store::failpoint::Damage;

    #[test]
    fn files_are_found_under_their_key_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::within(&dir.path().join("a"));
        assert!(artefacts.keys().unwrap().is_empty());
        artefacts.put("one", &[("x", b"1"), ("y", b"2")]).unwrap();
        artefacts.put("one", &[("x", b"3")]).unwrap();
        assert_eq!(artefacts.keys().unwrap(), ["one"]);
        assert_eq!(artefacts.read("one", "x", 1).unwrap(), b"3");
        let gone = artefacts.read("one", "y", 1).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        let large = artefacts.read("one", "x", 0).unwrap_err();
        assert_eq!(large.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn sweeping_removes_leftovers_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::within(dir.path());
        for key in ["kept", "orphan"] {
            artefacts.put(key, &[("x", b"1")]).unwrap();
        }
        fs::create_dir(dir.path().join(".staging/publish-x")).unwrap();
        fs::write(dir.path().join(".staging/file"), "x").unwrap();
        fs::write(dir.path().join(".old.part"), "x").unwrap();
        assert_eq!(artefacts.sweep(|key| key == "kept").unwrap(), 4);
        assert!(artefacts.holds("kept") && !artefacts.holds("orphan"));
        assert_eq!(artefacts.sweep(|key| key == "kept").unwrap(), 0);
    }

    #[test]
    fn a_file_is_compared_byte_by_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..2 * SLICE + 7).map(|at| at as u8).collect();
        fs::write(&path, &bytes).unwrap();
        assert!(holds_exactly(&path, &bytes).unwrap());
        assert!(!holds_exactly(&path, &bytes[1..]).unwrap());
        for at in [0, SLICE, 2 * SLICE + 6] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(!holds_exactly(&path, &other).unwrap(), "byte {at}");
        }
        fs::write(&path, []).unwrap();
        assert!(holds_exactly(&path, &[]).unwrap());
    }

    #[test]
    fn a_file_that_cannot_be_stored_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let staging = dir.path().join("staging");
        let failpoints = Arc::new(Damage(staging.clone()));
        let artefacts = Artefacts::new(dir.path().join("a"), staging, failpoints);
        artefacts.create().unwrap();
        let said = |files: &[(&str, &[u8])]| {
            let error = artefacts.stage(files).err().unwrap();
            disk_fault("staging an adapter", &error)
        };
        assert_eq!(
            said(&[("config", b"{}"), ("weights", b"these")]),
            Reason::Storage(
                "staging an adapter: weights read back from disk differs from what was written"
                    .into()
            )
        );
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(
            said(&[("no/weights", b"these")]),
            Reason::Storage(format!("staging an adapter: writing no/weights: {missing}"))
        );
    }

    /// Holds that what had the key is still there.
    struct Kept(PathBuf);

    impl Failpoints for Kept {
        fn reached(&self, point: Failpoint) {
            if point == Failpoint::Renamed && self.0.join("../a/one/new").exists() {
                let mut aside = fs::read_dir(&self.0).unwrap().map(Result::unwrap);
                assert!(aside.any(|entry| entry.path().join("old/x").exists()));
            }
        }
    }

    #[test]
    fn what_had_a_key_stays_until_another_has_it_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let staging = dir.path().join("staging");
        let kept = Arc::new(Kept(staging.clone()));
        let artefacts = Artefacts::new(dir.path().join("a"), staging.clone(), kept);
        artefacts.put("one", &[("x", b"1")]).unwrap();
        let lost = artefacts.stage(&[("x", b"2")]).unwrap();
        fs::remove_dir_all(lost.0.path()).unwrap();
        let failed = artefacts.place("one", lost).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::NotFound);
        assert_eq!(artefacts.read("one", "x", 1).unwrap(), b"1");
        artefacts.put("one", &[("new", b"2")]).unwrap();
        assert_eq!(artefacts.read("one", "new", 1).unwrap(), b"2");
        assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
    }

    #[test]
    fn what_is_staged_or_removed_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::within(dir.path());
        artefacts.put("one", &[("x", b"1")]).unwrap();
        drop(artefacts.stage(&[("x", b"2")]).unwrap());
        let removed = artefacts.remove(["one", "absent"]).unwrap();
        assert!(!artefacts.holds("one"));
        drop(removed);
        let staging = dir.path().join(".staging");
        assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
    }
}
