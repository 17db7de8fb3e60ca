//! The `Keys` service.

use tonic::{Request, Response, Status};

use super::Doors;
use super::guard::caller;
use super::status::status;
use crate::domain::{IssuedKey, KeyAsk, KeyId, KeyLimits, KeyView, OVERLAP, Reason};
use crate::pb;
use crate::pb::keys_server::Keys;

fn shown(key: KeyView) -> pb::Key {
    pb::Key {
        id: key.id.to_string(),
        name: key.name,
        scopes: key.scopes.into(),
        adapters: key.adapters.into(),
        weight: key.weight,
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
        last_used_at: key.last_used_at,
        requests_per_minute: key.limits.requests_per_minute,
        tokens_per_minute: key.limits.tokens_per_minute,
        concurrent: key.limits.concurrent,
        queued_jobs: key.limits.queued_jobs,
        training_tokens_per_day: key.limits.training_tokens_per_day,
        storage_bytes: key.limits.storage_bytes,
        identity: key.identity,
    }
}

fn issued(outcome: Result<IssuedKey, Reason>) -> Result<Response<pb::IssuedKey>, Status> {
    let IssuedKey { key, secret } = outcome.map_err(status)?;
    let key = Some(shown(key));
    Ok(Response::new(pb::IssuedKey { key, secret }))
}

/// An empty list has no "absent" in proto3.
fn asked(ask: pb::CreateKeyRequest) -> Result<KeyAsk, Reason> {
    let limits = KeyLimits {
        requests_per_minute: ask.requests_per_minute,
        tokens_per_minute: ask.tokens_per_minute,
        concurrent: ask.concurrent,
        queued_jobs: ask.queued_jobs,
        training_tokens_per_day: ask.training_tokens_per_day,
        storage_bytes: ask.storage_bytes,
    };
    let adapters = Some(ask.adapters).filter(|adapters| !adapters.is_empty());
    Ok(KeyAsk {
        weight: ask.weight,
        expires_in: ask.expires_in,
        limits,
        identity: ask.identity,
        ..KeyAsk::of(ask.name, ask.scopes, adapters)?
    })
}

#[tonic::async_trait]
impl Keys for Doors {
    async fn list(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Result<Response<pb::ListKeysResponse>, Status> {
        let keys = caller(&request)?.keys().await.map_err(status)?;
        let keys = keys.into_iter().map(shown).collect();
        Ok(Response::new(pb::ListKeysResponse { keys }))
    }

    async fn create(
        &self,
        request: Request<pb::CreateKeyRequest>,
    ) -> Result<Response<pb::IssuedKey>, Status> {
        let caller = caller(&request)?;
        let ask = asked(request.into_inner()).map_err(status)?;
        issued(caller.create_key(ask).await)
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeKeyRequest>,
    ) -> Result<Response<pb::Key>, Status> {
        let caller = caller(&request)?;
        let id = KeyId::from_text(request.into_inner().id);
        let revoked = caller.revoke_key(&id).await.map_err(status)?;
        Ok(Response::new(shown(revoked)))
    }

    async fn rotate(
        &self,
        request: Request<pb::RotateKeyRequest>,
    ) -> Result<Response<pb::IssuedKey>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        let overlap = ask.overlap.unwrap_or(OVERLAP);
        issued(caller.rotate_key(&KeyId::from_text(ask.id), overlap).await)
    }
}
