//! Where the rows of a file lie, written down once when the file is checked: so much a row, on disk.
//!
//! An index is of one file, tokenizer, template and longest record, which its key is of. It appears whole: a trailer with
//! its digest is written last, and one that is not what was written counts as none.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use super::Length;
use crate::kernels::pool;
use crate::store::read_through;

const ENTRY: usize = 32;
const MAGIC: &[u8; 8] = b"rows 2\n\0";
const TRAILER: usize = MAGIC.len() + 8 + 32 + 32 + 32;
/// Bytes that are read at a time where all are.
const PIECE: usize = ENTRY << 13;

/// What an index was made of.
pub type Key = [u8; 32];

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where its text begins, and how many bytes it has.
    pub offset: u64,
    pub length: u32,
    /// Of what it is rendered to.
    pub size: Length,
    /// Of the file it came from.
    pub line: u64,
}

impl Entry {
    fn bytes(&self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.size.tokens.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.size.trained.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.size.sequences.to_le_bytes());
        bytes[24..].copy_from_slice(&self.line.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; ENTRY]) -> Self {
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Self {
            offset: long(0),
            length: short(8),
            size: Length {
                tokens: short(12),
                trained: short(16),
                sequences: short(20),
            },
            line: long(24),
        }
    }
}

/// An index in the making.
pub struct Writer {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    rows: u64,
}

impl Writer {
    /// Into an empty file.
    pub fn new(file: File) -> Self {
        Self {
            file: BufWriter::with_capacity(PIECE, file),
            hasher: blake3::Hasher::new(),
            rows: 0,
        }
    }

    pub fn push(&mut self, entry: &Entry) -> io::Result<()> {
        let bytes = entry.bytes();
        self.hasher.update(&bytes);
        self.rows += 1;
        self.file.write_all(&bytes)
    }

    /// `texts`: a digest of what the offsets are in.
    pub fn finish(mut self, key: &Key, texts: &[u8; 32]) -> io::Result<Index> {
        self.file.write_all(MAGIC)?;
        self.file.write_all(&self.rows.to_le_bytes())?;
        self.file.write_all(key)?;
        self.file.write_all(texts)?;
        self.file.write_all(self.hasher.finalize().as_bytes())?;
        let file = self.file.into_inner().map_err(io::Error::other)?;
        file.sync_all()?;
        Ok(Index {
            file,
            rows: self.rows as usize,
            texts: *texts,
        })
    }
}

/// An index that is whole.
pub struct Index {
    file: File,
    rows: usize,
    texts: [u8; 32],
}

impl Index {
    /// `None` where the file is no index of that key, or is damaged.
    pub fn open(mut file: File, key: &Key) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let Some(entries) = length.checked_sub(TRAILER as u64) else {
            return Ok(None);
        };
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, entries)?;
        let (magic, rest) = trailer.split_at(MAGIC.len());
        let (rows, rest) = rest.split_at(8);
        let (of, rest) = rest.split_at(32);
        let (texts, digest) = rest.split_at(32);
        let whole = entries / ENTRY as u64;
        if magic != MAGIC
            || rows != whole.to_le_bytes()
            || !entries.is_multiple_of(ENTRY as u64)
            || of != key
        {
            return Ok(None);
        }
        let sound = *read_through(&mut (&mut file).take(entries), |_| ())?.as_bytes() == digest;
        Ok(sound.then_some(Self {
            file,
            rows: whole as usize,
            texts: std::array::from_fn(|at| texts[at]),
        }))
    }

    pub fn texts(&self) -> &[u8; 32] {
        &self.texts
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn entry(&self, row: usize) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY];
        self.file.read_exact_at(&mut bytes, (row * ENTRY) as u64)?;
        Ok(Entry::read(&bytes))
    }

    /// How long each row is, in their order.
    pub fn lengths(&self) -> io::Result<Vec<Length>> {
        let mut lengths = Vec::with_capacity(self.rows);
        let mut piece = vec![0; PIECE.min(self.rows * ENTRY)];
        while lengths.len() < self.rows {
            let left = (self.rows - lengths.len()) * ENTRY;
            let read = piece.len().min(left);
            let piece = &mut piece[..read];
            self.file
                .read_exact_at(piece, (lengths.len() * ENTRY) as u64)?;
            let entries = piece.as_chunks::<ENTRY>().0.iter();
            lengths.extend(entries.map(|entry| Entry::read(entry).size));
            pool::give_way();
        }
        Ok(lengths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(row: u64) -> Entry {
        Entry {
            offset: row * 1000 + 3,
            length: row as u32 + 7,
            size: Length {
                tokens: 2 * row as u32,
                trained: row as u32,
                sequences: 1,
            },
            line: row + 1,
        }
    }

    #[test]
    fn entries_are_found_again_and_a_damaged_index_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let key = [7; 32];
        let mut writer = Writer::new(file.reopen().unwrap());
        (0..20_000).for_each(|row| writer.push(&entry(row)).unwrap());
        let made = writer.finish(&key, &[3; 32]).unwrap();
        let open = |key: &Key| Index::open(file.reopen().unwrap(), key).unwrap();
        let read = open(&key).unwrap();
        for index in [&made, &read] {
            assert_eq!((index.rows(), index.texts()), (20_000, &[3; 32]));
            let lengths = index.lengths().unwrap();
            assert_eq!(lengths.len(), 20_000);
            for row in [0, 1, 8191, 8192, 19_999] {
                assert_eq!(lengths[row], entry(row as u64).size);
                assert_eq!(index.entry(row).unwrap(), entry(row as u64));
            }
        }
        assert!(open(&[8; 32]).is_none());
        let mut bytes = std::fs::read(file.path()).unwrap();
        bytes[100] ^= 1;
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(open(&key).is_none());
        bytes[100] ^= 1;
        bytes.truncate(bytes.len() - 1);
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(open(&key).is_none());
        std::fs::write(file.path(), b"").unwrap();
        assert!(open(&key).is_none());
    }
}
