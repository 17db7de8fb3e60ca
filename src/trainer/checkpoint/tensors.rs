//! The tensors of a checkpoint: a safetensors file that is written and read tensor by tensor, so that neither takes memory
//! of its size.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Take, Write};

use serde::{Deserialize, Serialize};

use crate::device::Array;
use crate::trainer::methods::Trainable;
use crate::trainer::optimizer::{AdamW, Form, Piece, Which, read_numbers, write_numbers};

/// What a checkpoint holds, in the order of the trainable ones.
pub struct Tensors<'a> {
    pub names: &'a [String],
    pub values: &'a [Array],
    pub optimizer: &'a AdamW,
}

/// Of what a job trains: what a checkpoint must hold to be continued.
#[derive(Clone, Copy)]
pub struct Shapes<'a> {
    pub names: &'a [String],
    /// Of the moments, and the number of values.
    pub of: &'a [(Form, usize)],
}

/// A tensor in a file's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Bytes of a header at most: a name and its place take about a hundred.
const LONGEST_HEADER: u64 = 100 << 20;

/// One tensor: the values of a parameter, or a piece of the optimizer's state.
#[derive(Clone, Copy)]
enum Part {
    Values(usize),
    Piece(Piece),
}

impl Part {
    /// Those that are f32 come first, so that each begins at a multiple of its width.
    fn all(shapes: &[(Form, usize)]) -> Vec<Self> {
        let values = (0..shapes.len()).map(Self::Values);
        let mut all: Vec<Self> = values.chain(Piece::all(shapes).map(Self::Piece)).collect();
        all.sort_by_key(|part| part.dtype(shapes) != "F32");
        all
    }

    fn name(self, names: &[String]) -> String {
        match self {
            Self::Values(parameter) => format!("{}.value", names[parameter]),
            Self::Piece(Piece {
                parameter,
                which,
                scales,
            }) => {
                let name = &names[parameter];
                let which = match which {
                    Which::First => "first_moment",
                    Which::Second => "second_moment",
                };
                match scales {
                    false => format!("{name}.{which}"),
                    true => format!("{name}.{which}_scales"),
                }
            }
        }
    }

    fn dtype(self, shapes: &[(Form, usize)]) -> &'static str {
        match self {
            Self::Piece(piece) if !piece.scales && shapes[piece.parameter].0 == Form::Blocks => {
                "U8"
            }
            _ => "F32",
        }
    }

    fn bytes(self, shapes: &[(Form, usize)]) -> u64 {
        let bytes = match self {
            Self::Values(parameter) => 4 * shapes[parameter].1,
            Self::Piece(piece) => {
                let (form, len) = shapes[piece.parameter];
                form.bytes(len)[usize::from(piece.scales)]
            }
        };
        bytes as u64
    }

    fn entry(self, shapes: &[(Form, usize)], start: u64) -> Entry {
        let (dtype, bytes) = (self.dtype(shapes), self.bytes(shapes));
        Entry {
            dtype: dtype.to_owned(),
            shape: vec![if dtype == "F32" { bytes / 4 } else { bytes }],
            data_offsets: [start, start + bytes],
        }
    }
}

impl Tensors<'_> {
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let shapes = self.optimizer.shapes();
        let parts = Part::all(&shapes);
        let (mut header, mut start) = (BTreeMap::new(), 0);
        for part in &parts {
            header.insert(part.name(self.names), part.entry(&shapes, start));
            start += part.bytes(&shapes);
        }
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for part in parts {
            match part {
                Part::Values(at) => write_numbers(out, self.values[at].values())?,
                Part::Piece(piece) => self.optimizer.write(piece, out)?,
            }
        }
        Ok(())
    }
}

/// The tensors of a checkpoint that was verified, to be read.
pub struct Stored {
    file: File,
    /// Where the first tensor begins.
    data: u64,
    entries: BTreeMap<String, Entry>,
}

impl Stored {
    /// Of a file that holds what `shapes` says.
    ///
    /// # Errors
    /// What it lacks.
    pub fn open(mut file: File, shapes: Shapes<'_>) -> Result<Self, String> {
        let said = |fault: io::Error| fault.to_string();
        file.seek(SeekFrom::Start(0)).map_err(said)?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(said)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            return Err(format!("a header of {length} bytes"));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(said)?;
        let entries: BTreeMap<String, Entry> =
            serde_json::from_slice(&header).map_err(|fault| fault.to_string())?;
        let stored = Self {
            file,
            data: 8 + length,
            entries,
        };
        for part in Part::all(shapes.of) {
            let name = part.name(shapes.names);
            let wanted = part.entry(shapes.of, 0);
            let found = stored.entries.get(&name);
            let is_alike = found.is_some_and(|found| {
                let [start, end] = found.data_offsets;
                (&found.dtype, &found.shape) == (&wanted.dtype, &wanted.shape)
                    && end.checked_sub(start) == Some(wanted.data_offsets[1])
            });
            if !is_alike {
                let count = wanted.shape[0];
                return Err(format!("{name} is not {count} numbers of {}", wanted.dtype));
            }
        }
        Ok(stored)
    }

    fn reader(&mut self, name: &str) -> io::Result<Take<&File>> {
        let missing = || io::Error::other(format!("a checkpoint without {name}"));
        let [start, end] = self.entries.get(name).ok_or_else(missing)?.data_offsets;
        let start = self.data + start;
        self.file.seek(SeekFrom::Start(start))?;
        Ok((&self.file).take(self.data + end - start))
    }

    /// Gives what is trained the values that are stored.
    pub fn set(&mut self, trainable: &dyn Trainable) -> io::Result<()> {
        for (name, parameter) in trainable.parameters() {
            let mut from = self.reader(&format!("{name}.value"))?;
            let mut outcome = Ok(());
            parameter.update(|values| outcome = read_numbers(&mut from, values));
            outcome?;
        }
        Ok(())
    }

    /// Gives an optimizer the state after so many updates that is stored.
    pub fn restore(
        &mut self,
        optimizer: &mut AdamW,
        names: &[String],
        updates: u64,
    ) -> io::Result<()> {
        optimizer.take(updates, |piece| self.piece(names, piece))
    }

    fn piece(&mut self, names: &[String], piece: Piece) -> io::Result<Take<File>> {
        let name = Part::Piece(piece).name(names);
        let from = self.reader(&name)?;
        let limit = from.limit();
        // The same place of the same file, for as long as no other piece is asked for.
        Ok(self.file.try_clone()?.take(limit))
    }

    /// The values of a parameter.
    #[cfg(test)]
    pub fn values(&mut self, name: &str) -> Vec<f32> {
        let mut from = self.reader(&format!("{name}.value")).unwrap();
        let mut values = vec![0.0; (from.limit() / 4) as usize];
        read_numbers(&mut from, &mut values).unwrap();
        values
    }
}
