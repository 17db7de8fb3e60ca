//! Storage that fails often works again in a moment: a disk is cleared, a backup lets go of the database. Hours of
//! training are not given up for that.

use std::time::Duration;

use super::fault::Fault;
use crate::domain::Reason;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// All pauses together.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries until it works, with longer and longer pauses, while the fault is one that may pass. `wait` waits that long, or
/// says at once that there is no time for it.
///
/// # Errors
/// The last attempt's; a database that was busy to the end is a storage fault.
pub fn insist<T>(
    wait: &mut dyn FnMut(Duration) -> bool,
    mut attempt: impl FnMut() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let (mut pause, mut waited) = (FIRST_PAUSE, Duration::ZERO);
    loop {
        match attempt() {
            Err(fault) if fault.may_pass() && waited < PATIENCE => {
                tracing::warn!(%fault, "storage fails; trying again");
                if !wait(pause) {
                    return Err(fault);
                }
                waited += pause;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            Err(Fault::Refused(Reason::Overloaded { .. })) => {
                return Err(Reason::Storage("the database stays busy".into()).into());
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> Fault {
        Reason::Overloaded { retry_after: 1 }.into()
    }

    #[test]
    fn a_fault_that_passes_is_waited_out_with_growing_pauses() {
        let (mut pauses, mut left) = (Vec::new(), 3);
        let done = insist(
            &mut |pause| {
                pauses.push(pause.as_millis());
                true
            },
            || match left {
                0 => Ok("done"),
                _ => {
                    left -= 1;
                    Err(busy())
                }
            },
        );
        assert_eq!((done.unwrap(), pauses), ("done", vec![50, 100, 200]));
    }

    #[test]
    fn patience_ends_and_a_fault_that_stays_needs_none() {
        let mut waited = Duration::ZERO;
        let mut wait = |pause| {
            waited += pause;
            true
        };
        let fault = insist(&mut wait, || Err::<(), _>(busy())).unwrap_err();
        assert_eq!(fault.code(), "storage_failed");
        assert!((PATIENCE..PATIENCE + LONGEST_PAUSE).contains(&waited));
        let lasting = || Err::<(), _>(Reason::field("rank", "is wrong").into());
        assert!(insist(&mut |_| panic!("it waits"), lasting).is_err());
        assert!(insist(&mut |_| false, || Err::<(), _>(busy())).is_err());
    }
}
