//! What the jobs of a key may take together. It is read off the rows of the jobs themselves, so that it holds across
//! restarts.

use std::time::Duration;

use sqlx::SqliteConnection;

use crate::domain::{KeyId, KeyLimits, Limit, LimitReached, Reason};

const DAY: i64 = 24 * 60 * 60;
/// After so long a refused caller may look again whether fewer jobs wait.
const COME_BACK: Duration = Duration::from_secs(60);

/// Whether one more job, which reads so many tokens, may be created now. In the transaction that creates it, this is how
/// things stand until its end.
pub(super) async fn check(
    db: &mut SqliteConnection,
    owner: &KeyId,
    limits: &KeyLimits,
    tokens: u64,
    now: i64,
) -> Result<(), Reason> {
    let reached = |limit, most, used, asked, resets| {
        Err(Reason::limit(LimitReached {
            limit,
            of: format!("key {owner}"),
            most,
            used,
            asked,
            resets,
        }))
    };
    if let Some(most) = limits.queued_jobs {
        let count = "SELECT count(*) FROM jobs WHERE owner = ? AND status IN ('validating_files', 'queued', 'paused')";
        let count = sqlx::query_scalar::<_, i64>(count).bind(owner.as_str());
        let waiting = count.fetch_one(&mut *db).await? as u64;
        if waiting >= most {
            return reached(Limit::QueuedJobs, most, waiting, 1, Some(COME_BACK));
        }
    }
    if let Some(most) = limits.training_tokens_per_day {
        let today = now - now.rem_euclid(DAY);
        // A job that has ended counts as what it read.
        let sum = "SELECT coalesce(sum(CASE WHEN status IN ('succeeded', 'failed', 'cancelled') THEN tokens \
             ELSE max(tokens, planned_tokens) END), 0) FROM jobs WHERE owner = ? AND created_at >= ?";
        let sum = sqlx::query_scalar::<_, i64>(sum)
            .bind(owner.as_str())
            .bind(today);
        let used = sum.fetch_one(&mut *db).await? as u64;
        if used.saturating_add(tokens) > most {
            let tomorrow = Duration::from_secs((today + DAY - now).max(1) as u64);
            let resets = (tokens <= most).then_some(tomorrow);
            return reached(Limit::TrainingTokens, most, used, tokens, resets);
        }
    }
    Ok(())
}
