//! Which adapter a request means, decided from what its places say. Pure.

use crate::domain::{
    AdapterChoice, AdapterName, Blend, Pin, Reason, STEP, Weight, checkpoint_name,
};

/// What the places of one request say, as written. Absent means absent; empty text is a mistake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    pub model: Option<String>,
    /// The body's `adapter`.
    pub field: Option<String>,
    /// The body's blend.
    pub blend: Option<Blend>,
    /// Every `adapter` header or metadata entry.
    pub headers: Vec<String>,
}

/// The choice, and how to say that it does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub choice: AdapterChoice,
    /// The `model` text, where nothing else named the adapter.
    pub by_model: Option<String>,
}

impl Chosen {
    /// An adapter that only `model` named is missing as a model.
    pub fn explain(&self, reason: Reason) -> Reason {
        match (reason, &self.by_model) {
            (Reason::NoSuchAdapter(_) | Reason::NoSuchGeneration { .. }, Some(model)) => {
                Reason::NoSuchModel(model.clone())
            }
            (reason, _) => reason,
        }
    }
}

/// The rules of "Choosing an adapter": any place may name one, two may not disagree, and nothing falls back to the
/// base. `exists` tells a model name that means nothing from one that contradicts.
pub(super) fn choose(
    claims: &Claims,
    base: &str,
    exists: impl Fn(&AdapterName) -> bool,
) -> Result<Chosen, Reason> {
    let model = claims
        .model
        .as_deref()
        .map_or(Ok(None), |model| read_model(model, base))?;
    let mut said: Option<AdapterChoice> = None;
    let texts = claims.headers.iter().chain(&claims.field);
    let blend = claims.blend.iter().cloned().map(AdapterChoice::Blend);
    for next in texts.map(|text| read(text)).chain(blend.map(Ok)) {
        let next = next?;
        said = Some(match said {
            None => next,
            Some(before) => agree(before, next)?,
        });
    }
    let Some(model_choice) = model else {
        return Ok(Chosen {
            choice: said.unwrap_or_default(),
            by_model: None,
        });
    };
    let Some(said) = said else {
        return Ok(Chosen {
            choice: model_choice,
            by_model: claims.model.clone(),
        });
    };
    let unknown = matches!(
        &model_choice,
        AdapterChoice::Named { name, .. } | AdapterChoice::Checkpoint { name, .. } if !exists(name)
    );
    match agree(said, model_choice) {
        Err(Reason::AdapterConflict(_)) if unknown => Err(Reason::NoSuchModel(
            claims.model.clone().unwrap_or_default(),
        )),
        agreed => Ok(Chosen {
            choice: agreed?,
            by_model: None,
        }),
    }
}

/// `None`: the base's own name, which leaves the choice to the other places.
fn read_model(model: &str, base: &str) -> Result<Option<AdapterChoice>, Reason> {
    if model == base {
        return Ok(None);
    }
    let name = model
        .strip_prefix(base)
        .and_then(|rest| rest.strip_prefix(':'))
        .unwrap_or(model);
    // A blend is no model: it has no name.
    match read(name) {
        Ok(AdapterChoice::Blend(_)) | Err(_) => {
            Err(Reason::NoSuchModel(model.chars().take(200).collect()))
        }
        Ok(choice) => Ok(Some(choice)),
    }
}

fn read(text: &str) -> Result<AdapterChoice, Reason> {
    if text.is_empty() {
        return Err(Reason::field(
            "adapter",
            "is empty; leave it out or say `none` for the base",
        ));
    }
    if text == "none" {
        return Ok(AdapterChoice::Base);
    }
    if text.contains(['=', ',']) {
        return Blend::parse("adapter", text).map(AdapterChoice::Blend);
    }
    // What cannot be a name cannot have been registered.
    let named = |name: &str| {
        let name = name.parse::<AdapterName>();
        name.map_err(|_| Reason::NoSuchAdapter(text.chars().take(200).collect()))
    };
    let (name, pin) = match text.split_once('@') {
        None => (text, None),
        Some((name, step)) if step.starts_with(STEP) => {
            let step = step[STEP.len()..].parse().map_err(|_| {
                let why = format!("`{step}` is no step of a job: `{STEP}` and its number");
                Reason::field("adapter", why)
            })?;
            let name = named(name)?;
            return Ok(AdapterChoice::Checkpoint { name, step });
        }
        Some((name, pin)) => {
            let pin = pin
                .parse::<Pin>()
                .map_err(|wrong| Reason::field("adapter", wrong.to_string()))?;
            (name, Some(pin))
        }
    };
    let name = named(name)?;
    Ok(AdapterChoice::Named { name, pin })
}

/// Two mentions of one name agree; a pinned one is the more exact.
fn agree(one: AdapterChoice, other: AdapterChoice) -> Result<AdapterChoice, Reason> {
    use AdapterChoice::{Base, Blend, Checkpoint, Named};
    let conflict = |one: String, other: String| {
        Err(Reason::AdapterConflict(format!(
            "the request names two different adapters: `{one}` and `{other}`"
        )))
    };
    match (one, other) {
        (Base, Base) => Ok(Base),
        (
            Named { name, pin },
            Named {
                name: again,
                pin: other,
            },
        ) if name == again => match (pin, other) {
            (Some(a), Some(b)) if a.as_str().starts_with(b.as_str()) => {
                Ok(Named { name, pin: Some(a) })
            }
            (Some(a), Some(b)) if b.as_str().starts_with(a.as_str()) => {
                Ok(Named { name, pin: Some(b) })
            }
            (Some(a), Some(b)) => conflict(
                format!("{name}@{}", a.as_str()),
                format!("{name}@{}", b.as_str()),
            ),
            (a, b) => Ok(Named { name, pin: a.or(b) }),
        },
        (one @ Checkpoint { .. }, other) if one == other => Ok(one),
        // Again the more exact.
        (checkpoint @ Checkpoint { .. }, named @ Named { pin: None, .. })
        | (named @ Named { pin: None, .. }, checkpoint @ Checkpoint { .. })
            if name_of(&checkpoint) == name_of(&named) =>
        {
            Ok(checkpoint)
        }
        (Blend(one), Blend(other)) if one == other => Ok(Blend(one)),
        (Blend(blend), named @ Named { .. }) | (named @ Named { .. }, Blend(blend))
            if is_whole(&blend, &named) =>
        {
            Ok(Blend(blend))
        }
        (one, other) => conflict(show(&one), show(&other)),
    }
}

fn name_of(choice: &AdapterChoice) -> Option<&AdapterName> {
    match choice {
        AdapterChoice::Named { name, .. } | AdapterChoice::Checkpoint { name, .. } => Some(name),
        AdapterChoice::Base | AdapterChoice::Blend(_) => None,
    }
}

/// Whether a blend is all of this adapter and nothing else.
fn is_whole(blend: &Blend, choice: &AdapterChoice) -> bool {
    match (blend.members(), choice) {
        ([only], AdapterChoice::Named { name, pin }) => {
            only.weight == Weight::ONE && only.name == *name && only.pin == *pin
        }
        _ => false,
    }
}

fn show(choice: &AdapterChoice) -> String {
    match choice {
        AdapterChoice::Base => "none".to_owned(),
        AdapterChoice::Named { name, pin: None } => name.to_string(),
        AdapterChoice::Named {
            name,
            pin: Some(pin),
        } => format!("{name}@{}", pin.as_str()),
        AdapterChoice::Checkpoint { name, step } => checkpoint_name(name, *step),
        AdapterChoice::Blend(blend) => blend.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "org/tiny";

    fn claims(model: Option<&str>, field: Option<&str>, headers: &[&str]) -> Claims {
        Claims {
            model: model.map(Into::into),
            field: field.map(Into::into),
            blend: None,
            headers: headers.iter().map(|h| (*h).to_owned()).collect(),
        }
    }

    fn known(name: &AdapterName) -> bool {
        ["legal", "medical"].contains(&name.as_str())
    }

    fn chosen(
        model: Option<&str>,
        field: Option<&str>,
        headers: &[&str],
    ) -> Result<Chosen, Reason> {
        choose(&claims(model, field, headers), BASE, known)
    }

    fn text_of(result: Result<Chosen, Reason>) -> String {
        show(&result.expect("one choice").choice)
    }

    #[test]
    fn nothing_said_means_the_base() {
        assert_eq!(text_of(chosen(None, None, &[])), "none");
        assert_eq!(text_of(chosen(Some(BASE), None, &[])), "none");
        assert_eq!(text_of(chosen(Some(BASE), Some("none"), &["none"])), "none");
        assert_eq!(text_of(chosen(Some("org/tiny:none"), None, &[])), "none");
    }

    #[test]
    fn every_place_can_name_an_adapter() {
        assert_eq!(text_of(chosen(None, Some("legal"), &[])), "legal");
        assert_eq!(text_of(chosen(None, None, &["legal"])), "legal");
        assert_eq!(text_of(chosen(Some("legal"), None, &[])), "legal");
        assert_eq!(text_of(chosen(Some("org/tiny:legal"), None, &[])), "legal");
        assert_eq!(text_of(chosen(Some(BASE), None, &["legal"])), "legal");
        assert_eq!(
            text_of(chosen(Some("legal"), Some("legal"), &["legal"])),
            "legal"
        );
        assert_eq!(
            text_of(chosen(Some("legal@12345678"), None, &[])),
            "legal@12345678"
        );
        assert_eq!(
            text_of(chosen(None, Some("legal"), &["legal@12345678"])),
            "legal@12345678"
        );
        assert_eq!(
            text_of(chosen(None, Some("legal@1234567890"), &["legal@12345678"])),
            "legal@1234567890"
        );
    }

    #[test]
    fn every_place_can_name_a_checkpoint() {
        let step = "legal@step-120";
        assert_eq!(text_of(chosen(Some(step), None, &[])), step);
        assert_eq!(
            text_of(chosen(Some("org/tiny:legal@step-120"), None, &[])),
            step
        );
        assert_eq!(text_of(chosen(None, Some(step), &["legal"])), step);
        assert_eq!(text_of(chosen(Some("legal"), None, &[step])), step);
        assert_eq!(text_of(chosen(Some(BASE), Some(step), &[step])), step);
        for (model, field, headers) in [
            (None, Some(step), &["legal@step-121"][..]),
            (None, Some(step), &["legal@12345678"][..]),
            (None, Some(step), &["medical"][..]),
            (Some(step), Some("none"), &[][..]),
        ] {
            let refused = chosen(model, field, headers);
            assert!(matches!(refused, Err(Reason::AdapterConflict(_))));
        }
        for wrong in ["legal@step-", "legal@step--1", "legal@step-1x"] {
            let refused = chosen(None, Some(wrong), &[]);
            assert!(matches!(refused, Err(Reason::BadField { .. })), "{wrong}");
        }
    }

    #[test]
    fn two_names_are_a_conflict() {
        for (model, field, headers) in [
            (Some("legal"), Some("medical"), &[][..]),
            (Some("legal"), None, &["medical"][..]),
            (None, Some("legal"), &["medical"][..]),
            (None, None, &["legal", "medical"][..]),
            (None, Some("none"), &["legal"][..]),
            (Some("legal"), Some("none"), &[][..]),
            (Some("org/tiny:none"), Some("legal"), &[][..]),
            (None, Some("legal@11111111"), &["legal@22222222"][..]),
        ] {
            let result = chosen(model, field, headers);
            assert!(
                matches!(result, Err(Reason::AdapterConflict(_))),
                "{model:?} {field:?} {headers:?}"
            );
        }
    }

    #[test]
    fn an_unknown_model_is_a_missing_model_whatever_else_is_said() {
        assert!(matches!(
            chosen(Some("gpt-4o"), None, &["legal"]),
            Err(Reason::NoSuchModel(_))
        ));
        assert!(matches!(
            chosen(Some("GPT/4"), None, &[]),
            Err(Reason::NoSuchModel(_))
        ));
        assert!(matches!(
            chosen(Some(""), None, &[]),
            Err(Reason::NoSuchModel(_))
        ));
        let later = chosen(Some("gpt-4o"), None, &[]).expect("left to the registry");
        assert!(matches!(
            later.explain(Reason::NoSuchAdapter("gpt-4o".into())),
            Reason::NoSuchModel(_)
        ));
        let field = chosen(None, Some("gpt-4o"), &[]).expect("left to the registry");
        assert!(matches!(
            field.explain(Reason::NoSuchAdapter("gpt-4o".into())),
            Reason::NoSuchAdapter(_)
        ));
    }

    #[test]
    fn what_cannot_be_a_name_is_an_unknown_adapter() {
        assert!(matches!(
            chosen(None, Some("Legal!"), &[]),
            Err(Reason::NoSuchAdapter(_))
        ));
        assert!(matches!(
            chosen(None, None, &["../legal"]),
            Err(Reason::NoSuchAdapter(_))
        ));
    }

    #[test]
    fn a_blend_is_chosen_by_field_and_header_and_is_no_model() {
        let text = "legal=0.7,medical=0.3";
        for (field, headers) in [(Some(text), &[][..]), (None, &["medical=0.3, legal=0.7"])] {
            assert_eq!(text_of(chosen(None, field, headers)), text);
            assert_eq!(text_of(chosen(Some(BASE), field, headers)), text);
        }
        let with = |blend: &str, field: Option<&str>, headers: &[&str]| {
            let blend = Some(Blend::parse("adapter", blend).unwrap());
            let claims = Claims {
                blend,
                ..claims(None, field, headers)
            };
            choose(&claims, BASE, known)
        };
        assert_eq!(text_of(with(text, None, &[text])), text);
        assert_eq!(text_of(with("legal=1", None, &["legal"])), "legal=1");
        for other in ["legal", "none", "legal=0.7", "legal=0.3,medical=0.7"] {
            let refused = with(text, None, &[other]);
            assert!(
                matches!(refused, Err(Reason::AdapterConflict(_))),
                "{other}"
            );
        }
        for model in [text, "org/tiny:legal=1"] {
            let refused = chosen(Some(model), None, &[]);
            assert!(matches!(refused, Err(Reason::NoSuchModel(_))), "{model}");
        }
    }

    #[test]
    fn bad_blends_empty_texts_and_bad_pins_name_the_field() {
        for text in ["legal=0.7,medical", "", "legal@12", "legal@xyzxyzxyz"] {
            let result = chosen(None, None, &[text]);
            assert!(
                matches!(result, Err(Reason::BadField { field, .. }) if field == "adapter"),
                "{text}"
            );
        }
    }
}
