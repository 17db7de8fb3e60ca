//! `GET /v1/models`, `GET /v1/models/{id}`.

use serde_json::{Value, json};

use super::call::Call;
use super::dispatch::Outcome;
use super::respond::json_response;
use crate::gateway::ModelView;

pub(super) async fn list(call: Call) -> Outcome {
    let models = call.request.caller().models().await?;
    let data: Vec<Value> = models.iter().map(view).collect();
    Ok(json_response(200, &json!({"object": "list", "data": data})))
}

pub(super) async fn show(call: Call) -> Outcome {
    let model = call
        .request
        .caller()
        .model(call.request.param("id"))
        .await?;
    Ok(json_response(200, &view(&model)))
}

fn view(model: &ModelView) -> Value {
    json!({
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "adapterd",
        "root": model.root,
        "parent": model.parent,
        "max_model_len": model.context,
        "adapter_generation": model.generation,
    })
}
