//! What keywords become, and which are refused.

use super::*;

fn rewritten(schema: Value) -> Result<Value, &'static str> {
    let Value::Object(mut map) = schema else {
        panic!("{schema}");
    };
    rewrite(&mut map).map_err(|(key, _)| key)?;
    Ok(Value::Object(map))
}

#[test]
fn an_open_bound_becomes_the_last_number_within_it() {
    for (schema, said) in [
        (
            json!({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 8}),
            json!({"type": "integer", "maximum": 7.0, "minimum": 6.0}),
        ),
        (
            json!({"type": "integer", "exclusiveMinimum": 1.5, "exclusiveMaximum": 2.5}),
            json!({"type": "integer", "maximum": 2.0, "minimum": 2.0}),
        ),
        (
            json!({"type": "number", "exclusiveMinimum": 50, "maximum": 50.5}),
            json!({"type": "number", "maximum": 50.5, "minimum": 50.00000000000001}),
        ),
        (
            json!({"exclusiveMaximum": 1}),
            json!({"maximum": 0.9999999999999999}),
        ),
        (json!({"exclusiveMinimum": 0}), json!({"minimum": 1e-15})),
        (json!({"exclusiveMaximum": 0}), json!({"maximum": -1e-15})),
        // Draft 4.
        (
            json!({"maximum": 1, "exclusiveMaximum": true, "minimum": 0, "exclusiveMinimum": false}),
            json!({"maximum": 0.9999999999999999, "minimum": 0, "exclusiveMinimum": false}),
        ),
        (
            json!({"minimum": 3, "exclusiveMinimum": 2}),
            json!({"minimum": 3.0}),
        ),
        (
            json!({"minimum": 3, "maximum": 4}),
            json!({"minimum": 3, "maximum": 4}),
        ),
        (json!({"minimum": "3"}), json!({"minimum": "3"})),
    ] {
        assert_eq!(rewritten(schema.clone()).unwrap(), said, "{schema}");
    }
}

#[test]
fn bounds_beyond_what_doubles_hold_are_met_from_within() {
    for whole in [
        (1i64 << 53) + 1,
        (1 << 53) + 7,
        1 << 62,
        999_999_999_999_999_999,
        i64::MAX,
        i64::MIN + 1,
        i64::MIN,
    ] {
        for (key, sign) in [("maximum", 1), ("minimum", -1)] {
            let told = rewritten(json!({"type": "integer", key: whole}));
            if i128::from(whole) * sign < -LARGEST {
                assert_eq!(told, Err(key), "{key} {whole}");
                continue;
            }
            let told = told.unwrap()[key].as_f64().unwrap();
            let inside = |number: i128| (i128::from(whole) - number) * sign >= 0;
            assert!(inside(told as i128), "{key} {whole}: {told}");
            assert!(inside(written(told)), "{key} {whole}: {told}");
            let off = (told as i128 - i128::from(whole)).abs();
            assert!(off <= 8192, "{key} {whole}: {told}");
        }
    }
    let unsigned = rewritten(json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}));
    assert_eq!(unsigned.unwrap()["maximum"], json!(LARGEST as f64));
    let far = json!({"type": "integer", "minimum": u64::MAX});
    assert_eq!(rewritten(far), Err("minimum"));
}

#[test]
fn what_cannot_be_written_exactly_is_refused_by_its_keyword() {
    for (schema, key) in [
        (json!({"const": 9007199254740993i64}), "const"),
        (json!({"enum": [1, {"a": [9007199254740993i64]}]}), "enum"),
        (json!({"const": 1.5e300}), "const"),
        (json!({"const": u64::MAX}), "const"),
        (json!({"enum": ["a\u{1}b"]}), "enum"),
        (json!({"multipleOf": 1e-12}), "multipleOf"),
        (json!({"multipleOf": 1e12}), "multipleOf"),
        (json!({"multipleOf": 0.57}), "multipleOf"),
        (json!({"multipleOf": 0.123456789}), "multipleOf"),
        (json!({"multipleOf": 0}), "multipleOf"),
        (json!({"minProperties": 2}), "minProperties"),
        (
            json!({"minProperties": 3, "required": ["a", "a"]}),
            "minProperties",
        ),
    ] {
        assert_eq!(rewritten(schema.clone()), Err(key), "{schema}");
    }
    for schema in [
        json!({"const": 1e22}),
        json!({"enum": [9007199254740992i64, 0.1, -1e-7, "a\tb\n", null]}),
        json!({"multipleOf": 0.25}),
        json!({"minProperties": 2, "required": ["a"]}),
    ] {
        assert_eq!(rewritten(schema.clone()).as_ref(), Ok(&schema));
    }
}

#[test]
fn multiples_are_read_by_their_digits() {
    for (of, meant) in [
        (0.01, (1, 2)),
        (0.05, (5, 2)),
        (0.07, (7, 2)),
        (1.15, (115, 2)),
        (1e-6, (1, 6)),
        (0.125, (125, 3)),
        (250.0, (250, 0)),
    ] {
        let told = rewritten(json!({"multipleOf": of})).unwrap();
        assert_eq!(read(told["multipleOf"].as_f64().unwrap()), Some(meant));
    }
    for (of, named) in [
        (1e9, "is above 300000000"),
        (0.57, "as 0.01 is"),
        (0.123456789, "8 digits behind the point"),
        (123.4567891, "above 300000000 without the point"),
    ] {
        let mut map = Map::from_iter([("multipleOf".to_owned(), json!(of))]);
        let (_, why) = multiple(&mut map).unwrap_err();
        assert!(why.contains(named), "{of}: {why}");
    }
    let kept = json!({"multipleOf": 3});
    assert_eq!(rewritten(kept.clone()).unwrap(), kept);
}

#[test]
fn what_is_sent_in_practice_is_followed() {
    for schema in [
        json!({"type": "integer", "minimum": -9_007_199_254_740_991i64, "maximum": 9_007_199_254_740_991i64}),
        json!({"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.01}),
        json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}),
        json!({"type": "string", "format": "uuid", "pattern": "^[0-9a-f-]+$"}),
    ] {
        assert_eq!(rewritten(schema.clone()).as_ref(), Ok(&schema));
    }
    let address = rewritten(json!({"pattern": EMAIL})).unwrap();
    let address = regex::Regex::new(address["pattern"].as_str().unwrap()).unwrap();
    for (text, holds) in [
        ("a@b.de", true),
        ("a.b-c+d@e-f.g.com", true),
        ("o'neil@x.io", true),
        ("a'@x.io", false),
        (".a@x.io", false),
        ("a..b@x.io", false),
        ("a.@x.io", false),
        ("a@x", false),
        ("@x.io", false),
        ("a@x..io", false),
    ] {
        assert_eq!(address.is_match(text), holds, "{text}");
    }
}

#[test]
fn sets_of_characters_are_read_as_ecmascript_reads_them() {
    for (pattern, said) in [
        ("^[^[\\]]$", "^[^\\[\\]]$"),
        ("[a&&b~~c]&&[+--]", "[a&\\&b~\\~c]&&[+-\\-]"),
        ("\\[[a-z]+\\]", "\\[[a-z]+\\]"),
        ("^[\\w.-]+$", "^[\\w.-]+$"),
        ("\\", "\\"),
    ] {
        assert_eq!(ecma(pattern), said, "{pattern}");
    }
    let told = rewritten(json!({"patternProperties": {"^[[]": {}, "b": {}}})).unwrap();
    assert_eq!(told, json!({"patternProperties": {"^[\\[]": {}, "b": {}}}));
}

#[test]
fn days_and_times_are_those_of_the_calendar() {
    let of = |format: &str| {
        let told = rewritten(json!({"type": "string", "format": format})).unwrap();
        assert!(told.get("format").is_none());
        regex::Regex::new(told["pattern"].as_str().unwrap()).unwrap()
    };
    let date = of("date");
    for year in 0..2500 {
        for (month, day) in [
            (1, 31),
            (2, 28),
            (2, 29),
            (2, 30),
            (4, 30),
            (4, 31),
            (12, 32),
        ] {
            let text = format!("{year:04}-{month:02}-{day:02}");
            let exists = year > 0 && chrono::NaiveDate::from_ymd_opt(year, month, day).is_some();
            assert_eq!(date.is_match(&text), exists, "{text}");
        }
    }
    let time = of("time");
    assert!(time.is_match("23:59:59.5Z") && time.is_match("00:00:00-23:59"));
    assert!(!time.is_match("23:59:60Z") && !time.is_match("24:00:00Z"));
    let both = of("date-time");
    assert!(both.is_match("2024-02-29T10:00:00Z") && !both.is_match("2023-02-29T10:00:00Z"));
    let beside = rewritten(json!({"format": "date", "pattern": "^2024"})).unwrap();
    assert_eq!(beside["pattern"], "^2024");
    assert_eq!(beside["allOf"].as_array().unwrap().len(), 1);
}
