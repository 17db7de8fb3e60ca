//! The record of changes, for who may read it.

use super::{Caller, Page};
use crate::domain::{AuditAsk, AuditRow, AuditState, Reason, Scope};

const ADMIN: Scope = Scope::Admin;

impl Caller {
    /// Newest first; `after` is the id of a row.
    pub async fn audit(
        &self,
        ask: &AuditAsk,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<AuditRow>, Reason> {
        let audit = &self.may(ADMIN)?.audit;
        let number = after.map(|id| {
            let wrong = || Reason::field("after", "is no id of a row");
            id.parse::<i64>().map_err(|_| wrong())
        });
        audit.list(ask, number.transpose()?, limit).await
    }

    /// Whether every row still follows from the one before.
    pub async fn verify_audit(&self) -> Result<AuditState, Reason> {
        let audit = &self.may(ADMIN)?.audit;
        self.unless_ended(audit.verify()).await
    }
}
