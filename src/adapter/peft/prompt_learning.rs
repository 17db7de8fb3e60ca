//! Folders of virtual tokens, as PEFT's prefix-tuning and prompt-tuning write them: one tensor, `prompt_embeddings`, with a
//! row for each virtual token.
//!
//! A prefix that was trained through a projection is stored as what the projection made of it. What made it lies beside,
//! under the names of PEFT's `PrefixEncoder`, in a file that PEFT does not read.

use serde_json::{Value, json};

use super::config::ConfigFile;
use super::lora::{check_types, refuse_keys};
use super::writer::Writer;
use super::{ENCODER_FILE, Files, Tensors, WEIGHTS_FILE};
use crate::adapter::{AdapterFault, BaseShape};
use crate::device::{Array, Result};
use crate::kernels::segmented::Matrix;

/// The tensor with a row for each virtual token.
pub const PROMPT_EMBEDDINGS: &str = "prompt_embeddings";

/// For the root mean square of the rows. Trained ones begin around 1.
const MOST: f64 = 1e4;

/// What a prefix was made by: V·last + bias for V = tanh(E·first + bias) and one row of E a virtual token.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// [tokens, key width]
    pub embedding: Array,
    /// [hidden, key width], [1, hidden]
    pub first: [Array; 2],
    /// [layers · 2 · key width, hidden], [1, layers · 2 · key width]: for each layer what makes its keys, then its values.
    pub last: [Array; 2],
}

/// Names of an encoder's tensors, in the order of its fields.
pub const ENCODER_NAMES: [&str; 5] = [
    "embedding.weight",
    "transform.0.weight",
    "transform.0.bias",
    "transform.2.weight",
    "transform.2.bias",
];

/// A prefix: what it takes to train it further.
#[derive(Debug, Clone)]
pub struct PrefixResume {
    /// [tokens, layers · 2 · key width]: of each layer its keys, then its values.
    pub embeddings: Array,
    pub encoder: Option<Encoder>,
}

/// A prompt: what it takes to train it further.
#[derive(Debug, Clone)]
pub struct PromptResume {
    /// [tokens, hidden]
    pub embeddings: Array,
    /// The text it began with.
    pub text: Option<String>,
}

/// Keys of both that say how an adapter was made.
const HARMLESS: [&str; 5] = [
    "num_virtual_tokens",
    "token_dim",
    "num_transformer_submodules",
    "num_attention_heads",
    "num_layers",
];
const OF_PREFIX: [&str; 3] = ["encoder_hidden_size", "prefix_projection", "init_weights"];
const OF_PROMPT: [&str; 4] = [
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "tokenizer_name_or_path",
    "tokenizer_kwargs",
];
const OWN: [(&str, &str); 1] = [(
    "modules_to_save",
    "is not supported: whole modules cannot be replaced",
)];

/// The rows of a prefix for a base of this shape, and whether a projection made them.
pub fn parse_prefix(
    file: &ConfigFile,
    weights: &Tensors<'_>,
    base: BaseShape,
) -> std::result::Result<(Array, bool), AdapterFault> {
    check_keys(file, &OF_PREFIX)?;
    file.count("encoder_hidden_size")?;
    file.text("init_weights")?;
    let projected = file.flag("prefix_projection")?;
    let layers = "the base has so many layers";
    must_be(file, "num_layers", base.layers, layers)?;
    let heads = "the base has so many heads of keys";
    must_be(file, "num_attention_heads", base.key_heads, heads)?;
    let width = "a token has so many numbers in the keys of one layer of the base";
    must_be(file, "token_dim", base.key_width, width)?;
    let width = 2 * base.layers * base.key_width;
    let rows = embeddings(file, weights, width, base.context)?;
    Ok((rows, projected))
}

/// The rows of a prompt for a base of this shape, and the text they began with.
pub fn parse_prompt(
    file: &ConfigFile,
    weights: &Tensors<'_>,
    base: BaseShape,
) -> std::result::Result<(Array, Option<String>), AdapterFault> {
    check_keys(file, &OF_PROMPT)?;
    let known = ["RANDOM", "TEXT", "SAMPLE_VOCAB"];
    let init = file.text("prompt_tuning_init")?;
    if let Some(name) = init.filter(|name| !known.contains(name)) {
        let why = format!("`{name}` is none of {}", known.join(", "));
        return Err(AdapterFault::new("prompt_tuning_init", why));
    }
    file.text("tokenizer_name_or_path")?;
    let text = file.text("prompt_tuning_init_text")?;
    let width = "the base's embeddings have so many numbers";
    must_be(file, "token_dim", base.hidden, width)?;
    let rows = embeddings(file, weights, base.hidden, base.context)?;
    let text = text.filter(|_| init == Some("TEXT"));
    Ok((rows, text.map(str::to_owned)))
}

fn check_keys(file: &ConfigFile, own: &[&str]) -> std::result::Result<(), AdapterFault> {
    refuse_keys(file, &[&HARMLESS[..], own].concat(), &OWN)?;
    check_types(file)?;
    let decoder = "a decoder has one";
    must_be(file, "num_transformer_submodules", 1, decoder)
}

/// What the file leaves out, PEFT takes from the base.
fn must_be(
    file: &ConfigFile,
    key: &str,
    wanted: usize,
    why: &str,
) -> std::result::Result<(), AdapterFault> {
    match file.count(key)? {
        Some(found) if found != wanted => Err(AdapterFault::new(
            key,
            format!("is {found} and must be {wanted}: {why}"),
        )),
        _ => Ok(()),
    }
}

/// `prompt_embeddings` [tokens, width], and nothing else in the file.
fn embeddings(
    file: &ConfigFile,
    weights: &Tensors<'_>,
    width: usize,
    context: usize,
) -> std::result::Result<Array, AdapterFault> {
    const TOKENS: &str = "num_virtual_tokens";
    let missing = || AdapterFault::new(TOKENS, "is missing");
    let tokens = file.count(TOKENS)?.ok_or_else(missing)?;
    if tokens == 0 {
        return Err(AdapterFault::new(TOKENS, "is 0; at least 1 is served"));
    }
    if context > 0 && tokens >= context {
        let why = format!("is {tokens}; they and a prompt have {context} tokens together here");
        return Err(AdapterFault::new(TOKENS, why));
    }
    let others = weights.names().into_iter();
    if let Some(name) = others.filter(|name| *name != PROMPT_EMBEDDINGS).min() {
        let why = "is no part of an adapter of virtual tokens";
        return Err(AdapterFault::new(name, why));
    }
    if let Some([found, of]) = weights.shape(PROMPT_EMBEDDINGS).as_deref()
        && (*of, *found != tokens) == (width, true)
    {
        let why = format!("is {tokens}, but {PROMPT_EMBEDDINGS} has {found} rows");
        return Err(AdapterFault::new(TOKENS, why));
    }
    let stored = weights.matrix(PROMPT_EMBEDDINGS, [tokens, width]);
    let missing = || AdapterFault::new(PROMPT_EMBEDDINGS, "is missing");
    let stored = stored.ok_or_else(missing)??;
    bounded(PROMPT_EMBEDDINGS, &stored)?;
    array(PROMPT_EMBEDDINGS, &stored, (tokens, width))
}

fn bounded(name: &str, stored: &Matrix<'_>) -> std::result::Result<(), AdapterFault> {
    let size = stored.root_mean_square();
    if size > MOST {
        let why = format!("has numbers of {size:.3e}; up to {MOST:e} is served");
        return Err(AdapterFault::new(name, why));
    }
    Ok(())
}

fn array(
    name: &str,
    stored: &Matrix<'_>,
    dims: (usize, usize),
) -> std::result::Result<Array, AdapterFault> {
    Array::new(stored.to_f32(), dims).map_err(|error| AdapterFault::new(name, error.to_string()))
}

impl Encoder {
    /// Of a prefix of so many tokens.
    pub fn parse(
        weights: &Tensors<'_>,
        tokens: usize,
        base: BaseShape,
    ) -> std::result::Result<Self, AdapterFault> {
        let of_file = |name: &str| format!("{ENCODER_FILE}/{name}");
        let unknown = |name: &&str| !ENCODER_NAMES.contains(name);
        if let Some(name) = weights.names().into_iter().filter(unknown).min() {
            return Err(AdapterFault::new(of_file(name), "is no part of an encoder"));
        }
        let [embedding, first, first_bias, last, last_bias] = ENCODER_NAMES;
        let hidden = match weights.shape(first).as_deref() {
            Some([hidden, _]) => *hidden,
            _ => 0,
        };
        let (width, all) = (base.key_width, 2 * base.layers * base.key_width);
        let read = |name: &str, dims: (usize, usize), is_vector: bool| {
            let stored = match is_vector {
                true => weights.vector(name, dims.1),
                false => weights.matrix(name, [dims.0, dims.1]),
            };
            let named = |fault: AdapterFault| AdapterFault::new(of_file(name), fault.why);
            let missing = || AdapterFault::new(of_file(name), "is missing");
            let stored = stored.ok_or_else(missing)?.map_err(named)?;
            array(name, &stored, dims).map_err(named)
        };
        Ok(Self {
            embedding: read(embedding, (tokens, width), false)?,
            first: [
                read(first, (hidden, width), false)?,
                read(first_bias, (1, hidden), true)?,
            ],
            last: [
                read(last, (all, hidden), false)?,
                read(last_bias, (1, all), true)?,
            ],
        })
    }

    fn tensors(&self) -> [(&'static str, &Array); 5] {
        let Self {
            embedding,
            first: [first, first_bias],
            last: [last, last_bias],
        } = self;
        let arrays = [embedding, first, first_bias, last, last_bias];
        std::array::from_fn(|at| (ENCODER_NAMES[at], arrays[at]))
    }
}

/// The files of a prefix; those of an encoder beside it where one made it. The same values give the same bytes.
pub fn prefix_files(base_name: &str, base: BaseShape, prefix: &PrefixResume) -> Result<Files> {
    let mut config = common("PREFIX_TUNING", base_name, base, &prefix.embeddings);
    config["token_dim"] = json!(base.key_width);
    config["num_attention_heads"] = json!(base.key_heads);
    let hidden = prefix.encoder.as_ref();
    let hidden = hidden.map_or(base.key_width, |encoder| encoder.first[0].rows());
    config["encoder_hidden_size"] = json!(hidden);
    config["prefix_projection"] = json!(prefix.encoder.is_some());
    config["init_weights"] = Value::Null;
    let mut files = folder(&config, &prefix.embeddings)?;
    if let Some(encoder) = &prefix.encoder {
        files.insert(ENCODER_FILE.to_owned(), tensors(&encoder.tensors())?.into());
    }
    Ok(files)
}

/// The files of a prompt. The same values give the same bytes.
pub fn prompt_files(base_name: &str, base: BaseShape, prompt: &PromptResume) -> Result<Files> {
    let mut config = common("PROMPT_TUNING", base_name, base, &prompt.embeddings);
    config["token_dim"] = json!(base.hidden);
    config["num_attention_heads"] = json!(base.heads);
    let from_text = prompt.text.is_some();
    config["prompt_tuning_init"] = json!(if from_text { "TEXT" } else { "RANDOM" });
    config["prompt_tuning_init_text"] = json!(prompt.text);
    // PEFT wants it beside a text, and reads it only to begin anew.
    config["tokenizer_name_or_path"] = match from_text {
        true => json!(base_name),
        false => Value::Null,
    };
    config["tokenizer_kwargs"] = Value::Null;
    folder(&config, &prompt.embeddings)
}

/// The keys of PEFT's `PromptLearningConfig`.
fn common(kind: &str, base_name: &str, base: BaseShape, embeddings: &Array) -> Value {
    json!({
        "task_type": "CAUSAL_LM",
        "peft_type": kind,
        "auto_mapping": null,
        "peft_version": null,
        "base_model_name_or_path": base_name,
        "revision": null,
        "inference_mode": true,
        "num_virtual_tokens": embeddings.rows(),
        "num_transformer_submodules": 1,
        "num_layers": base.layers,
        "modules_to_save": null,
    })
}

fn folder(config: &Value, embeddings: &Array) -> Result<Files> {
    let mut writer = Writer::default();
    writer.matrix(PROMPT_EMBEDDINGS, embeddings);
    writer.folder(config, WEIGHTS_FILE)
}

/// Arrays of one row are stored as vectors where they are biases.
fn tensors(arrays: &[(&str, &Array)]) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    for (name, array) in arrays {
        match name.ends_with(".bias") {
            true => writer.vector(*name, array),
            false => writer.matrix(*name, array),
        }
    }
    writer.bytes()
}
