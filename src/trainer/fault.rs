//! Why a job could not go on.

use std::io::ErrorKind;
use std::time::Duration;

use super::verdict;
use crate::domain::{Precision, Reason};
use crate::store::{self, disk_fault};

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The numbers have run away; see `verdict`.
    #[error("training diverged at step {step} (learning rate {learning_rate:e}): {why}")]
    Diverged {
        step: u64,
        learning_rate: f64,
        why: String,
    },
    /// A checkpoint belongs to another base, file or recipe.
    #[error("the checkpoint of step {step} cannot be continued: {why}")]
    Foreign { step: u64, why: String },
    #[error("computing failed: {0}")]
    Compute(#[from] crate::device::Error),
    #[error("storage failed: {0}")]
    Disk(#[from] std::io::Error),
    #[error("{0}")]
    Refused(#[from] Reason),
}

impl Fault {
    /// One that ends a run that diverged, with the losses before that and what may help.
    pub fn with_losses(mut self, losses: &[f64], precision: Precision) -> Self {
        if let Self::Diverged { why, .. } = &mut self {
            *why = verdict::with_advice(why, losses, precision);
        }
        self
    }

    /// The code a failed job shows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Diverged { .. } => "diverged",
            Self::Foreign { .. } => "checkpoint_mismatch",
            Self::Compute(_) => "internal_error",
            Self::Disk(fault) => match fault.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "disk_full",
                _ => "storage_failed",
            },
            Self::Refused(Reason::StorageFull(_)) => "disk_full",
            Self::Refused(Reason::Storage(_)) => "storage_failed",
            Self::Refused(Reason::BadRows { .. }) => "invalid_training_file",
            Self::Refused(Reason::AdapterInvalid { .. }) => "invalid_adapter",
            Self::Refused(Reason::NotEnoughMemory(_)) => "insufficient_memory",
            Self::Refused(_) => "job_failed",
        }
    }

    /// Whether the same may work in a moment: storage that is full, busy or out of order, or a process that ends.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Disk(fault) => fault.kind() != ErrorKind::NotFound,
            Self::Refused(reason) => matches!(
                reason,
                Reason::Overloaded { .. }
                    | Reason::StorageFull(_)
                    | Reason::Storage(_)
                    | Reason::Draining
            ),
            Self::Diverged { .. } | Self::Foreign { .. } | Self::Compute(_) => false,
        }
    }

    /// The setting or field at fault, where there is one.
    pub fn param(&self) -> Option<String> {
        match self {
            Self::Diverged { .. } => Some("learning_rate".into()),
            Self::Refused(
                Reason::BadField { field, .. } | Reason::AdapterInvalid { field, .. },
            ) => Some(field.clone()),
            Self::Refused(Reason::BadRows { file, .. }) => Some((*file).into()),
            Self::Refused(Reason::NotEnoughMemory(_)) => Some("memory_limit".into()),
            _ => None,
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(reason) => reason,
            Fault::Disk(fault) => disk_fault("the trainer's folder", &fault),
            fault => Self::Internal(fault.to_string()),
        }
    }
}

/// Tries until storage works, while its fault is one that may pass; see [`store::retry`].
///
/// # Errors
/// The last attempt's; a database that was busy to the end is a storage fault.
pub fn retry<T>(
    wait: &mut dyn FnMut(Duration) -> bool,
    attempt: impl FnMut() -> Result<T, Fault>,
) -> Result<T, Fault> {
    store::retry(wait, Fault::may_pass, attempt).map_err(|fault| match fault {
        Fault::Refused(Reason::Overloaded { .. }) => {
            Reason::Storage("the database stays busy".into()).into()
        }
        fault => fault,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn a_disk_fault_has_one_code_and_says_once_what_it_is() {
        for (kind, code) in [
            (ErrorKind::StorageFull, "disk_full"),
            (ErrorKind::QuotaExceeded, "disk_full"),
            (ErrorKind::TimedOut, "storage_failed"),
        ] {
            let fault = || Fault::Disk(kind.into());
            assert!(fault().may_pass());
            assert_eq!(fault().code(), code);
            assert_eq!(Fault::from(Reason::from(fault())).code(), code);
        }
        let told = Reason::from(Fault::Disk(Error::other("it broke"))).to_string();
        assert_eq!(told.matches("storage failed").count(), 1, "{told}");
        assert!(!Fault::Disk(ErrorKind::NotFound.into()).may_pass());
    }

    #[test]
    fn a_database_that_stays_busy_is_a_storage_fault() {
        let busy = || Err::<(), _>(Reason::Overloaded { retry_after: 1 }.into());
        let mut pauses = 0;
        let mut wait = |_| {
            pauses += 1;
            true
        };
        let fault = retry(&mut wait, busy).unwrap_err();
        assert_eq!(fault.code(), "storage_failed");
        assert!(pauses > 0);
    }
}
