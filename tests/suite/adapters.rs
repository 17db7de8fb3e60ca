//! Folders that PEFT saved, read as PEFT reads them.

use std::path::Path;

use adapterd::adapter::peft::{self, CONFIG_FILE, Files, WEIGHTS_FILE, WEIGHTS_FILES};
use adapterd::adapter::{Adapter, AdapterFault, Fit, Module, Precision, Site, SiteShape};
use adapterd::kernels::quant::Format;
use adapterd::model::{Base, KvKind, Origin, Quant};
use serde_json::Value;

use super::golden_forward::golden;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The linear layers of `models/NAME`, from its configuration.
fn sites(model: &str) -> Vec<SiteShape> {
    let config = json(&golden(&format!("models/{model}")).join("config.json"));
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let (hidden, inner) = (number("hidden_size"), number("intermediate_size"));
    let head = config["head_dim"]
        .as_u64()
        .map_or(hidden / number("num_attention_heads"), |width| {
            width as usize
        });
    let (queries, keys) = (
        head * number("num_attention_heads"),
        head * number("num_key_value_heads"),
    );
    let width = |module| match module {
        Module::Q => (hidden, queries),
        Module::K | Module::V => (hidden, keys),
        Module::O => (queries, hidden),
        Module::Gate | Module::Up => (hidden, inner),
        Module::Down => (inner, hidden),
    };
    let all = (0..number("num_hidden_layers"))
        .flat_map(|layer| Module::ALL.map(|module| Site { layer, module }));
    all.map(|site| SiteShape {
        site,
        inputs: width(site.module).0,
        outputs: width(site.module).1,
    })
    .collect()
}

pub fn files(folder: &str) -> Files {
    let folder = golden(&format!("adapters/{folder}"));
    let read = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        (name.to_owned(), bytes.into())
    };
    let weights = WEIGHTS_FILES.into_iter();
    let weights = weights.filter(|name| folder.join(name).exists());
    std::iter::once(CONFIG_FILE)
        .chain(weights)
        .map(read)
        .collect()
}

fn base(model: &str) -> Base {
    let folder = Origin::Folder(golden(&format!("models/{model}")));
    Base::open(&folder, Some(Quant::To(Format::F32)), KvKind::Auto).unwrap()
}

fn read(files: &Files, model: &str) -> Result<Adapter, AdapterFault> {
    peft::read(
        files,
        &Fit {
            sites: &sites(model),
            base_digest: [0; 32],
            weights: &base(model),
            max_rank: 64,
            precision: Precision::Exact,
        },
    )
}

/// Folders of which some changes to their configuration are refused and some accepted, with the ends of those files' names.
const CHANGED: [(&str, &str); 3] = [
    ("llama-plain", ""),
    ("llama-dora", "_dora"),
    ("llama-ia3", "_ia3"),
];

/// A folder with some keys of its configuration replaced.
fn changed(folder: &str, set: &Value) -> Files {
    let mut files = files(folder);
    let mut config: Value = serde_json::from_slice(&files[CONFIG_FILE]).unwrap();
    for (key, value) in set.as_object().unwrap() {
        config[key] = value.clone();
    }
    files.insert(
        CONFIG_FILE.to_owned(),
        serde_json::to_vec(&config).unwrap().into(),
    );
    files
}

#[test]
fn every_folder_of_peft_reads_with_the_sites_its_configuration_names() {
    for (folder, model) in [
        ("llama-plain", "llama"),
        ("llama-all-linear", "llama"),
        ("llama-regex", "llama"),
        ("llama-layers", "llama"),
        ("llama-excluding", "llama"),
        ("llama-rslora", "llama"),
        ("llama-patterns", "llama"),
        ("llama-rslora-patterns", "llama"),
        ("qwen2-plain", "qwen2"),
        ("llama-dora", "llama"),
        ("llama-dora-rslora-patterns", "llama"),
        ("qwen2-dora", "qwen2"),
        ("llama-ia3", "llama"),
        ("llama-ia3-ffn", "llama"),
        ("qwen2-ia3", "qwen2"),
    ] {
        let adapter =
            read(&files(folder), model).unwrap_or_else(|fault| panic!("{folder}: {fault}"));
        let files = files(folder);
        let tensors = safetensors::SafeTensors::deserialize(&files[WEIGHTS_FILE]).unwrap();
        let each = match adapter.kind() {
            "lora" => 2,
            "dora" => 3,
            _ => 1,
        };
        assert_eq!(each * adapter.sites().count(), tensors.len(), "{folder}");
    }
}

#[test]
fn changes_that_matter_are_refused_for_the_key_that_makes_them() {
    for (folder, end) in CHANGED {
        let cases = json(&golden(&format!("adapters/refused{end}.json")));
        for case in cases.as_array().unwrap() {
            let wanted = case["field"].as_str().unwrap();
            let fault = read(&changed(folder, &case["set"]), "llama")
                .map(|_| ())
                .expect_err(&case.to_string());
            let within = fault
                .field
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            assert!(within, "{folder}: {case} was refused for {fault}");
        }
    }
}

#[test]
fn changes_that_do_not_matter_give_the_same_adapter() {
    for (folder, end) in CHANGED {
        let plain = read(&files(folder), "llama").unwrap();
        let cases = json(&golden(&format!("adapters/accepted{end}.json")));
        for case in cases.as_array().unwrap() {
            let adapter = read(&changed(folder, &case["set"]), "llama")
                .unwrap_or_else(|fault| panic!("{folder}: {case}: {fault}"));
            assert!(adapter.sites().eq(plain.sites()), "{case}");
            for site in plain.sites() {
                assert_eq!(adapter.lora_site(site), plain.lora_site(site), "{case}");
                assert_eq!(adapter.scales(site), plain.scales(site), "{case}");
            }
        }
    }
}
