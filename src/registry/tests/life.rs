//! The life of a name.

use serde_json::json;

use super::*;
use crate::adapter::peft::{CONFIG_FILE, PROVENANCE_FILE, WEIGHTS_FILE};

#[tokio::test]
async fn a_published_adapter_answers_at_once_and_after_a_restart() {
    let home = Home::new();
    let registry = home.open().await;
    let evaluation = json!({"loss": 1.5});
    let mut given = files(1);
    let origin = json!({"evaluation": evaluation}).to_string();
    given.insert(PROVENANCE_FILE.into(), origin.into());
    let view = registry
        .publish(&name("legal"), given.clone(), Some(None), "upload")
        .await
        .unwrap();
    assert_eq!(
        (view.generation, view.previous_generation, view.tier),
        (generation(1), None, Tier::Resident)
    );
    assert_eq!(
        (view.kind.as_str(), view.rank, view.bytes),
        ("lora", 4, size())
    );
    assert_eq!(
        lease(&registry, "legal").await.unwrap().generation(),
        generation(1)
    );
    drop(registry);
    let registry = home.open().await;
    let again = registry.show(&name("legal")).await.unwrap();
    assert_eq!(
        again,
        AdapterView {
            tier: Tier::Disk,
            ..view
        }
    );
    assert_eq!(again.evaluation, Some(evaluation));
    let lease = lease(&registry, "legal").await.unwrap();
    assert_eq!(
        (lease.name().as_str(), lease.generation()),
        ("legal", generation(1))
    );
    assert_eq!(lease.adapter().generation(), generation(1));
    assert_eq!(registry.files(&name("legal")).await.unwrap(), given);
}

#[tokio::test]
async fn the_base_needs_no_lease_and_unknown_names_have_none() {
    let home = Home::new();
    let registry = home.open().await;
    assert!(
        registry
            .lease(&AdapterChoice::Base)
            .await
            .unwrap()
            .is_none()
    );
    assert!(matches!(
        lease(&registry, "legal").await.err(),
        Some(Reason::NoSuchAdapter(_))
    ));
    let absent = name("legal");
    assert!(matches!(
        registry.show(&absent).await,
        Err(Reason::NoSuchAdapter(_))
    ));
    assert!(matches!(
        registry.remove(&absent, None).await,
        Err(Reason::NoSuchAdapter(_))
    ));
    assert!(matches!(
        registry.rollback(&absent, None).await,
        Err(Reason::NoSuchAdapter(_))
    ));
    assert!(matches!(
        registry.load(&absent, at(1)).await,
        Err(Reason::NoSuchAdapter(_))
    ));
}

#[tokio::test]
async fn publishing_what_is_there_already_changes_nothing() {
    let home = Home::new();
    let registry = home.open().await;
    let first = publish(&registry, "legal", 1).await;
    let mut changes = registry.changes();
    assert_eq!(
        registry
            .publish(&name("legal"), files(1), at(1), "path:x")
            .await
            .unwrap(),
        first
    );
    assert!(changes.try_recv().is_err());
    assert_eq!((home.contents(), home.staged()), (1, 0));
    let refused = registry
        .publish(&name("legal"), files(1), at(2), "upload")
        .await;
    assert!(matches!(refused, Err(Reason::GenerationMismatch { .. })));
}

#[tokio::test]
async fn a_wrong_expectation_changes_nothing() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "legal", 1).await;
    let before = publish(&registry, "legal", 2).await;
    let (legal, wrong) = (name("legal"), at(1));
    let refusals = [
        registry.publish(&legal, files(3), wrong, "upload").await,
        registry.promote(&legal, generation(1), wrong).await,
        registry.rollback(&legal, wrong).await,
        registry.set_pinned(&legal, true, wrong).await,
        registry.load(&legal, wrong).await,
        registry.unload(&legal, wrong).await,
        registry
            .remove(&legal, wrong)
            .await
            .map(|()| before.clone()),
    ];
    for refusal in refusals {
        let Err(Reason::GenerationMismatch { actual, .. }) = refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!(actual, Some(generation(2)));
    }
    let exists = registry
        .publish(&legal, files(3), Some(None), "upload")
        .await;
    assert!(matches!(exists, Err(Reason::AdapterExists(_))));
    assert_eq!(registry.show(&legal).await.unwrap(), before);
    assert_eq!((home.contents(), home.staged()), (2, 0));
}

#[tokio::test]
async fn a_rollback_leads_to_what_was_served_before_and_a_promotion_anywhere() {
    let home = Home::new();
    let registry = home.open().await;
    let legal = name("legal");
    for seed in [1, 2, 3] {
        publish(&registry, "legal", seed).await;
    }
    let history = [3, 2, 1].map(generation);
    assert_eq!(registry.history(&legal).await.unwrap(), history);
    let back = registry.rollback(&legal, at(3)).await.unwrap();
    assert_eq!(
        (back.generation, back.previous_generation),
        (generation(2), Some(generation(1)))
    );
    let forward = registry
        .promote(&legal, generation(3), at(2))
        .await
        .unwrap();
    assert_eq!(
        (forward.generation, forward.previous_generation),
        (generation(3), Some(generation(2)))
    );
    drop(registry);
    let registry = home.open().await;
    assert_eq!(
        registry.rollback(&legal, None).await.unwrap().generation,
        generation(2)
    );
    assert_eq!(
        registry.rollback(&legal, None).await.unwrap().generation,
        generation(1)
    );
    assert!(matches!(
        registry.rollback(&legal, None).await,
        Err(Reason::WrongState(_))
    ));
    let refused = registry.promote(&legal, generation(9), None).await;
    assert!(matches!(refused, Err(Reason::NoSuchGeneration { .. })));
    assert_eq!(registry.history(&legal).await.unwrap(), history);
    let same = registry.promote(&legal, generation(1), None).await.unwrap();
    assert_eq!(same.generation, generation(1));
}

#[tokio::test]
async fn a_request_may_pin_any_version_the_name_has_had() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "legal", 1).await;
    publish(&registry, "legal", 2).await;
    let pinned = format!("legal@{}", &generation(1).to_string()[..8]);
    assert_eq!(
        lease(&registry, &pinned).await.unwrap().generation(),
        generation(1)
    );
    assert_eq!(
        lease(&registry, "legal").await.unwrap().generation(),
        generation(2)
    );
    let refused = lease(&registry, "legal@00000000").await.err();
    assert!(matches!(refused, Some(Reason::NoSuchGeneration { .. })));
}

#[tokio::test]
async fn running_requests_keep_their_version_whatever_happens_to_the_name() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "legal", 1).await;
    let running = lease(&registry, "legal").await.unwrap();
    publish(&registry, "legal", 2).await;
    registry.unload(&name("legal"), None).await.unwrap();
    registry.remove(&name("legal"), None).await.unwrap();
    assert_eq!(running.generation(), generation(1));
    assert_eq!(running.adapter().sites().count(), 7);
    assert_eq!(
        registry.resident_bytes().0,
        size(),
        "a lease keeps its bytes counted"
    );
    drop(running);
    assert_eq!(registry.resident_bytes().0, 0);
}

#[tokio::test]
async fn a_removed_name_is_gone_with_its_contents_and_may_come_back() {
    let home = Home::new();
    let registry = home.open().await;
    publish(&registry, "legal", 1).await;
    publish(&registry, "legal", 2).await;
    publish(&registry, "medical", 2).await;
    registry.remove(&name("legal"), at(2)).await.unwrap();
    assert!(matches!(
        lease(&registry, "legal").await.err(),
        Some(Reason::NoSuchAdapter(_))
    ));
    assert_eq!(home.contents(), 1, "what another name has stays");
    assert_eq!(
        lease(&registry, "medical").await.unwrap().generation(),
        generation(2)
    );
    let back = registry
        .publish(&name("legal"), files(1), Some(None), "upload")
        .await
        .unwrap();
    assert_eq!(
        (back.generation, back.previous_generation),
        (generation(1), None)
    );
    drop(registry);
    let names: Vec<_> = home
        .open()
        .await
        .list()
        .await
        .into_iter()
        .map(|view| view.id)
        .collect();
    assert_eq!(names, [name("legal"), name("medical")]);
}

#[tokio::test]
async fn what_cannot_be_served_leaves_no_trace() {
    let home = Home::new();
    let registry = home.open().await;
    let mut broken = files(1);
    let weights = broken.get_mut(WEIGHTS_FILE).unwrap();
    weights.truncate(weights.len() - 1);
    let mut large = files(1);
    large.insert(WEIGHTS_FILE.into(), vec![0; (1 << 20) + 1].into());
    for (files, field) in [
        (broken, WEIGHTS_FILE),
        (large, WEIGHTS_FILE),
        (Files::new(), WEIGHTS_FILE),
    ] {
        let refused = registry
            .publish(&name("legal"), files, None, "upload")
            .await;
        let Err(Reason::AdapterInvalid { field: blamed, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(blamed, field);
    }
    let base = registry
        .publish(&name("base"), files(1), None, "upload")
        .await;
    assert!(matches!(base, Err(Reason::BadField { field, .. }) if field == "name"));
    assert!(registry.list().await.is_empty());
    assert_eq!((home.contents(), home.staged()), (0, 0));
}

#[tokio::test]
async fn files_that_are_no_part_of_an_adapter_are_left_out() {
    let home = Home::new();
    let registry = home.open().await;
    let mut given = files(1);
    given.insert("README.md".into(), b"hello"[..].into());
    registry
        .publish(&name("legal"), given, None, "upload")
        .await
        .unwrap();
    assert_eq!(registry.files(&name("legal")).await.unwrap(), files(1));
}

#[tokio::test]
async fn an_adapter_registered_for_another_base_is_not_applied_to_this_one() {
    let home = Home::new();
    publish(&home.open().await, "legal", 1).await;
    let registry = open(home.dir.path(), 1 << 30, [9; 32], Arc::new(NoFailpoints)).await;
    assert!(matches!(
        lease(&registry, "legal").await.err(),
        Some(Reason::AdapterInvalid { .. })
    ));
    assert!(matches!(
        registry.load(&name("legal"), None).await,
        Err(Reason::AdapterInvalid { .. })
    ));
    assert_eq!(registry.list().await.len(), 1);
    assert!(registry.servable().await.is_empty());
    // Registering the same content for this base is not a repetition.
    publish(&registry, "legal", 1).await;
    assert!(lease(&registry, "legal").await.is_ok());
    assert_eq!(
        registry.history(&name("legal")).await.unwrap(),
        [generation(1)]
    );
}

#[tokio::test]
async fn a_check_refuses_what_a_lease_would_and_loads_nothing() {
    let home = Home::new();
    publish(&home.open().await, "legal", 1).await;
    let registry = home.open().await;
    let pinned = format!("legal@{}", generation(1));
    for fine in [AdapterChoice::Base, choice("legal"), choice(&pinned)] {
        assert_eq!(registry.check_choice(&fine), Ok(()));
    }
    let legal = registry.show(&name("legal")).await.unwrap();
    assert_eq!(legal.tier, Tier::Disk);
    let foreign = open(home.dir.path(), 1 << 30, [9; 32], Arc::new(NoFailpoints)).await;
    for (registry, asked) in [
        (&registry, "nobody"),
        (&registry, "legal@00000000"),
        (&foreign, "legal"),
    ] {
        let refused = registry.check_choice(&choice(asked)).err();
        assert!(refused.is_some(), "{asked}");
        assert_eq!(refused, lease(registry, asked).await.err(), "{asked}");
    }
}

/// Each way a stored adapter is lost, done to the folder of its files.
const DAMAGES: [fn(&Path); 4] = [
    |folder| {
        let weights = folder.join(WEIGHTS_FILE);
        let mut bytes = std::fs::read(&weights).unwrap();
        bytes[200] ^= 1;
        std::fs::write(&weights, bytes).unwrap();
    },
    |folder| std::fs::remove_file(folder.join(CONFIG_FILE)).unwrap(),
    |folder| std::fs::write(folder.join(PROVENANCE_FILE), "{").unwrap(),
    |folder| std::fs::remove_dir_all(folder).unwrap(),
];

#[tokio::test]
async fn damage_on_disk_is_a_typed_failure_of_that_adapter_alone_until_it_is_published_again() {
    for damage in DAMAGES {
        let home = Home::new();
        let registry = home.open().await;
        let legal = publish(&registry, "legal", 1).await;
        publish(&registry, "medical", 2).await;
        drop(registry);
        damage(&home.content(1));
        let registry = home.open().await;
        let refused = lease(&registry, "legal").await.err();
        let Some(Reason::Storage(why)) = refused else {
            panic!("{refused:?}")
        };
        let place = home.dir.path().to_str().unwrap();
        assert!(!why.contains(place), "a path of the server's: {why}");
        assert!(lease(&registry, "medical").await.is_ok());
        assert_eq!(
            registry.resident_bytes().0,
            size(),
            "a failed load gives its room back"
        );
        let again = publish(&registry, "legal", 1).await;
        assert_eq!(again.generation, legal.generation);
        assert!(lease(&registry, "legal").await.is_ok());
        assert_eq!((home.contents(), home.staged()), (2, 0));
    }
}

#[tokio::test]
async fn a_name_is_not_moved_to_a_version_whose_files_are_damaged() {
    for damage in DAMAGES {
        let home = Home::new();
        let registry = home.open().await;
        publish(&registry, "legal", 1).await;
        publish(&registry, "legal", 2).await;
        damage(&home.content(1));
        let refused = registry.rollback(&name("legal"), None).await;
        assert!(matches!(refused, Err(Reason::Storage(_))), "{refused:?}");
        assert_eq!(
            registry.show(&name("legal")).await.unwrap().generation,
            generation(2)
        );
    }
}

#[tokio::test]
async fn a_folder_beneath_the_root_can_be_registered() {
    let home = Home::new();
    let registry = home.open().await;
    let folder = home.dir.path().join("incoming/legal");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in files(1) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    assert_eq!(registry.read_folder("legal").await.unwrap(), files(1));
    assert!(matches!(
        registry.read_folder("../incoming/legal").await,
        Err(Reason::PathForbidden(_))
    ));
    let adapter = registry.inspect(files(1)).await.unwrap();
    assert_eq!(adapter.generation(), generation(1));
}
