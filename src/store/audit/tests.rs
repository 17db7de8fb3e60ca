use super::chain::write_at;
use super::*;
use crate::domain::{Action, Actor, KeyId};

struct Home {
    audit: Audit,
    _folder: tempfile::TempDir,
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("state.db")).await;
        Self {
            audit: Audit::new(database.unwrap()),
            _folder: folder,
        }
    }

    /// Rows one, two, …, each a second after the one before.
    async fn with(rows: i64) -> Self {
        let home = Self::new().await;
        home.write_all(1..=rows).await;
        home
    }

    async fn write(&self, at: i64) {
        self.write_all(at..=at).await;
    }

    async fn write_all(&self, times: std::ops::RangeInclusive<i64>) {
        let actor = Actor::caller(Some(&KeyId::new("k1")), Some("req-1"));
        let mut change = self.audit.database.begin().await.unwrap();
        for at in times {
            let line = Line {
                detail: Some("upload"),
                ..Line::of(&actor, Action::AdapterPublish, "legal")
            };
            write_at(&mut change, &line, at).await.unwrap();
        }
        commit(change).await.unwrap();
    }

    async fn tamper(&self, sql: &str) {
        self.audit.database.execute(sql).await;
    }

    /// The first row that is wrong.
    async fn broken(&self) -> Option<String> {
        let state = self.audit.verify().await.unwrap();
        assert_eq!(state.intact, state.broken.is_none());
        assert_eq!(state.why.is_some(), state.broken.is_some());
        state.broken
    }
}

#[tokio::test]
async fn what_is_written_is_a_chain_and_is_listed_newest_first() {
    let home = Home::with(5).await;
    let state = home.audit.verify().await.unwrap();
    assert_eq!((state.intact, state.rows), (true, 5));
    let page = home
        .audit
        .list(&AuditAsk::default(), None, 2)
        .await
        .unwrap();
    assert!(page.has_more);
    assert_eq!(page.items[0].digest, state.digest);
    let ids: Vec<&str> = page.items.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["5", "4"]);
    let row = &page.items[0];
    assert_eq!(
        (row.who.as_deref(), row.request_id.as_deref(), row.at),
        (Some("k1"), Some("req-1"), 5)
    );
    let page = home.audit.list(&AuditAsk::default(), Some(4), 9).await;
    assert_eq!(page.unwrap().items.len(), 3);
}

#[tokio::test]
async fn rows_are_found_by_what_is_asked_of_them() {
    let home = Home::with(3).await;
    let found = async |ask: AuditAsk| home.audit.list(&ask, None, 9).await.unwrap().items.len();
    let text = |text: &str| Some(text.to_owned());
    let ask = AuditAsk::default;
    assert_eq!(
        found(AuditAsk {
            object: text("legal"),
            ..ask()
        })
        .await,
        3
    );
    assert_eq!(
        found(AuditAsk {
            object: text("leg"),
            ..ask()
        })
        .await,
        0
    );
    assert_eq!(
        found(AuditAsk {
            action: text("adapter"),
            ..ask()
        })
        .await,
        3
    );
    assert_eq!(
        found(AuditAsk {
            action: text("adapter.publish"),
            ..ask()
        })
        .await,
        3
    );
    assert_eq!(
        found(AuditAsk {
            action: text("adapt"),
            ..ask()
        })
        .await,
        0
    );
    assert_eq!(
        found(AuditAsk {
            who: text("k1"),
            ..ask()
        })
        .await,
        3
    );
    assert_eq!(
        found(AuditAsk {
            who: text("k2"),
            ..ask()
        })
        .await,
        0
    );
    assert_eq!(
        found(AuditAsk {
            since: Some(2),
            ..ask()
        })
        .await,
        2
    );
}

#[tokio::test]
async fn a_row_that_was_changed_removed_moved_or_made_up_is_found_and_named() {
    for (sql, row) in [
        ("UPDATE audit SET who = 'k2' WHERE number = 3", "3"),
        ("UPDATE audit SET who = NULL WHERE number = 3", "3"),
        ("UPDATE audit SET at = 7 WHERE number = 1", "1"),
        ("UPDATE audit SET outcome = '' WHERE number = 5", "5"),
        (
            "UPDATE audit SET detail = 'uploadreq-1', request = '' WHERE number = 2",
            "2",
        ),
        (
            "UPDATE audit SET digest = zeroblob(32) WHERE number = 4",
            "4",
        ),
        (
            "UPDATE audit SET digest = zeroblob(3) WHERE number = 4",
            "4",
        ),
        ("DELETE FROM audit WHERE number = 1", "1"),
        ("DELETE FROM audit WHERE number = 3", "3"),
        ("DELETE FROM audit WHERE number = 5", "5"),
        ("DELETE FROM audit", "1"),
        (
            "UPDATE audit SET number = 9 WHERE number = 2; UPDATE audit SET number = 2 WHERE number = 3; \
             UPDATE audit SET number = 3 WHERE number = 9",
            "2",
        ),
        (
            "INSERT INTO audit SELECT 6, at, who, action, object, before, after, detail, request, outcome, digest \
             FROM audit WHERE number = 5",
            "6",
        ),
        ("UPDATE audit_ends SET last_digest = zeroblob(32)", "5"),
        ("UPDATE audit_ends SET first_digest = randomblob(32)", "1"),
        ("DELETE FROM audit_ends", "0"),
    ] {
        let home = Home::with(5).await;
        assert_eq!(home.broken().await, None);
        home.tamper(sql).await;
        assert_eq!(home.broken().await.as_deref(), Some(row), "{sql}");
    }
}

#[tokio::test]
async fn what_is_trimmed_leaves_a_chain_that_goes_on() {
    let home = Home::with(1700).await;
    assert_eq!(home.audit.trim(1500).await, Ok(1499));
    assert_eq!(home.broken().await, None);
    assert_eq!(home.audit.verify().await.unwrap().rows, 201);
    home.write(1701).await;
    assert_eq!(home.broken().await, None);
    home.tamper("DELETE FROM audit WHERE number = 1500").await;
    assert_eq!(home.broken().await.as_deref(), Some("1500"));
    let home = Home::with(3).await;
    assert_eq!(home.audit.trim(100).await, Ok(3));
    assert_eq!(home.broken().await, None, "nothing is a chain too");
    home.write(101).await;
    assert_eq!(home.broken().await, None);
    assert_eq!(
        home.audit
            .list(&AuditAsk::default(), None, 9)
            .await
            .unwrap()
            .items[0]
            .id,
        "4"
    );
}

#[tokio::test]
async fn a_clock_that_went_back_keeps_young_rows_and_what_follows_them() {
    let home = Home::new().await;
    for at in [100, 200, 50, 300] {
        home.write(at).await;
    }
    assert_eq!(home.audit.trim(150).await, Ok(1));
    assert_eq!(home.broken().await, None);
}

#[tokio::test]
async fn many_that_write_at_once_write_one_chain() {
    let home = Home::new().await;
    let writers = (0..20).map(|at| home.write(at));
    futures::future::join_all(writers).await;
    assert_eq!(home.audit.verify().await.unwrap().rows, 20);
    assert_eq!(home.broken().await, None);
}

#[tokio::test]
async fn a_change_that_is_not_committed_leaves_no_row_and_no_gap() {
    let home = Home::with(1).await;
    let actor = Actor::system();
    let mut change = home.audit.database.begin().await.unwrap();
    write(&mut change, &Line::of(&actor, Action::KeyCreate, "k1"))
        .await
        .unwrap();
    drop(change);
    home.write(2).await;
    assert_eq!(home.audit.verify().await.unwrap().rows, 2);
    assert_eq!(home.broken().await, None);
}

#[tokio::test]
async fn rows_of_before_are_carried_over() {
    let home = Home::with(1).await;
    let before = "CREATE TABLE adapter_audit (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, \
         action TEXT NOT NULL, name TEXT NOT NULL, generation TEXT, previous TEXT, source TEXT) STRICT; \
         INSERT INTO adapter_audit (at, action, name, source) VALUES (7, 'publish', 'a', 'job:ftjob-1'), (8, 'pin', 'a', NULL)";
    home.tamper(before).await;
    let mut change = home.audit.database.begin().await.unwrap();
    carry_over(&mut change).await.unwrap();
    commit(change).await.unwrap();
    assert_eq!(home.broken().await, None);
    let rows = home
        .audit
        .list(&AuditAsk::default(), None, 9)
        .await
        .unwrap()
        .items;
    assert_eq!(
        (rows[1].action.as_str(), rows[1].at),
        ("adapter.publish", 7)
    );
    assert_eq!(rows[1].who.as_deref(), Some("job:ftjob-1"));
    assert_eq!(
        (rows[0].action.as_str(), &rows[0].who),
        ("adapter.pin", &None)
    );
}
