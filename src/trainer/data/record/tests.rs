use serde_json::json;

use super::*;

mod keys;
mod preference;

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
