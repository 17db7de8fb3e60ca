//! What a request for a fine-tuning job holds. The same settings may stand in three places (OpenAI's current one,
//! its deprecated one, and our own); they are merged, and a setting given twice must be given alike.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::job_fields::JOB;
use crate::domain::recipes::{self, Recipes};
use crate::domain::{Named, Objective, Reason, settings};
use crate::gateway::{JobAsk, Wishes};

/// OpenAI's, and no setting of its own.
const MULTIPLIER: &str = "learning_rate_multiplier";

#[derive(Debug, Deserialize)]
struct Ask {
    model: Option<String>,
    training_file: String,
    validation_file: Option<String>,
    suffix: Option<String>,
    metadata: Option<Map<String, Value>>,
    integrations: Option<Vec<Value>>,
}

/// Where each setting was written, so that a later complaint names the place.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<(String, String)>);

impl Places {
    /// `reason`, with a setting's name replaced by the path it was written at.
    pub fn explain(&self, reason: Reason) -> Reason {
        let Reason::BadField { field, why } = reason else {
            return reason;
        };
        let name = settings::public_name(&field);
        // A key of a recipe has the recipe's name before it.
        let (head, rest) = match name.split_once('.') {
            Some((head, _)) if recipes::NAMES.contains(&head) => name.split_at(head.len()),
            _ => (name, ""),
        };
        let place = self.0.iter().find(|(setting, _)| setting == head);
        Reason::BadField {
            field: place.map_or_else(|| name.to_owned(), |(_, path)| format!("{path}{rest}")),
            why,
        }
    }
}

pub(super) fn read(body: Value) -> Result<(JobAsk, Places), Reason> {
    let body = JOB.settle(body)?;
    let mut merged = Map::new();
    let mut places = Places::default();
    let method = &body["method"];
    let objective = objective(method)?;
    for (path, settings) in [
        (
            "method.supervised.hyperparameters.",
            &method["supervised"]["hyperparameters"],
        ),
        (
            "method.dpo.hyperparameters.",
            &method["dpo"]["hyperparameters"],
        ),
        ("hyperparameters.", &body["hyperparameters"]),
        ("adapterd.", &body["adapterd"]),
    ] {
        for (name, value) in settings.as_object().into_iter().flatten() {
            merge(
                &mut merged,
                &mut places,
                format!("{path}{name}"),
                name,
                value,
            )?;
        }
    }
    if let Some(objective) = objective {
        let (path, value) = ("method.type".to_owned(), json!(objective.name()));
        merge(&mut merged, &mut places, path, "objective", &value)?;
    }
    merge(
        &mut merged,
        &mut places,
        "seed".to_owned(),
        "seed",
        &body["seed"],
    )?;
    let ours = |fault: serde_json::Error| Reason::Internal(format!("job settings: {fault}"));
    let learning_rate_multiplier = merged.remove(MULTIPLIER).and_then(|number| number.as_f64());
    let mut brought = Recipes::default();
    for name in recipes::NAMES {
        if let Some(file) = merged.remove(name) {
            brought.put(name, file)?;
        }
    }
    let wishes: Wishes = serde_json::from_value(Value::Object(merged)).map_err(ours)?;
    let ask: Ask = serde_json::from_value(body).map_err(ours)?;
    let mut notes = Vec::new();
    if ask
        .integrations
        .is_some_and(|integrations| !integrations.is_empty())
    {
        notes.push("`integrations` was ignored: none is available".to_owned());
    }
    let job = JobAsk {
        model: ask.model,
        name: ask.suffix,
        training_file: ask.training_file,
        validation_file: ask.validation_file,
        wishes,
        recipes: brought,
        learning_rate_multiplier,
        metadata: ask.metadata.unwrap_or_default(),
        notes,
    };
    Ok((job, places))
}

/// What OpenAI's `method` says is learned: `supervised` leaves it to the settings.
fn objective(method: &Value) -> Result<Option<Objective>, Reason> {
    let is_dpo = method["type"] == "dpo";
    let other = if is_dpo { "supervised" } else { "dpo" };
    if method[other]
        .as_object()
        .is_some_and(|other| !other.is_empty())
    {
        let why = format!(
            "does not belong to type `{}`",
            method["type"].as_str().unwrap_or_default()
        );
        return Err(Reason::field(format!("method.{other}"), why));
    }
    Ok(is_dpo.then_some(Objective::Dpo))
}

/// Keeps the value under the setting's field of `Wishes`, and its place under the public name.
fn merge(
    merged: &mut Map<String, Value>,
    places: &mut Places,
    path: String,
    name: &str,
    value: &Value,
) -> Result<(), Reason> {
    if value.is_null() {
        return Ok(());
    }
    let setting = settings::find(name);
    let name = setting.map_or(name, |setting| setting.name);
    let field = setting.map_or(name, |setting| setting.field);
    let value = setting.map_or(value.clone(), |setting| setting.kept(value.clone()));
    match merged.get(field) {
        None => {
            merged.insert(field.to_owned(), value);
            places.0.push((name.to_owned(), path));
            Ok(())
        }
        Some(before) if *before == value => Ok(()),
        Some(_) => {
            let place = places.0.iter().find(|(setting, _)| setting == name);
            let place = place.map_or(name, |(_, path)| path);
            Err(Reason::field(path, format!("differs from `{place}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::job_fields::{HYPERPARAMETERS, SETTINGS};
    use super::*;
    use crate::api::http::shape::tests::conforms;

    fn with(field: &str, value: Value) -> Result<JobAsk, Reason> {
        read(json!({"training_file": "file-1", field: value})).map(|(ask, _)| ask)
    }

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&JOB, |body| read(body).map(drop));
        for (place, shape) in [
            ("hyperparameters", &HYPERPARAMETERS),
            ("adapterd", &SETTINGS),
        ] {
            conforms(shape, |settings| match with(place, settings) {
                Err(Reason::BadField { field, why }) => {
                    let field = field
                        .strip_prefix(&format!("{place}."))
                        .unwrap_or(&field)
                        .to_owned();
                    Err(Reason::BadField { field, why })
                }
                other => other.map(drop),
            });
        }
    }

    #[test]
    fn openai_clients_settings_arrive_from_both_of_their_places() {
        let hyper = json!({"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5});
        for body in [
            with("hyperparameters", hyper.clone()),
            with(
                "method",
                json!({"type": "supervised", "supervised": {"hyperparameters": hyper}}),
            ),
        ] {
            let ask = body.unwrap();
            assert_eq!(
                (ask.wishes.epochs, ask.wishes.batch_size),
                (Some(3.0), None)
            );
            assert_eq!(ask.learning_rate_multiplier, Some(0.5));
        }
    }

    #[test]
    fn preferences_are_asked_for_as_openai_has_it() {
        let method = |beta: f64| {
            let hyper = json!({"beta": beta, "n_epochs": "auto"});
            json!({"type": "dpo", "dpo": {"hyperparameters": hyper}})
        };
        let ask = with("method", method(0.3)).unwrap();
        assert_eq!(ask.wishes.objective, Some(Objective::Dpo));
        assert_eq!(ask.wishes.dpo_beta, Some(0.3));
        let body =
            json!({"training_file": "f", "method": method(0.3), "adapterd": {"objective": "sft"}});
        assert!(
            matches!(read(body), Err(Reason::BadField { field, .. }) if field == "method.type")
        );
    }

    #[test]
    fn a_setting_given_twice_must_be_given_alike() {
        let body = |rank| json!({"training_file": "f", "hyperparameters": {"rank": 8}, "adapterd": {"rank": rank}});
        assert_eq!(read(body(8)).unwrap().0.wishes.rank, Some(8));
        assert!(
            matches!(read(body(4)), Err(Reason::BadField { field, .. }) if field == "adapterd.rank")
        );
        let epochs = with("hyperparameters", json!({"n_epochs": 1, "epochs": 2}));
        assert!(matches!(epochs, Err(Reason::BadField { .. })));
    }

    #[test]
    fn a_later_complaint_names_the_place_it_came_from() {
        let (_, places) =
            read(json!({"training_file": "f", "adapterd": {"lr": 1, "no_pack": true}})).unwrap();
        let about = |field: &str| match places.explain(Reason::field(field, "no")) {
            Reason::BadField { field, .. } => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (about("learning_rate"), about("pack"), about("rank")),
            (
                "adapterd.lr".to_owned(),
                "adapterd.no_pack".to_owned(),
                "rank".to_owned()
            )
        );
    }

    #[test]
    fn integrations_are_noted() {
        let ask = with(
            "integrations",
            json!([{"type": "wandb", "wandb": {"project": "x"}}]),
        )
        .unwrap();
        assert_eq!(ask.notes.len(), 1);
        assert!(with("integrations", json!(null)).unwrap().notes.is_empty());
    }
    #[test]
    fn what_asks_for_nothing_counts_as_absent() {
        let plain = format!("{:?}", with("seed", json!(null)).unwrap());
        for (field, value) in [
            ("integrations", json!(null)),
            ("integrations", json!([])),
            ("method", json!(null)),
            ("method", json!({})),
            ("method", json!({"type": "supervised"})),
            (
                "method",
                json!({"type": "supervised", "supervised": {"hyperparameters": null}, "dpo": null}),
            ),
            ("validation_file", json!("")),
            ("validation_file", json!(null)),
            ("suffix", json!("")),
            ("metadata", json!({})),
            ("metadata", json!(null)),
            ("hyperparameters", json!({})),
            (
                "hyperparameters",
                json!({"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}),
            ),
            (
                "hyperparameters",
                json!({"n_epochs": null, "schedule": "auto", "seed": "auto", "use_rslora": "auto"}),
            ),
            ("adapterd", json!({"from": "", "no_pack": null})),
        ] {
            let ask = with(field, value.clone());
            let ask = ask.unwrap_or_else(|reason| panic!("{field} = {value}: {reason}"));
            assert_eq!(format!("{ask:?}"), plain, "{field} = {value}");
        }
        for (field, value, path) in [
            (
                "method",
                json!({"type": "supervised", "dpo": {"hyperparameters": {}}}),
                "method.dpo",
            ),
            ("method", json!({"type": "reinforcement"}), "method.type"),
            (
                "method",
                json!({"type": "dpo", "supervised": {"hyperparameters": {"n_epochs": 1}}}),
                "method.supervised",
            ),
            ("adapterd", json!({"schedule": ""}), "adapterd.schedule"),
            ("training_file", json!(""), "training_file"),
        ] {
            let told = with(field, value);
            assert!(
                matches!(&told, Err(Reason::BadField { field, .. }) if field == path),
                "{path}: {told:?}"
            );
        }
    }
}
