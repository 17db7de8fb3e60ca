//! Rules that are wrong or too much: refused by their place, and soon.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::*;

/// The field that a rule is refused with, and whether as too complex.
fn refused(grammars: &Grammars, rule: Rule) -> (String, bool) {
    let effort = Effort::default();
    let told = guide_with(grammars, rule.clone(), &effort);
    let took = effort.spent();
    assert!(took < Duration::from_secs(5), "{took:?}");
    match told.map(drop) {
        Err(Reason::BadField { field, .. }) => (field, false),
        Err(Reason::GrammarTooComplex { field, .. }) => (field, true),
        other => panic!("{rule:?}: {other:?}"),
    }
}

#[test]
fn what_cannot_be_followed_is_refused_by_its_place() {
    let grammars = grammars();
    let property = |schema: Value| json!({"type": "object", "properties": {"a": schema}});
    for (schema, field) in [
        (property(json!({"type": "strin"})), "form.properties.a"),
        (
            property(json!({"type": "string", "pattern": "("})),
            "form.properties.a.pattern",
        ),
        (
            property(json!({"type": "string", "pattern": "(?=a)b"})),
            "form.properties.a.pattern",
        ),
        (
            property(json!({"oneOf": [{"type": "string"}, {"type": "string", "minLength": 3}]})),
            "form.properties.a.oneOf",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties":
                {"a": {"type": "array", "items": {"type": "integer", "minimum": 5, "maximum": 3}, "minItems": 1}}}),
            "form.properties.a",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties":
                {"a": {"type": "string", "format": "date", "pattern": "^never$"}}}),
            "form.properties.a.pattern",
        ),
        (property(json!({"not": {}})), "form.properties.a.not"),
        (
            json!({"anyOf": [{}, {"$ref": "#/$defs/none"}]}),
            "form.anyOf[1].$ref",
        ),
        (json!({"type": "integer", "minimum": "1"}), "form.minimum"),
        (json!(false), "form"),
    ] {
        let (told, too_complex) = refused(&grammars, Rule::JsonSchema(schema.clone()));
        assert!(told.starts_with(field) && !too_complex, "{schema}: {told}");
    }
    for (rule, field) in [
        (Rule::Regex("(".into()), "form"),
        (Rule::Regex("(?=a)b".into()), "form"),
        (Rule::Regex(" ".into()), "form"),
        (Rule::Choice(vec![]), "form"),
        (Rule::Choice(vec!["a".into(), String::new()]), "form[1]"),
        (Rule::Lark("start: other".into()), "form"),
        (Rule::Lark("start ((".into()), "form"),
        (Rule::Lark("# sums\nroot ::= \"a\"".into()), "form"),
        (Rule::Lark(String::new()), "form"),
    ] {
        assert_eq!(refused(&grammars, rule), (field.to_owned(), false));
    }
}

#[test]
fn what_is_too_much_is_refused_before_it_takes_long() {
    let grammars = grammars();
    let brackets = |count: usize| format!("{}a{}", "(".repeat(count), ")".repeat(count));
    let names = |count: usize| (0..count).map(|n| format!("name{n}"));
    let map: Map<String, Value> = names(3000).map(|name| (name, json!({}))).collect();
    for rule in [
        Rule::Regex(brackets(10_000)),
        Rule::Regex("a".repeat(100_000)),
        Rule::Lark(format!("start: {}", brackets(10_000).replace('a', "\"a\""))),
        Rule::Lark("a".repeat(5 << 20)),
        Rule::Choice(names(10_000).collect()),
        Rule::JsonSchema(json!({"enum": names(10_000).collect::<Vec<_>>()})),
        Rule::JsonSchema(json!({"properties": map})),
        Rule::JsonSchema(json!({"description": "x".repeat(5 << 20)})),
        Rule::JsonSchema(json!({"type": "string", "maxLength": 1_000_000_000})),
    ] {
        assert!(refused(&grammars, rule).1);
    }
}

/// Each compiles within its limits or is refused; none takes the process down or goes on for long.
#[test]
fn bombs_do_no_harm() {
    let grammars = grammars();
    let chain = |count: usize, link: fn(Value) -> Value| {
        let next = |n: usize| json!({"$ref": format!("#/$defs/d{n}")});
        let mut defs: Map<String, Value> = (0..count)
            .map(|n| (format!("d{n}"), link(next(n + 1))))
            .collect();
        defs.insert(format!("d{count}"), json!({"type": "string"}));
        Rule::JsonSchema(json!({"$ref": "#/$defs/d0", "$defs": defs}))
    };
    let pattern = |text: &str| Rule::JsonSchema(json!({"type": "string", "pattern": text}));
    let repeated = |count: u64| json!({"type": "array", "minItems": count, "maxItems": count});
    for rule in [
        chain(700, |next| next),
        chain(
            300,
            |next| json!({"type": "object", "properties": {"a": next}, "required": ["a"]}),
        ),
        chain(40, |next| json!({"allOf": [next.clone(), next]})),
        chain(40, |next| json!({"anyOf": [next.clone(), {"items": next}]})),
        pattern("^((a{1,100}){1,100}){1,100}$"),
        pattern("(.*a){20,30}b(.*c){20}"),
        Rule::Regex("((a{1,1000}){1,1000}){1,1000}".into()),
        Rule::Regex("(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)[^a]{500}".into()),
        Rule::Regex(".*a.{200}".into()),
        Rule::Lark("start: start start | \"a\" | \"\"".into()),
        Rule::Lark("start: (\"a\"{1,10000}){1,10000}".into()),
        Rule::JsonSchema(json!({"type": "array", "minItems": 9999, "items": repeated(9999)})),
        Rule::JsonSchema(
            json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "integer"}]}}, "$ref": "#/$defs/a"}),
        ),
        Rule::JsonSchema(
            json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}, "$ref": "#/$defs/a"}),
        ),
    ] {
        let (effort, following) = (Effort::default(), Effort::default());
        if let Ok(mut guide) = guide_with(&grammars, rule.clone(), &effort) {
            let _working = following.join();
            for _ in 0..20 {
                let Ok(mask) = guide.mask() else { break };
                let Some(id) = (0..END).rev().find(|id| mask.allows(*id)) else {
                    break;
                };
                if !matches!(guide.accept(id), Ok(false)) {
                    break;
                }
            }
        }
        let took = effort.spent() + following.spent();
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}
