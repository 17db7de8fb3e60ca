//! How tokens are chosen and when an answer ends.
//!
//! A number that shapes the choice is a row of the table below, its field of the `.proto`, and its use. `each_number!(make)`
//! hands all rows to the macro `make`.

use serde::Deserialize;

use super::settings::{Group, Kind, Setting};
use super::{Range, Reason};

/// Stop strings of one request.
pub const MAX_STOPS: usize = 16;
/// Bytes of one stop string: so much text at most is held back while it may still become one.
pub const MAX_STOP_BYTES: usize = 1024;
/// Ids that end an answer, of one request.
pub const MAX_STOP_IDS: usize = 128;
/// Entries of a bias.
pub const MAX_BIASES: usize = 1024;
/// What may be added to a logit.
pub const BIAS: Range = Range::between(-100.0, 100.0);
/// Alternatives reported with a token.
pub const MAX_ALTERNATIVES: u8 = 20;

macro_rules! each_number {
    ($make:ident) => { $make! {

//  said as               what it may be                       where nothing is said  help
    temperature:          Range::between(0.0, 2.0),            1.0,                   "0 always takes the likeliest token";
    top_p:                Range::above(0.0).at_most(1.0),      1.0,                   "Keep the likeliest tokens that reach this probability";
    min_p:                Range::between(0.0, 1.0),            0.0,                   "Keep tokens at least this likely, relative to the likeliest";
    presence_penalty:     Range::between(-2.0, 2.0),           0.0,                   "Against tokens already generated";
    frequency_penalty:    Range::between(-2.0, 2.0),           0.0,                   "Against tokens by how often they were generated";
    repetition_penalty:   Range::above(0.0).at_most(100.0),    1.0,                   "Over prompt and answer, as in transformers; 1 is off";

    } };
}

pub(crate) use each_number;

macro_rules! make {
    ($($name:ident: $range:expr, $default:expr, $about:literal;)*) => {
        /// The rows.
        pub const NUMBERS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            field: stringify!($name),
            aliases: &[],
            group: Group::Answer,
            kind: Kind::Number($range),
            methods: &[],
            about: $about,
            default: || $default.to_string(),
        },)*];

        /// `Default` is the OpenAI default of every field.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Sampling {
            $(#[doc = $about] pub $name: f32,)*
            /// 0 keeps every token.
            pub top_k: u32,
            pub logit_bias: Vec<(u32, f32)>,
            pub seed: Option<u64>,
            /// How many alternatives to report with each token's log-probability; `None` reports none at all.
            pub logprobs: Option<u8>,
            /// `None` lets an answer fill the context.
            pub max_tokens: Option<usize>,
            pub min_tokens: usize,
            pub stop: Vec<String>,
            pub stop_token_ids: Vec<u32>,
            pub ignore_eos: bool,
            /// Special tokens that are part of the text, as those that mark calls; the others are not.
            pub spelled: Vec<u32>,
        }

        impl Default for Sampling {
            fn default() -> Self {
                Self {
                    $($name: $default,)*
                    top_k: 0,
                    logit_bias: Vec::new(),
                    seed: None,
                    logprobs: None,
                    max_tokens: None,
                    min_tokens: 0,
                    stop: Vec::new(),
                    stop_token_ids: Vec::new(),
                    ignore_eos: false,
                    spelled: Vec::new(),
                }
            }
        }

        /// The rows as asked for.
        #[derive(Debug, Clone, Default, Deserialize)]
        pub struct Numbers {
            $(pub $name: Option<f32>,)*
        }

        impl From<Numbers> for Sampling {
            fn from(asked: Numbers) -> Self {
                let off = Self::default();
                Self { $($name: asked.$name.unwrap_or(off.$name),)* ..off }
            }
        }

        impl Sampling {
            /// Checks what needs no model to be checked.
            ///
            /// # Errors
            /// `BadField`.
            pub fn check(&self) -> Result<(), Reason> {
                $(number(stringify!($name), self.$name, $range)?;)*
                self.check_rest()
            }
        }
    };
}

each_number!(make);

impl Sampling {
    fn check_rest(&self) -> Result<(), Reason> {
        // Logits are multiplied by its inverse.
        if self.repetition_penalty.recip().is_infinite() {
            let why = format!("{} is too close to 0", self.repetition_penalty);
            return Err(Reason::field("repetition_penalty", why));
        }
        at_most("logit_bias", self.logit_bias.len(), MAX_BIASES)?;
        for &(_, bias) in &self.logit_bias {
            number("logit_bias", bias, BIAS)?;
        }
        if self.logprobs.is_some_and(|k| k > MAX_ALTERNATIVES) {
            let why = format!("at most {MAX_ALTERNATIVES} alternatives are reported");
            return Err(Reason::field("logprobs", why));
        }
        at_most("stop_token_ids", self.stop_token_ids.len(), MAX_STOP_IDS)?;
        at_most("stop", self.stop.len(), MAX_STOPS)?;
        let fits = |stop: &String| (1..=MAX_STOP_BYTES).contains(&stop.len());
        if !self.stop.iter().all(fits) {
            let why = format!("each string has 1 to {MAX_STOP_BYTES} bytes");
            return Err(Reason::field("stop", why));
        }
        Ok(())
    }
}

fn number(field: &str, value: f32, range: Range) -> Result<(), Reason> {
    match range.holds(value.into()) {
        true => Ok(()),
        false => Err(Reason::field(field, format!("{value} is not {range}"))),
    }
}

fn at_most(field: &str, entries: usize, most: usize) -> Result<(), Reason> {
    if entries <= most {
        return Ok(());
    }
    let why = format!("has {entries} entries, at most {most} are taken");
    Err(Reason::field(field, why))
}
