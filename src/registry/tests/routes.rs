//! What takes part of a name's requests: each change is one transaction, and what is routed is never forgotten.

use super::*;
use crate::domain::rollout::{CanaryAsk, Percent, Policy, Publish, Sticky};

fn ask(percent: f64) -> CanaryAsk {
    CanaryAsk {
        percent: Percent::new("percent", percent).unwrap(),
        sticky: None,
        policy: None,
    }
}

async fn canary(registry: &Registry, seed: u64, percent: f64) -> Result<AdapterView, Reason> {
    let legal = name("legal");
    registry
        .canary(&legal, generation(seed), ask(percent), None)
        .await
}

async fn keep(registry: &Registry, text: &str, seed: u64, publish: Publish) -> Option<AdapterView> {
    let (text, files) = (name(text), files(seed));
    let kept = registry.publish_as(&text, files, None, "upload", publish);
    kept.await.unwrap()
}

async fn canary_of(registry: &Registry) -> Option<Generation> {
    let view = registry.show(&name("legal")).await.unwrap();
    view.route.canary.map(|canary| canary.generation)
}

fn percent(percent: f64) -> Percent {
    Percent::new("percent", percent).unwrap()
}

#[tokio::test]
async fn a_canary_outlasts_newer_versions_and_a_restart_and_ends_with_the_name() {
    let home = Home::new();
    let registry = home.open().await;
    for seed in [1, 2] {
        publish(&registry, "legal", seed).await;
    }
    canary(&registry, 1, 10.0).await.unwrap();
    for seed in 3..=6 {
        publish(&registry, "legal", seed).await;
    }
    assert_eq!(canary_of(&registry).await, Some(generation(1)));
    drop(registry);
    let registry = home.open().await;
    assert_eq!(canary_of(&registry).await, Some(generation(1)));
    let pinned = lease(&registry, &format!("legal@{}", generation(1))).await;
    assert_eq!(pinned.unwrap().generation(), generation(1));
    registry.remove(&name("legal"), None).await.unwrap();
    assert_eq!((home.contents(), registry.all_routed().len()), (0, 0));
    let rows = home.database().await;
    let left: i64 = rows.select("SELECT count(*) FROM adapter_routes").await[0];
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_change_of_the_name_by_hand_ends_a_canary_only_where_the_name_is_at_it_then() {
    let home = Home::new();
    let registry = home.open().await;
    for seed in [1, 2, 3] {
        publish(&registry, "legal", seed).await;
    }
    let legal = name("legal");
    canary(&registry, 1, 10.0).await.unwrap();
    registry.promote(&legal, generation(2), None).await.unwrap();
    assert_eq!(canary_of(&registry).await, Some(generation(1)));
    registry.promote(&legal, generation(1), None).await.unwrap();
    assert_eq!(canary_of(&registry).await, None);
    canary(&registry, 2, 10.0).await.unwrap();
    registry.rollback(&legal, None).await.unwrap();
    assert_eq!(canary_of(&registry).await, None, "the way back led to it");
    canary(&registry, 3, 10.0).await.unwrap();
    publish(&registry, "legal", 3).await;
    assert_eq!(canary_of(&registry).await, None);
}

#[tokio::test]
async fn a_canary_is_changed_and_not_replaced_and_ends_once() {
    let home = Home::new();
    let registry = home.open().await;
    for seed in [1, 2, 3] {
        publish(&registry, "legal", seed).await;
    }
    let legal = name("legal");
    let begun = CanaryAsk {
        sticky: Some(Sticky::Caller),
        policy: Some(Policy {
            min_requests: Some(7),
            ..Policy::default()
        }),
        ..ask(1.0)
    };
    let begun = registry.canary(&legal, generation(1), begun, at(3)).await;
    let begun = begun.unwrap().route.canary.unwrap();
    let raised = canary(&registry, 1, 50.0).await.unwrap();
    let raised = raised.route.canary.unwrap();
    assert_eq!(
        (raised.sticky, &raised.policy),
        (begun.sticky, &begun.policy)
    );
    assert_eq!(f64::from(raised.percent), 50.0);
    for refused in [
        canary(&registry, 2, 1.0).await,
        canary(&registry, 3, 1.0).await,
    ] {
        assert!(matches!(refused, Err(Reason::WrongState(_))), "{refused:?}");
    }
    let moved = registry
        .canary(&legal, generation(1), ask(2.0), at(2))
        .await;
    assert!(matches!(moved, Err(Reason::GenerationMismatch { .. })));
    let unknown = canary(&registry, 9, 1.0).await;
    assert!(matches!(unknown, Err(Reason::NoSuchGeneration { .. })));
    let end = || CanaryEnd {
        of: Some(generation(1)),
        why: Some("a test".into()),
    };
    let both = tokio::join!(
        registry.promote_canary(&legal, end(), None),
        registry.abort_canary(&legal, end(), None),
    );
    let results = [both.0, both.1];
    let done = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(done, 1, "{results:?}");
    let late = results.into_iter().find_map(Result::err).unwrap();
    assert!(matches!(late, Reason::WrongState(_)), "{late:?}");
    assert_eq!(canary_of(&registry).await, None);
}

#[tokio::test]
async fn a_version_that_arrives_may_leave_the_name_where_it_is() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "legal", 1).await;
    let kept = keep(&registry, "legal", 2, Publish::Manual).await.unwrap();
    assert_eq!(kept.generation, generation(1));
    assert_eq!(kept.generations, [generation(2), generation(1)]);
    let text = "canary:10,sticky=caller,min_requests=7,promote_after=1h";
    let tenth: Publish = text.parse().unwrap();
    let begun = keep(&registry, "legal", 3, tenth.clone()).await.unwrap();
    assert_eq!(begun.generation, generation(1));
    assert_eq!(canary_of(&registry).await, Some(generation(3)));
    let legal = name("legal");
    let other = registry.publish_as(&legal, files(4), None, "upload", tenth.clone());
    assert!(matches!(other.await, Err(Reason::WrongState(_))));
    assert_eq!(home.contents(), 3, "what was refused is not left behind");
    let again = keep(&registry, "legal", 3, tenth).await.unwrap();
    let canary = again.route.canary.unwrap();
    assert_eq!(
        (canary.percent, canary.sticky),
        (percent(10.0), Sticky::Caller)
    );
    let policy = Policy {
        min_requests: Some(7),
        promote_after: Some(3600),
        ..Policy::default()
    };
    assert_eq!(canary.policy, policy, "what it keeps to comes with it");
    let shadowed = registry.shadow(&legal, generation(2), percent(5.0), None);
    let shadow = shadowed.await.unwrap().route.shadow.unwrap();
    assert_eq!(
        (shadow.generation, shadow.percent),
        (generation(2), percent(5.0))
    );
    registry.stop_shadow(&name("legal"), None).await.unwrap();
    let twice = registry.stop_shadow(&name("legal"), None).await;
    assert!(matches!(twice, Err(Reason::WrongState(_))));
}

#[tokio::test]
async fn what_is_kept_under_a_name_that_points_to_nothing_answers_by_its_pin_until_it_is_served() {
    let home = Home::new();
    let registry = home.open().await;
    assert!(keep(&registry, "new", 1, Publish::Manual).await.is_none());
    for seed in 2..=4 {
        keep(&registry, "new", seed, Publish::Manual).await;
    }
    drop(registry);
    let registry = home.open().await;
    assert_eq!(home.contents(), KEEP, "the oldest is forgotten");
    assert!(!registry.knows(&name("new")));
    let unserved = lease(&registry, "new").await;
    assert!(matches!(unserved.err(), Some(Reason::NoSuchAdapter(_))));
    let pinned = lease(&registry, &format!("new@{}", generation(3))).await;
    assert_eq!(pinned.unwrap().generation(), generation(3));
    let new = name("new");
    let served = registry.promote(&new, generation(3), Some(None));
    let served = served.await.unwrap();
    assert_eq!(served.generation, generation(3));
    assert_eq!(served.generations.len(), KEEP);
    assert!(registry.knows(&name("new")));
    assert!(keep(&registry, "other", 9, Publish::Manual).await.is_none());
    registry.remove(&name("other"), None).await.unwrap();
    assert_eq!(home.contents(), KEEP);
}
