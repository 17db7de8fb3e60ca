//! Adapter management as vLLM's clients do it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::dispatch::Outcome;
use super::respond::{bytes_response, json_response};
use super::shape::{FLAG, Field, NAME, Neutral, Shape};
use crate::api::fault::Fault;
use crate::domain::Reason;

pub(super) const LOAD: Shape = Shape {
    name: "LoadLoraRequest",
    about: "A folder to serve under a name.",
    fields: &[&[
        Field::new("lora_name", NAME, "The served name.").required(),
        Field::new("lora_path", NAME, "A folder under the adapter root.").required(),
        Field::new(
            "load_inplace",
            FLAG,
            "Move the name if it exists; otherwise that is an error.",
        ),
        Field::new(
            "expected_generation",
            NAME,
            "Change nothing unless the name is at this generation.",
        ),
        Field::unbuilt(
            "is_3d_lora_weight",
            "adapters of experts are not available",
            &[Neutral::Flag(false)],
        ),
        Field::unbuilt(
            "base_model_name",
            "an adapter is checked against the base that is served; leave it out",
            &[Neutral::Empty],
        ),
    ]],
};

pub(super) const UNLOAD: Shape = Shape {
    name: "UnloadLoraRequest",
    about: "A name to take away.",
    fields: &[&[
        Field::new("lora_name", NAME, "The served name.").required(),
        Field::unbuilt("lora_int_id", "adapters have names only", &[]),
    ]],
};

#[derive(Debug, Deserialize)]
struct Load {
    lora_name: String,
    lora_path: String,
    load_inplace: Option<bool>,
    expected_generation: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Unload {
    lora_name: String,
}

pub(super) async fn load(call: Call) -> Outcome {
    let (request, ask) = call.read::<Load>(&LOAD).await?;
    let fresh = !ask.load_inplace.unwrap_or(false);
    let (name, path) = (ask.lora_name.as_str(), ask.lora_path.as_str());
    let expected = ask.expected_generation.as_deref();
    let outcome = request
        .caller()
        .register_folder(("lora_name", name), path, fresh, (expected, None))
        .await;
    outcome.map_err(|reason| match reason {
        Reason::PathForbidden(_) | Reason::PathNotFound(_) => {
            Fault::from(reason).about("lora_path")
        }
        // vLLM answers a second load of a name with 400.
        Reason::AdapterExists(_) => {
            Reason::field("lora_name", "is already served; `load_inplace` moves it").into()
        }
        reason => Fault::from(reason),
    })?;
    Ok(said(format!(
        "Success: LoRA adapter '{name}' added successfully."
    )))
}

pub(super) async fn unload(call: Call) -> Outcome {
    let (request, ask) = call.read::<Unload>(&UNLOAD).await?;
    let name = ask.lora_name.as_str();
    let outcome = request.caller().remove_adapter(name, None).await;
    outcome.map_err(|reason| Fault::from(reason).about("lora_name"))?;
    Ok(said(format!(
        "Success: LoRA adapter '{name}' removed successfully."
    )))
}

fn said(text: String) -> axum::response::Response {
    bytes_response(200, "text/plain; charset=utf-8", text)
}

pub(super) async fn list(call: Call) -> Outcome {
    let caller = call.request.caller();
    let (used, allowed) = caller.resident_bytes()?;
    let adapters = caller.adapters().await?;
    let data: Vec<Value> = adapters
        .iter()
        .map(|view| {
            json!({
                "id": view.id,
                "object": "lora_adapter",
                "source": view.source,
                "generation": view.generation,
                "rank": view.rank,
                "bytes": view.bytes,
                "tier": view.tier,
                "pinned": view.pinned,
            })
        })
        .collect();
    let value =
        json!({"object": "list", "data": data, "resident_bytes": used, "max_bytes": allowed});
    Ok(json_response(200, &value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&LOAD, |body| LOAD.take::<super::Load>(body).map(drop));
        conforms(&UNLOAD, |body| UNLOAD.take::<super::Unload>(body).map(drop));
    }
}
