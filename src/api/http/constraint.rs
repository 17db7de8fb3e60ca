//! The form an answer must have, as OpenAI's and vLLM's clients ask for it: one place of several.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::shape::{FLAG, Field, Kind, Neutral, Shape, TEXT};
use crate::domain::{Constraint, Reason, Rule, Strict};

/// A schema is checked where it is compiled, with better words.
pub(super) const SCHEMA: Kind = Kind::Any;
const CHOICES: Kind = Kind::List {
    of: &TEXT,
    min: 1,
    max: usize::MAX,
};

const NAMED: Shape = Shape {
    name: "NamedSchema",
    about: "A JSON schema and what it is called.",
    fields: &[&[
        Field::new("name", Kind::Text { min: 1, max: 512 }, "Ignored."),
        Field::new("description", TEXT, "Ignored."),
        Field::new(
            "schema",
            SCHEMA,
            "The schema that answers follow; docs/structured-output.md has the keywords.",
        )
        .required(),
        Field::new(
            "strict",
            FLAG,
            "Ignored: answers follow the schema always, and what cannot be followed is refused.",
        ),
    ]],
};

const FORMAT: Shape = Shape {
    name: "ResponseFormat",
    about: "The form of an answer.",
    fields: &[&[
        Field::new(
            "type",
            Kind::Choice(&["text", "json_object", "json_schema"]),
            "Any text, any JSON object, or JSON that follows a schema.",
        )
        .required(),
        Field::new(
            "json_schema",
            Kind::Object(&NAMED),
            "With `json_schema`, and required then.",
        ),
        Field::new(
            "schema",
            SCHEMA,
            "With `json_object`: the schema it follows.",
        ),
    ]],
};

const STRUCTURED: Shape = Shape {
    name: "StructuredOutputs",
    about: "vLLM's way to say which form an answer has; one of them.",
    fields: &[&[
        Field::new("json", SCHEMA, "As `guided_json`.").neutral(&[Neutral::Text("")]),
        Field::new("regex", TEXT, "As `guided_regex`.").neutral(&[Neutral::Text("")]),
        Field::new("choice", CHOICES, "As `guided_choice`.").neutral(&[Neutral::Empty]),
        Field::new("grammar", TEXT, "As `guided_grammar`.").neutral(&[Neutral::Text("")]),
        Field::new("json_object", FLAG, "Any JSON object.").neutral(&[Neutral::Flag(false)]),
        Field::unbuilt(
            "structural_tag",
            "is not available; `grammar` says the same",
            &[Neutral::Empty],
        ),
        Field::unbuilt(
            "whitespace_pattern",
            "is not available: blank space in JSON has one form",
            &[Neutral::Empty],
        ),
        Field::new("disable_fallback", FLAG, "Ignored: there is one backend."),
        Field::unbuilt(
            "disable_any_whitespace",
            "is not available: blank space in JSON has one form",
            &[Neutral::Flag(false)],
        ),
        Field::unbuilt(
            "disable_additional_properties",
            "is not available; the schema says `additionalProperties`",
            &[Neutral::Flag(false)],
        ),
    ]],
};

/// Of chat and text completions.
pub(super) const CONSTRAINT: &[Field] = &[
    Field::new(
        "response_format",
        Kind::Object(&FORMAT),
        "The form of an answer that is no call, as OpenAI's clients say it.",
    )
    .neutral(&[Neutral::Type("text"), Neutral::Empty]),
    // An empty schema allows every value, so it asks for something.
    Field::new(
        "guided_json",
        SCHEMA,
        "The answer is JSON that follows this schema, an object or its text.",
    )
    .neutral(&[Neutral::Text("")]),
    Field::new(
        "guided_regex",
        TEXT,
        "The expression matches the answer as a whole.",
    )
    .neutral(&[Neutral::Text("")]),
    Field::new(
        "guided_choice",
        CHOICES,
        "The answer is one of these texts.",
    )
    .neutral(&[Neutral::Empty]),
    Field::new(
        "guided_grammar",
        TEXT,
        "The answer follows this grammar, in Lark's syntax.",
    )
    .neutral(&[Neutral::Text("")]),
    Field::new(
        "structured_outputs",
        Kind::Object(&STRUCTURED),
        "One of the forms above, as newer clients of vLLM say it.",
    )
    .neutral(&[Neutral::Empty]),
];

#[derive(Debug, Clone, Deserialize)]
struct Named {
    schema: Value,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Text,
    JsonObject,
    JsonSchema,
}

#[derive(Debug, Clone, Deserialize)]
struct Format {
    r#type: Form,
    json_schema: Option<Named>,
    schema: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Structured {
    json: Option<Value>,
    regex: Option<String>,
    choice: Option<Vec<String>>,
    grammar: Option<String>,
    json_object: Option<bool>,
}

/// The fields as sent.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ConstraintAsk {
    response_format: Option<Format>,
    guided_json: Option<Value>,
    guided_regex: Option<String>,
    guided_choice: Option<Vec<String>>,
    guided_grammar: Option<String>,
    structured_outputs: Option<Structured>,
}

impl ConstraintAsk {
    /// The one form that is asked for, if any is.
    pub fn read(self) -> Result<Option<Arc<Constraint>>, Reason> {
        let mut said: Vec<Constraint> = Vec::new();
        said.extend(self.response_format.map(of_format).transpose()?.flatten());
        said.extend(of_json("guided_json", self.guided_json)?);
        let texts = [
            ("guided_regex", self.guided_regex.map(Rule::Regex)),
            ("guided_choice", self.guided_choice.map(Rule::Choice)),
            ("guided_grammar", self.guided_grammar.map(Rule::Lark)),
        ];
        said.extend(texts.into_iter().filter_map(of_rule));
        if let Some(structured) = self.structured_outputs {
            said.extend(of_json("structured_outputs.json", structured.json)?);
            let object = structured.json_object.unwrap_or(false);
            let rest = [
                (
                    "structured_outputs.regex",
                    structured.regex.map(Rule::Regex),
                ),
                (
                    "structured_outputs.choice",
                    structured.choice.map(Rule::Choice),
                ),
                (
                    "structured_outputs.grammar",
                    structured.grammar.map(Rule::Lark),
                ),
                (
                    "structured_outputs.json_object",
                    object.then_some(Rule::JsonObject),
                ),
            ];
            said.extend(rest.into_iter().filter_map(of_rule));
        }
        let mut said = said.into_iter();
        let first = said.next();
        if let (Some(first), Some(second)) = (&first, said.next()) {
            let why = format!("`{}` says which form the answer has; send one", first.field);
            return Err(Reason::field(second.field, why));
        }
        Ok(first.map(Arc::new))
    }
}

fn of_rule((field, rule): (&str, Option<Rule>)) -> Option<Constraint> {
    rule.map(|rule| Constraint::new(field, rule))
}

fn of_format(format: Format) -> Result<Option<Constraint>, Reason> {
    const FIELD: &str = "response_format.json_schema";
    let Format {
        r#type,
        json_schema,
        schema,
    } = format;
    if json_schema.is_some() && !matches!(r#type, Form::JsonSchema) {
        return Err(Reason::field(FIELD, "needs the type `json_schema`"));
    }
    if schema.is_some() && !matches!(r#type, Form::JsonObject) {
        let why = "goes with the type `json_object`; `json_schema` has its own";
        return Err(Reason::field("response_format.schema", why));
    }
    Ok(match (r#type, json_schema, schema) {
        (Form::Text, ..) => None,
        (Form::JsonObject, _, None) => Some(Constraint::new("response_format", Rule::JsonObject)),
        (Form::JsonObject, _, Some(schema)) => Some(Constraint::new(
            "response_format.schema",
            Rule::JsonSchema(schema),
        )),
        (Form::JsonSchema, Some(named), _) => Some(Constraint::new(
            format!("{FIELD}.schema"),
            Rule::JsonSchema(named.schema),
        )),
        (Form::JsonSchema, None, _) => return Err(Reason::field(FIELD, "is required")),
    })
}

/// A schema, or its text.
fn of_json(field: &str, schema: Option<Value>) -> Result<Option<Constraint>, Reason> {
    let schema = match schema {
        None => return Ok(None),
        Some(Value::String(text)) => {
            let read = serde_json::from_str::<Strict>(&text);
            let wrong = |fault| format!("is a text that is not JSON: {fault}");
            read.map_err(|fault| Reason::field(field, wrong(fault)))?.0
        }
        Some(schema) => schema,
    };
    Ok(Some(Constraint::new(field, Rule::JsonSchema(schema))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALONE: Shape = Shape {
        name: "Alone",
        about: "",
        fields: &[CONSTRAINT],
    };

    fn read(body: Value) -> Result<Option<Arc<Constraint>>, Reason> {
        ALONE.take::<ConstraintAsk>(body)?.read()
    }

    #[test]
    fn every_place_says_the_same() {
        let schema = json!({"type": "integer"});
        let rule = Rule::JsonSchema(schema.clone());
        let named = json!({"name": "n", "schema": schema, "strict": true});
        for (body, field, rule) in [
            (
                json!({"response_format": {"type": "json_schema", "json_schema": named}}),
                "response_format.json_schema.schema",
                rule.clone(),
            ),
            (
                json!({"response_format": {"type": "json_object"}}),
                "response_format",
                Rule::JsonObject,
            ),
            (
                json!({"response_format": {"type": "json_object", "schema": schema}}),
                "response_format.schema",
                rule.clone(),
            ),
            (json!({"guided_json": schema}), "guided_json", rule.clone()),
            (
                json!({"guided_json": schema.to_string()}),
                "guided_json",
                rule.clone(),
            ),
            (
                json!({"structured_outputs": {"json": schema, "regex": null, "choice": []}}),
                "structured_outputs.json",
                rule,
            ),
            (
                json!({"structured_outputs": {"json_object": true}}),
                "structured_outputs.json_object",
                Rule::JsonObject,
            ),
            (
                json!({"guided_choice": ["a", "b"], "guided_regex": ""}),
                "guided_choice",
                Rule::Choice(vec!["a".into(), "b".into()]),
            ),
            (
                json!({"guided_grammar": "start: \"a\""}),
                "guided_grammar",
                Rule::Lark("start: \"a\"".into()),
            ),
        ] {
            let told = read(body.clone()).unwrap().unwrap();
            assert_eq!(*told, Constraint::new(field, rule), "{body}");
        }
    }

    #[test]
    fn nothing_asks_for_nothing() {
        for body in [
            json!({}),
            json!({"response_format": {"type": "text"}}),
            json!({"response_format": {"type": "text", "json_schema": null}}),
            json!({"response_format": null, "guided_json": null}),
            json!({"structured_outputs": {"json_object": false}}),
            json!({"structured_outputs": {"json": null, "choice": []}}),
        ] {
            assert_eq!(read(body.clone()).unwrap(), None, "{body}");
        }
    }

    #[test]
    fn two_forms_are_refused_with_both_names() {
        for (body, first, second) in [
            (
                json!({"response_format": {"type": "json_object"}, "guided_regex": "a"}),
                "response_format",
                "guided_regex",
            ),
            (
                json!({"guided_choice": ["a"], "structured_outputs": {"regex": "a"}}),
                "guided_choice",
                "structured_outputs.regex",
            ),
            (
                json!({"structured_outputs": {"regex": "a", "json_object": true}}),
                "structured_outputs.regex",
                "structured_outputs.json_object",
            ),
        ] {
            let Err(Reason::BadField { field, why }) = read(body.clone()) else {
                panic!("{body}");
            };
            assert_eq!(field, second);
            assert!(why.contains(&format!("`{first}`")), "{why}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (body, path) in [
            (
                json!({"response_format": {"type": "json_schema"}}),
                "response_format.json_schema",
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}),
                "response_format.json_schema.schema",
            ),
            (
                json!({"response_format": {"type": "json_object", "json_schema": {"schema": {}}}}),
                "response_format.json_schema",
            ),
            (
                json!({"response_format": {"type": "text", "schema": {}}}),
                "response_format.schema",
            ),
            (
                json!({"response_format": {"type": "xml"}}),
                "response_format.type",
            ),
            (json!({"guided_json": "{"}), "guided_json"),
            (
                json!({"structured_outputs": {"structural_tag": "a"}}),
                "structured_outputs.structural_tag",
            ),
        ] {
            let told = read(body.clone());
            assert!(
                matches!(&told, Err(Reason::BadField { field, .. }) if field == path),
                "{body}: {told:?}"
            );
        }
    }
}
