//! Keys that are refused, reported or as good as absent, and rows that cannot be used.

use serde_json::json;

use super::super::*;
use super::{refused, said, turns};

#[test]
fn keys_that_change_what_a_row_means_are_refused_by_name() {
    let row = |key: &str, value: Value| {
        let mut row = json!({"instruction": "q", "output": "a"});
        row[key] = value;
        refused(row)
    };
    for (key, value) in [
        ("tools", json!([{"type": "function"}])),
        ("tools", json!("[{}]")),
        ("functions", json!([{}])),
        ("tool_choice", json!("required")),
        ("images", json!(["a.png"])),
        ("image", json!("a.png")),
        ("videos", json!(["a"])),
        ("audios", json!(["a"])),
        ("audio", json!({"path": "a"})),
        ("chosen", json!("x")),
        ("rejected", json!([{}])),
        ("preferred_output", json!([{}])),
        ("kto_tag", json!(true)),
        ("label", json!(false)),
        ("weight", json!(0.5)),
        ("train", json!(false)),
        ("masked", json!(true)),
        ("reasoning_content", json!("hm")),
        ("thinking", json!("hm")),
        ("chat_template_kwargs", json!({"enable_thinking": false})),
    ] {
        let told = row(key, value);
        assert!(told.starts_with(&format!("`{key}`: ")), "{told}");
    }
    for (key, value) in [
        ("tools", json!([{}])),
        ("function_call", json!({"name": "x"})),
        ("tool_call_id", json!("x")),
        ("reasoning_content", json!("hm")),
        ("thinking", json!("hm")),
        ("audio", json!({"id": "x"})),
        ("images", json!(["a.png"])),
    ] {
        let mut row = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]});
        row["messages"][1][key] = value;
        let told = refused(row);
        assert!(
            told.starts_with(&format!("`messages[1].{key}`: ")),
            "{told}"
        );
    }
    for role in ["function_call", "observation", "function"] {
        let told = refused(
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": role, "value": "{}"}, {"from": "gpt", "value": "a"}]}),
        );
        assert!(
            told.starts_with(&format!(
                "`conversations[1].from`: `{role}` belongs to a tool call"
            )),
            "{told}"
        );
    }
    let part = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, {"role": "assistant", "content": "a"}]});
    assert!(refused(part).contains("not one of type `image_url`"));
}

#[test]
fn keys_that_say_nothing_are_as_good_as_absent() {
    let row = json!({
        "messages": [
            {"role": "user", "content": "q", "name": "", "tool_calls": [], "images": null, "id": ""},
            {"role": "assistant", "content": "a", "tool_calls": null, "function_call": {}, "reasoning_content": "", "weight": null},
        ],
        "tools": [], "functions": [], "parallel_tool_calls": true, "tool_choice": "auto", "history": [], "system": null,
        "images": [], "chosen": null, "label": null, "output": "", "source": "", "meta": {},
    });
    assert_eq!(
        turns(row),
        said(&[("user", "q", false), ("assistant", "a", true)])
    );
}

#[test]
fn every_other_key_is_told() {
    let row = json!({
        "id": 7, "source": "web", "prompt": "q", "labels": [1],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q", "cache_control": {"type": "ephemeral"}}], "ts": 1, "name": "Ada"},
            {"role": "assistant", "content": "a", "ts": 2, "annotations": [1]},
        ],
    });
    let (record, unused) = Record::read(row).unwrap();
    let expected = [
        "id",
        "labels",
        "messages[].annotations",
        "messages[].content[].cache_control",
        "messages[].ts",
        "prompt",
        "source",
    ];
    assert_eq!(
        unused.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
    let Body::Chat(turns) = record.body else {
        panic!("a conversation")
    };
    assert_eq!(turns[0].name.as_deref(), Some("Ada"));
    let published = json!({"instruction": "q", "input": "", "output": "a", "text": "### q a", "prompt": "### q", "category": "x"});
    let (_, unused) = Record::read(published).unwrap();
    assert_eq!(
        unused.iter().map(String::as_str).collect::<Vec<_>>(),
        ["category", "prompt", "text"]
    );
}

#[test]
fn a_row_that_carries_two_forms_is_refused_naming_both() {
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    for (row, names) in [
        (
            json!({"messages": messages, "output": "a"}),
            ["messages", "output"],
        ),
        (
            json!({"messages": messages, "text": "a"}),
            ["messages", "text"],
        ),
        (
            json!({"messages": messages, "conversations": messages}),
            ["messages", "conversations"],
        ),
        (
            json!({"messages": messages, "question": "q", "answer": "a"}),
            ["messages", "answer"],
        ),
        (
            json!({"instruction": "q", "output": "a", "response": "b"}),
            ["output", "response"],
        ),
        (
            json!({"instruction": "q", "output": "a", "conversations": messages}),
            ["conversations", "output"],
        ),
        (
            json!({"prompt": "q", "completion": "a", "text": "b"}),
            ["completion", "text"],
        ),
        (
            json!({"prompt": "q", "completion": "a", "output": "b"}),
            ["output", "completion"],
        ),
        (
            json!({"question": "q", "query": "r", "answer": "b"}),
            ["question", "query"],
        ),
        (
            json!({"instruction": "q", "question": "r", "output": "b"}),
            ["instruction", "question"],
        ),
        (
            json!({"prompt": "q", "instruction": "r", "completion": "b"}),
            ["instruction", "prompt"],
        ),
        (
            json!({"instruction": "q", "input": "r", "context": "s", "output": "b"}),
            ["input", "context"],
        ),
    ] {
        let told = refused(row.clone());
        assert!(
            names.iter().all(|name| told.contains(&format!("`{name}`"))),
            "{row}: {told}"
        );
    }
    let turn = json!({"conversations": [{"from": "human", "role": "user", "value": "q"}, {"from": "gpt", "value": "a"}]});
    assert!(refused(turn).contains("`conversations[0]` carries both `role` and `from`"));
}

#[test]
fn unusable_rows_say_what_is_wrong_and_where() {
    let cases = [
        (json!(3), "a row is an object, not a number"),
        (json!({}), "has none of"),
        (json!({"instruction": "x"}), "has none of"),
        (json!({"output": "x"}), "`instruction` is missing"),
        (json!({"answer": "x"}), "`question` is missing"),
        (json!({"completion": "x"}), "`prompt` is missing"),
        (
            json!({"instruction": "x", "output": 3}),
            "`output` is a number, not text",
        ),
        (
            json!({"instruction": "x", "output": " "}),
            "`output` is empty",
        ),
        (
            json!({"instruction": "x", "output": ""}),
            "`output` is empty",
        ),
        (
            json!({"instruction": " ", "input": "", "output": "x"}),
            "`instruction` is empty",
        ),
        (
            json!({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}]}),
            "`messages[0].content` is empty",
        ),
        (
            json!({"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "x"}]}),
            "`conversations[0].value` is empty",
        ),
        (json!({"messages": []}), "no assistant turn"),
        (json!({"conversations": []}), "no assistant turn"),
        (
            json!({"messages": "x"}),
            "`messages` is a text, not a list of turns",
        ),
        (json!({"messages": ["x"]}), "`messages[0]` is not an object"),
        (
            json!({"messages": [{"role": "robot", "content": "x"}]}),
            "`messages[0].role`: `robot`",
        ),
        (
            json!({"messages": [{"content": "x"}]}),
            "`messages[0]`: `role` is missing",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "`messages[0].content`: is missing",
        ),
        (
            json!({"conversations": [{"from": "gpt", "value": "hi"}]}),
            "`conversations[0]` is an answer to nothing",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": "x", "weight": 0}]}),
            "no assistant turn",
        ),
    ];
    for (row, expected) in cases {
        let why = refused(row.clone());
        assert!(why.contains(expected), "{row}: {why}");
    }
}

#[test]
fn tools_and_calls_are_read_with_their_results() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}});
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let row = |tools: Value| {
        json!({"tools": tools, "parallel_tool_calls": false, "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
            {"role": "assistant", "content": "a"},
        ]})
    };
    for tools in [
        json!([tool]),
        json!(json!([tool]).to_string()),
        json!([tool["function"]]),
    ] {
        let (record, unused) = Record::read(row(tools)).unwrap();
        assert_eq!(record.tools, std::slice::from_ref(&tool));
        assert!(unused.is_empty(), "{unused:?}");
        let Body::Chat(turns) = record.body else {
            panic!("no conversation")
        };
        assert!(is_trained(&turns[1]) && turns[1].content.is_empty());
        assert_eq!(
            turns[1].tool_calls[0].told()["function"]["arguments"],
            json!({"a": 1})
        );
        assert_eq!(turns[2].tool_call_id.as_deref(), Some("c"));
    }
    for (at, key, value, place) in [
        (
            0,
            "tool_calls",
            json!([call]),
            "`messages[0].tool_calls`: only an assistant",
        ),
        (
            1,
            "tool_calls",
            json!([{}]),
            "`messages[1].tool_calls[0].function`: ",
        ),
        (
            1,
            "tool_calls",
            json!("f"),
            "`messages[1].tool_calls` is not a list",
        ),
        (
            3,
            "tool_call_id",
            json!("c"),
            "`messages[3].tool_call_id`: only a tool turn",
        ),
        (
            3,
            "tools",
            json!([tool]),
            "`messages[3].tools`: belongs to the row",
        ),
    ] {
        let mut row = row(json!([tool]));
        row["messages"][at][key] = value;
        let told = refused(row);
        assert!(told.starts_with(place), "{told}");
    }
    let raw = json!({"prompt": "p", "completion": "c", "tools": [tool]});
    assert!(refused(raw).starts_with("`tools`: raw text"));
    assert!(refused(row(json!("x"))).starts_with("`tools` is not the text of a list"));
}
