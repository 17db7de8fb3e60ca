//! How long the record of changes is kept. The clock stands still: each tick says what time it is.

use futures::stream;

use super::*;
use crate::domain::{AuditAsk, KeyId};

const DAY: i64 = 24 * 60 * 60;
/// Some noon.
const NOW: i64 = 1_700_000_000;

/// So many lines of one moment. What a row follows from is not looked at here.
async fn lines(home: &Home, count: usize, at: i64) {
    let insert = format!(
        "INSERT INTO audit (number, at, action, object, outcome, digest)
         WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {count})
         SELECT (SELECT coalesce(max(number), 0) FROM audit) + x, {at}, 'adapter.publish', 'a', 'done', zeroblob(32)
         FROM n"
    );
    home.database().await.execute(&insert).await;
}

/// How many days before [`NOW`] the lines that are left were written.
async fn left(home: &Home) -> Vec<i64> {
    let at: Vec<i64> = home
        .database()
        .await
        .select("SELECT at FROM audit ORDER BY at DESC")
        .await;
    at.into_iter().map(|at| (NOW - at) / DAY).collect()
}

#[tokio::test]
async fn lines_older_than_the_setting_go_at_the_start_and_day_by_day() {
    for days in [1, 7, 90] {
        let home = Home::new();
        let registry = home.open().await;
        let mut ages = [0, 1, days - 1, days, days + 1, 400];
        ages.sort_unstable_by_key(|age| std::cmp::Reverse(*age));
        for age in ages {
            lines(&home, 1, NOW - age * DAY).await;
        }
        let keep = |ticks: Vec<i64>| {
            registry
                .clone()
                .keep_audit(u32::try_from(days).unwrap(), stream::iter(ticks))
        };
        keep(vec![NOW]).await;
        let mut young = vec![0, 1, days - 1, days];
        young.retain(|age| *age <= days);
        young.sort_unstable();
        assert_eq!(left(&home).await, young, "{days} days, at the start");
        keep(vec![NOW, NOW + 1]).await;
        young.retain(|age| *age < days);
        assert_eq!(left(&home).await, young, "a second later");
        keep((0..=days + 1).map(|day| NOW + day * DAY).collect()).await;
        assert!(left(&home).await.is_empty(), "after so many days");
    }
}

#[tokio::test]
async fn many_old_lines_go_in_several_transactions_and_young_ones_stay() {
    let home = Home::new();
    let registry = home.open().await;
    lines(&home, 1700, NOW - 100 * DAY).await;
    lines(&home, 3, NOW - DAY).await;
    registry.clone().keep_audit(90, stream::iter([NOW])).await;
    assert_eq!(left(&home).await, [1, 1, 1]);
}

#[tokio::test]
async fn zero_days_keep_everything() {
    let home = Home::new();
    let registry = home.open().await;
    lines(&home, 2, 0).await;
    registry
        .clone()
        .keep_audit(0, stream::iter([NOW, NOW + DAY]))
        .await;
    assert_eq!(left(&home).await.len(), 2);
}

#[tokio::test]
async fn what_an_unfinished_job_has_published_stays_known() {
    let home = Home::new();
    let registry = home.open().await;
    let database = home.database().await;
    for (id, status, publishing) in [
        ("one", "running", "'g'"),
        ("two", "failed", "'g'"),
        ("three", "succeeded", "'g'"),
        ("four", "queued", "NULL"),
    ] {
        let job = format!(
            "INSERT INTO jobs (id, name, status, created_at, training_file, recipe, metadata, data_digest, total_steps,
                 publish_after)
             VALUES ('{id}', 'a', '{status}', 0, 'f', '{{}}', '{{}}', '', 1, {publishing});
             INSERT INTO publications VALUES ('job:{id}', 'a', 'g')"
        );
        database.execute(&job).await;
    }
    registry.clone().keep_audit(90, stream::iter([NOW])).await;
    let sources = "SELECT source FROM publications ORDER BY rowid";
    let sources: Vec<String> = database.select(sources).await;
    assert_eq!(sources, ["job:one", "job:two"]);
}

#[tokio::test]
async fn every_change_of_a_name_is_recorded_with_who_made_it_and_by_which_request() {
    let home = Home::new();
    let actor = Actor::caller(Some(&KeyId::new("k1")), Some("req-7"));
    let registry = home.open().await.by(actor);
    let name: AdapterName = "legal".parse().unwrap();
    let mut made = Vec::new();
    for seed in [1, 2] {
        let view = registry
            .publish(&name, specimen(1, seed), None, "job:j1")
            .await;
        made.push(view.unwrap().generation);
    }
    registry.rollback(&name, None).await.unwrap();
    registry.promote(&name, made[1], None).await.unwrap();
    registry.set_pinned(&name, true, None).await.unwrap();
    registry.set_pinned(&name, false, None).await.unwrap();
    // What changes nothing is no change.
    registry.promote(&name, made[1], None).await.unwrap();
    registry.remove(&name, None).await.unwrap();
    let audit = Audit::new(home.database().await);
    let rows = audit
        .list(&AuditAsk::default(), None, 20)
        .await
        .unwrap()
        .items;
    assert!(rows.iter().all(|row| row.who.as_deref() == Some("k1")
        && row.request_id.as_deref() == Some("req-7")
        && row.object == "legal"));
    let told: Vec<_> = { rows.iter().rev() }
        .map(|row| (row.action.as_str(), row.before, row.after))
        .collect();
    let (first, second) = (Some(made[0]), Some(made[1]));
    assert_eq!(
        told,
        [
            ("adapter.publish", None, first),
            ("adapter.publish", first, second),
            ("adapter.rollback", second, first),
            ("adapter.promote", first, second),
            ("adapter.pin", second, second),
            ("adapter.unpin", second, second),
            ("adapter.remove", second, None),
        ]
    );
    assert!(audit.verify().await.unwrap().intact);
    assert!(
        registry
            .has_published(&name, made[0], "job:j1")
            .await
            .unwrap()
    );
    assert!(
        !registry
            .has_published(&name, made[0], "job:j2")
            .await
            .unwrap()
    );
}
