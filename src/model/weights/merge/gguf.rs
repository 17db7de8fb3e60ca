//! A GGUF file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::super::gguf::{Contents, Line, Table, interleaved, layout, metadata_of, stored};
use super::{Merge, Stored, WeightError, Written, failed, format_in_gguf};
use crate::kernels::quant::Format;
use crate::model::spec::{Scaling, Spec};

/// A tensor by its name in checkpoints, or bytes that are copied.
enum What {
    Tensor(String, Vec<usize>),
    Copied(Vec<u8>),
}

pub(super) fn write(merge: &Merge<'_>, path: &Path) -> Result<Written, WeightError> {
    let spec = merge.stored.spec();
    let (table, what) = match merge.stored {
        Stored::Gguf(file) => of_file(merge, file)?,
        Stored::Folder(..) => of_folder(merge)?,
    };
    let failed = failed(path);
    let mut out = BufWriter::new(File::create(path).map_err(&failed)?);
    let head = layout(&table);
    out.write_all(&head).map_err(&failed)?;
    let mut written = Written::default();
    for (what, line) in what.iter().zip(&table.lines) {
        let bytes = match what {
            What::Copied(bytes) => bytes.clone(),
            What::Tensor(name, shape) => {
                let tensor = merge.tensor(name, shape, |_, _| line.format)?;
                written.changed += usize::from(!tensor.folded.is_empty());
                let bytes = tensor.encoded()?.into_owned();
                merge.stored.release(merge.source(name));
                in_order(spec, name, shape, line.format, bytes)
            }
        };
        written.tensors += 1;
        written.bytes += bytes.len() as u64;
        let padding = bytes.len().next_multiple_of(table.alignment) - bytes.len();
        out.write_all(&bytes).map_err(&failed)?;
        out.write_all(&vec![0; padding]).map_err(&failed)?;
    }
    out.flush().map_err(&failed)?;
    out.get_ref().sync_all().map_err(&failed)?;
    Ok(written)
}

/// Rows of q and k in the order of the file.
fn in_order(spec: &Spec, name: &str, shape: &[usize], format: Format, bytes: Vec<u8>) -> Vec<u8> {
    let turned = name.contains(".q_proj.") || name.contains(".k_proj.");
    if !turned || !spec.arch.gguf.paired {
        return bytes;
    }
    let values = if let [_, width] = shape { *width } else { 1 };
    let unit = values / format.block() * format.bytes_of_block();
    interleaved(&bytes, unit, spec.head_dim)
}

fn line(merge: &Merge<'_>, name: &str, shape: &[usize]) -> Result<Line, WeightError> {
    let is_folder = merge.stored.is_folder();
    let tensor = merge.tensor(name, shape, |asked, found| match shape {
        [_, width] => format_in_gguf(name, *width)(asked, found),
        // Norms and biases are f32 in such files.
        _ if is_folder => Format::F32,
        _ => found,
    })?;
    Ok(Line {
        name: stored(name),
        shape: shape.to_vec(),
        format: tensor.format,
    })
}

/// The file again: its metadata to the byte, its tensors in their order.
fn of_file(merge: &Merge<'_>, file: &super::Gguf) -> Result<(Table, Vec<What>), WeightError> {
    let mut expected: BTreeMap<String, (String, Vec<usize>)> = { merge.expected().into_iter() }
        .map(|(name, shape)| (stored(&name), (name, shape)))
        .collect();
    let (mut lines, mut what) = (Vec::new(), Vec::new());
    for (name, own, bytes) in file.table() {
        match expected.remove(&name) {
            Some((path, shape)) => {
                lines.push(line(merge, &path, &shape)?);
                what.push(What::Tensor(path, shape));
            }
            None => {
                let (shape, format) = own;
                lines.push(Line {
                    name,
                    shape,
                    format,
                });
                what.push(What::Copied(bytes.to_vec()));
            }
        }
    }
    // A head that was the embedding.
    for (path, shape) in expected.into_values() {
        lines.push(line(merge, &path, &shape)?);
        what.push(What::Tensor(path, shape));
    }
    // What most of its tensors are, which readers do not need, is another thing now.
    let mut metadata = file.metadata_bytes();
    if merge.format.is_some() {
        metadata.remove("general.file_type");
    }
    let table = Table {
        metadata,
        lines,
        alignment: file.alignment(),
    };
    Ok((table, what))
}

/// As converters write a folder.
fn of_folder(merge: &Merge<'_>) -> Result<(Table, Vec<What>), WeightError> {
    let mut spec = merge.spec();
    let (mut lines, mut what) = (Vec::new(), Vec::new());
    for (name, shape) in merge.expected() {
        lines.push(line(merge, &name, &shape)?);
        what.push(What::Tensor(name, shape));
    }
    // Llama 3's scaling is one number a frequency, which such files have a tensor for.
    if let Scaling::Llama3 { .. } = &spec.rope.scaling {
        let plain = crate::model::spec::Rope {
            theta: spec.rope.theta,
            scaling: Scaling::None,
        };
        let pairs = plain.frequencies(spec.head_dim).into_iter();
        let by = pairs.zip(spec.rope.frequencies(spec.head_dim));
        spec.rope.scaling = Scaling::Divisors(by.map(|(plain, scaled)| plain / scaled).collect());
    }
    if let Scaling::Divisors(by) = &spec.rope.scaling {
        lines.push(Line {
            name: super::super::gguf::DIVISORS.to_owned(),
            shape: vec![by.len()],
            format: Format::F32,
        });
        what.push(What::Copied(
            by.iter().flat_map(|d| d.to_le_bytes()).collect(),
        ));
    }
    let contents = Contents {
        name: merge.name,
        spec: &spec,
        tensors: &BTreeMap::new(),
        tokenizer: merge.tokenizer,
        template: merge.template,
        format: Format::F32,
    };
    let hint = |error: WeightError| {
        let why = error.why + " in a GGUF file; write a folder instead (--format hf)";
        WeightError::new(error.what, why)
    };
    let table = Table {
        metadata: metadata_of(&contents).map_err(hint)?,
        lines,
        alignment: super::super::gguf::ALIGNMENT,
    };
    Ok((table, what))
}
