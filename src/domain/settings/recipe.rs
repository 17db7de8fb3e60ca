//! What the table makes: its rows as values, [`Wishes`] for what a job asks for, [`Recipe`] for what it will do.

use serde::{Deserialize, Serialize};

use self::Unsaid::{Is, Made};
use super::Kind::{
    Alphas, Bytes as ByteCount, Choice, Flag, Interval, LossScale as Scale, Modules, Number, Off,
    Ranks, ShareOrCount, Stages as StageList, Text, Whole,
};
use super::loss_scale::LossScale;
use super::patterns::Patterns;
use super::stages::Stages;
use super::table::each_setting;
use super::values::{
    Bias, Checkpointing, Gate, Keep, Method, Named, NonLinearity, Objective, Offload, OnSpike,
    Optimizer, Placement, Precision, PromptInit, Schedule, Targets,
};
use super::{Group, Kind, Said, Setting};
use crate::domain::{Bytes, Range, Reason};

const ALL: &[Method] = &[
    Method::Lora,
    Method::Dora,
    Method::Ia3,
    Method::Bottleneck,
    Method::Prefix,
    Method::Prompt,
    Method::Modules,
    Method::Staged,
    Method::Full,
];
/// Methods that choose linear layers.
const ON_LINEARS: &[Method] = &[Method::Lora, Method::Dora, Method::Ia3];
/// Methods whose update is a product of two narrow matrices.
const LOW_RANK: &[Method] = &[Method::Lora, Method::Dora];

const BOTTLENECK: &[Method] = &[Method::Bottleneck];
/// Methods that put virtual tokens before every text.
const VIRTUAL: &[Method] = &[Method::Prefix, Method::Prompt];
const PREFIX: &[Method] = &[Method::Prefix];
const PROMPT: &[Method] = &[Method::Prompt];

const MODULES: &[Method] = &[Method::Modules];
const STAGED: &[Method] = &[Method::Staged];

const ABOVE_ZERO: Kind = Number(Range::above(0.0));
const FROM_ZERO: Kind = Number(Range::at_least(0.0));
/// Up to sixteen times the model's width.
const REDUCTION: Kind = Number(Range::at_least(0.0625));
const SCALE: Kind = Number(Range::above(0.0).at_most(10_000.0));
const BELOW_ONE: Kind = Number(Range::at_least(0.0).below(1.0));
const EPOCHS: Kind = Number(Range::above(0.0).at_most(10_000.0));

/// Rows in one optimizer step at most.
const MAX_BATCH: u64 = 65_536;

/// What a setting is where nothing is said.
enum Unsaid<T> {
    Is(T),
    /// In words, and of the other wishes and the tokens that the model reads.
    Made(&'static str, fn(&Wishes, usize) -> T),
}

// The defaults that are made. Rows are settled from top to bottom: those above are no longer `None`.

fn nothing<T>(_: &Wishes, _: usize) -> Option<T> {
    None
}

fn alpha(wishes: &Wishes, _: usize) -> f64 {
    2.0 * wishes.rank.unwrap_or_default() as f64
}

fn targets(wishes: &Wishes, _: usize) -> Targets {
    Targets::from_text(match wishes.method {
        Some(Method::Ia3) => "k_proj,v_proj,down_proj",
        _ => "all-linear",
    })
}

// Those of AdapterHub's library for each placement.

fn non_linearity(wishes: &Wishes, _: usize) -> NonLinearity {
    match wishes.placement {
        Some(Placement::Double) | None => NonLinearity::Silu,
        Some(Placement::Sequential | Placement::Parallel) => NonLinearity::Relu,
    }
}

fn bottleneck_scale(wishes: &Wishes, _: usize) -> f64 {
    match wishes.placement {
        Some(Placement::Parallel) => 4.0,
        _ => 1.0,
    }
}

fn prompt_init(wishes: &Wishes, _: usize) -> PromptInit {
    match wishes.prompt_text {
        Some(_) => PromptInit::Text,
        None => PromptInit::Random,
    }
}

fn max_seq(wishes: &Wishes, context: usize) -> usize {
    let taken = match wishes.method {
        Some(method) if VIRTUAL.contains(&method) => wishes.virtual_tokens.unwrap_or_default(),
        _ => 0,
    };
    context.saturating_sub(taken).min(2048)
}

fn epochs(wishes: &Wishes, _: usize) -> Option<f64> {
    wishes.steps.is_none().then_some(3.0)
}

fn loss_scale(wishes: &Wishes, _: usize) -> Option<LossScale> {
    (wishes.precision == Some(Precision::F16)).then_some(LossScale::Dynamic)
}

fn keep(wishes: &Wishes, _: usize) -> Keep {
    match wishes.early_stopping {
        Some(_) => Keep::Best,
        None => Keep::Last,
    }
}

// Numbers out of range are refused, so their products and quotients only have to be defined.

fn batch_size(wishes: &Wishes, _: usize) -> usize {
    let micro_batch = wishes.micro_batch.unwrap_or(8);
    micro_batch.saturating_mul(wishes.accumulate.unwrap_or(1))
}

fn micro_batch(wishes: &Wishes, _: usize) -> usize {
    wishes.batch_size.unwrap_or_default() / wishes.accumulate.unwrap_or(1).max(1)
}

fn accumulate(wishes: &Wishes, _: usize) -> usize {
    wishes.batch_size.unwrap_or_default() / wishes.micro_batch.unwrap_or_default().max(1)
}

macro_rules! make {
    ($($group:ident { $(
        $name:ident $(or $alias:ident)? as $field:ident: $type:ty, $kind:expr, $default:expr, $methods:expr, $about:literal;
    )* })*) => {
        /// All settings, in the order in which they are shown.
        pub const TABLE: &[Setting] = &[$($(Setting {
            name: stringify!($name),
            field: stringify!($field),
            aliases: &[$(stringify!($alias))?],
            group: Group::$group,
            kind: $kind,
            methods: $methods,
            about: $about,
            default: || {
                let default: Unsaid<$type> = $default;
                default.words()
            },
        },)*)*];

        /// What a job may ask for. A field left `None` takes the parent's value where it is inherited, else the default.
        #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
        #[serde(default)]
        pub struct Wishes {
            $($(#[doc = $about] pub $field: Option<<$type as Kept>::Value>,)*)*
        }

        /// Every field is final: defaults applied, ratios solved, `from` merged in. One that was stored before a row
        /// was new is read with that row's default.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(from = "Wishes")]
        pub struct Recipe {
            $($(#[doc = $about] pub $field: $type,)*)*
        }

        impl Wishes {
            /// What is said, in the table's order.
            pub fn said(&self) -> impl Iterator<Item = (&'static Setting, Said<'_>)> {
                let said = [$($(self.$field.as_ref().map(|value| value.said()),)*)*];
                TABLE.iter().zip(said).filter_map(|(setting, said)| Some((setting, said?)))
            }

            /// Takes over what `other` says.
            ///
            /// # Errors
            /// The first setting that both say, and differently; nothing is taken over then.
            pub fn unite(&mut self, other: &Self) -> Result<(), &'static Setting> {
                for (setting, said) in other.said() {
                    let mut own = self.said();
                    if own.any(|(mine, own)| mine.name == setting.name && own != said) {
                        return Err(setting);
                    }
                }
                $($(if self.$field.is_none() {
                    self.$field.clone_from(&other.$field);
                })*)*
                Ok(())
            }

            /// These wishes with what `shape` fixes.
            ///
            /// # Errors
            /// `BadField` for one that says something else. Modules are compared by what they choose, elsewhere.
            pub fn inherit(&self, shape: &Self) -> Result<Self, Reason> {
                let said: Vec<_> = self.said().collect();
                for (setting, fixed) in shape.said() {
                    let wished = said.iter().find(|(other, _)| other.name == setting.name);
                    if let Some((_, wished)) = wished
                        && !matches!(setting.kind, Modules)
                        && *wished != fixed
                    {
                        let why = format!(
                            "{wished} contradicts `from`: the adapter it continues has {fixed}; leave it out to inherit"
                        );
                        return Err(Reason::field(setting.field, why));
                    }
                }
                Ok(Self { $($($field: shape.$field.clone().or_else(|| self.$field.clone()),)*)* })
            }

            /// What is not said takes its default, for a model that reads `context` tokens.
            pub fn complete(mut self, context: usize) -> Recipe {
                Recipe {
                    $($($field: {
                        let default: Unsaid<$type> = $default;
                        let value = <$type>::keep(self.$field.take(), || default.value(&self, context));
                        self.$field = value.clone().wish();
                        value
                    },)*)*
                }
            }
        }

        impl From<Recipe> for Wishes {
            /// What its method uses.
            fn from(recipe: Recipe) -> Self {
                let method = recipe.method;
                Self {
                    $($($field: recipe.$field.wish().filter(|_| $methods.contains(&method)),)*)*
                }
            }
        }
    };
}

each_setting!(make);

impl Wishes {
    /// One setting, its value as users say it.
    ///
    /// # Errors
    /// Why it cannot be that value.
    pub fn of(setting: &'static Setting, value: serde_json::Value) -> Result<Self, String> {
        let mut fields = serde_json::Map::new();
        fields.insert(setting.field.to_owned(), setting.kept(value));
        let wish: Self = serde_json::from_value(serde_json::Value::Object(fields))
            .map_err(|fault| fault.to_string())?;
        for (setting, said) in wish.said() {
            setting.kind.check(said)?;
        }
        Ok(wish)
    }

    /// What is said, as users say it.
    pub fn said_publicly(&self) -> impl Iterator<Item = (&'static Setting, String)> {
        self.said()
            .map(|(setting, said)| match (setting.kind, said) {
                (Off, Said::Flag(flag)) => (setting, (!flag).to_string()),
                _ => (setting, said.to_string()),
            })
    }

    /// Checks each of them alone, for the method that is asked for.
    ///
    /// # Errors
    /// `BadField` with the recipe's name of the setting.
    pub fn check(&self) -> Result<(), Reason> {
        self.check_for(Some(self.method.unwrap_or(Method::Lora)))
    }

    /// Checks each of them alone, for a method that is not known where none is asked for: that of what a job continues.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_inheriting(&self) -> Result<(), Reason> {
        self.check_for(self.method)
    }

    fn check_for(&self, method: Option<Method>) -> Result<(), Reason> {
        let mut said = self.said();
        said.try_for_each(|(setting, said)| setting.judge(said, method))
    }
}

impl Recipe {
    /// Positions that virtual tokens take before every text.
    pub fn virtual_positions(&self) -> usize {
        match VIRTUAL.contains(&self.method) {
            true => self.virtual_tokens,
            false => 0,
        }
    }
}

impl From<Wishes> for Recipe {
    fn from(wishes: Wishes) -> Self {
        wishes.complete(usize::MAX)
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Wishes::default().into()
    }
}

impl<T: Kept> Unsaid<T> {
    fn value(self, wishes: &Wishes, context: usize) -> T {
        match self {
            Is(value) => value,
            Made(_, make) => make(wishes, context),
        }
    }

    fn words(self) -> String {
        match self {
            Is(value) => {
                let said = value.wish().map(|value| value.said().to_string());
                said.unwrap_or_default()
            }
            Made(words, _) => words.to_owned(),
        }
    }
}

/// How a recipe keeps a wish: as its value, or as `None` where nothing is said and nothing stands for it.
pub trait Kept: Clone {
    type Value: Value;

    fn keep(wish: Option<Self::Value>, default: impl FnOnce() -> Self) -> Self;
    fn wish(self) -> Option<Self::Value>;
}

impl<T: Value> Kept for T {
    type Value = T;

    fn keep(wish: Option<T>, default: impl FnOnce() -> T) -> T {
        wish.unwrap_or_else(default)
    }

    fn wish(self) -> Option<T> {
        Some(self)
    }
}

impl<T: Value> Kept for Option<T> {
    type Value = T;

    fn keep(wish: Option<T>, default: impl FnOnce() -> Self) -> Self {
        wish.or_else(default)
    }

    fn wish(self) -> Self {
        self
    }
}

/// A type that a setting's values may have.
pub trait Value: Clone {
    fn said(&self) -> Said<'_>;
}

macro_rules! values {
    ($($type:ty, $value:ident => $said:expr;)*) => {$(
        impl Value for $type {
            fn said(&self) -> Said<'_> {
                let $value = self;
                $said
            }
        }
    )*};
}

values! {
    bool, flag => Said::Flag(*flag);
    u64, number => Said::Whole(*number);
    usize, number => Said::Whole(*number as u64);
    f64, number => Said::Number(*number);
    String, text => Said::Text(text);
    Bytes, bytes => match bytes {
        Bytes::Count(count) => Said::Whole(*count),
        Bytes::Unread(text) => Said::Text(text),
    };
    Stages, stages => Said::Text(stages.text());
    Patterns, patterns => Said::Text(patterns.text());
    Bias, choice => Said::Text(choice.name());
    Method, choice => Said::Text(choice.name());
    Schedule, choice => Said::Text(choice.name());
    PromptInit, choice => Said::Text(choice.name());
    Checkpointing, choice => Said::Text(choice.name());
    Keep, choice => Said::Text(choice.name());
    Gate, choice => Said::Text(choice.name());
    Objective, choice => Said::Text(choice.name());
    OnSpike, choice => Said::Text(choice.name());
    Precision, choice => Said::Text(choice.name());
    LossScale, scale => match scale {
        LossScale::Dynamic => Said::Text(LossScale::DYNAMIC),
        LossScale::Fixed(scale) => Said::Number(*scale),
    };
    Optimizer, choice => Said::Text(choice.name());
    Offload, choice => Said::Text(choice.name());
    Placement, choice => Said::Text(choice.name());
    NonLinearity, choice => Said::Text(choice.name());
    Targets, targets => match targets {
        Targets::List(names) => Said::List(names),
        Targets::Pattern(pattern) => Said::Text(pattern),
    };
}
