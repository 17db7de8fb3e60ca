//! Packed copies, and waiting for a place in memory.

use super::*;
use crate::adapter::peft::WEIGHTS_FILE;

/// The packed copy of a version.
fn copy(home: &Home, seed: u64) -> PathBuf {
    let packed = home.dir.path().join("packed");
    packed.join(generation(seed).to_string())
}

/// Copies are made beside everything else.
async fn copied(home: &Home, seed: u64) {
    let made = async {
        while !copy(home, seed).exists() {
            tokio::task::yield_now().await;
        }
    };
    let longest = Duration::from_secs(20);
    tokio::time::timeout(longest, made).await.unwrap();
}

async fn factors(registry: &Registry, text: &str) -> Vec<Vec<f32>> {
    let lease = lease(registry, text).await.unwrap();
    let site = sites(LAYERS)[0].site;
    let weights = lease.adapter().low_rank(site).unwrap();
    vec![weights.a(), weights.b()]
}

#[tokio::test]
async fn a_published_adapter_is_loaded_from_its_packed_copy() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "a", 1).await;
    let given = factors(&registry, "a").await;
    copied(&home, 1).await;
    drop(registry);
    let registry = home.open().await;
    let (adapter, uncopied) = registry.shared.fetch(generation(1)).unwrap();
    assert_eq!((adapter.generation(), uncopied), (generation(1), None));
    assert_eq!(factors(&registry, "a").await, given);
    registry.remove(&name("a"), None).await.unwrap();
    assert!(!copy(&home, 1).exists());
}

#[tokio::test]
async fn a_copy_that_is_lost_damaged_or_older_than_its_folder_is_made_again() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "a", 1).await;
    let given = factors(&registry, "a").await;
    let spoil: [fn(&Home); 3] = [
        |home| std::fs::remove_file(copy(home, 1)).unwrap(),
        |home| {
            let mut bytes = std::fs::read(copy(home, 1)).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(copy(home, 1), bytes).unwrap();
        },
        |home| {
            let weights = home.content(1).join(WEIGHTS_FILE);
            let bytes = std::fs::read(&weights).unwrap();
            std::fs::remove_file(&weights).unwrap();
            std::fs::write(weights, bytes).unwrap();
        },
    ];
    for spoil in spoil {
        copied(&home, 1).await;
        spoil(&home);
        let (_, uncopied) = registry.shared.fetch(generation(1)).unwrap();
        assert!(uncopied.is_some(), "a copy that is no good was used");
        registry.unload(&name("a"), None).await.unwrap();
        let _ = std::fs::remove_file(copy(&home, 1));
        assert_eq!(factors(&registry, "a").await, given);
    }
    copied(&home, 1).await;
}

#[tokio::test]
async fn a_start_removes_copies_of_what_is_not_known() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "a", 1).await;
    copied(&home, 1).await;
    drop(registry);
    std::fs::write(copy(&home, 2), "x").unwrap();
    std::fs::write(home.dir.path().join("packed/unfinished-x"), "x").unwrap();
    home.open().await;
    assert!(copy(&home, 1).exists() && !copy(&home, 2).exists());
    let packed = std::fs::read_dir(home.dir.path().join("packed")).unwrap();
    assert_eq!(packed.count(), 1);
}

#[tokio::test]
async fn an_end_waits_for_copies_that_have_begun_and_begins_no_more() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "a", 1).await;
    registry.finish().await;
    let before = copy(&home, 1).exists();
    publish(&registry, "b", 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        (copy(&home, 1).exists(), copy(&home, 2).exists()),
        (before, false)
    );
    // What has no copy loads from its folder.
    registry.unload(&name("b"), None).await.unwrap();
    assert_eq!(
        lease(&registry, "b").await.unwrap().generation(),
        generation(2)
    );
}

#[tokio::test]
async fn a_request_waits_for_a_place_until_a_lease_ends() {
    let home = Home::new();
    let registry = home.open_waiting(1).await;
    publish(&registry, "a", 1).await;
    publish(&registry, "b", 2).await;
    let running = lease(&registry, "a").await.unwrap();
    let mut waiting = Box::pin(lease(&registry, "b"));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(running);
    assert_eq!(waiting.await.unwrap().generation(), generation(2));
}

#[tokio::test]
async fn requests_that_follow_one_another_do_not_keep_others_out() {
    let home = Home::new();
    let registry = home.open_waiting(1).await;
    publish(&registry, "a", 1).await;
    publish(&registry, "b", 2).await;
    let mut running = lease(&registry, "a").await.unwrap();
    let mut waiting = Box::pin(lease(&registry, "b"));
    // Each request for `a` begins before the one before it ends, until the next one has to wait too.
    let next = loop {
        assert!(futures::poll!(&mut waiting).is_pending());
        let mut next = Box::pin(lease(&registry, "a"));
        match futures::poll!(&mut next) {
            std::task::Poll::Ready(held) => running = held.unwrap(),
            std::task::Poll::Pending => break next,
        }
        tokio::task::yield_now().await;
    };
    drop(running);
    let served = waiting.await.unwrap();
    assert_eq!(served.generation(), generation(2));
    drop(served);
    assert_eq!(next.await.unwrap().generation(), generation(1));
}
