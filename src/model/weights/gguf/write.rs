//! Writing GGUF files as llama.cpp lays them out.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::Value as Json;

use super::super::names;
use super::file::{ALIGNMENT, MAGIC, Value};
use super::source::{interleaved, stored};
use super::vocabulary::WHOLE;
use crate::device::Array;
use crate::kernels::quant::{self, Format};
use crate::model::spec::{Scaling, Spec};
use crate::model::weights::WeightError;
use crate::text::vocabulary::{Kind, scheme_of};
use crate::text::{ChatTemplate, Tokenizer};

/// What goes into a file.
pub struct Contents<'a> {
    pub name: &'a str,
    pub spec: &'a Spec,
    /// By the names of Hugging Face checkpoints; matrices [outputs, inputs], vectors [1, n].
    pub tensors: &'a BTreeMap<String, Array>,
    /// Byte-level.
    pub tokenizer: &'a Tokenizer,
    pub template: &'a ChatTemplate,
    /// Of the matrices; norms and biases stay f32. Rows that do not fit take the next finer format.
    pub format: Format,
}

/// Writes beside `path` first, so that a file of that name is always whole.
pub fn write(path: &Path, contents: &Contents<'_>) -> Result<(), WeightError> {
    let metadata = metadata_of(contents)?;
    let mut tensors = Vec::new();
    for (name, shape) in names::expected(contents.spec) {
        tensors.push(encode(contents, &name, &shape)?);
    }
    if let Scaling::Divisors(by) = &contents.spec.rope.scaling {
        let bytes = by.iter().flat_map(|d| d.to_le_bytes()).collect();
        let line = Line {
            name: super::header::DIVISORS.to_owned(),
            shape: vec![by.len()],
            format: Format::F32,
        };
        tensors.push((line, bytes));
    }
    let (lines, bytes): (Vec<Line>, Vec<Vec<u8>>) = tensors.into_iter().unzip();
    let table = Table {
        metadata,
        lines,
        alignment: ALIGNMENT,
    };
    let failed = |e: std::io::Error| WeightError::new(path.display().to_string(), e.to_string());
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut beside = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut out = BufWriter::new(beside.as_file_mut());
    out.write_all(&layout(&table)).map_err(failed)?;
    for bytes in bytes {
        let padding = bytes.len().next_multiple_of(ALIGNMENT) - bytes.len();
        out.write_all(&bytes).map_err(failed)?;
        out.write_all(&[0; ALIGNMENT][..padding]).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    beside.as_file().sync_all().map_err(failed)?;
    beside.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn encode(
    contents: &Contents<'_>,
    name: &str,
    shape: &[usize],
) -> Result<(Line, Vec<u8>), WeightError> {
    let tensor = contents
        .tensors
        .get(name)
        .ok_or_else(|| WeightError::new(name, "is missing"))?;
    let dims = match shape {
        [len] => (1, *len),
        [rows, width] => (*rows, *width),
        _ => (0, 0),
    };
    if tensor.dims() != dims {
        let why = format!("has shape {:?}, not {shape:?}", tensor.dims());
        return Err(WeightError::new(name, why));
    }
    let (format, unit) = match shape {
        &[_, width] => {
            let format = contents.format.fitting(width).unwrap_or(Format::F32);
            (format, width / format.block() * format.bytes_of_block())
        }
        _ => (Format::F32, Format::F32.bytes_of_block()),
    };
    let mut bytes = quant::encode(tensor.values().to_vec(), tensor.width(), format)
        .map_err(|e| WeightError::new(name, e.to_string()))?;
    let turned = name.contains(".q_proj.") || name.contains(".k_proj.");
    if turned && contents.spec.arch.gguf.paired {
        bytes = interleaved(&bytes, unit, contents.spec.head_dim);
    }
    let line = Line {
        name: stored(name),
        shape: shape.to_vec(),
        format,
    };
    Ok((line, bytes))
}

fn metadata(contents: &Contents<'_>) -> Result<BTreeMap<String, Value>, WeightError> {
    let spec = contents.spec;
    let arch = spec.arch.gguf.name;
    let int = |n: usize| Value::Int(n as i128);
    let mut all = BTreeMap::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("general.architecture", Value::Text(arch.to_owned()));
    put("general.name", Value::Text(contents.name.to_owned()));
    put("general.type", Value::Text("model".to_owned()));
    put("general.quantization_version", int(2));
    for (key, value) in [
        ("context_length", int(spec.context)),
        ("embedding_length", int(spec.hidden)),
        ("block_count", int(spec.layers)),
        ("feed_forward_length", int(spec.intermediate)),
        ("attention.head_count", int(spec.heads)),
        ("attention.head_count_kv", int(spec.kv_heads)),
        ("attention.key_length", int(spec.head_dim)),
        ("attention.value_length", int(spec.head_dim)),
        (
            "attention.layer_norm_rms_epsilon",
            Value::Float(spec.norm_eps),
        ),
        ("rope.dimension_count", int(spec.head_dim)),
        ("rope.freq_base", Value::Float(spec.rope.theta)),
        ("vocab_size", int(spec.vocab)),
    ] {
        put(&format!("{arch}.{key}"), value);
    }
    match &spec.rope.scaling {
        Scaling::None | Scaling::Divisors(_) => {}
        Scaling::Linear { factor } => {
            put(
                &format!("{arch}.rope.scaling.type"),
                Value::Text("linear".to_owned()),
            );
            put(
                &format!("{arch}.rope.scaling.factor"),
                Value::Float(*factor),
            );
            // A reader multiplies what this key says; without it, it would multiply the stated length once more.
            put(
                &format!("{arch}.rope.scaling.original_context_length"),
                int(((spec.context as f64 / factor) as usize).max(1)),
            );
        }
        Scaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_context,
            attention_factor,
            truncate: true,
        } => {
            // Readers multiply their own factor by the one in the file.
            let own = if *factor > 1.0 {
                0.1 * factor.ln() + 1.0
            } else {
                1.0
            };
            for (key, value) in [
                ("type", Value::Text("yarn".to_owned())),
                ("factor", Value::Float(*factor)),
                ("original_context_length", int(*original_context)),
                ("attn_factor", Value::Float(attention_factor / own)),
                ("yarn_beta_fast", Value::Float(*beta_fast)),
                ("yarn_beta_slow", Value::Float(*beta_slow)),
            ] {
                put(&format!("{arch}.rope.scaling.{key}"), value);
            }
        }
        Scaling::Yarn { .. } => {
            return Err(WeightError::new(
                "rope",
                "yarn without truncation has no key",
            ));
        }
        Scaling::Llama3 { .. } | Scaling::Dynamic { .. } | Scaling::LongRope { .. } => {
            return Err(WeightError::new("rope", "scaling of its type has no key"));
        }
    }
    match spec.windows.first().copied().flatten() {
        None if spec.windows.iter().all(Option::is_none) => {}
        Some(window)
            if spec.arch.gguf.one_window && spec.windows.iter().all(|w| *w == Some(window)) =>
        {
            put(&format!("{arch}.attention.sliding_window"), int(window));
        }
        _ => {
            let why = "that differs between layers has no key";
            return Err(WeightError::new("sliding_window", why));
        }
    }
    vocabulary(contents, &mut all)?;
    Ok(all)
}

/// Pieces, kinds and merges for other readers, and the whole definition where no name of a splitting scheme says it all.
fn vocabulary(
    contents: &Contents<'_>,
    all: &mut BTreeMap<String, Value>,
) -> Result<(), WeightError> {
    let wrong = |why: String| WeightError::new("tokenizer", why);
    let text = contents
        .tokenizer
        .to_json()
        .map_err(|e| wrong(e.to_string()))?;
    let json: Json = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let model = &json["model"];
    if model["type"] != "BPE" || model["byte_fallback"] == true {
        return Err(wrong("only a byte-level BPE can be written".into()));
    }
    // Rows of the embedding beyond the vocabulary have to have a name.
    let size = contents.spec.vocab.max(contents.tokenizer.vocab_size());
    let mut tokens: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![Kind::Unused; size];
    let mut set = |id: Option<u64>, token: &str, kind: Kind| {
        if let Some(id) = id.filter(|id| (*id as usize) < size) {
            tokens[id as usize] = token.to_owned();
            kinds[id as usize] = kind;
        }
    };
    for (token, id) in model["vocab"].as_object().into_iter().flatten() {
        set(id.as_u64(), token, Kind::Normal);
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true {
            Kind::Control
        } else {
            Kind::UserDefined
        };
        set(
            added["id"].as_u64(),
            added["content"].as_str().unwrap_or_default(),
            kind,
        );
    }
    let merges = model["merges"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|merge| match merge {
            Json::String(pair) => pair.clone(),
            pair => format!(
                "{} {}",
                pair[0].as_str().unwrap_or_default(),
                pair[1].as_str().unwrap_or_default()
            ),
        });
    let scheme = scheme(&json);
    let ids = contents.tokenizer;
    let mut put = |key: &str, value: Value| all.insert(format!("tokenizer.ggml.{key}"), value);
    put("model", Value::Text("gpt2".to_owned()));
    put("pre", Value::Text(scheme.unwrap_or("default").to_owned()));
    put("merges", Value::Texts(merges.collect()));
    put(
        "token_type",
        Value::Ints(kinds.iter().map(|kind| *kind as i64).collect()),
    );
    put("tokens", Value::Texts(tokens));
    let begins = ids.bos().filter(|bos| {
        ids.encode("", true)
            .is_ok_and(|framed| framed.first() == Some(bos))
    });
    put("add_bos_token", Value::Bool(begins.is_some()));
    let named = |name: &str| {
        ids.specials()
            .named
            .get(name)
            .and_then(|token| ids.id(token))
    };
    let ends = named("eos_token").or(ids.eos().first().copied());
    let mut others = { ids.specials().eos_ids.iter().copied() }.filter(|id| Some(*id) != ends);
    for (key, id) in [
        ("bos_token_id", ids.bos()),
        ("eos_token_id", ends),
        ("eot_token_id", others.next()),
        ("eom_token_id", others.next()),
        ("padding_token_id", named("pad_token")),
        ("unknown_token_id", named("unk_token")),
    ] {
        if let Some(id) = id {
            put(key, Value::Int(id.into()));
        }
    }
    if scheme.is_none() {
        all.insert(WHOLE.to_owned(), Value::Text(text));
    }
    all.insert(
        "tokenizer.chat_template".to_owned(),
        Value::Text(contents.template.source().to_owned()),
    );
    if let Some(source) = contents.template.tool_use_source() {
        let key = "tokenizer.chat_template.tool_use".to_owned();
        all.insert(key, Value::Text(source.to_owned()));
    }
    Ok(())
}

/// The name of the splitting scheme, if the tokenizer is one that a name describes completely.
fn scheme(json: &Json) -> Option<&'static str> {
    if !json["normalizer"].is_null() || json["model"]["ignore_merges"] == true {
        return None;
    }
    let pre = &json["pre_tokenizer"];
    match pre["pretokenizers"].as_array() {
        None if pre["type"] == "ByteLevel"
            && pre["use_regex"] == true
            && pre["add_prefix_space"] == false =>
        {
            Some("gpt-2")
        }
        Some(steps) if steps.len() == 2 && steps[1]["use_regex"] == false => {
            scheme_of(steps[0]["pattern"]["Regex"].as_str()?)
        }
        _ => None,
    }
}

/// All of a file but the bytes of its tensors.
pub(in crate::model::weights) struct Table {
    /// By key: the type and the value, as files hold them.
    pub metadata: BTreeMap<String, Vec<u8>>,
    pub lines: Vec<Line>,
    pub alignment: usize,
}

/// One tensor; its shape is outermost first.
pub(in crate::model::weights) struct Line {
    pub name: String,
    pub shape: Vec<usize>,
    pub format: Format,
}

/// What stands before the tensors, which follow in their order, each padded to the alignment.
pub(in crate::model::weights) fn layout(table: &Table) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((table.lines.len() as u64).to_le_bytes());
    head.extend((table.metadata.len() as u64).to_le_bytes());
    for (key, value) in &table.metadata {
        text(&mut head, key);
        head.extend(value);
    }
    let mut offset = 0usize;
    for line in &table.lines {
        text(&mut head, &line.name);
        head.extend((line.shape.len() as u32).to_le_bytes());
        for n in line.shape.iter().rev() {
            head.extend((*n as u64).to_le_bytes());
        }
        head.extend(line.format.code().to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        let values: usize = line.shape.iter().product();
        let bytes = values / line.format.block() * line.format.bytes_of_block();
        offset = (offset + bytes).next_multiple_of(table.alignment);
    }
    head.resize(head.len().next_multiple_of(table.alignment), 0);
    head
}

/// The metadata of a file with these contents.
pub(in crate::model::weights) fn metadata_of(
    contents: &Contents<'_>,
) -> Result<BTreeMap<String, Vec<u8>>, WeightError> {
    let all = metadata(contents)?.into_iter();
    Ok(all.map(|(key, value)| (key, value_bytes(&value))).collect())
}

pub(super) fn value_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    self::value(&mut bytes, value);
    bytes
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Numbers in the widths other readers expect: u32, f32, i32.
fn value(out: &mut Vec<u8>, value: &Value) {
    let mut list = |kind: u32, length: usize| {
        out.extend(9u32.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend((length as u64).to_le_bytes());
    };
    match value {
        Value::Int(n) => {
            out.extend(4u32.to_le_bytes());
            out.extend((*n as u32).to_le_bytes());
        }
        Value::Float(f) => {
            out.extend(6u32.to_le_bytes());
            out.extend((*f as f32).to_le_bytes());
        }
        Value::Bool(on) => {
            out.extend(7u32.to_le_bytes());
            out.push(u8::from(*on));
        }
        Value::Text(s) => {
            out.extend(8u32.to_le_bytes());
            text(out, s);
        }
        Value::Ints(items) => {
            list(5, items.len());
            items
                .iter()
                .for_each(|n| out.extend((*n as i32).to_le_bytes()));
        }
        Value::Floats(items) => {
            list(6, items.len());
            items.iter().for_each(|f| out.extend(f.to_le_bytes()));
        }
        Value::Bools(items) => {
            list(7, items.len());
            items.iter().for_each(|on| out.push(u8::from(*on)));
        }
        Value::Texts(items) => {
            list(8, items.len());
            items.iter().for_each(|s| text(out, s));
        }
    }
}
