//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds; 0 for a clock that is set before 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
