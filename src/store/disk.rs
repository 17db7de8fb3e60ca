//! Files that are there in full or not at all: written aside, synchronised, then renamed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use super::artefacts::SLICE;
use crate::kernels::pool;

/// Writes a new file and waits until its bytes are on the device.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    for slice in bytes.chunks(SLICE) {
        file.write_all(slice)?;
        pool::give_way();
    }
    file.sync_all()
}

/// Reads what is left of a file through, a piece at a time; its digest.
pub fn read_through(
    file: &mut impl Read,
    mut piece: impl FnMut(&[u8]),
) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut slice = vec![0; SLICE];
    loop {
        let read = match file.read(&mut slice) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(&slice[..read]);
        piece(&slice[..read]);
        pool::give_way();
    }
}

/// Waits until the names in a folder are on the device. The path of the current folder may be empty.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let here = path.as_os_str().is_empty();
    File::open(if here { Path::new(".") } else { path })?.sync_all()
}

/// Writes `bytes` to `folder/name` so that a crash leaves either no such file or the whole of it.
pub fn publish_file(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let staged = folder.join(format!(".{name}.part"));
    remove(&staged)?;
    write_synced(&staged, bytes)?;
    fs::rename(&staged, folder.join(name))?;
    sync_folder(folder)
}

/// Creates a folder, and those above it that are missing, so that their names survive a power failure.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    if !parent.as_os_str().is_empty() && !parent.is_dir() {
        create_folder(parent)?;
    }
    match fs::create_dir(path) {
        // Made by a process that may have ended before it synchronised the name. A folder that may not be read cannot be
        // synchronised, and then the name is left to the one that made it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {
            match sync_folder(parent) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            }
        }
        created => created.and_then(|()| sync_folder(parent)),
    }
}

/// Removes a file, or a folder with all that is in it; what is not there is no fault.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(what) if what.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes from a folder all that `is_kept` says no of. Returns how much that was.
pub fn sweep(folder: &Path, is_kept: impl Fn(&str) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(&is_kept) {
            remove(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// What happened to one file of several that were stored together.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("writing {name}: {error}")]
    Write { name: String, error: io::Error },
    #[error("{name} read back from disk differs from what was written")]
    Differs { name: String },
}

impl From<FileError> for io::Error {
    fn from(file: FileError) -> Self {
        let kind = match &file {
            FileError::Write { error, .. } => error.kind(),
            FileError::Differs { .. } => ErrorKind::InvalidData,
        };
        Self::new(kind, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_created_with_those_above_them_and_may_be_there_already() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        for _ in 0..2 {
            create_folder(&deep).unwrap();
            assert!(deep.is_dir());
        }
        create_folder(&dir.path().join("a/d")).unwrap();
        create_folder(Path::new("/")).unwrap();
        // A relative path, whose parent is empty.
        create_folder(Path::new("src")).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let there = create_folder(&file).unwrap_err();
        assert_eq!(there.kind(), ErrorKind::AlreadyExists);
        create_folder(&file.join("below")).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }
}
