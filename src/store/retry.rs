//! Storage that fails often works again in a moment: a disk is cleared, a backup lets go of the database. Hours of
//! training are not given up for that.

use std::fmt::Display;
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// All pauses together.
const LONGEST: Duration = Duration::from_secs(60);

/// Tries until it works, with longer and longer pauses, while the fault is one that may pass. `wait` waits that long, or
/// says at once that there is no time for it.
///
/// # Errors
/// The last attempt's.
pub fn retry<T, E: Display>(
    wait: &mut dyn FnMut(Duration) -> bool,
    may_pass: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let (mut pause, mut waited) = (FIRST_PAUSE, Duration::ZERO);
    loop {
        match attempt() {
            Err(fault) if may_pass(&fault) && waited < LONGEST => {
                tracing::warn!(%fault, "storage fails; trying again");
                if !wait(pause) {
                    return Err(fault);
                }
                waited += pause;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: &str = "busy";

    fn may_pass(fault: &&str) -> bool {
        *fault == BUSY
    }

    #[test]
    fn a_fault_that_passes_is_waited_out_with_growing_pauses() {
        let (mut pauses, mut left) = (Vec::new(), 3);
        let mut wait = |pause: Duration| {
            pauses.push(pause.as_millis());
            true
        };
        let done = retry(&mut wait, may_pass, || match left {
            0 => Ok("done"),
            _ => {
                left -= 1;
                Err(BUSY)
            }
        });
        assert_eq!((done, pauses), (Ok("done"), vec![50, 100, 200]));
    }

    #[test]
    fn retrying_ends_and_a_fault_that_stays_is_told_at_once() {
        let mut waited = Duration::ZERO;
        let mut wait = |pause| {
            waited += pause;
            true
        };
        assert_eq!(retry(&mut wait, may_pass, || Err::<(), _>(BUSY)), Err(BUSY));
        assert!((LONGEST..LONGEST + LONGEST_PAUSE).contains(&waited));
        let mut never = |_| panic!("it waits");
        assert!(retry(&mut never, may_pass, || Err::<(), _>("wrong")).is_err());
        let mut no_time = |_| false;
        assert!(retry(&mut no_time, may_pass, || Err::<(), _>(BUSY)).is_err());
    }
}
