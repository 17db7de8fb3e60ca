//! Moments in a file instead of memory, read and written some at a time. The file is scratch: what outlives the process is
//! the checkpoint.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::moments::{CHUNK, Form, Moment, Moments, Which};
use super::{Piece, Scalars};
use crate::kernels::pool;

/// Numbers of a moment that are in memory at a time.
const SPAN: usize = 64 * CHUNK;
/// Bytes that are copied at a time.
const SLICE: usize = 256 << 10;

pub struct MomentFile {
    file: File,
    path: PathBuf,
    /// Of each parameter.
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    form: Form,
    len: usize,
    /// Of the first moment's numbers or codes; its scales come after them, and then the second moment alike.
    start: u64,
}

impl Place {
    /// Where that begins from number `first` on, the first of a block.
    fn at(&self, which: Which, scales: bool, first: usize) -> u64 {
        let [main, beside] = self.form.bytes(self.len).map(|bytes| bytes as u64);
        let before = self.form.bytes(first).map(|bytes| bytes as u64);
        let start = match which {
            Which::First => self.start,
            Which::Second => self.start + main + beside,
        };
        match scales {
            false => start + before[0],
            true => start + main + before[1],
        }
    }
}

impl MomentFile {
    /// A new file with the moments of parameters before the first update, all of it written: a disk that is full is found
    /// now and not in the middle of an update.
    pub fn create(path: &Path, shapes: &[(Form, usize)]) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let (mut places, mut start) = (Vec::new(), 0);
        for &(form, len) in shapes {
            places.push(Place { form, len, start });
            let bytes: usize = form.bytes(len).into_iter().sum();
            start += 2 * bytes as u64;
        }
        let mut made = Self {
            file: options.open(path)?,
            path: path.to_owned(),
            places,
        };
        made.restart()?;
        made.file.sync_all()?;
        Ok(made)
    }

    pub fn shapes(&self) -> impl Iterator<Item = (Form, usize)> {
        self.places.iter().map(|place| (place.form, place.len))
    }

    /// Back to before the first update.
    pub fn restart(&mut self) -> io::Result<()> {
        for place in &self.places {
            for first in (0..place.len).step_by(SPAN) {
                let len = SPAN.min(place.len - first);
                self.put(*place, first, &Moments::zero(place.form, len))?;
            }
        }
        Ok(())
    }

    /// One update of a parameter's values.
    ///
    /// # Errors
    /// As the disk fails; some of the values have changed then, and go on only from a checkpoint.
    pub fn update(
        &mut self,
        parameter: usize,
        values: &mut [f32],
        gradient: &[f32],
        scalars: &Scalars,
    ) -> io::Result<()> {
        let place = self.places[parameter];
        let spans = values.chunks_mut(SPAN).zip(gradient.chunks(SPAN));
        for (span, (values, gradient)) in spans.enumerate() {
            let first = span * SPAN;
            let mut moments = Moments::zero(place.form, values.len());
            for which in Which::BOTH {
                for scales in [false, true] {
                    let mut from = self.from(place.at(which, scales, first));
                    moments.get_mut(which).read(scales, &mut from)?;
                }
            }
            moments.update(values, gradient, scalars);
            self.put(place, first, &moments)?;
        }
        Ok(())
    }

    fn put(&self, place: Place, first: usize, moments: &Moments) -> io::Result<()> {
        for which in Which::BOTH {
            for scales in [false, true] {
                let mut to = self.from(place.at(which, scales, first));
                moments.get(which).write(scales, &mut to)?;
            }
        }
        Ok(())
    }

    /// Writes a piece to `out`.
    pub fn write(&self, piece: Piece, out: &mut dyn Write) -> io::Result<()> {
        let place = self.places[piece.parameter];
        let bytes = place.form.bytes(place.len)[usize::from(piece.scales)];
        let from = self.from(place.at(piece.which, piece.scales, 0));
        copy(&mut from.take(bytes as u64), out, bytes)
    }

    /// Takes a piece of a moment in memory.
    pub fn take(&mut self, piece: Piece, moment: &Moment) -> io::Result<()> {
        let place = self.places[piece.parameter];
        moment.write(
            piece.scales,
            &mut self.from(place.at(piece.which, piece.scales, 0)),
        )
    }

    /// Takes a piece that [`write`](Self::write) wrote.
    pub fn read(&mut self, piece: Piece, from: &mut dyn Read) -> io::Result<()> {
        let place = self.places[piece.parameter];
        let bytes = place.form.bytes(place.len)[usize::from(piece.scales)];
        let mut to = self.from(place.at(piece.which, piece.scales, 0));
        copy(from, &mut to, bytes)
    }

    fn from(&self, at: u64) -> At<'_> {
        At {
            file: &self.file,
            at,
        }
    }
}

impl Drop for MomentFile {
    fn drop(&mut self) {
        // What stays behind goes with the job's folder.
        drop(std::fs::remove_file(&self.path));
    }
}

/// A place in a file, to read or write from there on.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn copy(from: &mut dyn Read, to: &mut dyn Write, bytes: usize) -> io::Result<()> {
    let mut slice = vec![0; SLICE.min(bytes)];
    let mut left = bytes;
    while left > 0 {
        let some = &mut slice[..SLICE.min(left)];
        from.read_exact(some)?;
        to.write_all(some)?;
        left -= some.len();
        pool::give_way();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::optimizer::Settings;

    #[test]
    fn what_is_in_a_file_learns_as_what_is_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("moments");
        let shapes = [
            (Form::Full, 9),
            (Form::Blocks, SPAN + 300),
            (Form::Full, SPAN + 1),
        ];
        let mut file = MomentFile::create(&path, &shapes).unwrap();
        let bytes = shapes.iter().flat_map(|(form, len)| form.bytes(*len));
        assert_eq!(
            path.metadata().unwrap().len(),
            2 * bytes.sum::<usize>() as u64
        );
        let mut memory = shapes.map(|(form, len)| Moments::zero(form, len));
        let mut values = shapes.map(|(_, len)| [vec![0.5; len], vec![0.5; len]]);
        for step in 1..=3 {
            let scalars = Scalars::at(&Settings::default(), step, 0.1);
            for (at, ((_, len), [one, other])) in shapes.iter().zip(&mut values).enumerate() {
                let slope = |i: usize| (i as f32 * 0.37 + step as f32).sin();
                let gradient: Vec<f32> = (0..*len).map(slope).collect();
                file.update(at, one, &gradient, &scalars).unwrap();
                memory[at].update(other, &gradient, &scalars);
                assert!(one == other);
            }
        }
        // Through another file and back into memory.
        let other = folder.path().join("other");
        let mut again = MomentFile::create(&other, &shapes).unwrap();
        for piece in Piece::all(&shapes) {
            let mut written = Vec::new();
            file.write(piece, &mut written).unwrap();
            again.read(piece, &mut &written[..]).unwrap();
            let mut expected = Vec::new();
            let moment = memory[piece.parameter].get(piece.which);
            moment.write(piece.scales, &mut expected).unwrap();
            assert!(written == expected, "{piece:?}");
            let mut written = Vec::new();
            again.write(piece, &mut written).unwrap();
            assert!(written == expected, "{piece:?}");
        }
        again.restart().unwrap();
        let mut zero = Vec::new();
        let piece = Piece::all(&shapes).next().unwrap();
        again.write(piece, &mut zero).unwrap();
        assert_eq!(zero, [0; 36]);
        drop((file, again));
        assert!(!path.exists() && !other.exists());
    }
}
