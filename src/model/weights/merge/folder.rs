//! A Hugging Face folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Merge, Stored, WeightError, Written, config, failed};
use crate::kernels::quant::Format;

/// Tensors of one file: name, shape, format.
type Shard = Vec<(String, Vec<usize>, Format)>;

/// What folders hold beside weights and what begins with `config`: whatever has one of these endings, …
const COPIED: [&str; 4] = [".json", ".jinja", ".txt", ".model"];
/// … and these.
const NOTICES: [&str; 3] = ["LICENSE", "NOTICE", "USE_POLICY.md"];

pub(super) fn write(merge: &Merge<'_>, dir: &Path, most: u64) -> Result<Written, WeightError> {
    let shards = shards(merge, most)?;
    let mut written = Written::default();
    let mut places = Map::new();
    for (at, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
        };
        write_shard(merge, &dir.join(&name), shard, &mut written)?;
        places.extend(
            shard
                .iter()
                .map(|(tensor, ..)| (tensor.clone(), json!(name))),
        );
    }
    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": written.bytes}, "weight_map": places});
        write_json(&dir.join("model.safetensors.index.json"), &index)?;
    }
    // What most of the weights are.
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, shape, format) in shards.iter().flatten() {
        *sizes.entry(torch_name(*format)).or_default() += shape.iter().product::<usize>();
    }
    let usual = sizes.into_iter().max_by_key(|(_, size)| *size);
    let dtype = usual.map_or("float32", |(name, _)| name);
    match merge.stored {
        Stored::Folder(from, _) => copy(merge, from, dir, dtype)?,
        Stored::Gguf(_) => config::describe(merge, dir, dtype)?,
    }
    Ok(written)
}

fn bytes_of(shape: &[usize], format: Format) -> u64 {
    (shape.iter().product::<usize>() * format.bytes_of_block()) as u64
}

fn shards(merge: &Merge<'_>, most: u64) -> Result<Vec<Shard>, WeightError> {
    let (mut shards, mut bytes) = (vec![Shard::new()], 0);
    for (path, shape) in merge.expected() {
        let tensor = merge.tensor(&path, &shape, format)?;
        let format = tensor.format;
        let size = bytes_of(&shape, format);
        if bytes > 0 && bytes + size > most {
            shards.push(Shard::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(shard) = shards.last_mut() {
            shard.push((path, shape, format));
        }
    }
    Ok(shards)
}

/// Only plain numbers; blocks of codes become f16 unless something else is asked for.
fn format(asked: Option<Format>, stored: Format) -> Format {
    match asked {
        Some(format) => format,
        None if stored.is_dense() => stored,
        None => Format::F16,
    }
}

fn names(format: Format) -> (&'static str, &'static str) {
    match format {
        Format::F16 => ("F16", "float16"),
        Format::Bf16 => ("BF16", "bfloat16"),
        _ => ("F32", "float32"),
    }
}

fn torch_name(format: Format) -> &'static str {
    names(format).1
}

fn write_shard(
    merge: &Merge<'_>,
    path: &Path,
    shard: &Shard,
    written: &mut Written,
) -> Result<(), WeightError> {
    let failed = failed(path);
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut end = 0;
    for (name, shape, format) in shard {
        let start = end;
        end += bytes_of(shape, *format);
        let entry =
            json!({"dtype": names(*format).0, "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let file = File::create(path).map_err(&failed)?;
    let mut out = BufWriter::new(file);
    let length = (header.len() as u64).to_le_bytes();
    out.write_all(&length).map_err(&failed)?;
    out.write_all(&header).map_err(&failed)?;
    for (name, shape, _) in shard {
        let tensor = merge.tensor(name, shape, format)?;
        let bytes = tensor.encoded()?;
        out.write_all(&bytes).map_err(&failed)?;
        written.tensors += 1;
        written.changed += usize::from(!tensor.folded.is_empty());
        written.bytes += bytes.len() as u64;
        drop(bytes);
        merge.stored.release(merge.source(name));
    }
    out.flush().map_err(&failed)?;
    out.get_ref().sync_all().map_err(&failed)
}

/// All of a folder but its weights; its configuration says what they are now.
fn copy(merge: &Merge<'_>, from: &Path, dir: &Path, dtype: &str) -> Result<(), WeightError> {
    let listing = fs::read_dir(from).map_err(failed(from))?;
    for entry in listing {
        let entry = entry.map_err(failed(from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str().filter(|_| path.is_file()) else {
            continue;
        };
        let wanted = COPIED.iter().any(|end| name.ends_with(end)) || NOTICES.contains(&name);
        if !wanted || name == "config.json" || name.ends_with(".index.json") {
            continue;
        }
        let copied = dir.join(name);
        fs::copy(&path, &copied).map_err(failed(&path))?;
        let synced = File::open(&copied).and_then(|file| file.sync_all());
        synced.map_err(failed(&copied))?;
    }
    let path = from.join("config.json");
    let text = fs::read(&path).map_err(failed(&path))?;
    let parsed = serde_json::from_slice(&text);
    let mut config: Map<String, Value> =
        parsed.map_err(|error| WeightError::new("config.json", error.to_string()))?;
    let older = config.contains_key("torch_dtype");
    let key = if older { "torch_dtype" } else { "dtype" };
    config.insert(key.to_owned(), json!(dtype));
    if merge.stored.spec().tied && merge.fold.unties() {
        config.insert("tie_word_embeddings".to_owned(), json!(false));
    }
    write_json(&dir.join("config.json"), &Value::Object(config))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), WeightError> {
    write_text(path, &format!("{value:#}\n"))
}

/// There after a power failure, too.
pub(super) fn write_text(path: &Path, text: &str) -> Result<(), WeightError> {
    let failed = failed(path);
    let mut file = File::create(path).map_err(&failed)?;
    file.write_all(text.as_bytes()).map_err(&failed)?;
    file.sync_all().map_err(&failed)
}
