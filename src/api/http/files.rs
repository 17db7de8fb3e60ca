//! `/v1/files`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::dispatch::Outcome;
use super::multipart::parts;
use super::paging::{PAGING, PageAsk};
use super::respond::{bytes_response, json_response, page};
use super::shape::{Field, Kind, Shape, TEXT};
use crate::domain::{FileId, FileView, Reason};

pub(super) const UPLOAD: Shape = Shape {
    name: "FileUpload",
    about: "A file of training records.",
    fields: &[&[
        Field::new("file", TEXT, "The content, as a file part.").required(),
        Field::new("purpose", Kind::Choice(&["fine-tune"]), "What it is for.").required(),
    ]],
};

pub(super) const LIST: Shape = Shape {
    name: "FileListQuery",
    about: "Which files.",
    fields: &[
        PAGING,
        &[
            Field::new(
                "purpose",
                Kind::Choice(&["fine-tune"]),
                "Every file here has this one.",
            ),
            Field::new("order", Kind::Choice(&["desc"]), "Newest first."),
        ],
    ],
};

#[derive(Debug, Deserialize)]
struct ListAsk {
    #[serde(flatten)]
    page: PageAsk,
}

pub(super) async fn create(call: Call) -> Outcome {
    let limit = call.request.app.config.limits.max_file_bytes;
    let (request, parts) = parts(call, limit).await?;
    let (mut file, mut purpose) = (None, None);
    for part in parts {
        let seen = match part.name.as_str() {
            "file" => file.replace(part).is_some(),
            "purpose" => purpose.replace(part).is_some(),
            other => {
                let other: String = other.chars().take(80).collect();
                return Err(Reason::field(other, "is not a field of this request").into());
            }
        };
        if seen {
            return Err(Reason::BadBody("a part appears twice".into()).into());
        }
    }
    let purpose = purpose.ok_or_else(|| Reason::field("purpose", "is required"))?;
    let purpose =
        std::str::from_utf8(&purpose.bytes).map_err(|_| Reason::field("purpose", "is not text"))?;
    let file = file.ok_or_else(|| Reason::field("file", "is required"))?;
    let filename = file
        .filename
        .ok_or_else(|| Reason::field("file", "must be a file part, with a filename"))?;
    let view = request
        .gateway()
        .put_file(&filename, purpose, file.bytes)
        .await?;
    Ok(json_response(200, &file_view(&view)))
}

pub(super) async fn list(call: Call) -> Outcome {
    let ask: ListAsk = call.request.query(&LIST)?;
    let after = ask.page.after.as_ref().map(FileId::from_text);
    let files = call
        .request
        .gateway()
        .files(after.as_ref(), ask.page.limit())
        .await?;
    Ok(json_response(
        200,
        &page(files.items.iter().map(file_view).collect(), files.has_more),
    ))
}

pub(super) async fn show(call: Call) -> Outcome {
    let view = call
        .request
        .gateway()
        .file(&FileId::from_text(call.request.param("id")))
        .await?;
    Ok(json_response(200, &file_view(&view)))
}

pub(super) async fn content(call: Call) -> Outcome {
    let id = FileId::from_text(call.request.param("id"));
    let bytes = call.request.gateway().file_content(&id).await?;
    Ok(bytes_response(200, "application/octet-stream", bytes))
}

pub(super) async fn delete(call: Call) -> Outcome {
    let id = FileId::from_text(call.request.param("id"));
    call.request.gateway().delete_file(&id).await?;
    Ok(json_response(
        200,
        &json!({"id": id, "object": "file", "deleted": true}),
    ))
}

fn file_view(file: &FileView) -> Value {
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": null,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": null,
    })
}
