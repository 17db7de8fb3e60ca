//! Several jobs at a time.

use super::*;
use crate::device::Budget;
use crate::trainer::room::Held;

async fn open(jobs: usize) -> Shop {
    Shop::with(tempfile::tempdir().unwrap(), jobs).await
}

#[tokio::test]
async fn a_job_beside_others_learns_what_it_would_alone() {
    let others = [
        Wishes {
            seed: Some(5),
            ..short()
        },
        Wishes {
            method: Some(crate::domain::Method::Prompt),
            virtual_tokens: Some(3),
            steps: Some(12),
            batch_size: Some(3),
            ..Wishes::default()
        },
    ];
    let shop = open(1).await;
    let rows = shop.rows().await;
    let mut alone = Vec::new();
    for (name, wishes) in ["a", "b"].into_iter().zip(&others) {
        let id = shop.create(name, &rows, wishes.clone()).await.unwrap().id;
        let view = shop.until(&id, JobStatus::Succeeded).await;
        alone.push((shop.losses(&id).await, view.generation));
    }

    let shop = open(2).await;
    let rows = shop.rows().await;
    let long = shop.create("long", &rows, endless()).await.unwrap().id;
    shop.until_stepped(&long).await;
    for ((name, wishes), alone) in ["a", "b"].into_iter().zip(&others).zip(alone) {
        let id = shop.create(name, &rows, wishes.clone()).await.unwrap().id;
        let view = shop.until(&id, JobStatus::Succeeded).await;
        assert_eq!((shop.losses(&id).await, view.generation), alone, "{name}");
    }
    assert_eq!(
        shop.status(&long).await,
        JobStatus::Running,
        "it ran all the time"
    );
    let queued = shop.create("next", &rows, endless()).await.unwrap().id;
    shop.until_stepped(&queued).await;
    let third = shop.create("third", &rows, short()).await.unwrap().id;
    assert_eq!(
        shop.status(&third).await,
        JobStatus::Queued,
        "two at a time"
    );
    shop.trainer.cancel(&long).await.unwrap();
    shop.until(&third, JobStatus::Succeeded).await;
    assert_eq!(shop.status(&queued).await, JobStatus::Running);
    let shop = shop.reopen().await;
    assert!(!shop.status(&queued).await.is_final(), "it goes on");
    shop.trainer.cancel(&queued).await.unwrap();
}

#[tokio::test]
async fn a_job_waits_for_memory_that_others_hold() {
    let shop = open(2).await;
    let rows = shop.rows().await;
    let (control, other) = (&shop.trainer.shared.control, JobId::new("other"));
    let held = Held {
        budget: Budget::new(u64::MAX),
        promised: u64::MAX / 2,
    };
    shop.trainer.shared.memory().insert(other.clone(), held);
    let both = ["waits", "cancelled"].map(|name| shop.create(name, &rows, short()));
    let [waits, cancelled] = both;
    let (waits, cancelled) = (waits.await.unwrap().id, cancelled.await.unwrap().id);
    for id in [&waits, &cancelled] {
        let told = async {
            while !shop.messages(id).await.contains("waits for memory") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONGEST_WAIT, told)
            .await
            .expect("told");
        assert_eq!(shop.status(id).await, JobStatus::Running);
    }
    shop.trainer.cancel(&cancelled).await.unwrap();
    let paused = shop.trainer.pause(&waits).await.unwrap();
    assert_eq!(paused.status, JobStatus::Paused);
    shop.trainer.resume(&waits).await.unwrap();
    shop.trainer.shared.memory().remove(&other);
    control.notify();
    shop.until(&waits, JobStatus::Succeeded).await;
    assert_eq!(shop.status(&cancelled).await, JobStatus::Cancelled);
    // A job has ended before its thread has put everything back.
    let given_back = async {
        while !shop.trainer.shared.memory().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LONGEST_WAIT, given_back).await;
    waited.expect("memory is given back");
}
