//! Rows of a Parquet file, each as the JSON object that it would be in JSON Lines.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value, json};

use super::{LONGEST_ROW, Line, ReadFault};

pub const MAGIC: &[u8] = b"PAR1";

pub struct Table {
    rows: RowIter<'static>,
    /// Rows that were read.
    number: usize,
    /// Of all columns, not compressed.
    bytes: u64,
    limit: u64,
    /// Bytes that rows may still have.
    left: u64,
}

impl Table {
    /// `limit`: bytes that all rows may have as JSON.
    pub fn open(file: File, limit: u64) -> Result<Self, ReadFault> {
        let reader = guarded(|| SerializedFileReader::new(file))?.map_err(unread)?;
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                if let Compression::BROTLI(_) | Compression::LZO = column.compression() {
                    return Err(ReadFault::Format(format!(
                        "is Parquet whose column `{}` is compressed with {}; snappy, gzip, zstd and lz4 are read",
                        column.column_path().string(),
                        column.compression()
                    )));
                }
            }
        }
        let groups = reader.metadata().row_groups().iter();
        let bytes = groups.map(|group| group.total_byte_size().max(0) as u64);
        let bytes = bytes.fold(0, u64::saturating_add);
        Ok(Self {
            rows: guarded(|| reader.into_iter())?,
            number: 0,
            bytes,
            limit,
            left: limit,
        })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn next(&mut self) -> Result<Option<Line>, ReadFault> {
        let Some(row) = guarded(|| self.rows.next())? else {
            return Ok(None);
        };
        let text = object(&row.map_err(unread)?).to_string().into_bytes();
        self.number += 1;
        let left = self.left.checked_sub(text.len() as u64);
        self.left = left.ok_or(ReadFault::TooLarge { limit: self.limit })?;
        Ok(Some(Line {
            line: self.number,
            offset: 0,
            text: match text.len() > LONGEST_ROW {
                true => Err(format!("has more than {} MiB", LONGEST_ROW >> 20)),
                false => Ok(text),
            },
        }))
    }
}

/// The library panics where pages are not what the file's description says.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, ReadFault> {
    let why = "is Parquet that is damaged, or has a type that is not read";
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| ReadFault::Format(why.to_owned()))
}

fn unread(fault: parquet::errors::ParquetError) -> ReadFault {
    ReadFault::Format(format!(
        "is Parquet that cannot be read: {fault}; write it again, or give JSON Lines or a JSON array"
    ))
}

fn object(row: &Row) -> Value {
    let fields = row.get_column_iter();
    let fields: Map<String, Value> = fields
        .map(|(name, field)| (name.clone(), value(field)))
        .collect();
    fields.into()
}

fn value(field: &Field) -> Value {
    let number = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float16(value) => number(value.to_f64()),
        Field::Float(value) => number(f64::from(*value)),
        Field::Double(value) => number(*value),
        Field::Str(text) => text.as_str().into(),
        // Older writers do not say that texts are texts. What is none must not be trained on as one.
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.into(),
            Err(_) => json!({"binary": bytes.len()}),
        },
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::MapInternal(map) => {
            let entries = map.entries().iter().map(|(key, held)| {
                let key = match value(key) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                (key, value(held))
            });
            Value::Object(entries.collect())
        }
        // Dates, times and decimals: nothing of them is trained on.
        other => other.to_string().into(),
    }
}
