//! What may be asked of the trainer, and what it keeps of it.

use super::*;
use crate::adapter::peft;
use crate::domain::{Asker, Bytes, Checkpointing};

#[tokio::test]
async fn what_cannot_be_trained_is_refused_before_anything_is_kept() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let bad = shop
        .file("{\"instruction\":\"a\",\"output\":\"b\"}\n\n{\"instruction\":\"a\"}\nnonsense\n")
        .await;
    let refused = shop.create("x", &bad, short()).await.unwrap_err();
    let Reason::BadRows { file, first, total } = refused else {
        panic!("{refused}")
    };
    assert_eq!(file, "training_file");
    assert_eq!(
        (first.iter().map(|row| row.line).collect::<Vec<_>>(), total),
        (vec![3, 4], 2)
    );

    let field = |reason: Reason| match reason {
        Reason::BadField { field, .. } => field,
        other => panic!("{other}"),
    };
    for (expected, wishes) in [
        (
            "rank",
            Wishes {
                rank: Some(65),
                ..short()
            },
        ),
        (
            "targets",
            Wishes {
                targets: Some(crate::domain::Targets::List(vec!["nothing".into()])),
                ..short()
            },
        ),
        (
            "max_seq",
            Wishes {
                max_seq: Some(513),
                ..short()
            },
        ),
        (
            "warmup",
            Wishes {
                warmup: Some(13.0),
                ..short()
            },
        ),
        (
            "warmup",
            Wishes {
                warmup: Some(1e300),
                ..short()
            },
        ),
        (
            "eval_split",
            Wishes {
                eval_split: Some(12.0),
                ..short()
            },
        ),
        (
            "from",
            Wishes {
                from: Some("stranger".into()),
                rank: None,
                ..short()
            },
        ),
    ] {
        assert_eq!(
            field(shop.create("x", &rows, wishes).await.unwrap_err()),
            expected
        );
    }
    let mut judged = NewJob {
        asker: Asker::default(),
        name: "x".parse().unwrap(),
        training_file: rows.clone(),
        validation_file: Some(bad),
        wishes: short(),
        mappings: Vec::new(),
        metadata: serde_json::Map::new(),
        notes: Vec::new(),
    };
    let refused = shop.order(judged.clone()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Reason::BadRows {
                file: "validation_file",
                ..
            }
        ),
        "{refused}"
    );
    judged.wishes.eval_split = Some(2.0);
    judged.validation_file = Some(rows.clone());
    let refused = shop.order(judged).await.unwrap_err();
    assert_eq!(field(refused), "eval_split");
    let gone = FileId::new("gone");
    assert_eq!(
        field(shop.create("x", &gone, short()).await.unwrap_err()),
        "training_file"
    );
    let short_rows = shop
        .create(
            "x",
            &rows,
            Wishes {
                max_seq: Some(8),
                ..short()
            },
        )
        .await
        .unwrap_err();
    assert!(
        matches!(short_rows, Reason::BadRows { total: 12, .. }),
        "{short_rows}"
    );
    assert!(
        shop.trainer
            .list(&Asker::default(), None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn a_job_continues_from_an_adapter_and_inherits_its_shape() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let wishes = Wishes {
        use_rslora: Some(true),
        targets: Some(crate::domain::Targets::List(vec![
            "q_proj".into(),
            "down_proj".into(),
        ])),
        ..short()
    };
    let parent = shop.create("parent", &rows, wishes).await.unwrap().id;
    let parent = shop.until(&parent, JobStatus::Succeeded).await;

    let from = |wishes| Wishes {
        rank: None,
        from: Some("parent".into()),
        ..wishes
    };
    let refused = shop
        .create(
            "child",
            &rows,
            Wishes {
                alpha: Some(3.0),
                ..from(short())
            },
        )
        .await;
    assert!(
        matches!(&refused, Err(Reason::BadField { field, .. }) if field == "alpha"),
        "{refused:?}"
    );
    let all = Some(crate::domain::Targets::Pattern("all-linear".into()));
    let refused = shop
        .create(
            "child",
            &rows,
            Wishes {
                targets: all,
                ..from(short())
            },
        )
        .await;
    assert!(
        matches!(&refused, Err(Reason::BadField { field, .. }) if field == "targets"),
        "{refused:?}"
    );

    let child = shop.create("child", &rows, from(short())).await.unwrap();
    assert!(child.recipe.use_rslora && child.recipe.rank == 4);
    // A list of targets is a set: the parent's folder holds it sorted.
    let set = |recipe: &Recipe| match &recipe.targets {
        crate::domain::Targets::List(list) => list.iter().cloned().collect::<BTreeSet<_>>(),
        pattern => panic!("{pattern:?}"),
    };
    assert_eq!(set(&child.recipe), set(&parent.recipe));
    let child_id = child.id;
    shop.until(&child_id, JobStatus::Succeeded).await;
    let (before, after) = (shop.losses(&parent.id).await, shop.losses(&child_id).await);
    assert!(
        after[&1] < before[&1],
        "it begins where its parent ended: {} and {}",
        after[&1],
        before[&1]
    );
    let files = shop
        .registry
        .files(&"child".parse().unwrap())
        .await
        .unwrap();
    let provenance = peft::Provenance::parse(&files[peft::PROVENANCE_FILE]).unwrap();
    assert_eq!(provenance.parent_generation, parent.generation);
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_needed_file_stays() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let running = shop.create("a", &rows, endless()).await.unwrap().id;
    shop.until(&running, JobStatus::Running).await;
    for name in ["b", "c", "d"] {
        shop.create(name, &rows, short()).await.unwrap();
    }
    assert!(matches!(
        shop.create("e", &rows, short()).await,
        Err(Reason::Overloaded { .. })
    ));
    assert!(matches!(
        shop.trainer.delete_file(&rows).await,
        Err(Reason::WrongState(_))
    ));
    shop.trainer.shutdown().await;
    assert_eq!(
        shop.status(&running).await,
        JobStatus::Queued,
        "it goes on at the next start"
    );
}

#[tokio::test]
async fn uploads_come_back_as_they_were_and_leftovers_are_swept() {
    let shop = Shop::open().await;
    let file = shop.file("some bytes").await;
    let stray = shop.folder.path().join("training/files/.file-x.part");
    std::fs::write(&stray, b"half").unwrap();
    let shop = shop.reopen().await;
    assert!(!stray.exists());
    let stored = shop.trainer.stored_file(&file).await.unwrap();
    assert_eq!(std::fs::read(stored.path).unwrap(), b"some bytes");
    assert_eq!(shop.trainer.file(&file).await.unwrap().bytes, 10);
    shop.trainer.delete_file(&file).await.unwrap();
    assert!(matches!(
        shop.trainer.stored_file(&file).await,
        Err(Reason::NoSuchFile(_))
    ));
    let large = shop
        .trainer
        .put_file("x", "fine-tune", vec![0; (1 << 20) + 1].into())
        .await;
    assert!(matches!(large, Err(Reason::TooLarge { .. })), "{large:?}");
}

#[tokio::test]
async fn a_job_tells_which_rows_it_leaves_out_and_which_it_repeats() {
    let shop = Shop::open().await;
    let row = |text: &str, kind: &str| {
        format!(
            r#"{{"instruction":"Spell it.","input":"{text}","output":"{text}","kind":"{kind}"}}"#
        )
    };
    let mut rows: Vec<String> = ["ada", "bob", "cyd", "dan", "eva", "fay"]
        .map(|text| row(text, "name"))
        .to_vec();
    rows.extend([
        row("one", "number"),
        row("two", "number"),
        row("BOB", "name"),
    ]);
    let wishes = Wishes {
        balance: Some("kind".into()),
        dedup: Some(true),
        ..short()
    };
    let file = shop.file(&rows.join("\n")).await;
    let job = shop.create("even", &file, wishes.clone()).await.unwrap();
    let told = shop.messages(&job.id).await;
    for line in [
        "created: 12 rows to train on",
        "dedup: 1 of 9 rows left out as copies of earlier ones: lines 9 (of 2)",
        "balance: 12 rows made of 8 rows by `kind`, 2 classes of 6 each: `name` 6 → 6, `number` 2 → 6",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("is not used"), "{told}");
    rows[3] = r#"{"instruction":"Spell it.","input":"x","output":"x"}"#.to_owned();
    let file = shop.file(&rows.join("\n")).await;
    let refused = shop.create("uneven", &file, wishes).await.unwrap_err();
    let Reason::BadRows { first, total, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!((first[0].line, total), (4, 1));
    assert!(
        first[0].why.contains("`kind` is missing"),
        "{}",
        first[0].why
    );
}

#[tokio::test]
async fn a_plan_says_what_a_job_would_be_and_keeps_nothing() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let job = |wishes| NewJob {
        asker: Asker::default(),
        name: "planned".parse().unwrap(),
        training_file: rows.clone(),
        validation_file: None,
        wishes,
        mappings: Vec::new(),
        metadata: serde_json::Map::new(),
        notes: vec!["`user` has no effect".into()],
    };
    let wishes = Wishes {
        eval_split: Some(2.0),
        recompute: Some(Checkpointing::Auto),
        ..short()
    };
    let plan = shop.trainer.plan(job(wishes.clone())).await.unwrap();
    assert_eq!((plan.rows, plan.held_out), (10, 2));
    assert_eq!(plan.steps, wishes.steps.unwrap());
    assert!(plan.trained_tokens > 0 && plan.trained_tokens < plan.tokens);
    assert!(plan.longest >= plan.tokens / plan.rows);
    let parts: u64 = plan.memory.parts.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(parts, plan.memory.peak);
    // What `auto` stands for is decided by what the machine has.
    assert_eq!(plan.recipe.recompute, Checkpointing::Off);
    assert_eq!(plan.warnings[0], "`user` has no effect");

    let memory_limit = Some(Bytes::Count(1000));
    let tight = Wishes {
        memory_limit,
        ..wishes
    };
    let plan = shop.trainer.plan(job(tight.clone())).await.unwrap();
    assert!(!plan.memory.fits && !plan.memory.fits_smaller);
    assert_eq!(plan.recipe.recompute, Checkpointing::On);
    assert_eq!(plan.memory.limit, Some(1000));
    let refused = shop.create("planned", &rows, tight).await.unwrap_err();
    let Reason::NotEnoughMemory(why) = refused else {
        panic!("{refused}")
    };
    assert!(
        why.contains("memory_limit") && why.contains("1000 B"),
        "{why}"
    );
    let bad = Wishes {
        rank: Some(65),
        ..short()
    };
    assert!(shop.trainer.plan(job(bad)).await.is_err());
    assert!(
        shop.trainer
            .list(&Asker::default(), None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let jobs = std::fs::read_dir(shop.folder.path().join("training/jobs"));
    assert_eq!(jobs.map_or(0, Iterator::count), 0);
    assert!(
        shop.registry
            .show(&"planned".parse().unwrap())
            .await
            .is_err()
    );
}
