//! What may be kept, what rows it makes, and that nothing waits for the store.

use serde_json::{Value, json};

use super::*;
use crate::domain::{AdapterName, Input, KeyId, Message, Role, RowForm};
use crate::store::{Given, Use};
use crate::trainer::data::parse;

fn lists(adapters: &[&str], keys: &[&str]) -> Capture {
    let owned = |list: &[&str]| -> Vec<String> { list.iter().map(|e| (*e).into()).collect() };
    Capture::new(true, &owned(adapters), &owned(keys)).unwrap()
}

#[test]
fn an_answer_is_kept_where_every_list_that_is_not_empty_has_it() {
    let name = |text: &str| text.parse::<AdapterName>().unwrap();
    let key = |text: &str| KeyId::from_text(text);
    let off = Capture::default();
    assert!(!off.hears(None) && !off.hears(Some(&key("a"))));
    assert!(!off.keeps(None) && !off.keeps(Some(&[name("legal")])));
    let all = lists(&[], &[]);
    assert!(all.hears(None) && all.keeps(None) && all.keeps(Some(&[name("legal")])));
    let some = lists(&["legal", "team-a-*"], &["4f0c"]);
    assert!(some.hears(Some(&key("4f0c"))));
    assert!(!some.hears(Some(&key("4f0d"))) && !some.hears(None));
    assert!(some.keeps(Some(&[name("legal")])) && some.keeps(Some(&[name("team-a-x")])));
    assert!(!some.keeps(None) && !some.keeps(Some(&[name("medical")])));
    assert!(
        !some.keeps(Some(&[name("legal"), name("medical")])),
        "a blend"
    );
    let base = lists(&["none"], &[]);
    assert!(base.keeps(None) && !base.keeps(Some(&[name("legal")])));
    assert!(Capture::new(true, &["Legal".to_owned()], &[]).is_err());
}

#[test]
fn prompts_are_written_as_they_were_sent() {
    let chat = Input::Chat(vec![Message::new(Role::User, "why")]);
    let text = capture::written(&chat).unwrap();
    assert_eq!(text, r#"{"messages":[{"role":"user","content":"why"}]}"#);
    let raw = capture::written(&Input::Text("why".into())).unwrap();
    assert_eq!(raw, r#"{"prompt":"why"}"#);
    assert_eq!(capture::written(&Input::Tokens(vec![1])), None);
}

fn given(input: Value, score: f64, correction: Option<&str>) -> Given {
    Given {
        used: Use {
            number: 1,
            version: 1,
        },
        input,
        answer: "because".into(),
        score,
        correction: correction.map(str::to_owned),
    }
}

#[test]
fn rows_are_what_the_trainer_reads() {
    let chat = json!({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Ada."},
        {"role": "user", "content": "Why?", "name": "clerk"},
    ]});
    let raw = json!({"prompt": "Why? "});
    let sft = |input: &Value, score, correction, least| {
        rows::row(
            &given(input.clone(), score, correction),
            RowForm::Sft,
            least,
        )
    };
    let row = sft(&chat, -1.0, Some("so"), None).unwrap();
    assert_eq!(row["messages"][2]["weight"], 0);
    assert_eq!(
        row["messages"][4],
        json!({"role": "assistant", "content": "so"})
    );
    assert_eq!(
        sft(&raw, 0.5, None, None).unwrap(),
        json!({"prompt": "Why? ", "completion": "because"})
    );
    assert_eq!(sft(&raw, 0.0, None, None), None);
    assert_eq!(
        sft(&raw, -1.0, None, Some(-1.0)),
        None,
        "what is bad is not learned"
    );
    assert_eq!(sft(&raw, 0.5, None, Some(0.6)), None);
    assert!(sft(&raw, -1.0, Some("so"), Some(0.6)).is_some());
    let dpo = |input: &Value, correction| {
        rows::row(&given(input.clone(), -1.0, correction), RowForm::Dpo, None)
    };
    let pair = dpo(&chat, Some("so")).unwrap();
    assert_eq!(pair["rejected"][0]["content"], "because");
    assert_eq!(dpo(&raw, Some("so")).unwrap()["chosen"], "so");
    assert_eq!(dpo(&raw, None), None);
    assert_eq!(dpo(&raw, Some("because")), None, "both are the same");
    for rows in [
        [sft(&chat, 1.0, None, None), sft(&raw, 1.0, None, None)],
        [dpo(&chat, Some("so")), dpo(&raw, Some("so"))],
    ] {
        let text: String = rows.map(|row| format!("{}\n", row.unwrap())).concat();
        let parsed = parse(text.as_bytes());
        assert_eq!((parsed.rows.len(), parsed.bad.len()), (2, 0), "{parsed:?}");
    }
}

#[derive(Default)]
struct Counted(std::sync::atomic::AtomicUsize);

impl Observe for Counted {
    fn dropped(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn answered(n: usize, text: String) -> Answered {
    Answered {
        id: n.to_string(),
        at: store::now(),
        owner: None,
        adapter: None,
        generation: None,
        tokens: 1,
        kept: Some(Kept {
            input: r#"{"prompt":"a"}"#.into(),
            answer: text,
        }),
    }
}

#[tokio::test]
async fn what_there_is_no_room_for_is_counted_and_nothing_waits() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("test.db"))
        .await
        .unwrap();
    let counted = Arc::new(Counted::default());
    let feedback = Feedback::open(database, Config::default(), counted.clone());
    let dropped = || counted.0.load(std::sync::atomic::Ordering::Relaxed);
    // The writer cannot run meanwhile: this is the only thread, and it does not let go of it.
    feedback.note(answered(0, "x".repeat(LONGEST + 1)));
    assert_eq!(dropped(), 1, "too long to be kept, but remembered");
    for n in 1..=WAITING {
        feedback.note(answered(n, "x".into()));
    }
    assert_eq!(dropped(), 2);
    feedback.settle().await;
    feedback.note(answered(WAITING + 1, "x".into()));
    feedback.settle().await;
    assert_eq!(dropped(), 2);
    let everyone = crate::domain::Asker::default();
    let score = |id: &str| crate::domain::FeedbackAsk {
        id: id.to_owned(),
        score: 1.0,
        ..Default::default()
    };
    let first = feedback
        .stored()
        .give(&score("0"), &everyone)
        .await
        .unwrap();
    assert!(!first.0.captured);
    let last = feedback.stored().give(&score("4097"), &everyone).await;
    assert!(last.unwrap().0.captured);
}
