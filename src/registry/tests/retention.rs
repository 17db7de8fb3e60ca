//! How many versions a name keeps, and that a change never waits for what takes long.

use super::*;

fn generations<const N: usize>(seeds: [u64; N]) -> Vec<Generation> {
    seeds.map(generation).to_vec()
}

async fn history(registry: &Registry, text: &str) -> Vec<Generation> {
    registry.history(&name(text)).await.unwrap()
}

async fn rows(home: &Home, table: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {table}");
    home.database().await.select(&count).await[0]
}

#[tokio::test]
async fn a_publication_removes_the_oldest_versions_from_disk_memory_and_tables() {
    let home = Home::new();
    let registry = home.open().await;
    for seed in 1..=6 {
        publish(&registry, "legal", seed).await;
    }
    let kept = generations([6, 5, 4]);
    assert_eq!(history(&registry, "legal").await, kept);
    assert_eq!((home.contents(), home.staged()), (KEEP, 0));
    assert_eq!(registry.resident_bytes().0, KEEP as u64 * size());
    for (table, most) in [
        ("adapter_versions", KEEP),
        ("adapter_history", KEEP),
        ("adapter_lineage", KEEP - 1),
    ] {
        assert_eq!(rows(&home, table).await, most as i64, "{table}");
    }
    let gone = lease(&registry, &format!("legal@{}", generation(3))).await;
    assert!(matches!(gone.err(), Some(Reason::NoSuchGeneration { .. })));
    let promoted = registry.promote(&name("legal"), generation(3), None).await;
    assert!(matches!(promoted, Err(Reason::NoSuchGeneration { .. })));
    drop(registry);

    let registry = home.open().await;
    assert_eq!(history(&registry, "legal").await, kept);
    for seed in [5, 4] {
        let back = registry.rollback(&name("legal"), None).await.unwrap();
        assert_eq!(back.generation, generation(seed));
    }
    let past = registry.rollback(&name("legal"), None).await;
    assert!(matches!(past, Err(Reason::WrongState(_))), "{past:?}");
    // What was removed may come back.
    publish(&registry, "legal", 1).await;
    assert_eq!(
        lease(&registry, "legal").await.unwrap().generation(),
        generation(1)
    );
}

#[tokio::test]
async fn what_is_served_and_the_way_back_outlast_newer_versions() {
    let home = Home::new();
    let registry = home.open().await;
    let legal = name("legal");
    for seed in [1, 2, 3] {
        publish(&registry, "legal", seed).await;
    }
    // 1 is old by its publication, and what a rollback from 4 leads to.
    registry.promote(&legal, generation(1), None).await.unwrap();
    publish(&registry, "legal", 4).await;
    assert_eq!(history(&registry, "legal").await, generations([4, 3, 1]));
    let back = registry.rollback(&legal, None).await.unwrap();
    let before = Some(generation(3));
    assert_eq!(
        (back.generation, back.previous_generation),
        (generation(1), before)
    );
    // The way back from 3 led over 2.
    let back = registry.rollback(&legal, None).await.unwrap();
    assert_eq!(
        (back.generation, back.previous_generation),
        (generation(3), None)
    );
}

#[tokio::test]
async fn going_back_and_forth_leaves_no_ever_longer_way_back() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "legal", 1).await;
    publish(&registry, "legal", 2).await;
    for round in 0..10 {
        let to = generation(1 + round % 2);
        registry.promote(&name("legal"), to, None).await.unwrap();
    }
    assert_eq!(rows(&home, "adapter_lineage").await, KEEP as i64);
    let back = registry.rollback(&name("legal"), None).await.unwrap();
    assert_eq!(back.generation, generation(1));
}

#[tokio::test]
async fn a_version_that_another_name_or_a_request_has_stays_there() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "medical", 1).await;
    publish(&registry, "legal", 1).await;
    publish(&registry, "legal", 2).await;
    let running = lease(&registry, &format!("legal@{}", generation(2))).await;
    for seed in [3, 4, 5] {
        publish(&registry, "legal", seed).await;
    }
    assert_eq!(history(&registry, "legal").await, generations([5, 4, 3]));
    assert!(home.content(1).exists(), "medical has it");
    assert!(!home.content(2).exists());
    assert_eq!(running.as_ref().unwrap().adapter().sites().count(), 7);
    let before = registry.resident_bytes().0;
    drop(running);
    assert_eq!(registry.resident_bytes().0, before - size());
    assert_eq!(
        lease(&registry, "medical").await.unwrap().generation(),
        generation(1)
    );
}

#[tokio::test]
async fn a_wait_for_a_place_in_memory_delays_no_publication() {
    let home = Home::new();
    let registry = home.open_waiting(1).await;
    publish(&registry, "a", 1).await;
    publish(&registry, "b", 2).await;
    let running = lease(&registry, "a").await.unwrap();
    let pinning = {
        let registry = registry.clone();
        tokio::spawn(async move { registry.set_pinned(&name("b"), true, None).await })
    };
    tokio::task::yield_now().await;
    for seed in [3, 4] {
        publish(&registry, "c", seed).await;
    }
    registry.rollback(&name("c"), None).await.unwrap();
    registry.remove(&name("c"), None).await.unwrap();
    // What is being pinned is replaced meanwhile: the newer version is what is pinned in the end.
    publish(&registry, "b", 5).await;
    assert!(!pinning.is_finished());
    drop(running);
    let pinned = pinning.await.unwrap().unwrap();
    assert_eq!((pinned.generation, pinned.pinned), (generation(5), true));
    assert_eq!(pinned.tier, Tier::Resident);
}

#[tokio::test]
async fn a_request_that_waits_while_what_it_asked_for_is_forgotten_gets_what_the_name_means_then() {
    let home = Home::new();
    let registry = home.open_waiting(1).await;
    publish(&registry, "a", 1).await;
    let running = lease(&registry, "a").await.unwrap();
    publish(&registry, "b", 2).await;
    let asked = ["b".to_owned(), format!("b@{}", generation(2))].map(|text| {
        let registry = registry.clone();
        tokio::spawn(async move {
            lease(&registry, &text)
                .await
                .map(|lease| lease.generation())
        })
    });
    tokio::task::yield_now().await;
    for seed in 3..=5 {
        publish(&registry, "b", seed).await;
    }
    drop(running);
    let [named, pinned] = asked.map(|task| async { task.await.unwrap() });
    assert_eq!(named.await, Ok(generation(5)));
    assert!(matches!(pinned.await, Err(Reason::NoSuchGeneration { .. })));
}
