//! What a job holds on to: its progress through pauses, its life through storage faults, its base through restarts.

use super::*;
use crate::trainer::create::turn;

/// Steps that have a checkpoint on disk.
fn saved(shop: &Shop, id: &JobId) -> Vec<u64> {
    let jobs = shop.folder.path().join("training/jobs");
    let Ok(entries) = std::fs::read_dir(jobs.join(id.as_str()).join("checkpoints")) else {
        return Vec::new();
    };
    let step = |name: &str| name.strip_prefix("step-")?.parse().ok();
    entries
        .filter_map(|entry| step(entry.unwrap().file_name().to_str()?))
        .collect()
}

async fn set(shop: &Shop, id: &JobId, assignments: &str) {
    let update = format!("UPDATE jobs SET {assignments} WHERE id = '{id}'");
    shop.database.execute(&update).await;
}

#[tokio::test]
async fn a_pause_is_acknowledged_when_the_progress_is_on_disk() {
    let shop = Shop::open().await;
    let id = shop.create("a", &shop.rows().await, endless()).await;
    let id = id.unwrap().id;
    shop.until_stepped(&id).await;
    let paused = shop.trainer.pause(&id).await.unwrap();
    assert_eq!(paused.status, JobStatus::Paused);
    assert!(
        paused.step > 0 && saved(&shop, &id).contains(&paused.step),
        "step {}, saved {:?}",
        paused.step,
        saved(&shop, &id)
    );
    assert!(shop.messages(&id).await.starts_with("paused"));
}

#[tokio::test]
async fn a_job_that_waits_is_paused_at_once_and_a_pause_can_be_taken_back() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let running = shop.create("a", &rows, endless()).await.unwrap().id;
    let waiting = shop.create("b", &rows, short()).await.unwrap().id;
    shop.until(&running, JobStatus::Running).await;
    let paused = shop.trainer.pause(&waiting).await.unwrap();
    assert_eq!(paused.status, JobStatus::Paused);
    let (paused, resumed) =
        tokio::join!(shop.trainer.pause(&running), shop.trainer.resume(&running));
    assert!(resumed.is_ok(), "{resumed:?}");
    if paused.is_ok_and(|job| job.status == JobStatus::Paused) {
        shop.trainer.resume(&running).await.unwrap();
    }
    shop.until(&running, JobStatus::Running).await;
    assert_eq!(shop.status(&waiting).await, JobStatus::Paused);
}

#[tokio::test]
async fn a_database_that_refuses_for_a_moment_costs_no_job() {
    let shop = Shop::open().await;
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON job_events WHEN NEW.kind = 'metrics' \
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    shop.database.execute(refuse).await;
    let mut live = shop.trainer.watch();
    let id = shop.create("a", &shop.rows().await, short()).await;
    let id = id.unwrap().id;
    let training = |event: &JobEvent| event.message.starts_with("training");
    while !training(&live.recv().await.unwrap()) {}
    // Nothing tells that the refusal was met; a job that gave up would be seen here.
    for _ in 0..15 {
        let _ = tokio::time::timeout(Duration::from_millis(20), live.recv()).await;
        assert_eq!(shop.status(&id).await, JobStatus::Running);
    }
    shop.database.execute("DROP TRIGGER refuse").await;
    shop.until(&id, JobStatus::Succeeded).await;
    assert_eq!(shop.losses(&id).await.len(), 12);
}

#[tokio::test]
async fn a_job_that_failed_goes_on_from_its_checkpoint_unless_it_diverged() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let id = shop.create("failed", &rows, endless()).await.unwrap().id;
    shop.until_stepped(&id).await;
    let step = shop.trainer.pause(&id).await.unwrap().step;
    let fail = "status = 'failed', error_code = 'storage_failed', finished_at = 1";
    set(&shop, &id, fail).await;
    let resumed = shop.trainer.resume(&id).await.unwrap();
    assert!(resumed.error.is_none() && resumed.finished_at.is_none());
    let went_on = format!("continuing after step {step}");
    let mut live = shop.trainer.watch();
    while !shop.messages(&id).await.contains(&went_on) {
        let _ = tokio::time::timeout(Duration::from_millis(200), live.recv()).await;
    }
    shop.trainer.pause(&id).await.unwrap();

    set(&shop, &id, "status = 'failed', error_code = 'diverged'").await;
    let refused = shop.trainer.resume(&id).await;
    assert!(matches!(refused, Err(Reason::WrongState(_))), "{refused:?}");
    set(&shop, &id, "error_code = 'storage_failed'").await;
    shop.trainer.delete_file(&rows).await.unwrap();
    let refused = shop.trainer.resume(&id).await;
    assert!(matches!(refused, Err(Reason::WrongState(_))), "{refused:?}");
}

#[tokio::test]
async fn a_job_of_another_base_waits_for_it_and_says_so() {
    let shop = Shop::open().await;
    let rows = shop.rows().await;
    let first = shop.create("first", &rows, endless()).await.unwrap().id;
    let other = shop.create("other", &rows, short()).await.unwrap().id;
    set(&shop, &other, "base_name = 'elsewhere', base_digest = '00'").await;
    shop.trainer.cancel(&first).await.unwrap();
    let shop = shop.reopen().await;
    let after = shop.create("after", &rows, short()).await.unwrap();
    assert_eq!(after.model, base().name);
    shop.until(&after.id, JobStatus::Succeeded).await;
    let waiting = shop.trainer.job(&other).await.unwrap();
    assert_eq!(
        (waiting.status, waiting.model.as_str()),
        (JobStatus::Queued, "elsewhere")
    );
    let told = shop.messages(&other).await;
    assert!(told.contains("waits until it is served"), "{told}");
    shop.trainer.pause(&other).await.unwrap();
    let refused = shop.trainer.resume(&other).await.unwrap_err();
    assert!(refused.to_string().contains("`elsewhere`"), "{refused}");
}

#[tokio::test]
async fn checking_data_waits_for_its_turn_and_not_for_ever() {
    let checks = Arc::new(tokio::sync::Semaphore::new(1));
    let held = turn(&checks, LONGEST_WAIT).await.unwrap();
    let refused = turn(&checks, Duration::ZERO).await;
    assert!(matches!(refused, Err(Reason::Overloaded { .. })));
    let (next, ()) = tokio::join!(turn(&checks, LONGEST_WAIT), async { drop(held) });
    drop(next.unwrap());
}

#[test]
fn a_trainer_dropped_with_its_runtime_ends_without_a_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut workers, folder) = runtime.block_on(async {
        let shop = Shop::open().await;
        let id = shop.create("a", &shop.rows().await, endless()).await;
        shop.until_stepped(&id.unwrap().id).await;
        (shop.trainer.shared.workers.subscribe(), shop.folder)
    });
    runtime.shutdown_background();
    let ended = async {
        let ended = workers.wait_for(|left| *left == 0);
        tokio::time::timeout(LONGEST_WAIT, ended)
            .await
            .unwrap()
            .is_ok()
    };
    let after = tokio::runtime::Runtime::new().unwrap();
    assert!(after.block_on(ended), "the thread ended by a panic");
    drop(folder);
}
