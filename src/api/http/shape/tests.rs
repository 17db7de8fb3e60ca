//! What holds for every table: an example of each field is read, every wrong type is refused by its path.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{Field, Kind, Neutral, Shape};
use crate::domain::{Range, Reason};

/// The smallest value the kind takes; `None` where only null passes.
fn example(kind: &Kind) -> Option<Value> {
    Some(match kind {
        Kind::Flag => json!(true),
        Kind::Integer { min, max } => json!((*min).max(1).min(*max)),
        Kind::Number(range) => json!(range.low.max(0.0).midpoint(range.high.min(1.0))),
        Kind::Text { .. } => json!("text"),
        Kind::Choice(choices) => json!(choices[0]),
        Kind::List { of, .. } => json!([example(of)?]),
        Kind::Map { of, .. } => json!({"1": example(of)?}),
        Kind::Object(shape) => smallest(shape),
        Kind::Either(kinds) => example(&kinds[0])?,
        Kind::Unbuilt(_) => return None,
        Kind::Any => json!({}),
    })
}

/// An object with the required fields alone.
pub(in crate::api::http) fn smallest(shape: &Shape) -> Value {
    let required = shape.all().filter(|field| field.required);
    Value::Object(
        required
            .map(|field| {
                (
                    field.name.to_owned(),
                    example(&field.kind).unwrap_or_default(),
                )
            })
            .collect(),
    )
}

fn with(shape: &Shape, field: &Field, value: Value) -> Value {
    let mut object: Map<String, Value> = smallest(shape).as_object().cloned().unwrap_or_default();
    object.insert(field.name.to_owned(), value);
    Value::Object(object)
}

/// Reads an example of every field through `read`, values of every other type, and those that count as absent.
pub(in crate::api::http) fn conforms(
    shape: &'static Shape,
    read: impl Fn(Value) -> Result<(), Reason>,
) {
    read(smallest(shape))
        .unwrap_or_else(|reason| panic!("{}: the smallest object: {reason}", shape.name));
    let others = [
        json!(true),
        json!(7),
        json!(0.5),
        json!("text"),
        json!([]),
        json!([{}]),
        json!({}),
        json!({"zz": 1}),
    ];
    let mut names = HashSet::new();
    for field in shape.all() {
        assert!(
            names.insert(field.name),
            "{}.{} twice",
            shape.name,
            field.name
        );
        for value in field.neutral.iter().flat_map(super::Neutral::examples) {
            read(with(shape, field, value.clone())).unwrap_or_else(|reason| {
                panic!("{}.{} = {value}: {reason}", shape.name, field.name)
            });
        }
        if let Some(value) = example(&field.kind) {
            let object = with(shape, field, value);
            match read(object.clone()) {
                Ok(()) => {}
                // Two fields may contradict or need each other; that they are read is what counts here.
                Err(Reason::BadField { .. }) => {}
                Err(reason) => panic!("{}.{}: {object}: {reason}", shape.name, field.name),
            }
        }
        for value in others
            .iter()
            .filter(|value| !field.kind.takes(value) || matches!(field.kind, Kind::Unbuilt(_)))
            .filter(|value| !field.is_neutral(value, &Map::new()))
        {
            match read(with(shape, field, value.clone())) {
                Err(Reason::BadField { field: path, .. }) if path.starts_with(field.name) => {}
                other => panic!("{}.{} = {value}: {other:?}", shape.name, field.name),
            }
        }
        if field.required {
            let mut object = smallest(shape);
            object.as_object_mut().unwrap().remove(field.name);
            let missing = read(object);
            assert!(
                matches!(missing, Err(Reason::BadField { field: path, .. }) if path == field.name),
                "{}",
                field.name
            );
        }
    }
    let unknown = read(json!({"no_such_field": 1}));
    assert!(matches!(unknown, Err(Reason::BadField { field, .. }) if field == "no_such_field"));
}

const INNER: Shape = Shape {
    name: "Inner",
    about: "",
    fields: &[&[
        Field::new("text", super::NAME, "").required(),
        Field::unbuilt(
            "extra_text",
            "is not built",
            &[Neutral::Empty, Neutral::Flag(false)],
        ),
    ]],
};
const OUTER: Shape = Shape {
    name: "Outer",
    about: "",
    fields: &[&[
        Field::new(
            "list",
            Kind::List {
                of: &Kind::Object(&INNER),
                min: 1,
                max: 3,
            },
            "",
        ),
        Field::new("one", Kind::Object(&INNER), ""),
        Field::new("other", Kind::Object(&INNER), "").neutral(&[Neutral::Empty]),
        Field::new("share", Kind::Number(Range::between(0.0, 1.0)), ""),
    ]],
};

fn path_of(value: Value) -> String {
    match OUTER.check(&value) {
        Err(Reason::BadField { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_exact_path_is_named() {
    assert_eq!(
        path_of(json!({"list": [{"text": "a"}, {"text": 5}]})),
        "list[1].text"
    );
    assert_eq!(path_of(json!({"list": [{"text": "a"}, 5]})), "list[1]");
    assert_eq!(path_of(json!({"list": []})), "list");
    assert_eq!(
        path_of(json!({"one": {"text": "a", "extra": 1}})),
        "one.extra"
    );
    assert_eq!(path_of(json!({"one": {}})), "one.text");
    assert_eq!(path_of(json!({"share": 1.5})), "share");
}

#[test]
fn null_is_absent() {
    assert!(OUTER.check(&json!({"one": null, "list": null})).is_ok());
    assert_eq!(path_of(json!({"one": {"text": null}})), "one.text");
}

#[test]
fn a_body_that_is_no_object_is_refused_whole() {
    for value in [json!(null), json!([]), json!("x"), json!(1)] {
        assert!(matches!(OUTER.check(&value), Err(Reason::BadBody(_))));
    }
}

#[test]
fn what_counts_as_absent_is_taken_out_wherever_it_is() {
    let settled = |value| OUTER.settle(value).unwrap();
    assert_eq!(
        settled(json!({"other": {}, "share": 0.5})),
        json!({"share": 0.5})
    );
    assert_eq!(settled(json!({"other": []})), json!({}));
    let nested = json!({"one": {"text": "a", "extra_text": false},
        "list": [{"text": "b", "extra_text": ""}, {"text": "c", "extra_text": {"x": null}}]});
    assert_eq!(
        settled(nested),
        json!({"one": {"text": "a"}, "list": [{"text": "b"}, {"text": "c"}]})
    );
    assert_eq!(
        path_of(json!({"list": [{"text": "a"}, {"text": "b", "extra_text": true}]})),
        "list[1].extra_text"
    );
}

#[test]
fn the_document_shows_what_counts_as_absent() {
    let mut named = Map::new();
    super::shape_schema(&OUTER, &mut named);
    let unbuilt = &named["Inner"]["properties"]["extra_text"]["enum"];
    assert_eq!(unbuilt, &json!([null, "", [], {}, false]));
    let other = &named["Outer"]["properties"]["other"]["anyOf"];
    assert_eq!(other[1]["enum"], json!(["", [], {}]));
}
