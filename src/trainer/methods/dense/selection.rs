//! Which weights `train_modules` and `train_layers` mean.

use std::collections::BTreeSet;

use super::Model;
use crate::adapter::peft::WholePath;
use crate::adapter::{Module, NormAt, Place};
use crate::domain::{Layers, Targets};

const GROUPS: &str = "`attention`, `ffn`, `embeddings`, `head`, `norms`";

/// What was asked for: these modules, of these layers.
pub(super) struct Choice<'a> {
    pub modules: Option<&'a Targets>,
    pub layers: Option<&'a Layers>,
}

/// `field`: `modules` or `layers`.
#[derive(Debug)]
pub(super) struct Fault {
    pub field: &'static str,
    pub why: String,
}

fn fault<T>(field: &'static str, why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        field,
        why: why.into(),
    })
}

impl Choice<'_> {
    /// Modules that are in no layer are chosen by their names, or where no layers are said.
    pub fn places(&self, model: &Model) -> Result<BTreeSet<Place>, Fault> {
        let layers = match self.layers {
            None => None,
            Some(layers) => Some(numbers(layers, model.layers)?),
        };
        let in_layers = |place: &Place| match (place.layer(), &layers) {
            (_, None) => true,
            (Some(layer), Some(layers)) => layers.contains(&layer),
            // The norm after the last layer is named with all others, and so belongs to none of them.
            (None, Some(_)) => self.modules.is_some() && *place != Place::Norm(NormAt::Last),
        };
        let all = model.places.iter().filter(|place| in_layers(place));
        let Some(modules) = self.modules else {
            return Ok(all.copied().collect());
        };
        let all: Vec<&Place> = all.collect();
        let mut chosen = BTreeSet::new();
        for item in items(modules) {
            let matches = matcher(&item, model)?;
            let before = chosen.len();
            let mut found = false;
            for place in &all {
                if matches(**place)? {
                    found = true;
                    chosen.insert(**place);
                }
            }
            if !found && chosen.len() == before {
                let why = format!(
                    "`{item}` chooses no weight of this base in the chosen layers: {GROUPS}, a name such as \
                     `q_proj`, or a regular expression over whole paths would"
                );
                return fault("modules", why);
            }
        }
        Ok(chosen)
    }
}

fn numbers(layers: &Layers, count: usize) -> Result<Vec<usize>, Fault> {
    let numbers = layers.numbers().or_else(|why| fault("layers", why))?;
    match numbers.iter().find(|layer| **layer >= count) {
        Some(layer) => fault(
            "layers",
            format!("has layer {layer}; this base has layers 0 to {}", count - 1),
        ),
        None => Ok(numbers),
    }
}

/// Names, or expressions with commas between.
fn items(modules: &Targets) -> Vec<String> {
    match modules {
        Targets::List(names) => names.clone(),
        Targets::Pattern(text) => {
            let (mut items, mut depth) = (vec![String::new()], 0usize);
            for c in text.chars() {
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                match items.last_mut() {
                    Some(_) if c == ',' && depth == 0 => items.push(String::new()),
                    Some(item) => item.push(c),
                    None => {}
                }
            }
            items
                .into_iter()
                .map(|item| item.trim().to_owned())
                .collect()
        }
    }
}

type Matches = Box<dyn Fn(Place) -> Result<bool, Fault>>;

fn matcher(item: &str, model: &Model) -> Result<Matches, Fault> {
    let group = |wanted: fn(Place) -> bool| -> Matches { Box::new(move |place| Ok(wanted(place))) };
    let tied = model.tied;
    Ok(match item {
        "attention" => group(|place| of_part(place, "self_attn")),
        "ffn" => group(|place| of_part(place, "mlp")),
        "embeddings" => group(|place| place == Place::Embedding),
        // A tied head is the embedding.
        "head" if tied => group(|place| place == Place::Embedding),
        "head" => group(|place| place == Place::Head),
        "norms" => group(|place| matches!(place, Place::Norm(_))),
        _ if is_name(item) => {
            let name = item.to_owned();
            let suffix = format!(".{item}");
            Box::new(move |place| {
                let path = place.path();
                let ends = |path: &str| path == name || path.ends_with(&suffix);
                Ok(ends(&path) || ends(module_path(&path)))
            })
        }
        _ => {
            let pattern = WholePath::new("modules", item);
            let pattern = pattern.or_else(|error| fault("modules", error.why))?;
            Box::new(move |place| {
                let path = place.path();
                let is = |path: &str| {
                    let found = pattern.matches(path);
                    found.or_else(|error| fault("modules", error.why))
                };
                Ok(is(&path)? || is(module_path(&path))?)
            })
        }
    })
}

/// A linear layer of that part of a block.
fn of_part(place: Place, part: &str) -> bool {
    match place {
        Place::Weight(site) | Place::Bias(site) => Module::parent(site.module) == part,
        _ => false,
    }
}

fn is_name(item: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    !item.is_empty() && item.chars().all(plain)
}

/// The path of the module that holds a weight.
fn module_path(path: &str) -> &str {
    path.trim_end_matches(".weight").trim_end_matches(".bias")
}
