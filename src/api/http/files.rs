//! `/v1/files`.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::call::Call;
use super::dispatch::Outcome;
use super::multipart::parts;
use super::paging::{PAGING, PageAsk};
use super::respond::{PIECE, download, json_response, page};
use super::shape::{COUNT, Field, Kind, NAME, Shape, TEXT};
use crate::domain::{FileId, FileView, Range, Reason};
use crate::gateway::ReportAsk;

pub(super) const UPLOAD: Shape = Shape {
    name: "FileUpload",
    about: "A file of training records.",
    fields: &[&[
        Field::new("file", TEXT, "The content, as a file part: JSON Lines or a JSON array (also compressed with gzip), or Parquet.").required(),
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

pub(super) const REPORT: Shape = Shape {
    name: "FileReportQuery",
    about: "What to look for.",
    fields: &[&[
        Field::new("label", NAME, "The key of the rows that names their class."),
        Field::new(
            "held_out",
            NAME,
            "An uploaded file whose rows are looked for in this one.",
        ),
        Field::new(
            "eval_split",
            Kind::Number(Range::at_least(0.0)),
            "What a job would hold out of this file: a share below 1, a count from 1.",
        ),
        Field::new(
            "seed",
            COUNT,
            "Decides which rows those are; 42 when absent.",
        ),
    ]],
};

#[derive(Debug, Deserialize)]
struct ListAsk {
    #[serde(flatten)]
    page: PageAsk,
}

pub(super) async fn create(call: Call) -> Outcome {
    let limit = call.request.app.config.limits.max_file_bytes;
    let (request, parts) = parts(call, limit, Some("file")).await?;
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
    let (Some(_), Some(file)) = (file.filename, file.file) else {
        return Err(Reason::field("file", "must be a file part, with a filename").into());
    };
    let view = request.caller().keep_file(file, purpose).await?;
    Ok(json_response(200, &file_view(&view)))
}

pub(super) async fn list(call: Call) -> Outcome {
    let ask: ListAsk = call.request.query(&LIST)?;
    let after = ask.page.after.as_ref().map(FileId::from_text);
    let files = call
        .request
        .caller()
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
        .caller()
        .file(&FileId::from_text(call.request.param("id")))
        .await?;
    Ok(json_response(200, &file_view(&view)))
}

pub(super) async fn content(call: Call) -> Outcome {
    let id = FileId::from_text(call.request.param("id"));
    let path = call.request.caller().file_content(&id).await?;
    let gone = |error: std::io::Error| Reason::Storage(format!("reading {id}: {}", error.kind()));
    let file = tokio::fs::File::open(path).await.map_err(gone)?;
    let length = file.metadata().await.map_err(gone)?.len();
    let pieces = ReaderStream::with_capacity(file, PIECE);
    let kind = "application/octet-stream";
    let ended = call.request.caller().ended();
    Ok(download(ended, kind, length, pieces))
}

#[derive(Debug, Deserialize)]
struct ReportQuery {
    label: Option<String>,
    held_out: Option<String>,
    eval_split: Option<f64>,
    seed: Option<u64>,
}

pub(super) async fn report(call: Call) -> Outcome {
    let query: ReportQuery = call.request.query(&REPORT)?;
    let ask = ReportAsk {
        file: FileId::from_text(call.request.param("id")),
        held_out: query.held_out.map(FileId::from_text),
        label: query.label,
        eval_split: query.eval_split,
        seed: query.seed,
    };
    let report = call.request.caller().file_report(ask).await?;
    Ok(json_response(200, &report))
}

pub(super) async fn delete(call: Call) -> Outcome {
    let id = FileId::from_text(call.request.param("id"));
    call.request.caller().delete_file(&id).await?;
    Ok(json_response(
        200,
        &json!({"id": id, "object": "file", "deleted": true}),
    ))
}

fn file_view(file: &FileView) -> Value {
    let mut view = json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": null,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": null,
    });
    if let Some(owner) = &file.owner {
        view["owner"] = json!(owner);
    }
    view
}
