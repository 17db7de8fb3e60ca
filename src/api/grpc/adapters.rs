//! The `Adapters` service.

use std::collections::BTreeMap;

use futures::stream::{BoxStream, StreamExt};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Doors;
use super::guard::caller;
use super::status::status;
use super::{rollout, views};
use crate::domain::rollout::Percent;
use crate::domain::{AdapterView, Blend, BlendAsk, BlendMethod, HubId, Reason};
use crate::gateway::Files;
use crate::pb;
use crate::pb::adapters_server::Adapters;
use crate::pb::register_adapter_request::Part;

/// An adapter folder has three files that matter; more than this is something else.
const MAX_FILES: usize = 64;

/// Text fields have no "absent" in proto3: empty is absent.
pub(super) fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn blend_ask(ask: &pb::BlendAdapterRequest) -> Result<BlendAsk, Reason> {
    let entries = ask.from.iter();
    let entries = entries.map(|(name, weight)| (name.clone(), *weight));
    Ok(BlendAsk {
        from: Blend::new("from", entries)?,
        method: match given(&ask.method) {
            Some(name) => BlendMethod::of("method", name)?,
            None => BlendMethod::default(),
        },
        density: ask.density,
        rank: ask.rank.map(|rank| rank as usize),
        seed: ask.seed,
    })
}

fn answer(outcome: Result<AdapterView, Reason>) -> Result<Response<pb::Adapter>, Status> {
    outcome
        .map(|view| Response::new(views::adapter(view)))
        .map_err(status)
}

#[tonic::async_trait]
impl Adapters for Doors {
    type WatchStream = BoxStream<'static, Result<pb::AdapterChange, Status>>;

    async fn list(
        &self,
        request: Request<pb::ListAdaptersRequest>,
    ) -> Result<Response<pb::ListAdaptersResponse>, Status> {
        let caller = caller(&request)?;
        let adapters = caller.adapters().await.map_err(status)?;
        let adapters = adapters.into_iter().map(views::adapter).collect();
        Ok(Response::new(pb::ListAdaptersResponse { adapters }))
    }

    async fn get(
        &self,
        request: Request<pb::GetAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        answer(caller.adapter(&request.into_inner().name).await)
    }

    async fn register(
        &self,
        request: Request<Streaming<pb::RegisterAdapterRequest>>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        caller.check_upload().map_err(status)?;
        let mut upload = self.upload(request.into_inner(), self.limits.max_adapter_bytes);
        let header = upload
            .opening(|message| match message.part {
                Some(Part::Header(header)) => Some(header),
                _ => None,
            })
            .await?;
        let expected = given(&header.expected_generation);
        if let Some(hub) = given(&header.hub) {
            let id = HubId::new(hub, given(&header.revision)).map_err(status)?;
            if upload.next().await?.is_some() {
                let why = "comes alone, without files";
                return Err(status(Reason::field("header.hub", why)));
            }
            let ways = (expected, given(&header.publish));
            return answer(caller.register_from_hub(&header.name, id, ways).await);
        }
        if given(&header.revision).is_some() {
            return Err(status(Reason::field("header.revision", "is for `hub`")));
        }
        let mut files = BTreeMap::<String, Vec<u8>>::new();
        while let Some(message) = upload.next().await? {
            let piece = match message.part {
                Some(Part::File(piece)) => piece,
                Some(Part::Header(_)) => {
                    return Err(status(Reason::field("header", "appears twice")));
                }
                None => return Err(status(Reason::field("part", "is required"))),
            };
            if piece.name.is_empty() {
                return Err(status(Reason::field("file.name", "is required")));
            }
            upload.take(piece.data.len())?;
            files
                .entry(piece.name)
                .or_default()
                .extend_from_slice(&piece.data);
            if files.len() > MAX_FILES {
                return Err(status(Reason::field(
                    "file.name",
                    format!("more than {MAX_FILES} files"),
                )));
            }
        }
        let files: Files = files
            .into_iter()
            .map(|(name, bytes)| (name, bytes.into()))
            .collect();
        let registered = caller.register(&header.name, files, expected, given(&header.publish));
        answer(registered.await)
    }

    async fn blend(
        &self,
        request: Request<pb::BlendAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        let blend = blend_ask(&ask).map_err(status)?;
        answer(
            caller
                .blend(&ask.name, blend, given(&ask.expected_generation))
                .await,
        )
    }

    async fn promote(
        &self,
        request: Request<pb::PromoteAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        answer(
            caller
                .promote(&ask.name, &ask.generation, given(&ask.expected_generation))
                .await,
        )
    }

    async fn rollback(
        &self,
        request: Request<pb::RollbackAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        answer(
            caller
                .rollback(&ask.name, given(&ask.expected_generation))
                .await,
        )
    }

    async fn pin(
        &self,
        request: Request<pb::PinAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        answer(
            caller
                .pin(&ask.name, !ask.unpin, given(&ask.expected_generation))
                .await,
        )
    }

    async fn load(
        &self,
        request: Request<pb::LoadAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        answer(
            caller
                .load_adapter(&ask.name, given(&ask.expected_generation))
                .await,
        )
    }

    async fn unload(
        &self,
        request: Request<pb::UnloadAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        answer(
            caller
                .unload_adapter(&ask.name, given(&ask.expected_generation))
                .await,
        )
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteAdapterRequest>,
    ) -> Result<Response<pb::DeleteAdapterResponse>, Status> {
        let caller = caller(&request)?;
        let ask = request.into_inner();
        let removed = caller
            .remove_adapter(&ask.name, given(&ask.expected_generation))
            .await;
        removed
            .map(|()| Response::new(pb::DeleteAdapterResponse {}))
            .map_err(status)
    }

    async fn watch(
        &self,
        request: Request<pb::WatchAdaptersRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let name = request.into_inner().name;
        let changes = caller
            .watch_adapters(given(&name).map(str::to_owned))
            .await
            .map_err(status)?;
        let told = ReceiverStream::new(changes).map(|change| {
            let change = change.map_err(status)?;
            Ok(pb::AdapterChange {
                adapter: Some(views::adapter(change.adapter)),
                deleted: change.deleted,
            })
        });
        Ok(Response::new(told.boxed()))
    }

    async fn canary(
        &self,
        request: Request<pb::CanaryAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let ask = rollout::canary_ask(&asked).map_err(status)?;
        let expected = given(&asked.expected_generation);
        answer(
            caller
                .canary(&asked.name, &asked.generation, ask, expected)
                .await,
        )
    }

    async fn promote_canary(
        &self,
        request: Request<pb::PromoteCanaryRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let expected = given(&asked.expected_generation);
        answer(caller.promote_canary(&asked.name, expected).await)
    }

    async fn abort_canary(
        &self,
        request: Request<pb::AbortCanaryRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let expected = given(&asked.expected_generation);
        answer(caller.abort_canary(&asked.name, expected).await)
    }

    async fn shadow(
        &self,
        request: Request<pb::ShadowAdapterRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let percent = Percent::new("percent", asked.percent).map_err(status)?;
        let expected = given(&asked.expected_generation);
        answer(
            caller
                .shadow(&asked.name, &asked.generation, percent, expected)
                .await,
        )
    }

    async fn stop_shadow(
        &self,
        request: Request<pb::StopShadowRequest>,
    ) -> Result<Response<pb::Adapter>, Status> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        let expected = given(&asked.expected_generation);
        answer(caller.stop_shadow(&asked.name, expected).await)
    }
}
