//! One pass over a training file: every row is read and rendered, so that none turns out to be unusable when it is learned
//! from, and where it lies is written down. On all threads of the caller's class, a block of rows in memory at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::file::{Line, RowReader, in_tiles};
use super::index::{Entry, Index, Key, Writer};
use super::label::Labelled;
use super::stock::{Stock, Voice};
use super::unused::Unused;
use super::{Length, Refused, Remarks};
use crate::domain::{BadRow, Reason};
use crate::store::{disk_fault, read_through};

/// Bytes of rows in memory at a time.
const BLOCK: usize = 2 << 20;
/// In the place of a digest where a file is not unpacked.
const UNSPOOLED: [u8; 32] = [0; 32];
/// What must stay free on disk.
const SPARE: u64 = 64 << 20;

/// One file to check.
pub struct Scan<'a> {
    pub path: &'a Path,
    /// What it is for, as callers name it.
    pub field: &'static str,
    pub voice: &'a Voice,
    /// Of the content of the job's files.
    pub digest: &'a str,
    /// The folder of what is written down; `None`: temporary files.
    pub folder: Option<&'a Path>,
    /// Bytes that the file may unpack to.
    pub unpacked: u64,
    /// Asked now and then; `false` ends it.
    pub go_on: &'a (dyn Fn() -> bool + Sync),
}

/// What was found.
pub struct Scanned {
    pub stock: Stock,
    /// What of the rows is not used, or not as its author may expect; nothing where they were checked before.
    pub warnings: Vec<String>,
    /// Bytes that the file was unpacked to, beside itself.
    pub spooled: u64,
}

impl Scan<'_> {
    /// The rows as they were written down before, else after a pass over them.
    ///
    /// # Errors
    /// `BadRows` with the first unusable rows, `BadField` for a file that cannot be read, `StorageFull`.
    pub fn run(&self) -> Result<Scanned, Reason> {
        let reader = RowReader::open(self.path, self.unpacked);
        let reader = reader.map_err(|fault| fault.refusal(self.field))?;
        match self.before(&reader).map_err(unwritten)? {
            Some(stock) => Ok(Scanned {
                stock,
                warnings: Vec::new(),
                spooled: 0,
            }),
            None => self.pass(reader),
        }
    }

    /// What an index depends on.
    fn key(&self) -> Key {
        let Voice {
            tokenizer,
            template,
            max_seq,
            objective,
            label,
        } = self.voice;
        let mut hasher = blake3::Hasher::new_derive_key("adapterd rows of a training file 1");
        hasher.update(self.digest.as_bytes());
        hasher.update(self.field.as_bytes());
        hasher.update(&tokenizer.digest());
        hasher.update(&template.digest());
        hasher.update(&(*max_seq as u64).to_le_bytes());
        hasher.update(format!("{objective:?} {:?} {label:?}", template.time()).as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn place(&self, what: &str) -> Option<PathBuf> {
        let name = format!("{}.{what}", self.field);
        self.folder.map(|folder| folder.join(name))
    }

    fn before(&self, reader: &RowReader) -> io::Result<Option<Stock>> {
        let Some(place) = self.place("index") else {
            return Ok(None);
        };
        let there = |path: &Path| match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        };
        let Some(index) = there(&place)? else {
            return Ok(None);
        };
        let Some(index) = Index::open(index, &self.key())? else {
            return Ok(None);
        };
        let spool = self.place("rows").filter(|_| reader.spools());
        let texts = match spool {
            // It has just been verified.
            None => File::open(self.path)?,
            Some(place) => {
                let Some(mut texts) = there(&place)? else {
                    return Ok(None);
                };
                if read_through(&mut texts, |_| ())?.as_bytes() != index.texts() {
                    return Ok(None);
                }
                texts
            }
        };
        Ok(Some(Stock::new(index, texts, self.voice.clone())))
    }

    /// An empty file to write to, which can be read as well.
    fn create(&self, what: &str) -> io::Result<File> {
        let Some(place) = self.place(what) else {
            return tempfile::tempfile();
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(place)
    }

    fn pass(&self, mut reader: RowReader) -> Result<Scanned, Reason> {
        if let Some(folder) = self.folder {
            crate::store::create_folder(folder).map_err(unwritten)?;
        }
        if let Some(bytes) = reader.unpacks_to() {
            self.has_room(bytes, || {
                format!("is unpacked to about {bytes} bytes beside the job")
            })?;
        }
        let mut spool = match reader.spools() {
            true => Some(Spool::new(self.create("rows").map_err(unwritten)?)),
            false => None,
        };
        let mut index = Writer::new(self.create("index").map_err(unwritten)?);
        let mut found = Found::default();
        loop {
            let lines = reader.block(BLOCK);
            let lines = lines.map_err(|fault| fault.refusal(self.field))?;
            if lines.is_empty() {
                break;
            }
            if !(self.go_on)() {
                return Err(Reason::Draining);
            }
            if let Some(Spool { bytes, .. }) = &spool {
                self.has_room(BLOCK as u64, || {
                    format!("has been unpacked to {bytes} bytes beside the job, and goes on")
                })?;
            }
            let checked = in_tiles(&lines, |rows| Tile::of(&lines[rows], self.voice));
            for (tile, rows) in checked {
                let entries = found.take(tile, &lines[rows]);
                // Of a file that is refused nothing need be written.
                if !found.refused.is_empty() {
                    continue;
                }
                for (line, size) in entries {
                    keep(line, size, &mut spool, &mut index).map_err(unwritten)?;
                }
            }
            if found.rows > u64::from(u32::MAX) {
                return Err(Reason::field(self.field, "has more than 4294967295 rows"));
            }
        }
        found.refused.check(self.field)?;
        let (texts, digest, spooled) = match spool {
            Some(spool) => spool.finish().map_err(unwritten)?,
            None => (File::open(self.path).map_err(unwritten)?, UNSPOOLED, 0),
        };
        let index = index.finish(&self.key(), &digest).map_err(unwritten)?;
        if index.rows() == 0 {
            return Err(Reason::field(self.field, "has no rows"));
        }
        let mut warnings = found.unused.warnings();
        warnings.extend(found.remarks.warnings());
        Ok(Scanned {
            stock: Stock::new(index, texts, self.voice.clone()),
            warnings,
            spooled,
        })
    }

    /// Refuses to fill the disk up by so many bytes more.
    fn has_room(&self, bytes: u64, told: impl FnOnce() -> String) -> Result<(), Reason> {
        let temporary = std::env::temp_dir();
        // A file system that does not say is found to be full when it is.
        let Ok(space) = rustix::fs::statvfs(self.folder.unwrap_or(&temporary)) else {
            return Ok(());
        };
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        match free >= bytes.saturating_add(SPARE) {
            true => Ok(()),
            false => Err(Reason::StorageFull(format!(
                "the {} {}: {free} bytes are free, and {SPARE} must stay so",
                self.field.replace('_', " "),
                told()
            ))),
        }
    }
}

/// Writes down where a row lies.
fn keep(
    line: &Line,
    size: Length,
    spool: &mut Option<Spool>,
    index: &mut Writer,
) -> io::Result<()> {
    let text = line.text.as_deref().unwrap_or_default();
    let offset = match spool {
        Some(spool) => spool.write(text)?,
        None => line.offset,
    };
    index.push(&Entry {
        offset,
        length: text.len() as u32,
        size,
        line: line.line as u64,
    })
}

fn unwritten(error: io::Error) -> Reason {
    disk_fault("indexing the training data", &error)
}

/// What some rows came to.
#[derive(Debug, Default)]
struct Tile {
    /// Of each row, in order; nothing where it cannot be used.
    sizes: Vec<Length>,
    bad: Vec<BadRow>,
    unused: Unused,
    remarks: Remarks,
}

impl Tile {
    fn of(lines: &[Line], voice: &Voice) -> Self {
        let renderer = voice.renderer();
        let mut tile = Self::default();
        for line in lines {
            let read = Labelled::read(line, voice.label.as_deref()).and_then(|read| {
                let example = renderer.example(&read.row, &mut tile.remarks)?;
                tile.unused.count(read.unused);
                Ok(example)
            });
            tile.sizes.push(match read {
                Ok(example) => Length::of(&example),
                Err(bad) => {
                    tile.bad.push(bad);
                    Length::default()
                }
            });
        }
        tile
    }
}

/// What all rows so far came to.
#[derive(Default)]
struct Found {
    rows: u64,
    refused: Refused,
    unused: Unused,
    remarks: Remarks,
}

impl Found {
    /// Adds what came of some rows, and gives those rows with their lengths.
    fn take<'l>(
        &mut self,
        tile: Tile,
        lines: &'l [Line],
    ) -> impl Iterator<Item = (&'l Line, Length)> + use<'l> {
        self.rows += lines.len() as u64;
        tile.bad.into_iter().for_each(|row| self.refused.add(row));
        self.unused.merge(tile.unused);
        self.remarks.merge(tile.remarks);
        lines.iter().zip(tile.sizes)
    }
}

/// The texts of rows, one behind the other.
struct Spool {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Spool {
    fn new(file: File) -> Self {
        Self {
            file: BufWriter::with_capacity(1 << 20, file),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    /// Where the text begins.
    fn write(&mut self, text: &[u8]) -> io::Result<u64> {
        let offset = self.bytes;
        self.hasher.update(text);
        self.file.write_all(text)?;
        self.bytes += text.len() as u64;
        Ok(offset)
    }

    fn finish(self) -> io::Result<(File, [u8; 32], u64)> {
        let file = self.file.into_inner().map_err(io::Error::other)?;
        file.sync_all()?;
        Ok((file, *self.hasher.finalize().as_bytes(), self.bytes))
    }
}

#[cfg(test)]
mod tests;
