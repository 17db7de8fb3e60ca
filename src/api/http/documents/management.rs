//! Answers about adapters.

use super::super::shape::{COUNT, FLAG, Field, Kind, Shape, TEXT};
use super::{CREATED_AT, ID, LIST, list_of, shape};

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
