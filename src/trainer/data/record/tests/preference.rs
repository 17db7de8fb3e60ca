//! Rows with two answers.

use super::*;
use crate::domain::Objective;

fn both(row: Value) -> [Body; 2] {
    let record = read(row);
    assert_eq!(record.body.objective(), Objective::Dpo);
    match record.body {
        Body::Preference(both) => *both,
        other => panic!("{other:?}"),
    }
}

fn chat(body: &Body) -> Vec<(&'static str, &str, bool)> {
    let Body::Chat(turns) = body else {
        panic!("{body:?}")
    };
    let turns = turns.iter();
    turns
        .map(|turn| (turn.role.as_str(), turn.content.as_str(), is_trained(turn)))
        .collect()
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

#[test]
fn two_answers_to_a_conversation_are_read_in_each_of_their_forms() {
    let (asked, good, bad) = (user("q"), assistant("good"), assistant("bad"));
    for row in [
        json!({"input": {"messages": [asked], "tools": [], "parallel_tool_calls": true},
               "preferred_output": [good], "non_preferred_output": [bad]}),
        json!({"prompt": [asked], "chosen": [good], "rejected": [bad]}),
        json!({"chosen": [asked, good], "rejected": [asked, bad]}),
        json!({"prompt": [asked], "chosen": [asked, good], "rejected": [asked, bad]}),
        json!({"prompt": "q", "chosen": [asked, good], "rejected": [asked, bad]}),
        json!({"prompt": "q", "chosen": [good], "rejected": [bad]}),
        json!({"question": "q", "chosen": "good", "rejected": "bad"}),
    ] {
        let [better, other] = both(row);
        assert_eq!(
            chat(&better),
            [("user", "q", false), ("assistant", "good", true)]
        );
        assert_eq!(
            chat(&other),
            [("user", "q", false), ("assistant", "bad", true)]
        );
    }
    let raw = |completion: &str| Body::Raw {
        prompt: "p ".into(),
        completion: completion.into(),
    };
    let row = json!({"prompt": "p ", "chosen": "good", "rejected": "bad"});
    assert_eq!(both(row), [raw("good"), raw("bad")]);
}

#[test]
fn empty_columns_of_answers_make_no_preference() {
    for empty in [json!(""), json!([]), json!(null)] {
        let row = json!({"instruction": "q", "output": "a", "chosen": empty, "rejected": empty});
        assert_eq!(read(row).body.objective(), Objective::Sft);
    }
}

#[test]
fn only_the_two_answers_are_trained_on() {
    let [better, _] = both(json!({
        "system": "s", "prompt": [user("q"), assistant("earlier"), user("r")],
        "chosen": [assistant("good")], "rejected": [assistant("bad")],
    }));
    let expected = [
        ("system", "s", false),
        ("user", "q", false),
        ("assistant", "earlier", false),
        ("user", "r", false),
        ("assistant", "good", true),
    ];
    assert_eq!(chat(&better), expected);
    let record = read(json!({"prompt": "p", "chosen": "good", "rejected": "bad"}));
    assert_eq!(
        (record.answer(), record.form),
        ("good", "chosen and rejected")
    );
}

#[test]
fn what_cannot_be_compared_is_refused_by_name() {
    let (asked, good, bad) = (user("q"), assistant("good"), assistant("bad"));
    for (row, why) in [
        (
            json!({"prompt": "p", "chosen": "a"}),
            "`rejected` is missing",
        ),
        (
            json!({"prompt": "p", "chosen": "a", "rejected": "a"}),
            "are the same",
        ),
        (
            json!({"prompt": "p", "chosen": "a", "rejected": " "}),
            "`rejected` is empty",
        ),
        (
            json!({"chosen": "a", "rejected": "b"}),
            "`prompt` is missing",
        ),
        (
            json!({"prompt": "p", "question": "q", "chosen": "a", "rejected": "b"}),
            "both ask",
        ),
        (
            json!({"prompt": "p", "chosen": "a", "rejected": [bad]}),
            "a list of turns and the other is not",
        ),
        (
            json!({"chosen": [good], "rejected": [bad]}),
            "nothing is asked",
        ),
        (
            json!({"chosen": [asked, good], "rejected": [user("r"), bad]}),
            "nothing is asked",
        ),
        (
            json!({"prompt": "r", "chosen": [asked, good], "rejected": [asked, bad]}),
            "is not what",
        ),
        (
            json!({"prompt": [asked], "chosen": [user("x")], "rejected": [bad]}),
            "`chosen` has no assistant turn",
        ),
        (
            json!({"prompt": [asked], "chosen": [user("x"), good], "rejected": [bad]}),
            "does not begin with an answer",
        ),
        (
            json!({"input": "q", "preferred_output": [good], "non_preferred_output": [bad]}),
            "`input` is a text",
        ),
        (
            json!({"input": {"messages": [asked], "tools": [{"type": "function"}]},
                "preferred_output": [good], "non_preferred_output": [bad]}),
            "`input.tools`",
        ),
        (
            json!({"preferred_output": [good]}),
            "`non_preferred_output` is missing",
        ),
        (
            json!({"messages": [asked, good], "chosen": "a", "rejected": "b"}),
            "`messages`",
        ),
        (
            json!({"prompt": "p", "completion": "c", "label": false}),
            "called good or bad",
        ),
    ] {
        let told = refused(row.clone());
        assert!(told.contains(why), "{row}: {told}");
    }
}
