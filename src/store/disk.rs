//! Files that are there in full or not at all: written aside, synchronised, then renamed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
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

/// Waits until the names in a folder are on the device.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes `bytes` to `folder/name` so that a crash leaves either no such file or the whole of it.
pub fn publish_file(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let staged = folder.join(format!(".{name}.part"));
    remove(&staged)?;
    write_synced(&staged, bytes)?;
    fs::rename(&staged, folder.join(name))?;
    sync_folder(folder)
}

/// Creates a folder whose name survives a crash.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    path.parent().map_or(Ok(()), sync_folder)
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
