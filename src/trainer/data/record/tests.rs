use serde_json::json;

use super::*;

fn read(row: Value) -> Record {
    let (record, unused) = Record::read(row.clone()).unwrap_or_else(|why| panic!("{row}: {why}"));
    assert!(unused.is_empty(), "{row}: {unused:?}");
    record
}

fn refused(row: Value) -> String {
    match Record::read(row.clone()) {
        Err(why) => why,
        Ok(record) => panic!("{row} is read as {record:?}"),
    }
}

/// Role, text and whether it is trained on, turn by turn.
fn turns(row: Value) -> Vec<(&'static str, String, bool)> {
    match read(row).body {
        Body::Chat(turns) => turns
            .iter()
            .map(|turn| (turn.role.as_str(), turn.content.clone(), is_trained(turn)))
            .collect(),
        raw => panic!("{raw:?}"),
    }
}

fn said(turns: &[(&'static str, &str, bool)]) -> Vec<(&'static str, String, bool)> {
    turns
        .iter()
        .map(|(role, text, trained)| (*role, (*text).to_owned(), *trained))
        .collect()
}

fn raw(row: Value) -> (String, String) {
    match read(row).body {
        Body::Raw { prompt, completion } => (prompt, completion),
        chat => panic!("{chat:?}"),
    }
}

#[test]
fn a_question_and_an_answer_are_read_by_any_of_their_names() {
    let plain = said(&[("user", "q", false), ("assistant", "a", true)]);
    for row in [
        json!({"instruction": "q", "output": "a"}),
        json!({"instruction": "q", "input": "", "output": "a", "history": [], "system": ""}),
        json!({"instruction": "q", "input": null, "output": "a", "history": null, "tools": ""}),
        json!({"instruction": "q", "context": "", "response": "a"}),
        json!({"question": "q", "answer": "a"}),
        json!({"query": "q", "response": "a", "weight": 1}),
        json!({"prompt": "q", "response": "a"}),
        json!({"prompt": "q", "output": "a"}),
        json!({"instruction": "q", "completion": "a", "prompt": ""}),
        json!({"input": "q", "output": "a"}),
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "output": ""}),
        json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "messages": []}),
        json!({"conversation": [{"from": "user", "value": "q"}, {"from": "chatgpt", "value": "a"}], "tools": "[]"}),
        json!({"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "model", "content": "a", "tool_calls": [], "function_call": null}]}),
        json!({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}),
    ] {
        assert_eq!(turns(row.clone()), plain, "{row}");
    }
    let material = said(&[("user", "q\nm", false), ("assistant", "a", true)]);
    for row in [
        json!({"instruction": "q", "input": "m", "output": "a"}),
        json!({"instruction": "q", "context": "m", "response": "a"}),
        json!({"question": "q", "context": "m", "answer": "a"}),
    ] {
        assert_eq!(turns(row.clone()), material, "{row}");
        assert_eq!(read(row).task.as_deref(), Some("q"));
    }
    assert_eq!(
        turns(json!({"instruction": "", "input": "m", "output": "a"}))[0].1,
        "\nm"
    );
}

#[test]
fn a_system_text_and_a_history_come_before_the_question() {
    assert_eq!(
        turns(
            json!({"instruction": "q", "input": "m", "output": "a", "system": "s", "history": [["q1", "a1"], ["q2", "a2"]]})
        ),
        said(&[
            ("system", "s", false),
            ("user", "q1", false),
            ("assistant", "a1", true),
            ("user", "q2", false),
            ("assistant", "a2", true),
            ("user", "q\nm", false),
            ("assistant", "a", true),
        ])
    );
    let with_system = said(&[
        ("system", "s", false),
        ("user", "q", false),
        ("assistant", "a", true),
    ]);
    let [human, gpt] = [
        json!({"from": "human", "value": "q"}),
        json!({"from": "gpt", "value": "a"}),
    ];
    let [user, assistant] = [
        json!({"role": "user", "content": "q"}),
        json!({"role": "assistant", "content": "a"}),
    ];
    let system = json!({"role": "system", "content": "s"});
    for row in [
        json!({"system": "s", "messages": [user, assistant]}),
        json!({"system": "s", "messages": [system, user, assistant]}),
        json!({"system": [{"type": "text", "text": "s"}], "messages": [user, assistant]}),
        json!({"system_prompt": "s", "system": "s", "conversations": [human, gpt]}),
        json!({"conversations": [{"from": "system", "value": "s"}, human, gpt]}),
        json!({"system_prompt": "s", "question": "q", "response": "a"}),
        json!({"system": "s", "prompt": [user], "completion": [assistant]}),
    ] {
        assert_eq!(turns(row.clone()), with_system, "{row}");
    }
    for (row, why) in [
        (
            json!({"system": "t", "messages": [system, user, assistant]}),
            "`system` beside the system turn `messages[0]`",
        ),
        (
            json!({"system": "t", "system_prompt": "s", "messages": [user, assistant]}),
            "`system` and `system_prompt` differ",
        ),
        (
            json!({"system": 3, "messages": [user, assistant]}),
            "`system` is a number",
        ),
        (
            json!({"system": "t", "prompt": "x", "completion": "y"}),
            "`system`: raw text",
        ),
        (
            json!({"history": [["x", "y"]], "text": "y"}),
            "`history`: raw text",
        ),
        (
            json!({"history": [["x", "y"]], "messages": [user, assistant]}),
            "`history`: belongs to",
        ),
        (
            json!({"history": [["x"]], "instruction": "q", "output": "a"}),
            "`history[0]` is not a pair",
        ),
        (
            json!({"history": [["x", "y"], ["x", null]], "instruction": "q", "output": "a"}),
            "`history[1]` is not a pair",
        ),
        (
            json!({"history": [["x", " "]], "instruction": "q", "output": "a"}),
            "`history[0][1]` is empty",
        ),
        (
            json!({"history": [["", "y"]], "instruction": "q", "output": "a"}),
            "`history[0][0]` is empty",
        ),
        (
            json!({"history": "x", "instruction": "q", "output": "a"}),
            "`history` is a text",
        ),
    ] {
        let told = refused(row.clone());
        assert!(told.contains(why), "{row}: {told}");
    }
}

#[test]
fn raw_text_is_taken_as_it_stands() {
    let of = |prompt: &str, completion: &str| (prompt.to_owned(), completion.to_owned());
    assert_eq!(raw(json!({"prompt": "", "completion": "x"})), of("", "x"));
    assert_eq!(
        raw(json!({"prompt": "p ", "completion": " x", "suffix": ""})),
        of("p ", " x")
    );
    assert_eq!(raw(json!({"text": "x y"})), of("", "x y"));
    assert_eq!(read(json!({"text": "x"})).form, "text");
    for (row, why) in [
        (json!({"text": " "}), "`text` is empty"),
        (json!({"text": ""}), "`text` is empty"),
        (json!({"text": ["x"]}), "`text` is a list"),
        (json!({"text": "x", "label": 1}), "`label`: labels of texts"),
        (
            json!({"prompt": "p", "completion": "x", "suffix": "y"}),
            "`suffix`",
        ),
    ] {
        let told = refused(row.clone());
        assert!(told.contains(why), "{row}: {told}");
    }
}

#[test]
fn only_the_completion_of_a_conversational_prompt_is_trained_on() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let prompt = json!([
        turn("user", "q1"),
        turn("assistant", "a1"),
        turn("user", "q2")
    ]);
    assert_eq!(
        turns(json!({"prompt": prompt, "completion": [turn("assistant", "a2")]})),
        said(&[
            ("user", "q1", false),
            ("assistant", "a1", false),
            ("user", "q2", false),
            ("assistant", "a2", true),
        ])
    );
    for (row, why) in [
        (
            json!({"prompt": prompt, "completion": "a"}),
            "is a list of turns and the other is not",
        ),
        (
            json!({"prompt": "q", "completion": [turn("assistant", "a")]}),
            "is a list of turns and the other is not",
        ),
        (
            json!({"prompt": [turn("user", "q"), turn("assistant", "a")], "completion": [turn("assistant", "b")]}),
            "`prompt[1]` is an assistant turn",
        ),
        (
            json!({"prompt": prompt, "completion": [turn("user", "a")]}),
            "`completion` has no assistant turn",
        ),
        (
            json!({"prompt": [turn("user", "q"), {"role": "assistant", "content": "a", "train": true}, turn("user", "r")], "completion": [turn("assistant", "b")]}),
            "`prompt[1]` is flagged",
        ),
    ] {
        let told = refused(row.clone());
        assert!(told.contains(why), "{row}: {told}");
    }
}

#[test]
fn a_turn_is_left_out_of_the_loss_by_any_name_of_the_flag() {
    let flagged = |user: Value, first: Value| {
        let mut row = json!({"messages": [
            {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
            {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"},
        ]});
        for (at, flags) in [(0, user), (1, first)] {
            for (key, value) in flags.as_object().unwrap() {
                row["messages"][at][key] = value.clone();
            }
        }
        row
    };
    for out in [
        json!({"weight": 0}),
        json!({"weight": 0.0}),
        json!({"weight": false}),
        json!({"loss": false}),
        json!({"train": false}),
        json!({"training": 0}),
        json!({"trainable": false}),
        json!({"masked": true}),
        json!({"mask": 1}),
        json!({"train": false, "masked": true, "loss": null}),
    ] {
        let trained: Vec<_> = turns(flagged(out.clone(), out.clone()))
            .iter()
            .map(|turn| turn.2)
            .collect();
        assert_eq!(trained, [false, false, false, true], "{out}");
    }
    for kept in [
        json!({}),
        json!({"weight": 1}),
        json!({"loss": true, "weight": 1.0}),
        json!({"train": 1}),
        json!({"mask": false}),
        json!({"weight": null, "training": null}),
    ] {
        let trained: Vec<_> = turns(flagged(json!({}), kept.clone()))
            .iter()
            .map(|turn| turn.2)
            .collect();
        assert_eq!(trained, [false, true, false, true], "{kept}");
    }
    for (user, assistant, why) in [
        (
            json!({}),
            json!({"train": false, "weight": 1}),
            "`messages[1].train` contradicts `weight`",
        ),
        (
            json!({}),
            json!({"masked": true, "train": true}),
            "`messages[1].masked` contradicts `train`",
        ),
        (
            json!({}),
            json!({"weight": 0.5}),
            "`messages[1].weight`: 0.5 is neither 0 nor 1",
        ),
        (
            json!({}),
            json!({"loss": "no"}),
            "`messages[1].loss`: \"no\" is neither true nor false",
        ),
        (
            json!({"train": true}),
            json!({}),
            "`messages[0].train`: only assistant turns",
        ),
        (
            json!({"weight": 1}),
            json!({}),
            "`messages[0].weight`: only assistant turns",
        ),
        (
            json!({"mask": false}),
            json!({}),
            "`messages[0].mask`: only assistant turns",
        ),
    ] {
        let told = refused(flagged(user, assistant));
        assert!(told.contains(why), "{told}");
    }
    let all_out = json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "loss": false}]});
    assert_eq!(
        refused(all_out),
        "`conversations` has no assistant turn to train on"
    );
}

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
        ("parallel_tool_calls", json!(false)),
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
        ("tool_calls", json!([{}])),
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
