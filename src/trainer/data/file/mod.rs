//! A training file as a stream of rows, whatever its format: JSON Lines or one JSON array, either of them compressed with
//! gzip, or Parquet. The first bytes tell which; names do not count. In memory is one row and a buffer, however large the
//! file.

mod gzip;
mod table;
mod text;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

use self::gzip::Unpacked;
use self::table::Table;
use self::text::Text;
use super::record::Record;
use super::rows::{self, Row};
use crate::domain::{BadRow, Reason};
use crate::kernels::pool;

/// Bytes of one row at most, as its file writes it.
pub const LONGEST_ROW: usize = 16 << 20;
/// Bytes that are looked at to tell formats.
const HEAD: usize = 512;

/// A row as its file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1: the line it starts on; of a Parquet file, its number.
    pub line: usize,
    /// Where its text begins in a file that is neither compressed nor Parquet.
    pub offset: u64,
    /// One JSON value, or why there is none.
    pub text: Result<Vec<u8>, String>,
}

impl Line {
    /// What is written there.
    ///
    /// # Errors
    /// That it is no JSON, or has a key twice.
    pub fn value(&self) -> Result<Value, BadRow> {
        let text = self.text.as_deref().map_err(Clone::clone);
        text.and_then(rows::read).map_err(|why| self.bad(why))
    }

    /// The row, and the names of its keys that are not used.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(&self) -> Result<(Row, BTreeSet<String>), BadRow> {
        self.row(self.value()?)
    }

    /// The row that a value written there is, likewise.
    pub(super) fn row(&self, value: Value) -> Result<(Row, BTreeSet<String>), BadRow> {
        let line = self.line;
        let (record, unused) = Record::read(value).map_err(|why| self.bad(why))?;
        Ok((Row { line, record }, unused))
    }

    fn bad(&self, why: String) -> BadRow {
        let line = self.line;
        BadRow { line, why }
    }

    /// Bytes of its text.
    pub fn len(&self) -> usize {
        self.text.as_ref().map_or(0, Vec::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes of text that are made something of at a time: serving may go first between two.
const TILE: usize = 8 << 10;

/// Makes something of each few rows, in parallel; in their order, each with the rows it was made of.
pub fn in_tiles<T: Send + Sync>(
    lines: &[Line],
    make: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<(T, Range<usize>)> {
    let tiles = tiles(lines);
    let slots: Vec<OnceLock<T>> = tiles.iter().map(|_| OnceLock::new()).collect();
    pool::for_each(tiles.len(), |at| {
        // Each tile runs once.
        let _ = slots[at].set(make(tiles[at].clone()));
    });
    let made = slots.into_iter().filter_map(OnceLock::into_inner);
    made.zip(tiles).collect()
}

/// Runs works that do not touch, on as many threads as are free.
pub fn side_by_side<const N: usize>(works: [&mut (dyn FnMut() + Send); N]) {
    let works = works.map(Mutex::new);
    pool::for_each(N, |at| {
        let mut work = works[at].lock().unwrap_or_else(PoisonError::into_inner);
        work();
    });
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

/// Why a file cannot be read on. What single rows lack is told with them.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// The file is not what it says it is, or a kind that is not read.
    #[error("{0}")]
    Format(String),
    #[error("unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

impl ReadFault {
    /// As a refusal of the field that named the file.
    pub fn refusal(self, field: &str) -> Reason {
        match self {
            Self::Io(error) => Reason::Storage(format!("reading the {field}: {}", error.kind())),
            told => Reason::field(field, told.to_string()),
        }
    }
}

impl From<io::Error> for ReadFault {
    /// Faults that are found below a reader come back through it.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(fault) => fault,
            Err(error) => Self::Io(error),
        }
    }
}

impl From<ReadFault> for io::Error {
    fn from(fault: ReadFault) -> Self {
        Self::other(fault)
    }
}

/// The rows of a file, in its order. Ends after its first error.
pub struct RowReader {
    rows: Rows,
    spools: bool,
    unpacks_to: Option<u64>,
    ended: bool,
}

enum Rows {
    Text(Box<Text>),
    Table(Box<Table>),
}

impl RowReader {
    /// `unpacked`: bytes that a compressed file may unpack to.
    pub fn open(path: &Path, unpacked: u64) -> Result<Self, ReadFault> {
        let mut file = File::open(path)?;
        let head = head(&mut file)?;
        if head.starts_with(table::MAGIC) {
            let table = Table::open(file, unpacked)?;
            let unpacks_to = Some(table.bytes());
            return Ok(Self {
                unpacks_to,
                ..Self::of(Rows::Table(table.into()), true)
            });
        }
        let unpacks_to = match head.starts_with(gzip::MAGIC) {
            true => gzip::unpacks_to(&mut file)?,
            false => None,
        };
        file.seek(SeekFrom::Start(0))?;
        let reader = Self::text(Box::new(file), &head, unpacked)?;
        Ok(Self {
            unpacks_to,
            ..reader
        })
    }

    /// Of a file in memory, which is no Parquet.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, ReadFault> {
        let head = &bytes[..bytes.len().min(HEAD)];
        Self::text(Box::new(io::Cursor::new(bytes.to_vec())), head, u64::MAX)
    }

    fn text(file: Box<dyn Read + Send>, head: &[u8], unpacked: u64) -> Result<Self, ReadFault> {
        let packed = head.starts_with(gzip::MAGIC);
        let (file, inner) = match packed {
            false => (file, head.to_vec()),
            true => {
                let mut unpacked: Box<dyn Read + Send> = Box::new(Unpacked::new(file, unpacked));
                let inner = self::head(&mut unpacked)?;
                let whole = io::Cursor::new(inner.clone()).chain(unpacked);
                (Box::new(whole) as Box<dyn Read + Send>, inner)
            }
        };
        if let Some(what) = foreign(&inner) {
            let around = if packed { " within gzip" } else { "" };
            return Err(ReadFault::Format(format!(
                "is {what}{around}; give JSON Lines, a JSON array (either as it is or compressed with gzip) or Parquet"
            )));
        }
        Ok(Self::of(Rows::Text(Text::new(file, &inner).into()), packed))
    }

    fn of(rows: Rows, spools: bool) -> Self {
        Self {
            rows,
            spools,
            unpacks_to: None,
            ended: false,
        }
    }

    /// Whether rows can be found again only where their texts are written down, since the file is compressed.
    pub fn spools(&self) -> bool {
        self.spools
    }

    /// About how many bytes of rows there are, where a compressed file tells.
    pub fn unpacks_to(&self) -> Option<u64> {
        self.unpacks_to
    }

    /// The next rows, of about so many bytes together; none at the end.
    pub fn block(&mut self, bytes: usize) -> Result<Vec<Line>, ReadFault> {
        let (mut lines, mut read) = (Vec::new(), 0);
        while read < bytes
            && let Some(line) = self.next().transpose()?
        {
            read += line.len() + 1;
            lines.push(line);
        }
        Ok(lines)
    }
}

impl Iterator for RowReader {
    type Item = Result<Line, ReadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match &mut self.rows {
            Rows::Text(text) => text.next().map_err(ReadFault::from),
            Rows::Table(table) => table.next(),
        };
        let next = next.transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The first bytes of a file.
fn head(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What a file is that is neither JSON nor read here.
fn foreign(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 11] = [
        (b"PK\x03\x04", "a zip archive"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"BZh", "compressed with bzip2"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"\x04\x22\x4d\x18", "compressed with lz4"),
        (gzip::MAGIC, "compressed with gzip"),
        (table::MAGIC, "Parquet"),
        (b"ARROW1", "an Arrow file"),
        (b"\xff\xfe", "UTF-16 text, not UTF-8"),
        (b"\xfe\xff", "UTF-16 text, not UTF-8"),
        (b"%PDF", "a PDF"),
    ];
    // The gzip of a plain file has been taken off by now.
    let known = KNOWN.iter().find(|(magic, _)| head.starts_with(magic));
    let is_tar = head.get(257..262) == Some(b"ustar");
    known
        .map(|(_, what)| *what)
        .or(is_tar.then_some("a tar archive"))
}

#[cfg(test)]
mod tests;
