//! Answers about adapters and keys.

use super::super::shape::{ANY_NUMBER, COUNT, FLAG, Field, Kind, Shape, TEXT};
use super::{CREATED_AT, ID, LIST, list_of, shape};
use crate::domain::Scope;

const TIER: Field = Field::new(
    "tier",
    Kind::Choice(&["disk", "resident"]),
    "Where its weights are.",
)
.required();
pub(in super::super) const ADAPTER: Shape = shape(
    "Adapter",
    "A registered adapter.",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["adapter"]), "").required(),
        Field::new("generation", TEXT, "64 hex digits.").required(),
        Field::new("previous_generation", TEXT, "Where a rollback leads."),
        Field::new("kind", TEXT, "`lora`.").required(),
        Field::new("rank", COUNT, "The largest of any site.").required(),
        Field::new("bytes", COUNT, "").required(),
        TIER,
        Field::new("pinned", FLAG, "").required(),
        CREATED_AT,
        Field::new("base", TEXT, "").required(),
        Field::new("source", TEXT, "Where it came from.").required(),
        Field::new("evaluation", Kind::Any, "What its training measured."),
    ]],
);
pub(in super::super) const ADAPTERS: Shape = shape(
    "AdapterList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&ADAPTER)), "").required(),
    ]],
);
const LORA: Shape = shape(
    "LoraAdapter",
    "",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["lora_adapter"]), "").required(),
        Field::new("source", TEXT, "").required(),
        Field::new("generation", TEXT, "").required(),
        Field::new("rank", COUNT, "").required(),
        Field::new("bytes", COUNT, "").required(),
        TIER,
        Field::new("pinned", FLAG, "").required(),
    ]],
);
pub(in super::super) const LORAS: Shape = shape(
    "LoraAdapterList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&LORA)), "").required(),
        Field::new("resident_bytes", COUNT, "").required(),
        Field::new("max_bytes", COUNT, "").required(),
    ]],
);
const KEY_FIELDS: &[Field] = &[
    ID,
    Field::new("object", Kind::Choice(&["key"]), "").required(),
    Field::new("name", TEXT, "").required(),
    Field::new("scopes", list_of(&Kind::Choice(Scope::NAMES)), "").required(),
    Field::new(
        "adapters",
        list_of(&TEXT),
        "Names and patterns of the adapters that exist for it; `*` is every one.",
    )
    .required(),
    Field::new("weight", ANY_NUMBER, "Beside other keys; null is 1."),
    CREATED_AT,
    Field::new("expires_at", COUNT, "Unix seconds; null is never."),
    Field::new("revoked_at", COUNT, "Unix seconds."),
    Field::new(
        "last_used_at",
        COUNT,
        "Unix seconds; after a crash up to a minute behind.",
    ),
    Field::new(
        "identity",
        TEXT,
        "What a client's certificate calls its holder.",
    ),
];
pub(in super::super) const KEY: Shape = shape("Key", "What is told of a key.", &[KEY_FIELDS]);
pub(in super::super) const KEYS: Shape = shape(
    "KeyList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&KEY)), "").required(),
    ]],
);
pub(in super::super) const ISSUED_KEY: Shape = shape(
    "IssuedKey",
    "A key with its secret.",
    &[
        KEY_FIELDS,
        &[Field::new("secret", TEXT, "What callers send; told this once.").required()],
    ],
);
