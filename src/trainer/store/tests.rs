use serde_json::json;
use sqlx::SqlitePool;

use super::*;
use crate::domain::{FileId, FileView, Generation, JobId, JobStatus, JobView, Level};
use crate::registry::{begin, open_database};
use crate::trainer::recipe::Wishes;
use crate::trainer::testing::recipe;

const MODEL: &str = "base";
const DIGEST: &str = "b0";

/// A database of its own; the folder goes with it.
async fn database() -> (SqlitePool, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let pool = open_database(&folder.path().join("test.db")).await.unwrap();
    (pool, folder)
}

async fn with_file(pool: &SqlitePool, id: &str) -> FileId {
    let id = FileId::new(id);
    let view = FileView {
        id: id.clone(),
        bytes: 3,
        created_at: now(),
        filename: "a.jsonl".into(),
        purpose: "fine-tune".into(),
    };
    insert_file(
        pool,
        &FileRow {
            view,
            digest: "d".into(),
        },
    )
    .await
    .unwrap();
    id
}

fn new_job(id: &str, file: &FileId) -> JobRow {
    let view = JobView {
        id: JobId::new(id),
        status: JobStatus::Queued,
        created_at: now(),
        finished_at: None,
        estimated_finish: None,
        model: MODEL.into(),
        name: "legal".into(),
        generation: None,
        training_file: file.clone(),
        validation_file: None,
        recipe: recipe(Wishes {
            learning_rate: Some(0.1 + 0.2),
            ..Wishes::default()
        }),
        metadata: serde_json::from_value(json!({"team": "x"})).unwrap(),
        trained_tokens: None,
        step: 0,
        total_steps: 10,
        train_loss: None,
        trainable_parameters: Some((3, 100)),
        error: None,
    };
    let parent = Some(Generation::new([9; 32]));
    JobRow {
        view,
        base_digest: DIGEST.into(),
        data_digest: "d".into(),
        parent,
        publishing: None,
    }
}

async fn with_job(pool: &SqlitePool, id: &str, file: &FileId) -> JobId {
    assert!(insert_job(pool, &new_job(id, file)).await.unwrap());
    JobId::new(id)
}

async fn status(pool: &SqlitePool, id: &JobId) -> JobStatus {
    job(pool, id).await.unwrap().view.status
}

const PUBLISHING: Publishing = Publishing {
    before: None,
    after: Generation::new([1; 32]),
};

#[tokio::test]
async fn a_job_is_stored_field_for_field() {
    let (pool, _folder) = database().await;
    let file = with_file(&pool, "f").await;
    let id = with_job(&pool, "a", &file).await;
    assert_eq!(job(&pool, &id).await.unwrap(), new_job("a", &file));
}

#[tokio::test]
async fn jobs_are_claimed_in_the_order_of_their_creation() {
    let (pool, _folder) = database().await;
    let file = with_file(&pool, "f").await;
    for id in ["b", "a", "c"] {
        with_job(&pool, id, &file).await;
    }
    assert_eq!(
        claim(&pool, DIGEST).await.unwrap().unwrap().view.id,
        JobId::new("b")
    );
    assert!(cancel(&pool, &JobId::new("a")).await.unwrap());
    assert_eq!(
        claim(&pool, DIGEST).await.unwrap().unwrap().view.id,
        JobId::new("c")
    );
    assert!(claim(&pool, DIGEST).await.unwrap().is_none());
    recover(&pool).await.unwrap();
    assert_eq!(queued(&pool, DIGEST).await.unwrap(), 2);
    assert!(
        counts(&pool)
            .await
            .unwrap()
            .contains(&(JobStatus::Cancelled, 1))
    );
}

#[tokio::test]
async fn a_cancel_and_the_end_of_a_job_cannot_both_win() {
    let (pool, _folder) = database().await;
    let file = with_file(&pool, "f").await;
    let cancelled = with_job(&pool, "a", &file).await;
    claim(&pool, DIGEST).await.unwrap();
    assert!(cancel(&pool, &cancelled).await.unwrap());
    assert!(!cancel(&pool, &cancelled).await.unwrap());
    assert!(
        !begin_publishing(&pool, &cancelled, &PUBLISHING)
            .await
            .unwrap()
    );
    assert!(!succeed(&pool, &cancelled, PUBLISHING.after).await.unwrap());
    assert_eq!(status(&pool, &cancelled).await, JobStatus::Cancelled);

    let done = with_job(&pool, "b", &file).await;
    claim(&pool, DIGEST).await.unwrap();
    assert!(begin_publishing(&pool, &done, &PUBLISHING).await.unwrap());
    assert!(!cancel(&pool, &done).await.unwrap());
    assert!(!pause(&pool, &done, JobStatus::Running).await.unwrap());
    recover(&pool).await.unwrap();
    assert_eq!(
        claim(&pool, DIGEST).await.unwrap().unwrap().publishing,
        Some(PUBLISHING)
    );
    assert!(succeed(&pool, &done, PUBLISHING.after).await.unwrap());
    assert_eq!(
        job(&pool, &done).await.unwrap().view.generation,
        Some(PUBLISHING.after)
    );
}

#[tokio::test]
async fn a_paused_job_waits_again_once_resumed() {
    let (pool, _folder) = database().await;
    let file = with_file(&pool, "f").await;
    let id = with_job(&pool, "a", &file).await;
    assert!(!resume(&pool, &id).await.unwrap());
    assert!(pause(&pool, &id, JobStatus::Queued).await.unwrap());
    assert!(claim(&pool, DIGEST).await.unwrap().is_none());
    assert!(resume(&pool, &id).await.unwrap());
    assert!(claim(&pool, DIGEST).await.unwrap().is_some());
    assert!(
        fail(&pool, &id, ("diverged", "why", Some("learning_rate")))
            .await
            .unwrap()
    );
    let error = job(&pool, &id).await.unwrap().view.error;
    assert_eq!(
        error,
        Some((
            "diverged".into(),
            "why".into(),
            Some("learning_rate".into())
        ))
    );
}

#[tokio::test]
async fn a_step_is_told_once_and_progress_never_goes_back() {
    let (pool, _folder) = database().await;
    let file = with_file(&pool, "f").await;
    let id = with_job(&pool, "a", &file).await;
    let loss = 0.1 + 0.2;
    let step = |n: u64| {
        NewEvent::metrics(
            n,
            format!("step {n}"),
            json!({"step": n, "train_loss": loss}),
        )
    };
    let far = |step, loss| Far {
        step,
        tokens: step * 10,
        train_loss: Some(loss),
        estimated_finish: Some(7),
    };
    let mut group = begin(&pool).await.unwrap();
    assert_eq!(
        append(&mut group, &id, &[step(1), step(2)])
            .await
            .unwrap()
            .len(),
        2
    );
    progress(&mut *group, &id, &far(2, loss)).await.unwrap();
    group.commit().await.unwrap();
    let mut group = begin(&pool).await.unwrap();
    let again = [
        NewEvent::message(Level::Info, "continuing"),
        step(2),
        step(3),
    ];
    assert_eq!(append(&mut group, &id, &again).await.unwrap().len(), 2);
    progress(&mut *group, &id, &far(1, 9.0)).await.unwrap();
    group.commit().await.unwrap();

    let page = events(&pool, &id, None, 3).await.unwrap();
    assert!(page.has_more);
    assert_eq!(
        page.items
            .iter()
            .map(|event| event.message.as_str())
            .collect::<Vec<_>>(),
        ["step 3", "continuing", "step 2"]
    );
    assert_eq!(page.items[0].data["train_loss"].as_f64(), Some(loss));
    let rest = events(&pool, &id, Some(page.items[2].seq), 3)
        .await
        .unwrap();
    assert_eq!((rest.items.len(), rest.has_more), (1, false));
    let view = job(&pool, &id).await.unwrap().view;
    assert_eq!(
        (view.step, view.train_loss, view.trained_tokens),
        (2, Some(loss), Some(20))
    );
}

#[tokio::test]
async fn only_checkpoints_that_are_kept_are_listed() {
    let (pool, _folder) = database().await;
    let file = with_file(&pool, "f").await;
    let id = with_job(&pool, "a", &file).await;
    for (step, kept) in [(3, vec![3]), (6, vec![6, 3]), (9, vec![9, 6])] {
        let mut group = begin(&pool).await.unwrap();
        keep_checkpoints(&mut group, &id, (step, &json!({"step": step})), &kept)
            .await
            .unwrap();
        group.commit().await.unwrap();
    }
    let page = checkpoints(&pool, &id, None, 1).await.unwrap();
    assert_eq!((page.items[0].step, page.has_more), (9, true));
    let rest = checkpoints(&pool, &id, Some(&page.items[0].id), 5)
        .await
        .unwrap();
    assert_eq!(rest.items.iter().map(|c| c.step).collect::<Vec<_>>(), [6]);
}

#[tokio::test]
async fn files_and_jobs_are_listed_newest_first_in_pages() {
    let (pool, _folder) = database().await;
    let mut files = Vec::new();
    for id in ["x", "y", "z"] {
        files.push(with_file(&pool, id).await);
        with_job(&pool, id, &files[0]).await;
    }
    let page = list_files(&pool, None, 2).await.unwrap();
    assert_eq!(
        page.items.iter().map(|f| &f.id).collect::<Vec<_>>(),
        [&files[2], &files[1]]
    );
    assert!(page.has_more);
    let rest = list_files(&pool, Some(&files[1]), 2).await.unwrap();
    assert_eq!(
        (rest.items[0].id.clone(), rest.has_more),
        (files[0].clone(), false)
    );
    let jobs = list_jobs(&pool, Some(&JobId::new("z")), 1).await.unwrap();
    assert_eq!(
        (jobs.items[0].id.clone(), jobs.has_more),
        (JobId::new("y"), true)
    );
}

#[tokio::test]
async fn a_file_stays_while_an_unfinished_job_needs_it() {
    let (pool, _folder) = database().await;
    let file = with_file(&pool, "f").await;
    let id = with_job(&pool, "a", &file).await;
    assert!(!delete_file(&pool, &file).await.unwrap());
    cancel(&pool, &id).await.unwrap();
    assert!(delete_file(&pool, &file).await.unwrap());
    assert!(
        !insert_job(&pool, &new_job("b", &file)).await.unwrap(),
        "a job of a file that is gone"
    );
}
