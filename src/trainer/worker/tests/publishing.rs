//! What a job may do to the name it publishes under, and how often.

use super::*;

#[tokio::test]
async fn a_run_that_blew_up_fails_and_leaves_the_served_adapter_alone() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let good = shop.create("numbers", &rows, short()).await.unwrap().id;
    let served = shop.until(&good, JobStatus::Succeeded).await.generation;
    for wishes in [
        Wishes {
            learning_rate: Some(100.0),
            ..short()
        },
        Wishes {
            steps: Some(3),
            weight_decay: Some(1e30),
            ..short()
        },
        Wishes {
            steps: Some(2),
            alpha: Some(1e38),
            ..short()
        },
    ] {
        let id = shop.create("numbers", &rows, wishes).await.unwrap().id;
        let failed = shop.until(&id, JobStatus::Failed).await;
        let (code, message, param) = failed.error.unwrap();
        assert_eq!(
            (code.as_str(), param.as_deref()),
            ("diverged", Some("learning_rate")),
            "{message}"
        );
        let now = shop.registry.show(&"numbers".parse().unwrap()).await;
        assert_eq!(Some(now.unwrap().generation), served, "{message}");
    }
}

#[tokio::test]
async fn publishing_that_a_crash_cut_short_is_not_done_twice() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let id = shop.create("numbers", &rows, short()).await.unwrap().id;
    let first = shop
        .until(&id, JobStatus::Succeeded)
        .await
        .generation
        .unwrap();
    // The state a crash leaves between publishing and recording that it is done; meanwhile the name has moved on, so far
    // that it has forgotten what this job published.
    let mut newest = first;
    for seed in [7, 8] {
        let wishes = Wishes {
            seed: Some(seed),
            ..short()
        };
        let other = shop.create("numbers", &rows, wishes).await.unwrap().id;
        let done = shop.until(&other, JobStatus::Succeeded).await;
        assert_ne!(done.generation, Some(newest));
        newest = done.generation.unwrap();
    }
    let name = "numbers".parse().unwrap();
    let history = shop.registry.history(&name).await.unwrap();
    assert!(history.len() == 2 && !history.contains(&first));
    let undo = format!("UPDATE jobs SET status = 'running', generation = NULL WHERE id = '{id}'");
    shop.database.execute(&undo).await;
    let shop = shop.reopen().await;
    assert_eq!(
        shop.until(&id, JobStatus::Succeeded).await.generation,
        Some(first)
    );
    assert_eq!(
        shop.registry.show(&name).await.unwrap().generation,
        newest,
        "the name is not moved back"
    );
    assert_eq!(shop.registry.history(&name).await.unwrap(), history);
}

#[tokio::test]
async fn a_canary_that_a_crash_cut_short_is_begun_once() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let name = "numbers".parse().unwrap();
    let first = shop.create("numbers", &rows, short()).await.unwrap().id;
    let stable = shop.until(&first, JobStatus::Succeeded).await.generation;
    let wishes = Wishes {
        seed: Some(7),
        publish: Some("canary:10".into()),
        ..short()
    };
    let id = shop.create("numbers", &rows, wishes).await.unwrap().id;
    let made = shop.until(&id, JobStatus::Succeeded).await.generation;
    let route = async |registry: &crate::registry::Registry| {
        let view = registry.show(&name).await.unwrap();
        assert_eq!(Some(view.generation), stable, "the name stays where it is");
        view.route.canary.map(|canary| canary.generation)
    };
    assert_eq!(route(&shop.registry).await, made);
    // The state a crash leaves before the end is recorded; meanwhile somebody has given the canary up.
    let end = crate::registry::CanaryEnd::default();
    shop.registry.abort_canary(&name, end, None).await.unwrap();
    let undo = format!(
        "UPDATE jobs SET status = 'running', generation = NULL, published = NULL WHERE id = '{id}'"
    );
    shop.database.execute(&undo).await;
    let shop = shop.reopen().await;
    let again = shop.until(&id, JobStatus::Succeeded).await;
    assert_eq!((again.generation, again.published), (made, true));
    assert_eq!(route(&shop.registry).await, None, "it does not begin again");
}
