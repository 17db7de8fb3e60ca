//! PEFT's `adapter_config.json`, and that of AdapterHub's library: what is trained, and of which shape.
//!
//! The folders that are served are read by the `adapter` layer, which wants a whole configuration and weights to it. Here
//! any part of one is a wish; a test ties the two readings.

mod hub;

use serde_json::{Value, json};

use super::table::Fate::{Cases, Differs, Here, Made, Refused, Sets, Setting};
use super::table::Kind::{Any, Flag, List, Number, Text, TextOrList, Whole};
use super::table::{At, Block, Format, Outcome, Row};

pub(super) const FORMAT: Format = Format {
    name: "peft_config",
    title: "PEFT's adapter configuration",
    about: "An adapter_config.json of PEFT or AdapterHub's library: the method and its shape are as it says, and each of its keys is told",
    blocks: &[
        Block {
            at: &[""],
            rows: ALL,
        },
        Block {
            at: &[""],
            rows: LORA,
        },
        Block {
            at: &[""],
            rows: OTHERS,
        },
        Block {
            at: &[""],
            rows: hub::OUTER,
        },
        Block {
            at: &["config", ""],
            rows: hub::BOTTLENECK,
        },
    ],
};

const SERVED: &str = "is served, and not trained; take it out";
const OTHER_BEGINNING: &str = "another beginning is not built; take it out";

const ALL: &[Row] = &[
    Row::new(&["peft_type"], Text, Made("`method`: `LORA` (`dora` with `use_dora`), `IA3`, `PREFIX_TUNING`, `PROMPT_TUNING`, `DENSE`; others **refused**", method)),
    Row::new(&["task_type"], Text, Cases(&[
        (&["CAUSAL_LM"], Here("the next token is learned")),
        (&["SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"], Refused("only CAUSAL_LM is trained")),
    ])),
    Row::new(&["base_model_name_or_path", "revision", "tokenizer_name_or_path", "tokenizer_kwargs"], Any, Here("the base is the daemon's")),
    Row::new(&["inference_mode", "auto_mapping", "peft_version"], Any, Here("it is trained")),
    Row::new(&["target_modules"], TextOrList, Made("`targets`", targets)),
    Row::new(&["layers_to_transform", "layers_pattern"], Any, Made("in `targets`", in_targets)).nothing(&["[]", ""]),
    Row::new(&["exclude_modules"], TextOrList, Refused("say `target_modules` without them")).nothing(&["[]", ""]),
    Row::new(&["modules_to_save"], TextOrList, Refused("whole modules beside an adapter are served, and not trained; take it out, or train them alone by `method` modules"))
        .nothing(&["[]"]),
    Row::new(&["fan_in_fan_out"], Flag, Refused("the layers of the base keep [out, in]")).nothing(&["false"]),
];

const LORA: &[Row] = &[
    Row::new(&["r"], Whole, Made("`rank`", rank)),
    Row::new(&["lora_alpha"], Number, Setting("alpha")),
    Row::new(&["lora_dropout"], Number, Setting("dropout")),
    Row::new(&["use_rslora"], Flag, Setting("use_rslora")),
    Row::new(
        &["use_dora"],
        Flag,
        Cases(&[(&["true"], Sets("method", "dora"))]),
    )
    .nothing(&["false"]),
    Row::new(&["bias"], Text, Setting("bias")),
    Row::new(&["rank_pattern"], Any, Setting("rank_pattern")).nothing(&["{}"]),
    Row::new(&["alpha_pattern"], Any, Setting("alpha_pattern")).nothing(&["{}"]),
    Row::new(
        &["init_lora_weights"],
        Any,
        Cases(&[
            (&["true", "kaiming"], Here("A begins at random, B at zero")),
            (
                &["gaussian"],
                Differs("A begins at random from a uniform distribution"),
            ),
            (
                &[
                    "false",
                    "pissa",
                    "olora",
                    "loftq",
                    "eva",
                    "corda",
                    "orthogonal",
                    "lora_ga",
                    "mora",
                ],
                Refused(OTHER_BEGINNING),
            ),
        ]),
    ),
    Row::new(
        &["lora_bias", "trainable_token_indices"],
        Any,
        Refused(SERVED),
    )
    .nothing(&["false", "[]", "{}"]),
    Row::new(
        &[
            "layer_replication",
            "target_parameters",
            "use_qalora",
            "use_bdlora",
            "alora_invocation_tokens",
            "arrow_config",
            "kasa_config",
            "monteclora_config",
            "velora_config",
        ],
        Any,
        Refused("it changes what is computed and is not built; take it out"),
    )
    .nothing(&["false", "[]", "{}"]),
    Row::new(
        &[
            "loftq_config",
            "eva_config",
            "corda_config",
            "lora_ga_config",
            "qalora_group_size",
            "megatron_core",
            "megatron_config",
            "runtime_config",
            "ephemeral_gpu_offload",
        ],
        Any,
        Here("counts with another beginning or machine"),
    )
    .nothing(&["{}"]),
    Row::new(
        &["ensure_weight_tying"],
        Flag,
        Here("a base that is tied stays so"),
    )
    .nothing(&["false"]),
];

const OTHERS: &[Row] = &[
    Row::new(
        &["feedforward_modules"],
        TextOrList,
        Made("`down_proj` by its input; others **refused**", feedforward),
    ),
    Row::new(
        &["init_ia3_weights"],
        Flag,
        Cases(&[
            (&["true"], Here("factors begin at 1")),
            (&["false"], Refused(OTHER_BEGINNING)),
        ]),
    ),
    Row::new(&["num_virtual_tokens"], Whole, Setting("virtual_tokens")),
    Row::new(&["prefix_projection"], Flag, Setting("prefix_projection")),
    Row::new(
        &["encoder_hidden_size"],
        Whole,
        Made("`prefix_hidden`, with `prefix_projection`", hidden),
    ),
    Row::new(
        &[
            "num_transformer_submodules",
            "num_layers",
            "num_attention_heads",
            "token_dim",
        ],
        Any,
        Here("is the base's"),
    ),
    Row::new(
        &["prompt_tuning_init"],
        Text,
        Cases(&[
            (&["RANDOM"], Sets("prompt_init", "random")),
            (&["TEXT"], Sets("prompt_init", "text")),
            (
                &["SAMPLE_VOCAB"],
                Refused("is not built; `RANDOM` and `TEXT` are"),
            ),
        ]),
    ),
    Row::new(
        &["prompt_tuning_init_text"],
        Text,
        Made("`prompt_text`, with `TEXT`", prompt_text),
    )
    .nothing(&[""]),
    Row::new(
        &["method"],
        Text,
        Made(
            "with `DENSE`: `method`; `staged` **refused**: its stages are not in the file",
            dense,
        ),
    ),
    Row::new(
        &["tensors"],
        List,
        Made("with `DENSE` of method modules: `train_modules`", tensors),
    ),
];

fn lora_or_dora(at: &At<'_>) -> &'static str {
    match at.is("use_dora") {
        true => "dora",
        false => "lora",
    }
}

fn method(at: &At<'_>) -> Result<Outcome, String> {
    let name = at.value.as_str().unwrap_or_default();
    Ok(Outcome::sets(
        "method",
        match name.to_ascii_uppercase().as_str() {
            "LORA" => lora_or_dora(at),
            "IA3" => "ia3",
            "PREFIX_TUNING" => "prefix",
            "PROMPT_TUNING" => "prompt",
            "DENSE" if at.other("method").is_some() => {
                return Ok(Outcome::here("whole weights, as `method` says"));
            }
            "DENSE" => "full",
            _ => {
                return Err(format!(
                    "`{name}` is not trained; LORA, IA3, PREFIX_TUNING and PROMPT_TUNING are, and AdapterHub's bottlenecks"
                ));
            }
        },
    ))
}

/// The arguments of a `LoraConfig` alone have no `peft_type`.
fn rank(at: &At<'_>) -> Result<Outcome, String> {
    let rank = Outcome::sets("rank", at.value.clone());
    Ok(match at.other("peft_type") {
        None => rank.and("method", lora_or_dora(at)),
        Some(_) => rank,
    })
}

/// A list, or one.
fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

fn layers<'a>(at: &At<'a>) -> Vec<&'a Value> {
    at.other("layers_to_transform")
        .map(listed)
        .unwrap_or_default()
}

/// A list of names in some layers is a pattern of their paths.
fn targets(at: &At<'_>) -> Result<Outcome, String> {
    let layers = layers(at);
    if layers.is_empty() {
        return Ok(Outcome::sets("targets", at.value.clone()));
    }
    let Some(names) = at.value.as_array() else {
        return Err("cannot be a text beside `layers_to_transform`".to_owned());
    };
    let names: Option<Vec<String>> = names
        .iter()
        .map(|name| name.as_str().map(escaped))
        .collect();
    let numbers: Option<Vec<String>> = layers
        .iter()
        .map(|number| number.as_u64().map(|number| number.to_string()))
        .collect();
    let (Some(names), Some(numbers)) = (names, numbers) else {
        return Err("must be names, and `layers_to_transform` whole numbers".to_owned());
    };
    let within = at.other("layers_pattern").map(listed).unwrap_or_default();
    let within: Vec<&str> = within
        .into_iter()
        .filter_map(Value::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    let within = match within.as_slice() {
        [] => "[^.]*".to_owned(),
        names => names.join("|"),
    };
    Ok(Outcome::sets(
        "targets",
        format!(
            r"(?:[^.]*\.)*?(?:{within})\.(?:{})\.(?:.*\.)?(?:{})",
            numbers.join("|"),
            names.join("|")
        ),
    ))
}

fn escaped(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().fold(String::new(), |mut text, c| {
        if !plain(c) {
            text.push('\\');
        }
        text.push(c);
        text
    })
}

fn in_targets(at: &At<'_>) -> Result<Outcome, String> {
    match (layers(at).is_empty(), at.other("target_modules")) {
        (true, _) => Ok(Outcome::here("counts with `layers_to_transform`")),
        (false, None) => {
            Err("chooses among `target_modules`, which the file does not name".to_owned())
        }
        (false, Some(_)) => Ok(Outcome::here("in `targets`")),
    }
}

fn feedforward(at: &At<'_>) -> Result<Outcome, String> {
    match listed(at.value).iter().all(|name| *name == "down_proj") {
        true => Ok(Outcome::here(
            "`down_proj` is scaled by its input, the others by their output",
        )),
        false => Err("`down_proj` alone is scaled by its input here".to_owned()),
    }
}

fn hidden(at: &At<'_>) -> Result<Outcome, String> {
    Ok(match at.is("prefix_projection") {
        true => Outcome::sets("prefix_hidden", at.value.clone()),
        false => Outcome::here("counts with `prefix_projection`"),
    })
}

fn prompt_text(at: &At<'_>) -> Result<Outcome, String> {
    Ok(match at.text("prompt_tuning_init") {
        Some("TEXT") => Outcome::sets("prompt_text", at.value.clone()),
        _ => Outcome::here("counts with a `prompt_tuning_init` of TEXT"),
    })
}

fn dense(at: &At<'_>) -> Result<Outcome, String> {
    match at.value.as_str() {
        Some(name @ ("full" | "modules")) => Ok(Outcome::sets("method", name)),
        Some("staged") => {
            Err("its stages are not in the file: say `stages`, with method staged".to_owned())
        }
        _ => Err("is none of `full`, `modules`".to_owned()),
    }
}

/// The modules whose weights they are.
fn tensors(at: &At<'_>) -> Result<Outcome, String> {
    if at.text("method") != Some("modules") {
        return Ok(Outcome::here("the method chooses them"));
    }
    let mut modules: Vec<&str> = Vec::new();
    for tensor in at.value.as_array().into_iter().flatten() {
        let Some(name) = tensor.as_str() else {
            return Err("must be a list of names".to_owned());
        };
        let module = name.strip_suffix(".weight").or(name.strip_suffix(".bias"));
        let module = module.unwrap_or(name);
        if !modules.contains(&module) {
            modules.push(module);
        }
    }
    Ok(Outcome::sets("train_modules", json!(modules)))
}
