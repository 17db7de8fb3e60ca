//! Files compressed with gzip, of one member or several, up to a number of bytes.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;

use super::ReadFault;

pub const MAGIC: &[u8] = b"\x1f\x8b";

/// What a file unpacks to.
pub struct Unpacked<R> {
    decoder: MultiGzDecoder<R>,
    limit: u64,
    left: u64,
}

impl<R: Read> Unpacked<R> {
    pub fn new(file: R, limit: u64) -> Self {
        Self {
            decoder: MultiGzDecoder::new(file),
            limit,
            left: limit,
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(into).map_err(told)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(ReadFault::TooLarge { limit: self.limit }.into()),
        }
        Ok(read)
    }
}

/// What a file says at its end that its last member unpacks to; `None` where that is certainly not all. The number has 32
/// bits, so it says nothing of large files.
pub fn unpacks_to(file: &mut File) -> io::Result<Option<u64>> {
    let packed = file.metadata()?.len();
    if !(18..1 << 30).contains(&packed) {
        return Ok(None);
    }
    let mut size = [0; 4];
    file.seek(SeekFrom::End(-4))?;
    file.read_exact(&mut size)?;
    let size = u64::from(u32::from_le_bytes(size));
    // Deflate packs a thousandfold at most; what a damaged file says is found out otherwise.
    Ok((packed..packed * 1032).contains(&size).then_some(size))
}

fn told(error: io::Error) -> io::Error {
    let why = match error.kind() {
        // The disk's own.
        _ if error.raw_os_error().is_some() => return error,
        ErrorKind::Interrupted => return error,
        ErrorKind::UnexpectedEof => "is cut off: its gzip data ends before what it holds does",
        _ => "is no sound gzip data, or was damaged on its way",
    };
    ReadFault::Format(why.to_owned()).into()
}
