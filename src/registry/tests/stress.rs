//! Everything at once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const SEEDS: u64 = 8;

/// Refusals that are right answers to what others are doing at the same time.
fn is_fair(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NoSuchAdapter(_)
            | Reason::NoSuchGeneration { .. }
            | Reason::GenerationMismatch { .. }
            | Reason::WrongState(_)
            | Reason::Overloaded { .. }
    )
}

async fn change(registry: &Registry, rng: &mut ChaCha8Rng) -> Result<(), Reason> {
    let name = name(NAMES[rng.random_range(0..NAMES.len())]);
    let expected = rng
        .random_bool(0.3)
        .then(|| Some(generation(rng.random_range(0..SEEDS))));
    match rng.random_range(0..10) {
        0..4 => {
            let files = files(rng.random_range(0..SEEDS));
            registry
                .publish(&name, files, expected, "upload")
                .await
                .map(drop)
        }
        4 => registry
            .promote(&name, generation(rng.random_range(0..SEEDS)), expected)
            .await
            .map(drop),
        5 => registry.rollback(&name, expected).await.map(drop),
        6 => registry
            .set_pinned(&name, rng.random_bool(0.3), expected)
            .await
            .map(drop),
        7 => registry.load(&name, expected).await.map(drop),
        8 => registry.unload(&name, expected).await.map(drop),
        _ => registry.remove(&name, expected).await,
    }
}

/// Requests that hold several leases, of names and of pinned versions.
async fn read(
    registry: &Registry,
    rng: &mut ChaCha8Rng,
    known: &HashSet<Generation>,
) -> Result<(), Reason> {
    let mut held = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let mut text = NAMES[rng.random_range(0..NAMES.len())].to_owned();
        let pinned = rng
            .random_bool(0.3)
            .then(|| generation(rng.random_range(0..SEEDS)));
        if let Some(generation) = pinned {
            text = format!("{text}@{generation}");
        }
        let lease = lease(registry, &text).await?;
        assert!(known.contains(&lease.generation()));
        assert_eq!(lease.adapter().generation(), lease.generation());
        assert!(pinned.is_none_or(|wanted| wanted == lease.generation()));
        held.push((lease.generation(), lease));
        tokio::task::yield_now().await;
        let (used, budget) = registry.resident_bytes();
        assert!(used <= budget, "{used} of {budget}");
        assert!(
            held.iter()
                .all(|(generation, lease)| *generation == lease.generation())
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_hold_what_they_asked_for_while_everything_else_changes() {
    let home = Home::new();
    let registry = home.open_small(5).await;
    let known: Arc<HashSet<Generation>> = Arc::new((0..SEEDS).map(generation).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..6)
        .map(|seed| {
            let (registry, known, stop) = (registry.clone(), known.clone(), stop.clone());
            tokio::spawn(async move {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    // A refusal comes at once: without this the refused would keep the workers to themselves.
                    tokio::task::yield_now().await;
                    match read(&registry, &mut rng, &known).await {
                        Ok(()) => answered += 1,
                        Err(reason) => assert!(is_fair(&reason), "{reason:?}"),
                    }
                }
                answered
            })
        })
        .collect();
    let writers: Vec<_> = (100..104)
        .map(|seed| {
            let registry = registry.clone();
            tokio::spawn(async move {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                for _ in 0..40 {
                    if let Err(reason) = change(&registry, &mut rng).await {
                        assert!(is_fair(&reason), "{reason:?}");
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for reader in readers {
        answered += reader.await.unwrap();
    }
    assert!(answered > 0);

    // At rest: all leases are back, memory holds what is said to be resident, and the disk tells the same story.
    let views = registry.list().await;
    for view in &views {
        let _ = registry.set_pinned(&view.id, false, None).await.unwrap();
        registry.unload(&view.id, None).await.unwrap();
    }
    let mut versions = HashSet::new();
    for view in &views {
        versions.extend(registry.history(&view.id).await.unwrap());
    }
    assert_eq!((home.contents(), home.staged()), (versions.len(), 0));
    drop(registry);
    let again = home.open_small(5).await.list().await;
    let story = |views: &[AdapterView]| -> Vec<_> {
        views
            .iter()
            .map(|view| (view.id.clone(), view.generation, view.previous_generation))
            .collect()
    };
    assert_eq!(story(&again), story(&views));
}
