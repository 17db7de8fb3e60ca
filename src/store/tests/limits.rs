//! What the jobs and files of a key may take together.

use std::time::Duration;

use super::*;
use crate::domain::{Limit, LimitReached};

fn owner() -> KeyId {
    KeyId::new("k1")
}

/// A job of the key that reads so many tokens, created at that time.
fn owned(id: &str, file: &FileId, tokens: u64, created_at: i64) -> JobRow {
    let mut job = new_job(id, file);
    job.view.owner = Some(owner());
    job.view.created_at = created_at;
    job.planned_tokens = tokens;
    job
}

async fn create(home: &Home, job: JobRow, limits: KeyLimits) -> Result<(), Box<LimitReached>> {
    let created = home.jobs.create(&job, &[], &limits, &Actor::system()).await;
    match created {
        Ok(made) => {
            assert!(made.is_some());
            Ok(())
        }
        Err(Reason::LimitReached(met)) => Err(met),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn so_many_jobs_of_a_key_wait_and_no_more() {
    let home = Home::new().await;
    let file = home.file().await;
    let limits = KeyLimits {
        queued_jobs: Some(2),
        ..KeyLimits::default()
    };
    home.job("nobody's", &file).await;
    for id in ["a", "b"] {
        create(&home, owned(id, &file, 1, now()), limits)
            .await
            .unwrap();
    }
    let by = Actor::system();
    let (first, told) = (JobId::new("a"), event());
    let paused = home.jobs.pause(&first, JobStatus::Queued, &told, Some(&by));
    assert!(paused.await.unwrap().is_some());
    let met = create(&home, owned("c", &file, 1, now()), limits)
        .await
        .unwrap_err();
    assert_eq!((met.limit, met.most, met.used), (Limit::QueuedJobs, 2, 2));
    assert!(met.retry_after().is_some());
    home.jobs
        .cancel(&JobId::new("b"), &event(), &by)
        .await
        .unwrap();
    create(&home, owned("c", &file, 1, now()), limits)
        .await
        .unwrap();
}

#[tokio::test]
async fn tokens_of_a_day_are_counted_across_restarts_and_those_not_read_are_free_again() {
    let home = Home::new().await;
    let file = home.file().await;
    let limits = KeyLimits {
        training_tokens_per_day: Some(100),
        ..KeyLimits::default()
    };
    // Some noon, and the day before.
    let noon = 19_000 * 86_400 + 43_200;
    create(&home, owned("before", &file, 90, noon - 43_201), limits)
        .await
        .unwrap();
    create(&home, owned("a", &file, 60, noon), limits)
        .await
        .unwrap();
    let home = Home::at(home.folder).await;
    let met = create(&home, owned("b", &file, 50, noon), limits)
        .await
        .unwrap_err();
    assert_eq!(
        (met.limit, met.used, met.asked),
        (Limit::TrainingTokens, 60, 50)
    );
    assert_eq!(met.resets, Some(Duration::from_secs(43_200)));
    create(&home, owned("b", &file, 40, noon), limits)
        .await
        .unwrap();
    let met = create(&home, owned("c", &file, 101, noon), limits)
        .await
        .unwrap_err();
    assert_eq!(met.resets, None, "it never fits");
    let by = Actor::system();
    home.jobs
        .cancel(&JobId::new("a"), &event(), &by)
        .await
        .unwrap();
    create(&home, owned("c", &file, 60, noon), limits)
        .await
        .unwrap();
    create(&home, owned("next day", &file, 100, noon + 43_200), limits)
        .await
        .unwrap();
}

#[tokio::test]
async fn files_of_a_key_that_come_at_once_do_not_exceed_its_room() {
    let home = Home::new().await;
    let asker = Asker {
        key: Some(owner()),
        limits: KeyLimits {
            storage_bytes: Some(10),
            ..KeyLimits::default()
        },
        ..Asker::default()
    };
    let receive = async |bytes: &'static str| {
        let mut incoming = home.uploads.receive("a.jsonl", &asker).await?;
        incoming.write(bytes.into()).await.map(|()| incoming)
    };
    let refused = receive("eleven bytes").await.map(drop).unwrap_err();
    assert!(matches!(refused, Reason::LimitReached(_)), "{refused}");
    let (one, two) = (
        receive("sixsix").await.unwrap(),
        receive("sixsix").await.unwrap(),
    );
    let kept = one.finish("fine-tune").await.unwrap();
    let Err(Reason::LimitReached(met)) = two.finish("fine-tune").await else {
        panic!("there is no room for both");
    };
    assert_eq!((met.limit, met.used, met.asked), (Limit::Storage, 6, 6));
    assert_eq!(met.retry_after(), None, "waiting does not help");
    let left = std::fs::read_dir(home.folder.path().join("files")).unwrap();
    assert_eq!(left.count(), 1, "what was refused is gone");
    home.uploads
        .delete(&kept.id, &Actor::system())
        .await
        .unwrap();
    assert!(
        receive("sixsix")
            .await
            .unwrap()
            .finish("fine-tune")
            .await
            .is_ok()
    );
}
