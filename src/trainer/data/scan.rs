//! One pass over a training file: every row is read and rendered, so that none turns out to be unusable when it is learned
//! from, and where it lies is written down. On all threads of the caller's class, a block of rows in memory at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::file::{Line, ReadFault, RowReader};
use super::index::{Entry, Index, Key, Writer, digest_of};
use super::label::Labelled;
use super::stock::{Stock, Voice};
use super::unused::Unused;
use super::{Length, Remarks, TOLD};
use crate::domain::{BadRow, Reason};
use crate::kernels::pool;
use crate::store::disk_fault;

/// Bytes of rows in memory at a time.
const BLOCK: usize = 2 << 20;
/// Of these, what one thread checks before others get their turn: a millisecond or so.
const TILE: usize = 8 << 10;
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
                if &digest_of(&mut texts)? != index.texts() {
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
                if *bytes > self.unpacked {
                    let limit = self.unpacked;
                    return Err(ReadFault::TooLarge { limit }.refusal(self.field));
                }
                self.has_room(BLOCK as u64, || {
                    format!("has been unpacked to {bytes} bytes beside the job, and goes on")
                })?;
            }
            for (tile, rows) in self.check(&lines) {
                let entries = found.take(tile, &lines[rows]);
                // Of a file that is refused nothing need be written.
                if found.total > 0 {
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
        if found.total > 0 {
            return Err(Reason::BadRows {
                file: self.field,
                first: found.bad,
                total: found.total,
            });
        }
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

    /// Checks the rows of a block, in parallel; what comes of them is in their order.
    fn check(&self, lines: &[Line]) -> Vec<(Tile, Range<usize>)> {
        let tiles = tiles(lines);
        let slots: Vec<OnceLock<Tile>> = tiles.iter().map(|_| OnceLock::new()).collect();
        pool::for_each(tiles.len(), |at| {
            let tile = Tile::of(&lines[tiles[at].clone()], self.voice);
            // Each tile runs once.
            let _ = slots[at].set(tile);
        });
        let done = slots.into_iter().filter_map(OnceLock::into_inner);
        done.zip(tiles).collect()
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

/// Lines cut into parts of about the same work.
fn tiles(lines: &[Line]) -> Vec<Range<usize>> {
    let mut tiles = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (at, line) in lines.iter().enumerate() {
        bytes += line.len();
        if bytes >= TILE {
            tiles.push(first..at + 1);
            (first, bytes) = (at + 1, 0);
        }
    }
    if first < lines.len() {
        tiles.push(first..lines.len());
    }
    tiles
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
    /// The first that cannot be used, and how many there are.
    bad: Vec<BadRow>,
    total: usize,
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
        self.total += tile.bad.len();
        let room = TOLD.saturating_sub(self.bad.len());
        self.bad.extend(tile.bad.into_iter().take(room));
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
