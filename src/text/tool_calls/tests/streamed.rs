//! Calls that are told while they come.

use super::*;

/// As a grammar leaves them: the calls of both functions, and what they are given.
fn both(row: &'static Row) -> (String, Read) {
    let offered = tools();
    let (texts, given): (Vec<String>, [&str; 2]) = match row.forms.key {
        Some(key) => {
            let given = ["{\"a\": [1, \"}é\\\\\\\"\"]}", "{}"];
            let call = |(tool, given): (&Tool, &&str)| forced::head(tool, key) + given + "}";
            (offered.iter().zip(&given).map(call).collect(), given)
        }
        None => {
            let first = "<function=weather>\n<parameter=city>\n \"é\\\n\n</parameter\n</parameter>\n<parameter=days>\n3\n</parameter>\n\
                <parameter=list>\n[1, \"a\"]\n</parameter>\n<parameter=wide>\nTrue\n</parameter>\n<parameter=any>\n\n</parameter>\n</function>";
            let given = [
                "{\"city\":\" \\\"é\\\\\\n\\n</parameter\",\"days\":3,\"list\":[1,\"a\"],\"wide\":true,\"any\":\"\"}",
                "{}",
            ];
            (
                vec![first.into(), "<function=time>\n</function>".into()],
                given,
            )
        }
    };
    let text = texts.join(row.forms.between);
    let found = calls(&[("weather", given[0]), ("time", given[1])]);
    (
        format!("{}{text}{}", row.forms.begin, row.forms.end),
        (String::new(), found),
    )
}

fn streamed(row: &'static Row, leaves: Leaves) -> CallParser {
    CallParser::new(Syntax { row }, tools(), true, leaves)
}

/// Whole, in pieces of every size, and cut at every place.
fn check_streamed(row: &'static Row, leaves: Leaves, text: &str, expected: &Read) {
    let chars: Vec<&str> = { text.char_indices() }
        .map(|(at, c)| &text[at..at + c.len_utf8()])
        .collect();
    for size in 1..=chars.len() {
        let pieces: Vec<String> = chars.chunks(size).map(<[&str]>::concat).collect();
        let read = collected(streamed(row, leaves), pieces.iter().map(String::as_str));
        assert_eq!(&read, expected, "{size} of {text}");
    }
    for (at, _) in text.char_indices() {
        let (a, b) = text.split_at(at);
        assert_eq!(
            &collected(streamed(row, leaves), [a, b]),
            expected,
            "{a}|{b}"
        );
        // Cut there, it is what there is.
        let (said, told) = collected(streamed(row, leaves), [a]);
        let all: String = expected.1.iter().map(|(_, given)| given.as_str()).collect();
        let told: String = told.into_iter().map(|(_, given)| given).collect();
        assert!(all.starts_with(&told) && text.starts_with(&said), "{a}");
    }
}

#[test]
fn calls_read_the_same_while_they_come() {
    for row in &ROWS {
        let (text, expected) = both(row);
        assert_eq!(whole(row.name, &text), expected, "{text}");
        for leaves in [Leaves::Calls, Leaves::Either] {
            check_streamed(row, leaves, &text, &expected);
        }
        if row.is_bare() {
            check_streamed(row, Leaves::EitherJson, &text, &expected);
        }
    }
}

#[test]
fn text_comes_before_calls_that_are_told_while_they_come() {
    for row in ROWS.iter().filter(|row| row.marker().is_some()) {
        let (text, (_, found)) = both(row);
        for (before, said) in [
            ("", ""),
            (" \n", ""),
            (" Well <to [TOOL, é.\n\n", " Well <to [TOOL, é."),
        ] {
            check_streamed(
                row,
                Leaves::TextAndCalls,
                &format!("{before}{text}"),
                &(said.into(), found.clone()),
            );
        }
        let alone = (" Well.\n".to_owned(), Vec::new());
        check_streamed(row, Leaves::TextAndCalls, " Well.\n", &alone);
    }
}

#[test]
fn text_in_place_of_calls_stays_as_it_is() {
    for row in &ROWS {
        for text in [
            "yes",
            " {\"name\": \"other\"} <tool_call>\n",
            "{\"name\": 1}",
            "[{\"a\": [TOOL_CALLS]}] ",
        ] {
            for leaves in [Leaves::Either, Leaves::EitherJson] {
                check_streamed(row, leaves, text, &(text.to_owned(), Vec::new()));
            }
        }
    }
}

#[test]
fn blanks_of_json_do_not_hide_a_call() {
    for (name, text) in [
        (
            "llama3",
            "{\"name\":\"time\" ,\n \"parameters\": {\"a b\": 1}\n}; { \"name\": \"weather\",\"parameters\":{ }}",
        ),
        (
            "json",
            "[{\n  \"name\":\n \"time\", \"arguments\":{\"a b\": 1} }, {\"name\":\"weather\" ,\"arguments\": { } }]",
        ),
    ] {
        let row = ROWS.iter().find(|row| row.name == name).unwrap();
        let expected = (
            String::new(),
            calls(&[("time", "{\"a b\": 1}"), ("weather", "{ }")]),
        );
        check_streamed(row, Leaves::EitherJson, text, &expected);
    }
}

/// A value that is text is told while it comes, any other once it is whole.
#[test]
fn values_between_tags_are_told_as_early_as_they_are_certain() {
    let mut parser = streamed(&qwen3_coder::ROW, Leaves::Calls);
    let mut push = |text: &str| {
        let tell = |part: Part| match part {
            Part::Begin(name) => name,
            Part::Arguments(text) => text,
            other => panic!("{other:?}"),
        };
        parser.push(text).into_iter().map(tell).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(push("<tool_call>\n<function=weather>\n"), ["weather"]);
    assert_eq!(push("<parameter=city"), none);
    assert_eq!(push(">\nOs"), ["{\"city\":\"Os"]);
    assert_eq!(push("lo\n</para"), ["lo"]);
    assert_eq!(push("graph>"), ["\\n</paragraph>"]);
    assert_eq!(
        push("\n</parameter>\n<parameter=days>\n1"),
        ["\",\"days\":"]
    );
    assert_eq!(push("2\n</parameter>\n</function>"), ["12}"]);
}
