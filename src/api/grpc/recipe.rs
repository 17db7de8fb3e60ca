//! The settings of a job as a message. Each row of the table is the field of its name; a row without one, or a field
//! without a row, does not compile.

use crate::domain::recipes::Recipes;
use crate::domain::settings::{self, Named, each_setting};
use crate::domain::{Bytes, LossScale, Patterns, Reason, Recipe, Stages, Targets, Wishes};
use crate::pb;

macro_rules! make {
    ($($group:ident { $(
        $name:ident $(or $alias:ident)? as $field:ident: $type:ty, $kind:expr, $default:expr, $methods:expr, $about:literal;
    )* })*) => {
        pub(super) fn wishes(recipe: pb::Recipe) -> Result<Wishes, Reason> {
            Ok(Wishes {
                $($($field: recipe.$name.read(stringify!($name))?,)*)*
            })
        }

        pub(super) fn message(recipe: Recipe) -> pb::Recipe {
            let wishes = Wishes::from(recipe);
            pb::Recipe {
                $($($name: FieldOf::write(wishes.$field, stringify!($name)),)*)*
                // A job tells its settings; what files made of them are its mappings.
                deepspeed: None,
                peft_config: None,
                training_args: None,
            }
        }
    };
}

each_setting!(make);

/// The files of other programs in a message, as JSON text.
pub(super) fn recipes(recipe: &mut pb::Recipe) -> Result<Recipes, Reason> {
    let mut recipes = Recipes::default();
    for (name, text) in [
        ("deepspeed", recipe.deepspeed.take()),
        ("peft_config", recipe.peft_config.take()),
        ("training_args", recipe.training_args.take()),
    ] {
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            recipes.put_text(name, &text)?;
        }
    }
    Ok(recipes)
}

/// What a setting's field of the message holds, and absence in either direction.
trait FieldOf<T>: Sized {
    fn read(self, name: &str) -> Result<Option<T>, Reason>;
    fn write(value: Option<T>, name: &str) -> Self;
}

macro_rules! alike {
    ($($type:ty)*) => {$(
        impl FieldOf<$type> for Option<$type> {
            fn read(self, _: &str) -> Result<Option<$type>, Reason> {
                Ok(self)
            }

            fn write(value: Option<$type>, _: &str) -> Self {
                value
            }
        }
    )*};
}

alike!(u64 f64 String);

impl FieldOf<bool> for Option<bool> {
    fn read(self, name: &str) -> Result<Option<bool>, Reason> {
        Ok(self.map(|flag| flag != settings::switches_off(name)))
    }

    fn write(value: Option<bool>, name: &str) -> Self {
        value.map(|flag| flag != settings::switches_off(name))
    }
}

impl FieldOf<usize> for Option<u32> {
    fn read(self, _: &str) -> Result<Option<usize>, Reason> {
        Ok(self.map(|number| number as usize))
    }

    fn write(value: Option<usize>, _: &str) -> Self {
        value.map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }
}

impl FieldOf<Bytes> for Option<u64> {
    fn read(self, _: &str) -> Result<Option<Bytes>, Reason> {
        Ok(self.map(Bytes::Count))
    }

    fn write(value: Option<Bytes>, _: &str) -> Self {
        value.and_then(|bytes| bytes.count().ok())
    }
}

impl<T: Named> FieldOf<T> for Option<String> {
    fn read(self, name: &str) -> Result<Option<T>, Reason> {
        let Some(text) = self else { return Ok(None) };
        let choice = T::named(&text).ok_or_else(|| {
            let known = T::NAMES.join("`, `");
            Reason::field(name, format!("`{text}` is none of `{known}`"))
        });
        choice.map(Some)
    }

    fn write(value: Option<T>, _: &str) -> Self {
        value.map(|choice| choice.name().to_owned())
    }
}

impl FieldOf<Stages> for Option<String> {
    fn read(self, name: &str) -> Result<Option<Stages>, Reason> {
        let stages = self.map(|text| Stages::parse(&text));
        stages.transpose().map_err(|why| Reason::field(name, why))
    }

    fn write(value: Option<Stages>, _: &str) -> Self {
        value.map(|stages| stages.text().to_owned())
    }
}

impl FieldOf<LossScale> for Option<String> {
    fn read(self, name: &str) -> Result<Option<LossScale>, Reason> {
        let scale = self.map(|text| text.parse());
        scale
            .transpose()
            .map_err(|why: String| Reason::field(name, why))
    }

    fn write(value: Option<LossScale>, _: &str) -> Self {
        value.map(|scale| scale.to_string())
    }
}

impl FieldOf<Patterns> for Option<String> {
    fn read(self, _: &str) -> Result<Option<Patterns>, Reason> {
        Ok(self.map(|text| Patterns::from_text(&text)))
    }

    fn write(value: Option<Patterns>, _: &str) -> Self {
        value.map(|patterns| patterns.text().to_owned())
    }
}

/// One entry may be a pattern, or names with commas between.
impl FieldOf<Targets> for Vec<String> {
    fn read(self, _: &str) -> Result<Option<Targets>, Reason> {
        Ok(match self.as_slice() {
            [] => None,
            [one] => Some(Targets::from_text(one)),
            _ => Some(Targets::List(self)),
        })
    }

    fn write(value: Option<Targets>, _: &str) -> Self {
        match value {
            None => Vec::new(),
            Some(Targets::List(names)) => names,
            Some(Targets::Pattern(pattern)) => vec![pattern],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Method, Schedule};

    #[test]
    fn a_recipe_comes_back_as_it_was_written() {
        let mut wished = Wishes {
            method: Some(Method::Lora),
            rank: Some(4),
            targets: Some(Targets::from_text("q_proj,v_proj")),
            steps: Some(7),
            learning_rate: Some(5e-3),
            schedule: Some(Schedule::Cosine),
            from: Some("legal".into()),
            shuffle: Some(false),
            ..Wishes::default()
        };
        let told = message(wished.clone().into());
        assert_eq!((told.no_shuffle, told.no_pack), (Some(true), Some(false)));
        assert_eq!(
            (told.lr, told.epochs, told.accumulate),
            (Some(5e-3), None, Some(1))
        );
        wished = Recipe::from(wished).into();
        assert_eq!(wishes(told), Ok(wished));
    }

    #[test]
    fn nothing_said_is_nothing_wished() {
        assert_eq!(wishes(pb::Recipe::default()), Ok(Wishes::default()));
    }

    #[test]
    fn an_unknown_choice_is_named() {
        let asked = pb::Recipe {
            method: Some("magic".into()),
            ..Default::default()
        };
        let known = Method::NAMES.join("`, `");
        let why = format!("`magic` is none of `{known}`");
        assert_eq!(wishes(asked), Err(Reason::field("method", why)));
    }

    #[test]
    fn one_target_may_be_a_pattern() {
        let of = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            texts.read("targets").unwrap()
        };
        let list =
            |names: &[&str]| Targets::List(names.iter().map(|name| (*name).into()).collect());
        let pattern = |text: &str| Targets::Pattern(text.into());
        for (texts, meaning) in [
            (&["all-linear"][..], pattern("all-linear")),
            (&[".*q_proj$"], pattern(".*q_proj$")),
            (&["q_proj"], list(&["q_proj"])),
            (&["q_proj", "v_proj"], list(&["q_proj", "v_proj"])),
        ] {
            assert_eq!(of(texts), Some(meaning));
        }
        assert_eq!(of(&[]), None);
    }
}
