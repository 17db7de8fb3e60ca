//! What settings may be, besides numbers, flags and texts.

use std::convert::Infallible;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A setting that is one of some words.
pub trait Named: Copy + 'static {
    const NAMES: &'static [&'static str];

    fn name(self) -> &'static str;
    fn named(name: &str) -> Option<Self>;
}

macro_rules! choices {
    ($($choice:ident { $($variant:ident $name:literal)* })*) => {$(
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $choice {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl Named for $choice {
            const NAMES: &'static [&'static str] = &[$($name),*];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    )*};
}

choices! {
    Method { Lora "lora" Dora "dora" Ia3 "ia3" Bottleneck "bottleneck" Prefix "prefix" Prompt "prompt" Modules "modules" Staged "staged" Full "full" }
    Placement { Double "double" Sequential "sequential" Parallel "parallel" }
    NonLinearity { Relu "relu" Gelu "gelu" Silu "silu" Tanh "tanh" }
    PromptInit { Random "random" Text "text" }
    Checkpointing { Off "off" On "on" Auto "auto" }
    Bias { None "none" All "all" LoraOnly "lora_only" }
    Keep { Last "last" Best "best" }
    Objective { Sft "sft" Dpo "dpo" }
    OnSpike { Note "note" Rewind "rewind" }
    Precision { F32 "f32" Bf16 "bf16" F16 "f16" }
    Optimizer { AdamW "adamw" AdamW8bit "adamw8bit" }
    Offload { None "none" Host "host" Disk "disk" }
    Gate { None "none" Heldout "heldout" Current "current" }
    Schedule { Linear "linear" Cosine "cosine" Constant "constant" }
}

/// `target_modules` in PEFT's sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, from = "Said")]
pub enum Targets {
    /// Module names: exact, or the end of a path after a dot.
    List(Vec<String>),
    /// `all-linear`, or a regular expression that matches whole paths.
    Pattern(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    List(Vec<String>),
    Text(String),
}

impl From<Said> for Targets {
    fn from(said: Said) -> Self {
        match said {
            Said::List(names) => Self::List(names),
            Said::Text(text) => Self::from_text(&text),
        }
    }
}

impl Targets {
    /// What one text means, whichever way it came: `all-linear` and regular expressions as in PEFT, and besides a name
    /// or names with commas between. That takes nothing from the expressions: as one, a bare name or a list of them
    /// matches no path, and a whole path means itself either way.
    pub fn from_text(text: &str) -> Self {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ',' | ' ');
        if !text.trim().is_empty() && text.chars().all(bare) {
            return Self::List(text.split(',').map(|name| name.trim().to_owned()).collect());
        }
        Self::Pattern(text.to_owned())
    }
}

impl FromStr for Targets {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from_text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_means_the_same_at_every_door() {
        let list = |names: &[&str]| Targets::List(names.iter().map(|n| (*n).into()).collect());
        let pattern = |text: &str| Targets::Pattern(text.into());
        for (text, meaning) in [
            ("q_proj", list(&["q_proj"])),
            ("q_proj, v_proj", list(&["q_proj", "v_proj"])),
            (
                "model.layers.0.mlp.up_proj",
                list(&["model.layers.0.mlp.up_proj"]),
            ),
            ("all-linear", pattern("all-linear")),
            (r".*\.(q|v)_proj", pattern(r".*\.(q|v)_proj")),
            ("", pattern("")),
        ] {
            assert_eq!(Targets::from_text(text), meaning);
            let json = serde_json::to_value(text).unwrap();
            assert_eq!(serde_json::from_value::<Targets>(json).unwrap(), meaning);
            let kept = serde_json::to_value(&meaning).unwrap();
            assert_eq!(serde_json::from_value::<Targets>(kept).unwrap(), meaning);
        }
        let given = serde_json::json!(["q_proj", "v_proj"]);
        assert_eq!(
            serde_json::from_value::<Targets>(given).unwrap(),
            list(&["q_proj", "v_proj"])
        );
    }
}
