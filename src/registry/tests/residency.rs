//! What is in memory, and when.

use super::*;

#[tokio::test]
async fn versions_come_and_go_within_the_budget() {
    let home = Home::new();
    let registry = home.open_small(2).await;
    for (seed, text) in ["a", "b", "c"].into_iter().enumerate() {
        publish(&registry, text, seed as u64).await;
    }
    assert_eq!(registry.resident_bytes(), (2 * size(), 2 * size()));
    let tiers: Vec<_> = registry
        .list()
        .await
        .into_iter()
        .map(|view| view.tier)
        .collect();
    assert_eq!(tiers, [Tier::Disk, Tier::Resident, Tier::Resident]);
    let a = lease(&registry, "a").await.unwrap();
    assert_eq!(registry.resident().len(), 2);
    let _c = lease(&registry, "c").await.unwrap();
    let full = lease(&registry, "b").await.err();
    assert!(matches!(full, Some(Reason::Overloaded { .. })), "{full:?}");
    drop(a);
    assert!(lease(&registry, "b").await.is_ok());
}

#[tokio::test]
async fn a_publication_needs_no_room_in_memory() {
    let home = Home::new();
    let registry = home.open_small(1).await;
    publish(&registry, "a", 1).await;
    let _running = lease(&registry, "a").await.unwrap();
    assert_eq!(publish(&registry, "b", 2).await.tier, Tier::Disk);
}

#[tokio::test]
async fn a_pinned_adapter_that_fills_the_memory_is_replaced_in_its_own_place() {
    let home = Home::new();
    let registry = home.open_small(1).await;
    let a = name("a");
    publish(&registry, "a", 1).await;
    registry.set_pinned(&a, true, None).await.unwrap();
    let replaced = publish(&registry, "a", 2).await;
    assert_eq!(
        (replaced.generation, replaced.tier, replaced.pinned),
        (generation(2), Tier::Resident, true)
    );
    let back = registry.rollback(&a, None).await.unwrap();
    assert_eq!(
        (back.generation, back.tier, back.pinned),
        (generation(1), Tier::Resident, true)
    );
    // While a request holds the version before, the new one waits for its end on disk.
    let running = lease(&registry, "a").await.unwrap();
    assert_eq!(publish(&registry, "a", 3).await.tier, Tier::Disk);
    assert_eq!(running.generation(), generation(1));
    let full = lease(&registry, "a").await.err();
    assert!(matches!(full, Some(Reason::Overloaded { .. })), "{full:?}");
    drop(running);
    assert_eq!(
        lease(&registry, "a").await.unwrap().generation(),
        generation(3)
    );
    assert_eq!(registry.resident_bytes(), (size(), size()));
}

#[tokio::test]
async fn what_pins_leave_no_room_for_is_told_so_instead_of_waiting() {
    let home = Home::new();
    let registry = home.open_small(1).await;
    publish(&registry, "a", 1).await;
    registry.set_pinned(&name("a"), true, None).await.unwrap();
    publish(&registry, "b", 2).await;
    let refused = lease(&registry, "b").await.err();
    assert!(
        matches!(&refused, Some(Reason::WrongState(why)) if why.contains("pinned")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_pinned_adapter_stays_loaded_until_it_is_unpinned_also_after_a_restart() {
    let home = Home::new();
    let registry = home.open_small(2).await;
    publish(&registry, "a", 1).await;
    assert!(
        registry
            .set_pinned(&name("a"), true, at(1))
            .await
            .unwrap()
            .pinned
    );
    for seed in 2..6 {
        publish(&registry, "b", seed).await;
    }
    assert_eq!(
        registry.show(&name("a")).await.unwrap().tier,
        Tier::Resident
    );
    assert!(matches!(
        registry.unload(&name("a"), None).await,
        Err(Reason::WrongState(_))
    ));
    publish(&registry, "c", 7).await;
    registry.set_pinned(&name("c"), true, None).await.unwrap();
    let third = registry.set_pinned(&name("b"), true, None).await;
    assert!(matches!(third, Err(Reason::WrongState(_))), "{third:?}");
    drop(registry);

    let registry = home.open_small(2).await;
    let mut changes = registry.changes();
    while registry.resident().len() < 2 {
        changes.recv().await.unwrap();
    }
    assert!(registry.resident().iter().all(|(.., pinned)| *pinned));
    registry.set_pinned(&name("a"), false, None).await.unwrap();
    assert_eq!(
        registry.unload(&name("a"), None).await.unwrap().tier,
        Tier::Disk
    );
}

#[tokio::test]
async fn an_unloaded_adapter_comes_back_on_demand() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "a", 1).await;
    assert_eq!(
        registry.unload(&name("a"), at(1)).await.unwrap().tier,
        Tier::Disk
    );
    assert_eq!(registry.resident_bytes().0, 0);
    assert_eq!(
        registry.load(&name("a"), None).await.unwrap().tier,
        Tier::Resident
    );
    registry.unload(&name("a"), None).await.unwrap();
    drop(lease(&registry, "a").await.unwrap());
    assert_eq!(
        registry.show(&name("a")).await.unwrap().tier,
        Tier::Resident
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_for_one_cold_adapter_load_it_once() {
    let home = Home::new();
    publish(&home.open().await, "a", 1).await;
    let registry = home.open().await;
    let mut changes = registry.changes();
    let waiting: Vec<_> = (0..64)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { lease(&registry, "a").await.unwrap() })
        })
        .collect();
    let mut leases = Vec::new();
    for waiter in waiting {
        leases.push(waiter.await.unwrap());
    }
    assert!(
        leases
            .iter()
            .all(|lease| Arc::ptr_eq(lease.adapter(), leases[0].adapter()))
    );
    assert_eq!(changes.recv().await.unwrap().tier, Tier::Resident);
    assert!(changes.try_recv().is_err(), "one load, one change");
    assert_eq!(registry.resident_bytes().0, size());
}

#[tokio::test]
async fn a_waiter_that_goes_away_does_not_stop_the_load() {
    let home = Home::new();
    publish(&home.open().await, "a", 1).await;
    let registry = home.open().await;
    let mut changes = registry.changes();
    {
        let wanted = choice("a");
        let mut impatient = Box::pin(registry.lease(&wanted));
        assert!(futures::poll!(&mut impatient).is_pending());
    }
    assert_eq!(changes.recv().await.unwrap().tier, Tier::Resident);
}

#[tokio::test]
async fn followers_see_every_change_of_a_name() {
    let home = Home::new();
    let registry = home.open().await;
    let mut changes = registry.changes();
    publish(&registry, "a", 1).await;
    registry.set_pinned(&name("a"), true, None).await.unwrap();
    registry.set_pinned(&name("a"), false, None).await.unwrap();
    registry.unload(&name("a"), None).await.unwrap();
    registry.remove(&name("a"), None).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let view = changes.recv().await.unwrap();
        seen.push((view.pinned, view.tier));
    }
    let (disk, resident) = (Tier::Disk, Tier::Resident);
    assert_eq!(
        seen,
        [
            (false, resident),
            (true, resident),
            (false, resident),
            (false, disk),
            (false, disk)
        ]
    );
    assert!(changes.try_recv().is_err());
}

#[tokio::test]
async fn weights_are_rounded_in_memory_alone() {
    let home = Home::new();
    let open = |precision| {
        let config = Config {
            precision,
            ..config(home.dir.path(), size())
        };
        open_as(config, BASE_DIGEST, Arc::new(NoFailpoints))
    };
    let rounded = open(Precision::Bf16).await;
    publish(&rounded, "a", 1).await;
    assert_eq!(rounded.resident_bytes().0, size() / 2);
    let served = lease(&rounded, "a").await.unwrap();
    let original = rounded.original(&choice("a")).await.unwrap().unwrap();
    let given = rounded.inspect(files(1)).await.unwrap();
    let factors = |adapter: &Adapter| {
        let (a, b, _) = adapter.lora_site(sites(LAYERS)[0].site).unwrap();
        [a, b]
    };
    assert_eq!(factors(&original), factors(&given));
    assert_ne!(factors(served.adapter()), factors(&given));
    assert!(
        rounded
            .original(&AdapterChoice::Base)
            .await
            .unwrap()
            .is_none()
    );
    let unknown = rounded.original(&choice("b")).await.err();
    assert!(matches!(unknown, Some(Reason::NoSuchAdapter(_))));
    drop((served, rounded));

    // What was registered as half as large has its whole size now.
    let exact = open(Precision::Exact).await;
    publish(&exact, "b", 2).await;
    let served = lease(&exact, "a").await.unwrap();
    assert_eq!(factors(served.adapter()), factors(&given));
    assert_eq!(exact.resident_bytes().0, size());
}
