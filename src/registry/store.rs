//! Contents on disk, each in a folder named by its hash. A folder under `adapters/` is always complete: it is written
//! and verified under `staging/` and then renamed.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::copies::Copies;
use super::{Files, Sizes, fault};
use crate::adapter::peft::{self, CONFIG_FILE, PROVENANCE_FILE, Provenance, WEIGHTS_FILE};
use crate::domain::{Generation, Reason};
use crate::kernels::pool;

/// Bytes that are read or written before others get their turn.
const SLICE: usize = 256 << 10;

/// A moment in a publication after which power may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The files are written and synchronised, under `staging/`.
    Written,
    /// Read back and found to be what was meant.
    Verified,
    /// Under its final name, which may not survive yet.
    Renamed,
    /// Under its final name for good.
    Placed,
    /// The transaction is prepared but not committed.
    Prepared,
    /// The name points to it, for good.
    Committed,
}

/// Told of each step, so that tests can end the process there.
pub trait Witness: Send + Sync {
    fn reached(&self, step: Step);
}

/// Sees nothing.
pub struct Unwatched;

impl Witness for Unwatched {
    fn reached(&self, _: Step) {}
}

/// The folders; cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    adapters: PathBuf,
    staging: PathBuf,
    copies: Copies,
    sizes: Sizes,
    witness: Arc<dyn Witness>,
}

/// A verified content that has no name yet. Dropping it removes it.
pub(super) struct Staged {
    generation: Generation,
    folder: TempDir,
}

impl Store {
    pub fn open(dir: &Path, sizes: Sizes, witness: Arc<dyn Witness>) -> Result<Self, Reason> {
        let (adapters, staging) = (dir.join("adapters"), dir.join("staging"));
        for folder in [&adapters, &staging] {
            fs::create_dir_all(folder)
                .map_err(|error| fault::io("creating the data directory", &error))?;
        }
        let copies = Copies::open(dir)?;
        sync_folder(dir)?;
        Ok(Self {
            adapters,
            staging,
            copies,
            sizes,
            witness,
        })
    }

    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    pub fn reached(&self, step: Step) {
        self.witness.reached(step);
    }

    /// Writes the files aside, synchronises them, reads them back and compares.
    pub fn stage(&self, generation: Generation, files: &Files) -> Result<Staged, Reason> {
        let failed = |what: &str, error: &std::io::Error| {
            fault::io(&format!("staging an adapter: {what}"), error)
        };
        let folder = tempfile::Builder::new()
            .prefix("publish-")
            .tempdir_in(&self.staging)
            .map_err(|error| failed("creating a folder", &error))?;
        for (name, bytes) in files.iter().filter(|(name, _)| is_ours(name)) {
            let mut file =
                File::create_new(folder.path().join(name)).map_err(|error| failed(name, &error))?;
            let write = |slice: &[u8]| {
                file.write_all(slice)?;
                pool::give_way();
                Ok(())
            };
            bytes
                .chunks(SLICE)
                .try_for_each(write)
                .and_then(|()| file.sync_all())
                .map_err(|error| failed(name, &error))?;
        }
        sync_folder(folder.path())?;
        self.reached(Step::Written);
        for (name, bytes) in files.iter().filter(|(name, _)| is_ours(name)) {
            let same = holds_exactly(&folder.path().join(name), bytes);
            if !same.map_err(|error| failed(name, &error))? {
                return Err(Reason::Storage(format!(
                    "{name} read back from disk differs from what was written"
                )));
            }
        }
        self.reached(Step::Verified);
        Ok(Staged { generation, folder })
    }

    /// Gives a staged content its final name, or drops it where that content is there already.
    pub fn place(&self, staged: Staged) -> Result<(), Reason> {
        let place = self.folder(staged.generation);
        let failed = |error: &std::io::Error| fault::io("naming a stored adapter", error);
        if place.exists() {
            if self.read(staged.generation).is_ok() {
                return Ok(());
            }
            drop(self.discard(&[staged.generation])?);
        }
        fs::rename(staged.folder.path(), &place).map_err(|error| failed(&error))?;
        // The folder has moved: there is nothing left to remove.
        let _ = staged.folder.keep();
        self.reached(Step::Renamed);
        sync_folder(&self.adapters)?;
        self.reached(Step::Placed);
        Ok(())
    }

    /// The files of a generation, whose content has been compared with its name.
    pub fn read(&self, generation: Generation) -> Result<Files, Reason> {
        let files = self.read_from(&self.folder(generation))?;
        if peft::generation(&files) != generation {
            return Err(damaged(generation));
        }
        // Its bytes have no part in the name; they were well-formed when they were stored.
        let origin = files.get(PROVENANCE_FILE);
        if origin.is_some_and(|bytes| Provenance::parse(bytes).is_err()) {
            return Err(damaged(generation));
        }
        Ok(files)
    }

    /// Changes with every change of a content's files, and tells that none is missing.
    pub fn stamp(&self, generation: Generation) -> Result<String, Reason> {
        let folder = self.folder(generation);
        let mut stamp = String::new();
        for name in [CONFIG_FILE, WEIGHTS_FILE, PROVENANCE_FILE] {
            match fs::metadata(folder.join(name)) {
                Ok(of) => {
                    // The second cannot be set by whoever writes.
                    let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
                    let _ = write!(stamp, "{} {times:?};", of.len());
                }
                Err(error) if error.kind() == ErrorKind::NotFound && name == PROVENANCE_FILE => {
                    stamp.push(';');
                }
                Err(error) => return Err(unreadable(name, &error)),
            }
        }
        Ok(stamp)
    }

    /// Takes away generations nobody refers to: moved aside, so that no half of one is left under its name, and removed when
    /// what is returned is dropped.
    pub fn discard(&self, generations: &[Generation]) -> Result<TempDir, Reason> {
        let failed = |error: &std::io::Error| fault::io("removing a stored adapter", error);
        let aside = tempfile::Builder::new()
            .prefix("discard-")
            .tempdir_in(&self.staging)
            .map_err(|error| failed(&error))?;
        let mut outcome = Ok(());
        for generation in generations {
            let place = aside.path().join(generation.to_string());
            match fs::rename(self.folder(*generation), place) {
                Err(error) if error.kind() != ErrorKind::NotFound => outcome = Err(failed(&error)),
                _ => {}
            }
            // After the folder: whoever writes a copy meanwhile finds the folder gone, or is found here.
            self.copies.discard(*generation);
        }
        sync_folder(&self.adapters)?;
        outcome.map(|()| aside)
    }

    /// Removes what interrupted publications left: all of `staging/`, and contents that `is_known` knows nothing of.
    /// Returns how many there were.
    pub fn sweep(&self, is_known: impl Fn(Generation) -> bool) -> Result<usize, Reason> {
        let failed = |error: std::io::Error| fault::io("cleaning the data directory", &error);
        let mut removed = 0;
        for (folder, is_staging) in [(&self.staging, true), (&self.adapters, false)] {
            for entry in fs::read_dir(folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let generation = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok());
                if !is_staging && generation.is_some_and(&is_known) {
                    continue;
                }
                let is_folder = entry.file_type().map_err(failed)?.is_dir();
                let path = entry.path();
                if is_folder {
                    fs::remove_dir_all(path)
                } else {
                    fs::remove_file(path)
                }
                .map_err(failed)?;
                removed += 1;
            }
        }
        self.copies.sweep(is_known).map_err(failed)?;
        Ok(removed)
    }

    pub fn holds(&self, generation: Generation) -> bool {
        self.folder(generation).is_dir()
    }

    fn folder(&self, generation: Generation) -> PathBuf {
        self.adapters.join(generation.to_string())
    }

    fn read_from(&self, folder: &Path) -> Result<Files, Reason> {
        let mut files = Files::new();
        for name in [CONFIG_FILE, WEIGHTS_FILE, PROVENANCE_FILE] {
            let path = folder.join(name);
            let failed = |error: &std::io::Error| unreadable(name, error);
            match fs::metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound && name == PROVENANCE_FILE => {
                    continue;
                }
                Err(error) => return Err(failed(&error)),
                Ok(metadata) if metadata.len() > self.sizes.of(name) => {
                    return Err(Reason::Storage(format!(
                        "{name} of a stored adapter is larger than any adapter file"
                    )));
                }
                Ok(metadata) => files.insert(
                    name.to_owned(),
                    read_file(&path, metadata.len())
                        .map_err(|error| failed(&error))?
                        .into(),
                ),
            };
        }
        Ok(files)
    }
}

/// All of a file, which should have `length` bytes.
fn read_file(path: &Path, length: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    while (&mut file).take(SLICE as u64).read_to_end(&mut bytes)? > 0 {
        pool::give_way();
    }
    Ok(bytes)
}

/// Whether a file has these bytes, without a second copy of them in memory.
fn holds_exactly(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
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

/// Other files of an uploaded folder (a README, a tokenizer) are left out.
pub(super) fn is_ours(name: &str) -> bool {
    [CONFIG_FILE, WEIGHTS_FILE, PROVENANCE_FILE].contains(&name)
}

fn unreadable(name: &str, error: &std::io::Error) -> Reason {
    fault::io(&format!("reading {name} of a stored adapter"), error)
}

fn damaged(generation: Generation) -> Reason {
    Reason::Storage(format!(
        "the stored files of generation {generation} are damaged; publish the adapter again"
    ))
}

/// Makes the names in a folder survive a power failure.
fn sync_folder(folder: &Path) -> Result<(), Reason> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| fault::io("synchronising a folder", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::specimen;

    fn store(dir: &Path) -> Store {
        Store::open(dir, Sizes { weights: 1 << 20 }, Arc::new(Unwatched)).unwrap()
    }

    #[test]
    fn a_content_is_found_again_under_its_hash_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, files) = (store(dir.path()), specimen(1, 1));
        let generation = peft::generation(&files);
        store
            .place(store.stage(generation, &files).unwrap())
            .unwrap();
        assert_eq!(store.read(generation).unwrap(), files);
        let weights = store.folder(generation).join(WEIGHTS_FILE);
        let mut bytes = fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&weights, bytes).unwrap();
        assert!(matches!(store.read(generation), Err(Reason::Storage(_))));
        store
            .place(store.stage(generation, &files).unwrap())
            .unwrap();
        assert_eq!(
            store.read(generation).unwrap(),
            files,
            "a damaged content is replaced by a good one"
        );
    }

    #[test]
    fn sweeping_removes_leftovers_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let [kept, orphan] = [1, 2].map(|seed| {
            let files = specimen(1, seed);
            let generation = peft::generation(&files);
            store
                .place(store.stage(generation, &files).unwrap())
                .unwrap();
            generation
        });
        fs::create_dir(dir.path().join("staging/publish-x")).unwrap();
        fs::write(dir.path().join("staging/file"), "x").unwrap();
        fs::create_dir(dir.path().join("adapters/not-a-hash")).unwrap();
        assert_eq!(store.sweep(|generation| generation == kept).unwrap(), 4);
        assert!(store.holds(kept) && !store.holds(orphan));
        assert_eq!(store.sweep(|generation| generation == kept).unwrap(), 0);
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
    fn a_staged_content_that_is_never_placed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, files) = (store(dir.path()), specimen(1, 1));
        drop(store.stage(peft::generation(&files), &files).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    }
}
