//! How long the record of changes is kept. The clock stands still: each tick says what time it is.

use futures::stream;

use super::*;

const DAY: i64 = 24 * 60 * 60;
/// Some noon.
const NOW: i64 = 1_700_000_000;

/// So many lines of one moment, written from `source`.
async fn lines(home: &Home, count: usize, at: i64, source: &str) {
    let row = format!("({at}, 'publish', 'a', '{source}')");
    let rows = vec![row; count].join(", ");
    let insert = format!("INSERT INTO adapter_audit (at, action, name, source) VALUES {rows}");
    home.database().await.execute(&insert).await;
}

/// How many days before [`NOW`] the lines that are left were written.
async fn left(home: &Home) -> Vec<i64> {
    let at: Vec<i64> = home
        .database()
        .await
        .select("SELECT at FROM adapter_audit ORDER BY at DESC")
        .await;
    at.into_iter().map(|at| (NOW - at) / DAY).collect()
}

#[tokio::test]
async fn lines_older_than_the_setting_go_at_the_start_and_day_by_day() {
    for days in [1, 7, 90] {
        let home = Home::new();
        let registry = home.open().await;
        for age in [0, 1, days - 1, days, days + 1, 400] {
            lines(&home, 1, NOW - age * DAY, "upload").await;
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
    lines(&home, 1700, NOW - 100 * DAY, "upload").await;
    lines(&home, 3, NOW - DAY, "upload").await;
    registry.clone().keep_audit(90, stream::iter([NOW])).await;
    assert_eq!(left(&home).await, [1, 1, 1]);
}

#[tokio::test]
async fn zero_days_keep_everything() {
    let home = Home::new();
    let registry = home.open().await;
    lines(&home, 2, 0, "upload").await;
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
    for (id, status, publishing) in [
        ("one", "running", "'g'"),
        ("two", "failed", "'g'"),
        ("three", "succeeded", "'g'"),
        ("four", "queued", "NULL"),
    ] {
        let job = format!(
            "INSERT INTO jobs (id, name, status, created_at, training_file, recipe, metadata, data_digest, total_steps,
                 publish_after)
             VALUES ('{id}', 'a', '{status}', 0, 'f', '{{}}', '{{}}', '', 1, {publishing})"
        );
        home.database().await.execute(&job).await;
        lines(&home, 1, NOW - 200 * DAY, &format!("job:{id}")).await;
    }
    registry.clone().keep_audit(90, stream::iter([NOW])).await;
    let sources = "SELECT source FROM adapter_audit ORDER BY id";
    let sources: Vec<String> = home.database().await.select(sources).await;
    assert_eq!(sources, ["job:one", "job:two"]);
}
