//! Folders of bottleneck adapters as AdapterHub's library (`adapters`) writes them: what their configuration says, and how
//! they are written.

#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use serde_json::Value;

use super::config::{self, ConfigFile};
use super::lora::is_neutral;
use crate::adapter::points::{Part, Reads, Sublayer};
use crate::adapter::{AdapterFault, BaseShape};
use crate::device::Array;
use crate::domain::Placement;
use crate::kernels::nonlinear::Activation;

pub use write::{Bottlenecks, HUB_NAME, HUB_PREFIX};

/// The key that holds what the library calls an adapter's configuration.
const INNER: &str = "config";

/// What gives an adapter its numbers; enough to write it again or to train it further.
#[derive(Debug, Clone, PartialEq)]
pub struct BottleneckSettings {
    pub after_attention: bool,
    pub after_feed_forward: bool,
    pub reads: Reads,
    /// Of every layer.
    pub reduction: f64,
    /// Of layers that differ.
    pub reductions: BTreeMap<usize, f64>,
    pub activation: Activation,
    pub scale: f64,
    /// Layers without.
    pub leave_out: Vec<usize>,
}

/// The weights of one bottleneck.
#[derive(Debug, Clone, PartialEq)]
pub struct BottleneckWeights<T> {
    /// [width, hidden]
    pub down: T,
    /// [1, width]
    pub down_bias: T,
    /// [hidden, width]
    pub up: T,
    /// [1, hidden]
    pub up_bias: T,
}

impl<T> BottleneckWeights<T> {
    /// In the order of [`bottleneck_names`].
    pub fn each(&self) -> [&T; 4] {
        [&self.down, &self.down_bias, &self.up, &self.up_bias]
    }
}

/// What it takes to train an adapter further.
#[derive(Debug, Clone)]
pub struct BottleneckResume {
    pub settings: BottleneckSettings,
    pub weights: BTreeMap<Sublayer, BottleneckWeights<Array>>,
}

/// The names of a bottleneck's tensors in a weights file, in an adapter called `name`.
pub fn bottleneck_names(prefix: &str, at: Sublayer, name: &str) -> [String; 4] {
    let module = match at.part {
        Part::Attention => "attention_adapters",
        Part::FeedForward => "output_adapters",
    };
    let path = format!("{prefix}layers.{}.{module}.adapters.{name}", at.layer);
    [
        "adapter_down.0.weight",
        "adapter_down.0.bias",
        "adapter_up.weight",
        "adapter_up.bias",
    ]
    .map(|tensor| format!("{path}.{tensor}"))
}

/// Whether a configuration is of AdapterHub's layout.
pub fn is_of_hub(file: &ConfigFile) -> bool {
    file.get("peft_type").is_none() && file.get(INNER).is_some()
}

/// Keys beside the inner configuration that change nothing, or that are read elsewhere.
const OUTER: [&str; 9] = [
    INNER,
    "name",
    "hidden_size",
    "model_type",
    "model_class",
    "model_name",
    "version",
    "type",
    "peft_version",
];

/// Keys of the inner configuration that are read, that only training uses, or that mean nothing without another that is
/// refused.
const INNER_KEYS: [&str; 28] = [
    "architecture",
    "mh_adapter",
    "output_adapter",
    "cross_adapter",
    "is_parallel",
    "original_ln_before",
    "original_ln_after",
    "residual_before_ln",
    "adapter_residual_before_ln",
    "reduction_factor",
    "non_linearity",
    "scaling",
    "leave_out",
    "dropout",
    "stochastic_depth",
    "init_weights",
    "init_weights_seed",
    "inv_adapter_reduction_factor",
    "phm_dim",
    "phm_rank",
    "phm_bias",
    "phm_c_init",
    "phm_init_range",
    "learn_phm",
    "shared_phm_rule",
    "factorized_phm_rule",
    "factorized_phm_W",
    "hypercomplex_nonlinearity",
];

/// Why keys of the inner configuration are refused where they are not off.
const REFUSED: [(&str, &str); 6] = [
    (
        "phm_layer",
        "is not supported: products of hypercomplex numbers (Compacter)",
    ),
    ("use_gating", "is not supported: a learned gate"),
    (
        "inv_adapter",
        "is not supported: invertible adapters at the embeddings",
    ),
    (
        "invertible_adapter",
        "is not supported: invertible adapters at the embeddings",
    ),
    (
        "ln_before",
        "is not supported: a norm of its own before the bottleneck",
    ),
    (
        "ln_after",
        "is not supported: a norm of its own after the bottleneck",
    ),
];

impl BottleneckSettings {
    pub fn of(placement: Placement, reduction: f64, activation: Activation, scale: f64) -> Self {
        Self {
            after_attention: placement == Placement::Double,
            after_feed_forward: true,
            reads: match placement {
                Placement::Double => Reads::Output,
                Placement::Sequential => Reads::Sum,
                Placement::Parallel => Reads::Stream,
            },
            reduction,
            reductions: BTreeMap::new(),
            activation,
            scale,
            leave_out: Vec::new(),
        }
    }

    /// The name of where the bottlenecks are; `None` for what has none.
    pub fn placement(&self) -> Option<Placement> {
        let all = [
            Placement::Double,
            Placement::Sequential,
            Placement::Parallel,
        ];
        all.into_iter().find(|placement| {
            let named = Self::of(*placement, 1.0, self.activation, 1.0);
            (named.after_attention, named.after_feed_forward, named.reads)
                == (self.after_attention, self.after_feed_forward, self.reads)
        })
    }

    /// What a folder says, and the name its tensors carry.
    pub fn parse(file: &ConfigFile) -> Result<(Self, String), AdapterFault> {
        for (key, value) in file.keys() {
            if !OUTER.contains(&key.as_str()) && !is_neutral(value) {
                let why = "is not supported and could change the result";
                return Err(AdapterFault::new(key, why));
            }
        }
        for key in ["model_type", "model_class", "model_name", "version"] {
            file.text(key)?;
        }
        let Some(name) = file.text("name")? else {
            return Err(AdapterFault::new("name", "is missing"));
        };
        let inner = file.object(INNER)?;
        let inner = inner.ok_or_else(|| AdapterFault::new(INNER, "is missing"))?;
        let legacy = file.get("version").is_none();
        let settings = Self::of_inner(&inner, legacy).map_err(|fault| {
            let AdapterFault { field, why } = fault;
            AdapterFault::new(format!("{INNER}.{field}"), why)
        })?;
        Ok((settings, name.to_owned()))
    }

    /// `legacy`: names of non-linearities are those of before the library's version 3.
    fn of_inner(inner: &ConfigFile, legacy: bool) -> Result<Self, AdapterFault> {
        let refuse = |key: &str, why: &str| Err(AdapterFault::new(key, why));
        if let Some(architecture) = inner.text("architecture")? {
            let why = format!("is `{architecture}`; of this layout only bottlenecks are served");
            return Err(AdapterFault::new("architecture", why));
        }
        for (key, value) in inner.keys() {
            let key = key.as_str();
            if INNER_KEYS.contains(&key) || is_neutral(value) {
                continue;
            }
            let own = REFUSED.iter().find(|(name, _)| *name == key);
            let why = own.map_or("is not supported and could change the result", |own| own.1);
            return refuse(key, why);
        }
        let flag = |key: &str, default: bool| match inner.get(key) {
            None => Ok(default),
            Some(_) => inner.flag(key),
        };
        let (attention, output) = (flag("mh_adapter", false)?, flag("output_adapter", false)?);
        if !attention && !output {
            return refuse(
                "output_adapter",
                "is off, and so is mh_adapter: nothing is adapted",
            );
        }
        let reads = match (
            flag("is_parallel", false)?,
            flag("original_ln_before", false)?,
        ) {
            (true, _) => Reads::Stream,
            (false, true) => Reads::Sum,
            (false, false) => Reads::Output,
        };
        let after = flag("original_ln_after", true)?;
        // What is added to what the bottleneck makes must be x + y, once each.
        let around = match inner.get("residual_before_ln") {
            Some(Value::String(_)) => {
                let why = "is not supported: the library has no such residual where norms come before sublayers";
                return refuse("residual_before_ln", why);
            }
            _ => flag("residual_before_ln", true)?,
        };
        let whole = match reads {
            Reads::Stream | Reads::Output => after,
            Reads::Sum => after == around,
        };
        if !whole {
            let key = if after {
                "residual_before_ln"
            } else {
                "original_ln_after"
            };
            return refuse(key, "would take the residual stream twice, or leave it out");
        }
        let (reduction, reductions) = reductions(inner)?;
        let scale = match inner.get("scaling") {
            None => 1.0,
            Some(Value::String(word)) => {
                let why = format!("is `{word}`; only a constant is supported");
                return Err(AdapterFault::new("scaling", why));
            }
            Some(number) => config::finite("scaling", number)?,
        };
        if scale.abs() > MOST_SCALE {
            let why = format!("is {scale}; up to {MOST_SCALE} is served");
            return Err(AdapterFault::new("scaling", why));
        }
        let leave_out = match inner.get("leave_out") {
            None => Vec::new(),
            Some(Value::Array(layers)) => {
                let layers = layers.iter();
                let layers = layers.map(|layer| config::count("leave_out", layer));
                layers.collect::<Result<_, _>>()?
            }
            Some(_) => return refuse("leave_out", "is not a list of layers"),
        };
        Ok(Self {
            after_attention: attention,
            after_feed_forward: output,
            reads,
            reduction,
            reductions,
            activation: activation(inner, legacy)?,
            scale,
            leave_out,
        })
    }

    /// Where a base has bottlenecks, in the order of a forward, and how wide each is.
    pub fn places(&self, base: BaseShape) -> Result<Vec<(Sublayer, usize)>, AdapterFault> {
        let key = |key: &str| format!("{INNER}.{key}");
        if let Some(layer) = self.leave_out.iter().find(|layer| **layer >= base.layers) {
            let why = format!("names layer {layer}; the base has {}", base.layers);
            return Err(AdapterFault::new(key("leave_out"), why));
        }
        let mut places = Vec::new();
        for layer in (0..base.layers).filter(|layer| !self.leave_out.contains(layer)) {
            let factor = self.reductions.get(&layer).unwrap_or(&self.reduction);
            let width = (base.hidden as f64 / factor).floor().max(1.0);
            // An inner width beyond the widest of a feed-forward block is no bottleneck.
            if width > (16 * base.hidden) as f64 {
                let why = format!("of {factor} makes layer {layer} {width} wide");
                return Err(AdapterFault::new(key("reduction_factor"), why));
            }
            let parts = [
                (self.after_attention, Part::Attention),
                (self.after_feed_forward, Part::FeedForward),
            ];
            for (_, part) in parts.into_iter().filter(|(is_there, _)| *is_there) {
                places.push((Sublayer { layer, part }, width as usize));
            }
        }
        if places.is_empty() {
            let why = "leaves out every layer: nothing is adapted";
            return Err(AdapterFault::new(key("leave_out"), why));
        }
        Ok(places)
    }
}

const MOST_SCALE: f64 = 1e4;

/// One factor, or one for each layer with a default.
fn reductions(inner: &ConfigFile) -> Result<(f64, BTreeMap<usize, f64>), AdapterFault> {
    const KEY: &str = "reduction_factor";
    let fault = |why: String| AdapterFault::new(KEY, why);
    let positive = |value: &Value| {
        let factor = config::finite(KEY, value)?;
        match factor > 0.0 {
            true => Ok(factor),
            false => Err(fault(format!("is {factor}; it must be above 0"))),
        }
    };
    match inner.get(KEY) {
        None => Err(fault("is missing".to_owned())),
        Some(Value::Object(each)) => {
            let mut factors = BTreeMap::new();
            for (layer, value) in each.iter().filter(|(layer, _)| *layer != "default") {
                let number = layer.parse().map_err(|_| {
                    fault(format!(
                        "names `{layer}`, which is neither a layer nor `default`"
                    ))
                })?;
                factors.insert(number, positive(value)?);
            }
            let default = each.get("default").map(positive).transpose()?;
            let Some(default) = default else {
                return Err(fault("has no `default`".to_owned()));
            };
            Ok((default, factors))
        }
        Some(value) => Ok((positive(value)?, BTreeMap::new())),
    }
}

fn activation(inner: &ConfigFile, legacy: bool) -> Result<Activation, AdapterFault> {
    const KEY: &str = "non_linearity";
    let Some(name) = inner.text(KEY)? else {
        return Err(AdapterFault::new(KEY, "is missing"));
    };
    match (name.to_ascii_lowercase().as_str(), legacy) {
        ("relu", _) => Ok(Activation::Relu),
        ("gelu_orig", true) | ("gelu", false) | ("gelu_python", _) => Ok(Activation::Gelu),
        ("gelu", true) | ("gelu_new" | "gelu_pytorch_tanh", _) => Ok(Activation::GeluTanh),
        ("silu" | "swish", _) => Ok(Activation::Silu),
        ("tanh", _) => Ok(Activation::Tanh),
        _ => {
            let why = format!("`{name}` is not supported; relu, gelu, gelu_new, silu and tanh are");
            Err(AdapterFault::new(KEY, why))
        }
    }
}
