//! Answers and feedback against a real database.

use super::*;
use crate::domain::{Asker, FeedbackAsk, FeedbackFilter};

const BOUNDS: Bounds = Bounds {
    age: 100,
    content: 10_000,
    bare: 3,
};

struct Home {
    feedback: Feedback,
    folder: tempfile::TempDir,
}

impl Home {
    async fn new(bounds: Bounds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("test.db"))
            .await
            .unwrap();
        let feedback = Feedback::new(database, bounds);
        Self { feedback, folder }
    }

    /// Whether a text is anywhere in the database's files.
    fn has(&self, text: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let mut contents = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        contents.any(|bytes| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
    }

    async fn ids(&self) -> Vec<String> {
        let database = &self.feedback.database;
        database
            .select("SELECT id FROM answers ORDER BY number")
            .await
    }

    async fn give(&self, ask: FeedbackAsk, asker: &Asker) -> Result<FeedbackView, Reason> {
        let given = self.feedback.give(&ask, asker).await;
        given.map(|(view, _)| view)
    }

    async fn fresh(&self) -> Vec<Given> {
        let asker = Asker::default();
        let place = Place {
            asker: &asker,
            adapter: "legal",
            is_fresh: true,
            after: 0,
        };
        self.feedback.usable(place, 10).await.unwrap()
    }
}

fn bare(id: &str, at: i64) -> Answered {
    Answered {
        id: id.to_owned(),
        at,
        owner: None,
        adapter: Some("legal".to_owned()),
        generation: Some(Generation::new([7; 32])),
        tokens: 3,
        kept: None,
    }
}

fn kept(id: &str, prompt: &str, answer: &str) -> Answered {
    Answered {
        kept: Some(Kept {
            input: serde_json::json!({ "prompt": prompt }).to_string(),
            answer: answer.to_owned(),
        }),
        ..bare(id, 1000)
    }
}

fn of(answered: Answered, key: &str) -> Answered {
    let owner = Some(KeyId::from_text(key));
    Answered { owner, ..answered }
}

fn ask(id: &str, score: f64) -> FeedbackAsk {
    FeedbackAsk {
        id: id.to_owned(),
        score,
        ..FeedbackAsk::default()
    }
}

fn corrected(id: &str, correction: &str) -> FeedbackAsk {
    FeedbackAsk {
        correction: Some(correction.to_owned()),
        ..ask(id, -1.0)
    }
}

fn key(id: &str) -> Asker {
    Asker {
        key: Some(KeyId::from_text(id)),
        only_own: true,
        ..Asker::default()
    }
}

#[tokio::test]
async fn a_second_feedback_takes_the_place_of_the_first_and_is_new_again() {
    let home = Home::new(BOUNDS).await;
    let everyone = Asker::default();
    home.feedback
        .remember(&[kept("a", "why", "because")])
        .await
        .unwrap();
    let first = home.give(ask("a", 1.0), &everyone).await.unwrap();
    assert_eq!((first.score, first.captured, first.tokens), (1.0, true, 3));
    let used = home.fresh().await[0].used;
    let mut change = home.feedback.database.begin().await.unwrap();
    let job = JobId::new("1");
    mark(&mut change, &job, "legal", &[used]).await.unwrap();
    commit(change).await.unwrap();
    assert_eq!(home.fresh().await, [], "no job of that id failed");
    home.give(corrected("a", "so"), &everyone).await.unwrap();
    let given = home.fresh().await;
    assert_eq!(given[0].correction.as_deref(), Some("so"));
    let listed = home
        .feedback
        .list(&everyone, &FeedbackFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 1);
    // What was replaced while a job was made of it is not what the job learned.
    let mut change = home.feedback.database.begin().await.unwrap();
    mark(&mut change, &job, "legal", &[used]).await.unwrap();
    commit(change).await.unwrap();
    assert_eq!(home.fresh().await, given);
}

#[tokio::test]
async fn feedback_belongs_to_the_key_that_got_the_answer() {
    let home = Home::new(BOUNDS).await;
    home.feedback
        .remember(&[of(kept("a", "why", "because"), "mine")])
        .await
        .unwrap();
    let (mine, other) = (key("mine"), key("other"));
    let admin = Asker {
        only_own: false,
        ..key("boss")
    };
    let refused = home.give(ask("a", 1.0), &other).await;
    assert_eq!(refused, Err(Reason::NoSuchAnswer("a".into())));
    let unknown = home.give(ask("b", 1.0), &mine).await;
    assert_eq!(unknown, Err(Reason::NoSuchAnswer("b".into())));
    assert_eq!(home.give(ask("a", 1.0), &mine).await.unwrap().id, "a");
    let theirs = home.give(ask("a", -1.0), &admin).await.unwrap();
    assert_eq!(theirs.id, "a:boss");
    for (asker, count) in [(&mine, 2), (&admin, 2), (&other, 0)] {
        let scores = home.feedback.scores(asker, "legal").await.unwrap();
        let counted: u64 = scores.iter().map(|score| score.count).sum();
        assert_eq!(counted, count);
    }
    let missing = Err(Reason::NoSuchFeedback("a".into()));
    assert_eq!(home.feedback.show("a", &other).await, missing);
    assert!(home.feedback.delete("a", &other).await.is_err());
    home.feedback.delete("a:boss", &admin).await.unwrap();
    assert!(
        home.feedback
            .show("a", &mine)
            .await
            .unwrap()
            .answer
            .is_some()
    );
    assert_eq!(home.feedback.delete_of(Some("mine")).await, Ok(1));
    assert!(home.ids().await.is_empty());
}

#[tokio::test]
async fn what_is_deleted_is_in_no_file_any_more() {
    let home = Home::new(BOUNDS).await;
    let everyone = Asker::default();
    let answers = ["a", "b"].map(|id| kept(id, &format!("ask-{id}-zebra"), "stripes"));
    home.feedback.remember(&answers).await.unwrap();
    home.give(corrected("a", "a-quagga"), &everyone)
        .await
        .unwrap();
    assert!(home.has("ask-a-zebra") && home.has("a-quagga"));
    home.feedback.delete("a", &everyone).await.unwrap();
    assert!(!home.has("ask-a-zebra") && !home.has("a-quagga") && home.has("ask-b-zebra"));
    assert!(home.feedback.delete("a", &everyone).await.is_err());
    // Its generation is still known.
    assert!(home.give(ask("a", 1.0), &everyone).await.is_ok());
    let refused = home.give(corrected("a", "x"), &everyone).await;
    let Err(Reason::WrongState(why)) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("capture = true"), "{why}");
    home.feedback.delete_of(None).await.unwrap();
    assert!(!home.has("ask-b-zebra"));
}

#[tokio::test]
async fn the_oldest_content_goes_and_scores_stay() {
    let home = Home::new(BOUNDS).await;
    let everyone = Asker::default();
    let long = "x".repeat(3000);
    let answers = ["a", "b", "c", "d"].map(|id| kept(id, &long, "y"));
    home.feedback.remember(&answers[..2]).await.unwrap();
    home.give(corrected("a", "z"), &everyone).await.unwrap();
    home.feedback.remember(&answers[2..]).await.unwrap();
    home.feedback.trim_content().await.unwrap();
    let content = "SELECT id FROM answers WHERE input IS NOT NULL ORDER BY number";
    let left: Vec<String> = home.feedback.database.select(content).await;
    assert_eq!(left, ["b", "c", "d"]);
    let scored = home.feedback.show("a", &everyone).await.unwrap();
    assert_eq!(
        (scored.score, scored.captured, scored.correction),
        (-1.0, false, None)
    );
    let sum = "SELECT sum(bytes) FROM answers";
    let kept: Vec<i64> = home.feedback.database.select(sum).await;
    assert!(kept[0] <= 10_000, "{kept:?}");
    // A correction counts as well.
    let long = "z".repeat(2000);
    home.give(corrected("d", &long), &everyone).await.unwrap();
    let left: Vec<String> = home.feedback.database.select(content).await;
    assert_eq!(left, ["c", "d"]);
}

#[tokio::test]
async fn answers_are_forgotten_by_age_and_by_number() {
    let home = Home::new(BOUNDS).await;
    let answers: Vec<_> = (0..6).map(|n| bare(&n.to_string(), 1000 + n)).collect();
    home.feedback.remember(&answers).await.unwrap();
    home.feedback
        .remember(&[kept("kept", "a", "b")])
        .await
        .unwrap();
    home.feedback.trim(1000).await.unwrap();
    assert_eq!(home.ids().await, ["3", "4", "5", "kept"]);
    home.give(ask("5", 1.0), &Asker::default()).await.unwrap();
    home.feedback.trim(1105).await.unwrap();
    assert_eq!(home.ids().await, ["5"]);
    home.feedback.trim(1106).await.unwrap();
    let left = "SELECT id FROM feedback";
    let left: Vec<String> = home.feedback.database.select(left).await;
    assert!(home.ids().await.is_empty() && left.is_empty());
}

#[tokio::test]
async fn what_was_learned_in_vain_is_there_for_the_next_job_but_starts_none() {
    let home = Home::new(BOUNDS).await;
    home.feedback
        .remember(&[kept("a", "why", "because"), kept("b", "what", "that")])
        .await
        .unwrap();
    let everyone = Asker::default();
    home.give(ask("a", 1.0), &everyone).await.unwrap();
    home.give(ask("b", -1.0), &everyone).await.unwrap();
    let unused = |rows, corrections| Ok(Unused { rows, corrections });
    let given = home.fresh().await;
    assert_eq!(
        given.len(),
        1,
        "nothing can be learned of what was only bad"
    );
    let name = "legal".parse().unwrap();
    assert_eq!(home.feedback.unused(&name).await, unused(1, 0));
    let database = &home.feedback.database;
    let job = "INSERT INTO jobs (id, name, status, created_at, training_file, recipe, metadata, data_digest, total_steps) \
               VALUES ('ftjob-1', 'legal', 'queued', 0, 'f', '{}', '{}', '', 1)";
    database.execute(job).await;
    let mut change = database.begin().await.unwrap();
    let one = JobId::new("1");
    let uses: Vec<Use> = given.iter().map(|given| given.used).collect();
    mark(&mut change, &one, "legal", &uses).await.unwrap();
    commit(change).await.unwrap();
    assert_eq!(home.fresh().await, []);
    let mut change = database.begin().await.unwrap();
    let second = mark(&mut change, &JobId::new("2"), "legal", &uses).await;
    assert!(matches!(second, Err(Reason::WrongState(_))), "{second:?}");
    drop(change);
    database.execute("UPDATE jobs SET status = 'failed'").await;
    assert_eq!(home.fresh().await, given);
    assert_eq!(home.feedback.unused(&name).await, unused(0, 0));
    for made in [
        "UPDATE jobs SET status = 'succeeded', generation = 'new'",
        "INSERT INTO adapter_versions (generation, kind, rank, bytes, created_at) VALUES ('old', 'lora', 1, 1, 0), ('new', 'lora', 1, 1, 0), ('next', 'lora', 1, 1, 0)",
        "INSERT INTO adapter_history (name, generation, source, base_name, base_digest) VALUES ('legal', 'old', '', '', x''), ('legal', 'new', '', '', x''), ('legal', 'next', '', '', x'')",
        "INSERT INTO adapter_names (name, generation) VALUES ('legal', 'old')",
    ] {
        database.execute(made).await;
    }
    assert_eq!(home.fresh().await, given, "its gate held it back");
    let begun = "INSERT INTO adapter_routes (name, canary, canary_generation, watched) VALUES ('legal', '{}', 'new', '{}')";
    database.execute(begun).await;
    assert_eq!(home.fresh().await, [], "it may take over");
    database.execute("DELETE FROM adapter_routes").await;
    assert_eq!(home.fresh().await, given, "it was given up");
    database
        .execute("UPDATE adapter_names SET generation = 'new'")
        .await;
    assert_eq!(home.fresh().await, [], "it is served");
    let moved = "INSERT INTO adapter_lineage (name, depth, generation) VALUES ('legal', 0, 'old'), ('legal', 1, 'new')";
    database.execute(moved).await;
    database
        .execute("UPDATE adapter_names SET generation = 'next'")
        .await;
    assert_eq!(
        home.fresh().await,
        given,
        "what is served was not made of it"
    );
    database
        .execute("INSERT INTO jobs (id, name, status, created_at, training_file, recipe, metadata, data_digest, total_steps, parent, generation) \
                  VALUES ('ftjob-2', 'legal', 'succeeded', 0, 'f', '{}', '{}', '', 1, 'new', 'next')")
        .await;
    assert_eq!(home.fresh().await, [], "what is served was made of it");
    database
        .execute("DELETE FROM adapter_lineage WHERE generation = 'new'")
        .await;
    assert_eq!(
        home.fresh().await,
        [],
        "rolled back twice, and promoted again"
    );
    database
        .execute("UPDATE adapter_names SET generation = 'old'")
        .await;
    let begun = "INSERT INTO adapter_routes (name, canary, canary_generation, watched) VALUES ('legal', '{}', 'next', '{}')";
    database.execute(begun).await;
    assert_eq!(home.fresh().await, [], "the canary was made of it");
    database.execute("DELETE FROM adapter_routes").await;
    database
        .execute("UPDATE adapter_names SET generation = 'old'")
        .await;
    assert_eq!(home.fresh().await, given, "the name was rolled back");
    assert_eq!(home.feedback.unused(&name).await, unused(0, 0));
}

#[tokio::test]
async fn feedback_is_listed_in_pages_by_what_it_says() {
    let home = Home::new(Bounds {
        bare: 100,
        ..BOUNDS
    })
    .await;
    let everyone = Asker::default();
    let answers: Vec<_> = (0..5).map(|n| kept(&n.to_string(), "a", "b")).collect();
    home.feedback.remember(&answers).await.unwrap();
    for (n, score) in [-1.0, -0.5, 0.0, 0.5, 1.0].into_iter().enumerate() {
        let ask = FeedbackAsk {
            label: (n % 2 == 0).then(|| "even".to_owned()),
            correction: (n == 0).then(|| "c".to_owned()),
            ..ask(&n.to_string(), score)
        };
        home.give(ask, &everyone).await.unwrap();
    }
    let ids = async |filter: FeedbackFilter, after: Option<&str>, limit| {
        let page = home.feedback.list(&everyone, &filter, after, limit);
        let page = page.await.unwrap();
        let ids: Vec<String> = page.items.into_iter().map(|view| view.id).collect();
        (ids.join(""), page.has_more)
    };
    let all = FeedbackFilter::default;
    assert_eq!(ids(all(), None, 3).await, ("432".into(), true));
    assert_eq!(ids(all(), Some("2"), 3).await, ("10".into(), false));
    let digits = Some("07070707".to_owned());
    for (filter, found) in [
        (
            FeedbackFilter {
                adapter: Some("legal".into()),
                ..all()
            },
            "43210",
        ),
        (
            FeedbackFilter {
                adapter: Some("none".into()),
                ..all()
            },
            "",
        ),
        (
            FeedbackFilter {
                generation: digits,
                ..all()
            },
            "43210",
        ),
        (
            FeedbackFilter {
                generation: Some("08".into()),
                ..all()
            },
            "",
        ),
        (
            FeedbackFilter {
                label: Some("even".into()),
                ..all()
            },
            "420",
        ),
        (
            FeedbackFilter {
                min_score: Some(0.5),
                ..all()
            },
            "43",
        ),
        (
            FeedbackFilter {
                max_score: Some(-0.5),
                ..all()
            },
            "10",
        ),
        (
            FeedbackFilter {
                has_correction: Some(true),
                ..all()
            },
            "0",
        ),
        (
            FeedbackFilter {
                has_correction: Some(false),
                ..all()
            },
            "4321",
        ),
    ] {
        assert_eq!(ids(filter.clone(), None, 10).await.0, found, "{filter:?}");
    }
}
