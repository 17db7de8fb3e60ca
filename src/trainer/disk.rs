//! Files that are there in full or not at all: written aside, synchronised, then renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a new file and waits until its bytes are on the device.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until the names in a folder are on the device.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes `bytes` to `folder/name` so that a crash leaves either no such file or the whole of it.
pub fn publish_file(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let staged = folder.join(format!(".{name}.part"));
    write_synced(&staged, bytes)?;
    fs::rename(&staged, folder.join(name))?;
    sync_folder(folder)
}

/// Writes a folder of files to `parent/name` so that a crash leaves either no such folder or the whole of it.
/// A folder of that name is replaced.
pub fn publish_folder<'a>(
    parent: &Path,
    name: &str,
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> io::Result<()> {
    let staged = parent.join(format!(".{name}.part"));
    remove_folder(&staged)?;
    fs::create_dir_all(&staged)?;
    for (file, bytes) in files {
        write_synced(&staged.join(file), bytes)?;
    }
    sync_folder(&staged)?;
    let place = parent.join(name);
    remove_folder(&place)?;
    fs::rename(&staged, &place)?;
    sync_folder(parent)
}

/// Creates a folder whose name survives a crash.
pub fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Removes a folder with all that is in it; one that is not there is no fault.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}
