//! Why a job could not go on.

use crate::domain::Reason;

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
    Compute(#[from] candle_core::Error),
    #[error("storage failed: {0}")]
    Disk(#[from] std::io::Error),
    #[error("{0}")]
    Refused(#[from] Reason),
}

impl Fault {
    /// The code a failed job shows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Diverged { .. } => "diverged",
            Self::Foreign { .. } => "checkpoint_mismatch",
            Self::Compute(_) => "internal_error",
            Self::Disk(fault) if fault.kind() == std::io::ErrorKind::StorageFull => "disk_full",
            Self::Disk(_) => "storage_failed",
            Self::Refused(Reason::StorageFull(_)) => "disk_full",
            Self::Refused(Reason::Storage(_)) => "storage_failed",
            Self::Refused(Reason::BadRows { .. }) => "invalid_training_file",
            Self::Refused(Reason::AdapterInvalid { .. }) => "invalid_adapter",
            Self::Refused(_) => "job_failed",
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
            _ => None,
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(reason) => reason,
            Fault::Disk(ref inner) if inner.kind() == std::io::ErrorKind::StorageFull => {
                Self::StorageFull(fault.to_string())
            }
            Fault::Disk(_) => Self::Storage(fault.to_string()),
            fault => Self::Internal(fault.to_string()),
        }
    }
}
