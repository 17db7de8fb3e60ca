//! For how long it is known who changed what. The clock stands still: each tick says what time it is.

use futures::stream;

use super::*;

const DAY: i64 = 24 * 60 * 60;
/// Some noon.
const NOW: i64 = 1_700_000_000;

/// So many lines of one moment, written from `source`.
async fn lines(registry: &Registry, count: usize, at: i64, source: &str) {
    let mut transaction = begin(&registry.shared.pool).await.unwrap();
    for _ in 0..count {
        sqlx::query(
            "INSERT INTO adapter_audit (at, action, name, source) VALUES (?, 'publish', 'a', ?)",
        )
        .bind(at)
        .bind(source)
        .execute(&mut *transaction)
        .await
        .unwrap();
    }
    transaction.commit().await.unwrap();
}

/// How many days before [`NOW`] the lines that are left were written.
async fn left(registry: &Registry) -> Vec<i64> {
    let at: Vec<i64> = sqlx::query_scalar("SELECT at FROM adapter_audit ORDER BY at DESC")
        .fetch_all(&registry.shared.pool)
        .await
        .unwrap();
    at.into_iter().map(|at| (NOW - at) / DAY).collect()
}

async fn job(registry: &Registry, id: &str, status: &str, publishing: Option<&str>) {
    sqlx::query(
        "INSERT INTO jobs (id, name, status, created_at, training_file, recipe, metadata, data_digest, total_steps, publish_after)
         VALUES (?, 'a', ?, 0, 'f', '{}', '{}', '', 1, ?)",
    )
    .bind(id)
    .bind(status)
    .bind(publishing)
    .execute(&registry.shared.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn lines_older_than_the_setting_go_at_the_start_and_day_by_day() {
    for days in [1, 7, 90] {
        let home = Home::new();
        let registry = home.open().await;
        for age in [0, 1, days - 1, days, days + 1, 400] {
            lines(&registry, 1, NOW - age * DAY, "upload").await;
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
        assert_eq!(left(&registry).await, young, "{days} days, at the start");
        keep(vec![NOW, NOW + 1]).await;
        young.retain(|age| *age < days);
        assert_eq!(left(&registry).await, young, "a second later");
        keep((0..=days + 1).map(|day| NOW + day * DAY).collect()).await;
        assert!(left(&registry).await.is_empty(), "after so many days");
    }
}

#[tokio::test]
async fn many_old_lines_go_in_several_transactions_and_young_ones_stay() {
    let home = Home::new();
    let registry = home.open().await;
    lines(&registry, 1700, NOW - 100 * DAY, "upload").await;
    lines(&registry, 3, NOW - DAY, "upload").await;
    registry.clone().keep_audit(90, stream::iter([NOW])).await;
    assert_eq!(left(&registry).await, [1, 1, 1]);
}

#[tokio::test]
async fn zero_days_keep_everything() {
    let home = Home::new();
    let registry = home.open().await;
    lines(&registry, 2, 0, "upload").await;
    registry
        .clone()
        .keep_audit(0, stream::iter([NOW, NOW + DAY]))
        .await;
    assert_eq!(left(&registry).await.len(), 2);
}

#[tokio::test]
async fn what_an_unfinished_job_has_published_stays_known() {
    let home = Home::new();
    let registry = home.open().await;
    for (id, status, publishing) in [
        ("one", "running", Some("g")),
        ("two", "failed", Some("g")),
        ("three", "succeeded", Some("g")),
        ("four", "queued", None),
    ] {
        job(&registry, id, status, publishing).await;
        lines(&registry, 1, NOW - 200 * DAY, &format!("job:{id}")).await;
    }
    registry.clone().keep_audit(90, stream::iter([NOW])).await;
    let sources: Vec<String> = sqlx::query_scalar("SELECT source FROM adapter_audit ORDER BY id")
        .fetch_all(&registry.shared.pool)
        .await
        .unwrap();
    assert_eq!(sources, ["job:one", "job:two"]);
}
