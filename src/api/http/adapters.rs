//! `/v1/adapters`.

use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive;
use super::call::{AdapterField, Call, Request};
use super::dispatch::Outcome;
use super::multipart::parts;
use super::respond::{PIECE, download, json_response};
use super::sampling::WEIGHTS;
use super::shape::{COUNT, Field, Kind, NAME, Shape};
use crate::api::fault::Fault;
use crate::domain::{AdapterView, Blend, BlendAsk, BlendMethod, HubId, Range, Reason};
use crate::gateway::Files;

pub(super) const EXPECTED: &[Field] = &[Field::new(
    "expected_generation",
    NAME,
    "Change nothing unless the name is at this generation; `none`: unless the name does not exist.",
)];

pub(super) const CONDITION: Shape = Shape {
    name: "Condition",
    about: "When a change may happen.",
    fields: &[EXPECTED],
};

pub(super) const ARRIVAL: Shape = Shape {
    name: "Arrival",
    about: "When a folder may be published, and how.",
    fields: &[
        EXPECTED,
        &[Field::new(
            "publish",
            NAME,
            "`now` (the name moves to it; where absent), `canary:` and a percentage (it answers so many requests; with a policy as in `canary:10,min_requests=50,promote_after=12h`), or `manual` (the name has it, and stays where it is).",
        )],
    ],
};

pub(super) const PROMOTION: Shape = Shape {
    name: "Promotion",
    about: "Where a name is to point.",
    fields: &[
        EXPECTED,
        &[Field::new(
            "generation",
            NAME,
            "At least 8 hex digits of a generation the name still has.",
        )
        .required()],
    ],
};

pub(super) const FOLDER: Shape = Shape {
    name: "AdapterFolder",
    about: "An adapter folder on the server, or an adapter of the model hub.",
    fields: &[&[
        Field::new("path", NAME, "A folder under the adapter root."),
        Field::new(
            "hub",
            NAME,
            "In place of `path`: `OWNER/NAME` on the hub that `adapters.hub` names.",
        ),
        Field::new(
            "revision",
            NAME,
            "With `hub`: a branch, a tag or a commit; `main` where absent.",
        ),
    ]],
};

pub(super) const BLENDING: Shape = Shape {
    name: "Blending",
    about: "Of what an adapter is made, and how.",
    fields: &[
        EXPECTED,
        &[
            Field::new(
                "from",
                WEIGHTS,
                "`lora` adapters with weights, at most 8: `{\"legal\": 0.7, \"medical\": 0.3}` or `legal=0.7,medical=0.3`.",
            )
            .required(),
            Field::new(
                "method",
                Kind::Choice(BlendMethod::NAMES),
                "`linear` where absent: the weighted sum.",
            ),
            Field::new(
                "density",
                Kind::Number(Range::above(0.0).at_most(1.0)),
                "Share of each adapter's weights that stays; all where absent. Not for `linear`.",
            ),
            Field::new(
                "rank",
                Kind::Integer {
                    min: 1,
                    max: i64::MAX,
                },
                "What the result is reduced to. `linear` needs none and then loses nothing.",
            ),
            Field::new("seed", COUNT, "Of what `dare_linear` and `dare_ties` draw; 0 where absent."),
        ],
    ],
};

#[derive(Debug, Deserialize)]
struct Blending {
    expected_generation: Option<String>,
    from: AdapterField,
    method: Option<String>,
    density: Option<f64>,
    rank: Option<usize>,
    seed: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Condition {
    expected_generation: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Arrival {
    expected_generation: Option<String>,
    publish: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Promotion {
    expected_generation: Option<String>,
    generation: String,
}

#[derive(Debug, Deserialize)]
struct Folder {
    path: Option<String>,
    hub: Option<String>,
    revision: Option<String>,
}

/// Where an adapter that is not sent lies.
enum Elsewhere {
    Folder(String),
    Hub(HubId),
}

impl Folder {
    fn place(self) -> Result<Elsewhere, Reason> {
        match (self.path, self.hub) {
            (Some(_), Some(_)) => Err(Reason::field("hub", "cannot be combined with `path`")),
            (None, None) => Err(Reason::field("path", "is required, or `hub`")),
            (Some(path), None) => match self.revision {
                Some(_) => Err(Reason::field("revision", "is for `hub`")),
                None => Ok(Elsewhere::Folder(path)),
            },
            (None, Some(hub)) => HubId::new(&hub, self.revision.as_deref()).map(Elsewhere::Hub),
        }
    }
}

fn shown(view: &AdapterView) -> Result<Value, Reason> {
    serde_json::to_value(view).map_err(|fault| Reason::Internal(fault.to_string()))
}

pub(super) fn answer(view: &AdapterView) -> Outcome {
    Ok(json_response(200, &shown(view)?))
}

pub(super) async fn list(call: Call) -> Outcome {
    let adapters = call.request.caller().adapters().await?;
    let data = adapters.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    Ok(json_response(200, &json!({"object": "list", "data": data})))
}

pub(super) async fn show(call: Call) -> Outcome {
    answer(
        &call
            .request
            .caller()
            .adapter(call.request.param("name"))
            .await?,
    )
}

pub(super) async fn content(call: Call) -> Outcome {
    let caller = call.request.caller();
    let files = caller.adapter_files(call.request.param("name")).await?;
    let packed = Bytes::from(archive::pack(&files)?);
    let length = packed.len();
    let slice = move |at: usize| Ok(packed.slice(at..length.min(at + PIECE)));
    let pieces = stream::iter((0..length).step_by(PIECE).map(slice));
    let (ended, length) = (caller.ended(), length as u64);
    Ok(download(ended, "application/x-tar", length, pieces))
}

/// What archives are sent as. Which of them is compressed, they tell themselves.
const ARCHIVES: [&str; 9] = [
    "application/x-tar",
    "application/tar",
    "application/x-gtar",
    "application/gzip",
    "application/x-gzip",
    "application/tar+gzip",
    "application/x-compressed-tar",
    "application/x-compressed",
    "application/x-tgz",
];

pub(super) async fn put(call: Call) -> Outcome {
    let arrival: Arrival = call.request.query(&ARRIVAL)?;
    let expected = arrival.expected_generation.as_deref();
    let publish = arrival.publish.as_deref();
    let content_type = call.request.content_type().to_ascii_lowercase();
    let limit = call.request.app.config.limits.max_adapter_bytes;
    let name = call.request.param("name").to_owned();
    let view = match content_type.as_str() {
        "application/json" => {
            let (request, folder) = call.read::<Folder>(&FOLDER).await?;
            let caller = request.caller();
            match folder.place()? {
                Elsewhere::Folder(path) => {
                    let name = ("name", name.as_str());
                    caller
                        .register_folder(name, &path, false, (expected, publish))
                        .await?
                }
                Elsewhere::Hub(id) => {
                    caller
                        .register_from_hub(&name, id, (expected, publish))
                        .await?
                }
            }
        }
        kind if ARCHIVES.contains(&kind) => {
            call.request.caller().check_upload()?;
            let (request, body, is_unpacked) = call.archive(limit).await?;
            let files = archive::unpack(&body)?;
            if is_unpacked {
                archive::check_unpacked(&files)?;
            }
            let caller = request.caller();
            caller.register(&name, files, expected, publish).await?
        }
        "multipart/form-data" => {
            call.request.caller().check_upload()?;
            let (request, files) = uploaded(call, limit).await?;
            let caller = request.caller();
            caller.register(&name, files, expected, publish).await?
        }
        other => {
            let other: String = other.chars().take(80).collect();
            let why = format!(
                "is `{other}`; send application/x-tar (also compressed with gzip), multipart/form-data or application/json"
            );
            return Err(Reason::field("content-type", why).into());
        }
    };
    answer(&view)
}

/// A part a file, called by its file name or, without one, by its part name.
async fn uploaded(call: Call, limit: usize) -> Result<(Request, Files), Fault> {
    let (request, parts) = parts(call, limit, None).await?;
    let mut files = Files::new();
    for part in parts {
        let name = part.filename.unwrap_or(part.name);
        // Some clients send the folder along.
        let name = name.rsplit('/').next().unwrap_or("").to_owned();
        if name.is_empty() {
            return Err(Reason::BadBody("a part has neither a filename nor a name".into()).into());
        }
        if files.contains_key(&name) {
            return Err(Reason::field(name, "appears twice").into());
        }
        files.insert(name, part.bytes);
    }
    Ok((request, files))
}

pub(super) async fn delete(call: Call) -> Outcome {
    let condition: Condition = call.request.query(&CONDITION)?;
    let name = call.request.param("name");
    call.request
        .caller()
        .remove_adapter(name, condition.expected_generation.as_deref())
        .await?;
    Ok(json_response(
        200,
        &json!({"id": name, "object": "adapter", "deleted": true}),
    ))
}

pub(super) async fn promote(call: Call) -> Outcome {
    let (request, to) = call.read::<Promotion>(&PROMOTION).await?;
    let expected = to.expected_generation.as_deref();
    answer(
        &request
            .caller()
            .promote(request.param("name"), &to.generation, expected)
            .await?,
    )
}

pub(super) async fn blend(call: Call) -> Outcome {
    let (request, ask) = call.read::<Blending>(&BLENDING).await?;
    let expected = ask.expected_generation.as_deref();
    let blend = BlendAsk {
        from: match ask.from {
            AdapterField::Name(text) => Blend::parse("from", &text)?,
            AdapterField::Blend(weights) => Blend::new("from", weights)?,
        },
        method: match ask.method {
            Some(name) => BlendMethod::of("method", &name)?,
            None => BlendMethod::default(),
        },
        density: ask.density,
        rank: ask.rank,
        seed: ask.seed,
    };
    let name = request.param("name");
    answer(&request.caller().blend(name, blend, expected).await?)
}

/// The body of a verb that takes nothing but a condition.
pub(super) async fn conditional(call: Call) -> Result<(Request, Option<String>), Fault> {
    let (request, condition) = call.read_or_empty::<Condition>(&CONDITION).await?;
    Ok((request, condition.expected_generation))
}

pub(super) async fn rollback(call: Call) -> Outcome {
    let (request, expected) = conditional(call).await?;
    answer(
        &request
            .caller()
            .rollback(request.param("name"), expected.as_deref())
            .await?,
    )
}

pub(super) async fn pin(call: Call) -> Outcome {
    let (request, expected) = conditional(call).await?;
    answer(
        &request
            .caller()
            .pin(request.param("name"), true, expected.as_deref())
            .await?,
    )
}

pub(super) async fn unpin(call: Call) -> Outcome {
    let (request, expected) = conditional(call).await?;
    answer(
        &request
            .caller()
            .pin(request.param("name"), false, expected.as_deref())
            .await?,
    )
}

pub(super) async fn load(call: Call) -> Outcome {
    let (request, expected) = conditional(call).await?;
    answer(
        &request
            .caller()
            .load_adapter(request.param("name"), expected.as_deref())
            .await?,
    )
}

pub(super) async fn unload(call: Call) -> Outcome {
    let (request, expected) = conditional(call).await?;
    answer(
        &request
            .caller()
            .unload_adapter(request.param("name"), expected.as_deref())
            .await?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&CONDITION, |body| {
            CONDITION.take::<Condition>(body).map(drop)
        });
        conforms(&ARRIVAL, |body| ARRIVAL.take::<Arrival>(body).map(drop));
        conforms(&PROMOTION, |body| {
            PROMOTION.take::<Promotion>(body).map(drop)
        });
        conforms(&BLENDING, |body| BLENDING.take::<Blending>(body).map(drop));
        conforms(&FOLDER, |body| FOLDER.take::<Folder>(body).map(drop));
    }

    #[test]
    fn an_adapter_lies_in_a_folder_or_on_the_hub() {
        let place = |body: Value| FOLDER.take::<Folder>(body).and_then(Folder::place);
        assert!(matches!(
            place(json!({"path": "a"})),
            Ok(Elsewhere::Folder(_))
        ));
        let hub = place(json!({"hub": "a/b", "revision": "v1"}));
        assert!(matches!(hub, Ok(Elsewhere::Hub(id)) if id.to_string() == "a/b@v1"));
        for (body, field) in [
            (json!({}), "path"),
            (json!({"path": "a", "hub": "a/b"}), "hub"),
            (json!({"path": "a", "revision": "v1"}), "revision"),
            (json!({"hub": "../b"}), "hub"),
            (json!({"hub": "a/b", "revision": "../v1"}), "revision"),
        ] {
            match place(body) {
                Err(Reason::BadField { field: found, .. }) => assert_eq!(found, field),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("{field}"),
            }
        }
    }
}
