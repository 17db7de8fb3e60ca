//! The `Audit` service.

use tonic::{Request, Response, Status};

use super::Doors;
use super::guard::caller;
use super::status::status;
use crate::domain::{AuditAsk, AuditRow, Generation};
use crate::pb;
use crate::pb::audit_server::Audit;

const DEFAULT_PAGE: u32 = 20;
const MOST: u32 = 100;

fn shown(row: AuditRow) -> pb::AuditRow {
    let text = |generation: Option<Generation>| generation.map(|generation| generation.to_string());
    pb::AuditRow {
        id: row.id,
        at: row.at,
        who: row.who,
        action: row.action,
        object: row.object,
        before: text(row.before),
        after: text(row.after),
        detail: row.detail,
        request_id: row.request_id,
        outcome: row.outcome,
        digest: row.digest,
    }
}

/// Text fields have no "absent" in proto3: empty is absent.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[tonic::async_trait]
impl Audit for Doors {
    async fn list(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Result<Response<pb::ListAuditResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let limit = asked.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MOST) as usize;
        let ask = AuditAsk {
            object: given(asked.object),
            action: given(asked.action),
            who: given(asked.who),
            since: asked.since,
        };
        let after = given(asked.after);
        let page = caller.audit(&ask, after.as_deref(), limit).await;
        let page = page.map_err(status)?;
        Ok(Response::new(pb::ListAuditResponse {
            rows: page.items.into_iter().map(shown).collect(),
            has_more: page.has_more,
        }))
    }

    async fn verify(
        &self,
        request: Request<pb::VerifyAuditRequest>,
    ) -> Result<Response<pb::AuditState>, Status> {
        let state = caller(&request)?.verify_audit().await.map_err(status)?;
        Ok(Response::new(pb::AuditState {
            intact: state.intact,
            rows: state.rows,
            digest: state.digest,
            broken: state.broken,
            why: state.why,
        }))
    }
}
