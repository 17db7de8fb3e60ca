//! Checkpoints that answer requests.

use super::*;
use crate::domain::Schedule;
use crate::domain::{AdapterName, KeyId, Method};

fn name(text: &str) -> AdapterName {
    text.parse().unwrap()
}

/// Steps of which the name's jobs keep checkpoints, as a refusal lists them.
async fn kept(shop: &Shop, of: &str) -> Vec<u64> {
    match shop
        .trainer
        .lease_checkpoint(&Asker::default(), &name(of), 999_999_999)
        .await
    {
        Err(Reason::NoSuchStep { kept, .. }) => kept,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no job gets so far"),
    }
}

/// A job of one rate for all steps, so that a shorter one learns the same.
fn steady(method: Method, steps: u64) -> Wishes {
    Wishes {
        method: Some(method),
        steps: Some(steps),
        batch_size: Some(4),
        learning_rate: Some(1e-3),
        schedule: Some(Schedule::Constant),
        save_every: Some(2),
        ..Wishes::default()
    }
}

#[tokio::test]
async fn a_checkpoint_answers_as_a_job_that_ended_with_it_whatever_it_trains() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    for method in [Method::Lora, Method::Prefix] {
        let id = { shop.create("long", &rows, steady(method, 1_000_000)).await }
            .unwrap()
            .id;
        shop.until_stepped(&id).await;
        shop.trainer.pause(&id).await.unwrap();
        let step = kept(&shop, "long").await[0];
        let lease = shop
            .trainer
            .lease_checkpoint(&Asker::default(), &name("long"), step)
            .await;
        let lease = lease.unwrap();
        assert_eq!(lease.name().as_str(), "long");
        let again = shop
            .trainer
            .lease_checkpoint(&Asker::default(), &name("long"), step)
            .await;
        assert_eq!(again.unwrap().generation(), lease.generation());

        let short = shop.create("short", &rows, steady(method, step)).await;
        let done = shop.until(&short.unwrap().id, JobStatus::Succeeded).await;
        assert_eq!(done.generation, Some(lease.generation()), "{method:?}");
        let published = shop
            .trainer
            .lease_checkpoint(&Asker::default(), &name("short"), step)
            .await;
        assert_eq!(published.unwrap().generation(), lease.generation());
        shop.trainer.cancel(&id).await.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_step_is_refused_with_those_there_are() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let unknown = shop
        .trainer
        .lease_checkpoint(&Asker::default(), &name("none-such"), 3)
        .await;
    assert!(matches!(unknown.err(), Some(Reason::NoSuchAdapter(_))));

    let wishes = Wishes {
        save_every: Some(5),
        ..short()
    };
    let id = shop.create("numbers", &rows, wishes).await.unwrap().id;
    shop.until(&id, JobStatus::Succeeded).await;
    assert_eq!(kept(&shop, "numbers").await, [12], "what was published");
    let refused = shop
        .trainer
        .find_checkpoint(&Asker::default(), &name("numbers"), 10)
        .await;
    let told = refused.unwrap_err().to_string();
    assert_eq!(
        told,
        "adapter `numbers` has no checkpoint of step 10; there are `numbers@step-12`"
    );

    let id = shop.create("numbers", &rows, endless()).await.unwrap().id;
    shop.until_stepped(&id).await;
    let paused = shop.trainer.pause(&id).await.unwrap();
    assert_eq!(
        kept(&shop, "numbers").await,
        [paused.step, 12],
        "the newest job's first"
    );
    shop.trainer.cancel(&id).await.unwrap();
    assert_eq!(
        kept(&shop, "numbers").await,
        [12],
        "those of a cancelled job are gone"
    );
}

#[tokio::test]
async fn a_checkpoint_answers_the_key_whose_job_keeps_it_and_admins() {
    let (shop, numbers) = (Shop::open().await, name("numbers"));
    let holder = |key: &str, only_own: bool| Asker {
        key: Some(KeyId::from_text(key)),
        only_own,
        ..Asker::default()
    };
    let (owner, other) = (holder("owner", true), holder("other", true));
    let rows = shop.rows().await;
    let job = NewJob {
        // It may use files that are nobody's.
        asker: holder("owner", false),
        name: numbers.clone(),
        training_file: rows.clone(),
        validation_file: None,
        wishes: endless(),
        mappings: Vec::new(),
        metadata: serde_json::Map::new(),
        notes: Vec::new(),
    };
    let id = shop.order(job).await.unwrap().id;
    shop.until_stepped(&id).await;
    let step = shop.trainer.pause(&id).await.unwrap().step;
    for sees in [&owner, &holder("admin", false), &Asker::default()] {
        let lease = shop.trainer.lease_checkpoint(sees, &numbers, step);
        assert!(lease.await.is_ok(), "{sees:?}");
    }
    let refused = async |asked: u64| {
        let lease = shop.trainer.lease_checkpoint(&other, &numbers, asked);
        let leased = lease.await.err().unwrap().to_string();
        let found = shop.trainer.find_checkpoint(&other, &numbers, asked);
        assert_eq!(found.await.unwrap_err().to_string(), leased);
        leased
    };
    // Nothing is published under the name: for others there is none.
    let missing = format!("adapter `numbers@step-{step}` does not exist");
    assert_eq!(refused(step).await, missing);

    let published = shop.create("numbers", &rows, short()).await.unwrap().id;
    shop.trainer.cancel(&id).await.unwrap();
    shop.until(&published, JobStatus::Succeeded).await;
    let told = "adapter `numbers` has no checkpoint of step 12; there are none";
    assert_eq!(
        refused(12).await,
        told,
        "the name is everybody's, the step is not"
    );
}

#[tokio::test]
async fn a_checkpoint_leaves_memory_like_any_adapter_and_comes_back() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let id = shop.create("numbers", &rows, endless()).await.unwrap().id;
    shop.until_stepped(&id).await;
    let step = shop.trainer.pause(&id).await.unwrap().step;
    let lease = shop
        .trainer
        .lease_checkpoint(&Asker::default(), &name("numbers"), step)
        .await;
    let generation = lease.unwrap().generation();
    let resident = || shop.registry.lease_resident(&name("numbers"), generation);
    assert!(resident().is_some());
    let (used, budget) = shop.registry.resident_bytes();
    assert!(0 < used && used < budget);
    shop.registry.let_go(generation);
    assert!(resident().is_none());
    let lease = shop
        .trainer
        .lease_checkpoint(&Asker::default(), &name("numbers"), step)
        .await;
    assert_eq!(lease.unwrap().generation(), generation);
}
