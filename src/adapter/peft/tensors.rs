//! `adapter_model.safetensors` as named, checked arrays. Nothing is taken on trust: the header is bounded, other
//! formats are recognised by their first bytes, no name comes twice, and every number is finite and of a sane size.

use std::collections::HashSet;
use std::fmt;

use safetensors::{Dtype, SafeTensors};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::adapter::AdapterFault;
use crate::domain::lfs_pointer;
use crate::kernels::pool;
use crate::kernels::segmented::Matrix;

/// The header of an adapter for 200 layers has some 500 kB.
const MAX_HEADER: u64 = 8 << 20;
/// The largest magnitude of f16, in which adapters are commonly kept: a trained one comes nowhere near it.
const MAX_MAGNITUDE: f32 = 65504.0;

/// The tensors of one file.
pub struct Tensors<'a> {
    file: SafeTensors<'a>,
}

impl<'a> Tensors<'a> {
    /// `name` is the file that errors name.
    pub fn parse(name: &str, bytes: &'a [u8]) -> Result<Self, AdapterFault> {
        let fault = |why: String| AdapterFault::new(name, why);
        if let Some(why) = lfs_pointer(bytes) {
            return Err(fault(why.to_owned()));
        }
        if let Some(format) = foreign_format(bytes) {
            return Err(fault(format!("is {format}; only safetensors is read")));
        }
        let Some(length) = bytes
            .first_chunk::<8>()
            .map(|length| u64::from_le_bytes(*length))
        else {
            return Err(fault(format!(
                "is cut off: {} bytes cannot hold a header",
                bytes.len()
            )));
        };
        if length > MAX_HEADER {
            return Err(fault(format!(
                "claims a header of {length} bytes; at most {MAX_HEADER} are read"
            )));
        }
        if length + 8 > bytes.len() as u64 {
            return Err(fault(format!(
                "is cut off: a header of {length} bytes in a file of {}",
                bytes.len()
            )));
        }
        let header = &bytes[8..8 + length as usize];
        serde_json::from_slice::<DistinctNames>(header)
            .map_err(|error| fault(format!("has no valid header: {error}")))?;
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| fault(format!("is not valid safetensors: {error}")))?;
        Ok(Self { file })
    }

    pub fn names(&self) -> Vec<&str> {
        self.file.names().into_iter().collect()
    }

    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.file.tensor(name).ok()?.shape().to_vec())
    }

    /// As [`matrix`](Self::matrix), for a tensor of one dimension.
    pub fn vector(&self, name: &str, len: usize) -> Option<Result<Matrix<'a>, AdapterFault>> {
        self.numbers(name, &[len])
    }

    /// A matrix of exactly `shape`, all numbers within ±65504, as it was stored. `None` where the file has no such tensor.
    pub fn matrix(
        &self,
        name: &str,
        shape: [usize; 2],
    ) -> Option<Result<Matrix<'a>, AdapterFault>> {
        self.numbers(name, &shape)
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Option<Result<Matrix<'a>, AdapterFault>> {
        let view = self.file.tensor(name).ok()?;
        let fault = |why: String| AdapterFault::new(name, why);
        if view.shape() != shape {
            return Some(Err(fault(format!(
                "has shape {:?} where this base and the configuration need {shape:?}",
                view.shape()
            ))));
        }
        let data = view.data();
        let matrix = match view.dtype() {
            Dtype::F32 => Matrix::F32(data.as_chunks().0),
            Dtype::F16 => Matrix::F16(data.as_chunks().0),
            Dtype::BF16 => Matrix::Bf16(data.as_chunks().0),
            other => {
                return Some(Err(fault(format!(
                    "has type {other:?}; F32, F16 and BF16 are read"
                ))));
            }
        };
        pool::give_way();
        Some(check_numbers(name, &matrix, shape).map(|()| matrix))
    }
}

/// Whether all numbers of a tensor are within ±65504.
pub fn check_numbers(name: &str, matrix: &Matrix<'_>, shape: &[usize]) -> Result<(), AdapterFault> {
    let Some((at, number)) = matrix.first_beyond(MAX_MAGNITUDE) else {
        return Ok(());
    };
    let place = match shape {
        [_, width] => format!("{}, {}", at / width.max(&1), at % width.max(&1)),
        _ => at.to_string(),
    };
    let why = format!("has {number:e} at [{place}]; numbers up to ±{MAX_MAGNITUDE} are served");
    Err(AdapterFault::new(name, why))
}

/// A header in which every tensor is named once. Of two tensors of one name, readers differ in which they take.
struct DistinctNames;

impl<'de> Deserialize<'de> for DistinctNames {
    fn deserialize<D: Deserializer<'de>>(header: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = DistinctNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctNames, A::Error> {
                let mut seen = HashSet::new();
                while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if let Some(twice) = seen.replace(name) {
                        return Err(A::Error::custom(format!("`{twice}` is named twice")));
                    }
                }
                Ok(DistinctNames)
            }
        }
        header.deserialize_map(Names)
    }
}

/// What a file is that is not safetensors, by its first bytes.
fn foreign_format(bytes: &[u8]) -> Option<&'static str> {
    // A safetensors file has its JSON header at byte 8, whatever its length field looks like.
    if bytes.get(8) == Some(&b'{') {
        return None;
    }
    let known: [(&[u8], &str); 6] = [
        (
            b"PK\x03\x04",
            "a zip archive, as PyTorch writes for pickled weights",
        ),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
        (b"GGUF", "a GGUF file"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x93NUMPY", "a NumPy file"),
    ];
    match bytes {
        [0x80, 0..=5, ..] => Some("a Python pickle"),
        _ => known
            .iter()
            .find(|(magic, _)| bytes.starts_with(magic))
            .map(|(_, name)| *name),
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            data,
        ]
        .concat()
    }

    fn refusal(bytes: &[u8]) -> AdapterFault {
        Tensors::parse("adapter_model.safetensors", bytes)
            .err()
            .expect("the file should be refused")
    }

    fn one(dtype: &str, data: &[u8]) -> Vec<u8> {
        let header = format!(
            r#"{{"t":{{"dtype":"{dtype}","shape":[1,2],"data_offsets":[0,{}]}}}}"#,
            data.len()
        );
        file(&header, data)
    }

    #[test]
    fn other_formats_are_recognised_by_their_first_bytes() {
        for (bytes, word) in [
            (&b"\x80\x02}q\x00(X\x01\x00\x00\x00"[..], "pickle"),
            (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00", "pickle"),
            (b"PK\x03\x04\x00\x00\x08\x08\x00\x00", "zip"),
            (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "gzip"),
            (b"GGUF\x03\x00\x00\x00\x00\x00", "GGUF"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
                "git lfs pull",
            ),
        ] {
            assert!(refusal(bytes).why.contains(word), "{word}");
        }
    }

    #[test]
    fn a_header_length_that_looks_like_a_pickle_is_still_a_header_length() {
        let long = format!(
            r#"{{"__metadata__":{{"pad":"{}"}}}}"#,
            "x".repeat(0x280 - 27)
        );
        let bytes = file(&long, &[]);
        assert_eq!(bytes[..2], [0x80, 0x02]);
        assert!(Tensors::parse("f", &bytes).is_ok());
    }

    #[test]
    fn damaged_files_are_refused_whole() {
        let good = one("F32", &[0; 8]);
        assert!(Tensors::parse("f", &good).is_ok());
        for cut in 0..good.len() {
            refusal(&good[..cut]);
        }
        refusal(&[&good[..], b"x"].concat());
        refusal(&file(
            r#"{"t":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}"#,
            &[0; 12],
        ));
        refusal(&file(
            r#"{"t":{"dtype":"F32","shape":[9,9],"data_offsets":[0,8]}}"#,
            &[0; 8],
        ));
        refusal(&file(
            r#"{"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#,
            &[0; 8],
        ));
        refusal(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat());
        refusal(&[&(1u64 << 40).to_le_bytes()[..], b"{}"].concat());
        refusal(&file("not json", &[]));
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        let one = r#""t":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}"#;
        assert!(Tensors::parse("f", &file(&format!("{{{one}}}"), &[0; 8])).is_ok());
        let fault = refusal(&file(&format!("{{{one},{one}}}"), &[0; 8]));
        assert!(fault.why.contains("`t` is named twice"), "{fault}");
    }

    #[test]
    fn numbers_that_are_not_finite_or_absurd_are_named_with_their_place() {
        for (dtype, bytes) in [
            (
                "F32",
                [&1f32.to_le_bytes()[..], &(-3e38f32).to_le_bytes()].concat(),
            ),
            (
                "F32",
                [&1f32.to_le_bytes()[..], &f32::NAN.to_le_bytes()].concat(),
            ),
            (
                "F16",
                [&f16::ONE.to_le_bytes()[..], &f16::INFINITY.to_le_bytes()].concat(),
            ),
            (
                "BF16",
                [
                    &bf16::ONE.to_le_bytes()[..],
                    &bf16::NEG_INFINITY.to_le_bytes(),
                ]
                .concat(),
            ),
        ] {
            let bytes = one(dtype, &bytes);
            let fault = Tensors::parse("f", &bytes)
                .unwrap()
                .matrix("t", [1, 2])
                .unwrap()
                .unwrap_err();
            assert_eq!(fault.field, "t");
            assert!(fault.why.contains("[0, 1]"), "{fault}");
        }
    }

    #[test]
    fn only_floats_of_up_to_32_bits_are_read() {
        for (dtype, size) in [("F64", 16), ("I32", 8), ("I8", 2), ("F8_E4M3", 2)] {
            let bytes = one(dtype, &vec![0; size]);
            let fault = Tensors::parse("f", &bytes)
                .unwrap()
                .matrix("t", [1, 2])
                .unwrap()
                .unwrap_err();
            assert!(fault.why.contains("type"), "{fault}");
        }
        let bytes = one("F32", &[0; 8]);
        assert!(
            Tensors::parse("f", &bytes)
                .unwrap()
                .matrix("t", [2, 1])
                .unwrap()
                .is_err()
        );
        assert!(
            Tensors::parse("f", &bytes)
                .unwrap()
                .matrix("absent", [1, 2])
                .is_none()
        );
    }
}
