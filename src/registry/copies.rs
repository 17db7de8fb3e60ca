//! Packed copies of stored contents, under `packed/`: what a load reads. They are made beside serving, may be lost or
//! deleted at any time, and are used only where nothing has touched the content since they were made.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::adapter::packed::{self, Origin, Unusable};
use crate::adapter::{Adapter, Fit};
use crate::domain::Generation;
use crate::store::sweep;

/// The folder; cheap to clone.
#[derive(Clone)]
pub(super) struct Copies {
    folder: PathBuf,
}

impl Copies {
    pub fn open(dir: &Path) -> io::Result<Self> {
        let folder = dir.join("packed");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The adapter, if there is a copy and it is good.
    pub fn read(&self, origin: Origin<'_>, fit: &Fit<'_>) -> Option<Adapter> {
        let generation = origin.generation;
        let read = || {
            let mut file = File::open(self.place(generation))?;
            let length = file.metadata()?.len();
            packed::read(&mut file, length, origin, fit)
        };
        match read() {
            Ok(adapter) => Some(adapter),
            Err(Unusable::Io(error)) if error.kind() == ErrorKind::NotFound => None,
            Err(why @ Unusable::Stale(_)) => {
                tracing::debug!(%generation, %why, "a packed copy is made again");
                None
            }
            Err(why) => {
                tracing::warn!(%generation, %why, "a packed copy is made again");
                None
            }
        }
    }

    /// Without waiting for the disk: a copy that a power failure damages is noticed and made again.
    pub fn write(&self, adapter: &Adapter, stamp: &str, fit: &Fit<'_>) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix("unfinished-")
            .tempfile_in(&self.folder)?;
        packed::write(adapter, stamp, fit, &mut file)?;
        file.flush()?;
        file.persist(self.place(adapter.generation()))?;
        Ok(())
    }

    pub fn discard(&self, generation: Generation) {
        match fs::remove_file(self.place(generation)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%generation, %error, "a packed copy is left until the next start");
            }
            _ => {}
        }
    }

    /// Removes all copies but those of contents that `is_known` knows.
    pub fn sweep(&self, is_known: impl Fn(&str) -> bool) -> io::Result<()> {
        sweep(&self.folder, is_known).map(drop)
    }

    fn place(&self, generation: Generation) -> PathBuf {
        self.folder.join(generation.to_string())
    }
}
