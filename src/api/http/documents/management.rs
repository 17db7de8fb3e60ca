//! Answers about adapters and keys.

use super::super::shape::{ANY_NUMBER, COUNT, FLAG, Field, Kind, Shape, TEXT};
use super::{CREATED_AT, FIRST_ID, HAS_MORE, ID, LAST_ID, LIST, list_of, shape};
use crate::api::http::rollout::POLICY;
use crate::domain::Scope;
use crate::domain::rollout::{Decision, Percent, Sticky};

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
        Field::new(
            "generations",
            list_of(&TEXT),
            "Those the name has, the newest publication first.",
        )
        .required(),
        Field::new("kind", TEXT, "`lora`.").required(),
        Field::new("rank", COUNT, "The largest of any site.").required(),
        Field::new("bytes", COUNT, "").required(),
        TIER,
        Field::new("pinned", FLAG, "").required(),
        CREATED_AT,
        Field::new("base", TEXT, "").required(),
        Field::new("source", TEXT, "Where it came from.").required(),
        Field::new("evaluation", Kind::Any, "What its training measured."),
        Field::new(
            "route",
            Kind::Object(&ROUTE),
            "Which generations answer for it.",
        )
        .required(),
    ]],
);
const SHARE_OF: Field = Field::new(
    "percent",
    Kind::Number(Percent::RANGE),
    "Of the name's requests.",
)
.required();
const SINCE: Field = Field::new("since", COUNT, "Unix seconds.").required();
const OF_GENERATION: Field = Field::new("generation", TEXT, "64 hex digits.").required();
const CANARY: Shape = shape(
    "Canary",
    "A generation that answers part of a name's requests.",
    &[&[
        OF_GENERATION,
        SHARE_OF,
        Field::new(
            "sticky",
            Kind::Choice(Sticky::NAMES),
            "What stays with one version.",
        )
        .required(),
        SINCE,
        Field::new("policy", Kind::Object(&POLICY), "").required(),
    ]],
);
const SHADOW: Shape = shape(
    "Shadow",
    "A generation that answers part of a name's requests once more, unheard.",
    &[&[OF_GENERATION, SHARE_OF, SINCE]],
);
const ARM: Shape = shape(
    "RouteCounts",
    "What is counted of a generation. Times are in seconds from a request's arrival.",
    &[&[
        Field::new(
            "requests",
            COUNT,
            "Answers that ended by themselves or failed.",
        )
        .required(),
        Field::new(
            "errors",
            COUNT,
            "Of these, those that failed for a fault of the server.",
        )
        .required(),
        Field::new("error_rate", ANY_NUMBER, ""),
        Field::new("first_token_p50", ANY_NUMBER, ""),
        Field::new("first_token_p95", ANY_NUMBER, ""),
        Field::new("duration_p50", ANY_NUMBER, ""),
        Field::new("duration_p95", ANY_NUMBER, ""),
        Field::new("feedback", COUNT, "Scores.").required(),
        Field::new("mean_score", ANY_NUMBER, "-1 to 1."),
        Field::new("heldout_loss", ANY_NUMBER, "As its training measured it."),
    ]],
);
const SHADOW_COUNTS: Shape = shape(
    "ShadowCounts",
    "How a shadow's answers compare with those that were sent.",
    &[&[
        Field::new("compared", COUNT, "").required(),
        Field::new(
            "dropped",
            COUNT,
            "Given up because others needed the machine.",
        )
        .required(),
        Field::new("failed", COUNT, "").required(),
        Field::new(
            "equal_rate",
            ANY_NUMBER,
            "Share of answers that were the same, token by token.",
        ),
        Field::new(
            "mean_edit_distance",
            ANY_NUMBER,
            "Tokens to change over the tokens of the longer answer, 0 to 1.",
        ),
        Field::new(
            "mean_logprob",
            ANY_NUMBER,
            "Of the sent answers' tokens under the shadow.",
        ),
    ]],
);
const COUNTS: Shape = shape(
    "RouteCountsByArm",
    "Since the canary, or the shadow, began.",
    &[&[
        Field::new("stable", Kind::Object(&ARM), "").required(),
        Field::new("canary", Kind::Object(&ARM), ""),
        Field::new("shadow", Kind::Object(&SHADOW_COUNTS), ""),
    ]],
);
const VERDICT: Shape = shape(
    "CanaryVerdict",
    "What the policy says so far.",
    &[&[
        Field::new("decision", Kind::Choice(Decision::NAMES), "").required(),
        Field::new("why", TEXT, "").required(),
        Field::new("elapsed_seconds", COUNT, "For which the canary has run.").required(),
    ]],
);
const ROUTE: Shape = shape(
    "Route",
    "Which generations answer for a name.",
    &[&[
        Field::new("stable", TEXT, "What the name points to.").required(),
        Field::new("canary", Kind::Object(&CANARY), ""),
        Field::new("shadow", Kind::Object(&SHADOW), ""),
        Field::new("counts", Kind::Object(&COUNTS), ""),
        Field::new("verdict", Kind::Object(&VERDICT), ""),
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
    Field::new("requests_per_minute", COUNT, "Null is no limit."),
    Field::new("tokens_per_minute", COUNT, "Null is no limit."),
    Field::new("concurrent", COUNT, "Null is no limit."),
    Field::new("queued_jobs", COUNT, "Null is no limit."),
    Field::new("training_tokens_per_day", COUNT, "Null is no limit."),
    Field::new("storage_bytes", COUNT, "Null is no limit."),
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
const AUDIT_ROW: Shape = shape(
    "AuditRow",
    "One change.",
    &[&[
        ID,
        Field::new("at", COUNT, "Unix seconds.").required(),
        Field::new(
            "who",
            TEXT,
            "The id of a key, `job:<id>`, `offline` or `system`; null where no key was asked for.",
        ),
        Field::new("action", TEXT, "As `adapter.promote`.").required(),
        Field::new("object", TEXT, "The name or id of what was changed.").required(),
        Field::new("before", TEXT, "A generation."),
        Field::new("after", TEXT, "A generation."),
        Field::new(
            "detail",
            TEXT,
            "Where an adapter came from, what a key opens.",
        ),
        Field::new("request_id", TEXT, "As the header `x-request-id`."),
        Field::new("outcome", TEXT, "").required(),
        Field::new(
            "digest",
            TEXT,
            "64 hex digits, over the digest of the row before and this row.",
        )
        .required(),
    ]],
);
pub(in super::super) const AUDIT: Shape = shape(
    "AuditList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&AUDIT_ROW)), "").required(),
        FIRST_ID,
        LAST_ID,
        HAS_MORE,
    ]],
);
pub(in super::super) const AUDIT_STATE: Shape = shape(
    "AuditState",
    "What a walk along the record found.",
    &[&[
        Field::new("intact", FLAG, "").required(),
        Field::new("rows", COUNT, "Rows that follow from the ones before.").required(),
        Field::new("digest", TEXT, "Of the last of them.").required(),
        Field::new(
            "broken",
            TEXT,
            "The id of the first row that does not follow.",
        ),
        Field::new("why", TEXT, ""),
    ]],
);
