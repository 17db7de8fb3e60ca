//! The container: metadata and a table of tensors, over the bytes of a file.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::WeightError;
use crate::kernels::quant::Format;

pub(super) const MAGIC: &[u8] = b"GGUF";
pub(in crate::model::weights) const ALIGNMENT: usize = 32;
const MOST_DIMENSIONS: u32 = 4;

/// A metadata value. Numbers keep no width: nothing depends on it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

/// One tensor: dimensions outermost first, as tensors are written elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    pub shape: Vec<usize>,
    pub format: Format,
    /// Which file has it, of a model that is split over several.
    pub piece: usize,
    /// Where its bytes are in the file.
    pub bytes: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Container {
    pub metadata: BTreeMap<String, Value>,
    /// Where type and value of each key are in the file; nowhere in files whose lengths are of 32 bits.
    pub values: BTreeMap<String, Range<usize>>,
    pub tensors: BTreeMap<String, Info>,
    pub alignment: usize,
}

impl Container {
    pub fn parse(bytes: &[u8]) -> Result<Self, WeightError> {
        let mut reader = Reader {
            bytes,
            at: 0,
            wide: true,
        };
        if reader.take(4)? != MAGIC {
            return Err(reader.wrong("does not begin as a GGUF file"));
        }
        match reader.u32()? {
            1 => reader.wide = false,
            2 | 3 => {}
            other => return Err(reader.wrong(format!("has version {other}; known: 1, 2, 3"))),
        }
        // An entry takes at least a name's length, a type and a byte, or as much again for a tensor.
        let tensors = reader.count(20)?;
        let entries = reader.count(9)?;
        let (mut metadata, mut values) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..entries {
            let key = reader.text()?;
            let start = reader.at;
            let kind = reader.u32()?;
            let value = reader
                .value(kind)
                .map_err(|e| WeightError::new(format!("GGUF metadata {key}"), e.why))?;
            if reader.wide {
                values.insert(key.clone(), start..reader.at);
            }
            if metadata.insert(key.clone(), value).is_some() {
                return Err(WeightError::new(
                    format!("GGUF metadata {key}"),
                    "is there twice",
                ));
            }
        }
        let mut table = Vec::new();
        for _ in 0..tensors {
            table.push(reader.tensor()?);
        }
        let alignment = match metadata.get("general.alignment") {
            None => ALIGNMENT,
            Some(Value::Int(n)) if (1..=1 << 20).contains(n) && (*n as usize).is_power_of_two() => {
                *n as usize
            }
            Some(_) => {
                return Err(WeightError::new(
                    "GGUF metadata general.alignment",
                    "is not a power of two",
                ));
            }
        };
        let start = reader.at.next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for Entry {
            name,
            shape,
            format,
            offset,
            size,
        } in table
        {
            let inside = start
                .checked_add(offset)
                .and_then(|from| Some(from..from.checked_add(size)?));
            let Some(range) = inside.filter(|range| range.end <= bytes.len()) else {
                return Err(WeightError::new(
                    name,
                    format!("needs {size} bytes at {offset}, beyond the end of the file"),
                ));
            };
            if tensors
                .insert(
                    name.clone(),
                    Info {
                        shape,
                        format,
                        piece: 0,
                        bytes: range,
                    },
                )
                .is_some()
            {
                return Err(WeightError::new(name, "is there twice"));
            }
        }
        Ok(Self {
            metadata,
            values,
            tensors,
            alignment,
        })
    }
}

/// A row of the table of tensors; offset and size in bytes, from the start of the data.
struct Entry {
    name: String,
    shape: Vec<usize>,
    format: Format,
    offset: usize,
    size: usize,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Lengths are 64 bits wide since version 2.
    wide: bool,
}

impl<'a> Reader<'a> {
    fn wrong(&self, why: impl Into<String>) -> WeightError {
        WeightError::new("GGUF file", why)
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], WeightError> {
        if n > self.left() {
            return Err(self.wrong(format!(
                "is cut short: {n} bytes wanted at {}, {} are left",
                self.at,
                self.left()
            )));
        }
        self.at += n;
        Ok(&self.bytes[self.at - n..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, WeightError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WeightError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things that take at least `each` bytes, so never more than the file can hold.
    fn count(&mut self, each: usize) -> Result<usize, WeightError> {
        let n = if self.wide {
            self.u64()?
        } else {
            u64::from(self.u32()?)
        };
        match usize::try_from(n).ok().filter(|n| {
            n.checked_mul(each)
                .is_some_and(|bytes| bytes <= self.left())
        }) {
            Some(n) => Ok(n),
            None => Err(self.wrong(format!(
                "is cut short: {n} entries wanted at {}, {} bytes are left",
                self.at,
                self.left()
            ))),
        }
    }

    fn text(&mut self) -> Result<String, WeightError> {
        let length = self.count(1)?;
        let bytes = self.take(length)?;
        // Vocabularies of byte pieces hold strings that are not UTF-8 in some files; nothing else may.
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn bool(&mut self) -> Result<bool, WeightError> {
        match self.take(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.wrong(format!("has {other} for a boolean"))),
        }
    }

    /// A whole number of type `kind`.
    fn int(&mut self, kind: u32) -> Result<i128, WeightError> {
        Ok(match kind {
            0 => self.array().map(u8::from_le_bytes)?.into(),
            1 => self.array().map(i8::from_le_bytes)?.into(),
            2 => self.array().map(u16::from_le_bytes)?.into(),
            3 => self.array().map(i16::from_le_bytes)?.into(),
            4 => self.u32()?.into(),
            5 => self.array().map(i32::from_le_bytes)?.into(),
            10 => self.u64()?.into(),
            11 => self.array().map(i64::from_le_bytes)?.into(),
            other => return Err(self.wrong(format!("has unknown value type {other}"))),
        })
    }

    fn float(&mut self, kind: u32) -> Result<f64, WeightError> {
        match kind {
            6 => Ok(self.array().map(f32::from_le_bytes)?.into()),
            _ => self.array().map(f64::from_le_bytes),
        }
    }

    fn value(&mut self, kind: u32) -> Result<Value, WeightError> {
        Ok(match kind {
            6 | 12 => Value::Float(self.float(kind)?),
            7 => Value::Bool(self.bool()?),
            8 => Value::Text(self.text()?),
            9 => {
                let kind = self.u32()?;
                let least = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    8 if !self.wide => 4,
                    8 | 10..=12 => 8,
                    other => {
                        return Err(self.wrong(format!("has an array of unknown type {other}")));
                    }
                };
                let length = self.count(least)?;
                match kind {
                    6 | 12 => Value::Floats(
                        (0..length)
                            .map(|_| Ok(self.float(kind)? as f32))
                            .collect::<Result<_, _>>()?,
                    ),
                    7 => Value::Bools((0..length).map(|_| self.bool()).collect::<Result<_, _>>()?),
                    8 => Value::Texts((0..length).map(|_| self.text()).collect::<Result<_, _>>()?),
                    _ => Value::Ints(
                        (0..length)
                            .map(|_| {
                                i64::try_from(self.int(kind)?)
                                    .map_err(|_| self.wrong("has a number too large"))
                            })
                            .collect::<Result<_, _>>()?,
                    ),
                }
            }
            _ => Value::Int(self.int(kind)?),
        })
    }

    fn tensor(&mut self) -> Result<Entry, WeightError> {
        let name = self.text()?;
        let wrong = |why: String| WeightError::new(&name, why);
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MOST_DIMENSIONS {
            return Err(wrong(format!("has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let n = if self.wide {
                self.u64()?
            } else {
                self.u32()?.into()
            };
            shape.push(usize::try_from(n).map_err(|_| wrong(format!("has dimension {n}")))?);
        }
        let code = self.u32()?;
        let format = Format::from_code(code)
            .ok_or_else(|| wrong(format!("has type {code}, which is not supported")))?;
        let offset = usize::try_from(self.u64()?)
            .map_err(|_| wrong("lies beyond the end of the file".into()))?;
        let values = shape
            .iter()
            .try_fold(1usize, |product, n| product.checked_mul(*n));
        let blocks = values
            .filter(|_| shape[0].is_multiple_of(format.block()))
            .map(|n| n / format.block());
        let Some(size) = blocks.and_then(|blocks| blocks.checked_mul(format.bytes_of_block()))
        else {
            return Err(wrong(format!(
                "has shape {shape:?}, which type {format} cannot hold"
            )));
        };
        shape.reverse();
        Ok(Entry {
            name,
            shape,
            format,
            offset,
            size,
        })
    }
}
