//! The tables of a request in Anthropic's form.

use super::super::chat::CONTENT;
use super::super::constraint::SCHEMA;
use super::super::sampling::{BOOKKEEPING, CHOICE, NUMBERS_OF_SAMPLING, STEERING, STOP};
use super::super::shape::{FLAG, Field, Kind, NAME, Neutral, Shape, TEXT};
use super::super::tools::{ANYTHING, FUNCTION_NAME, NAMED_FOR, STRICT, TOOLS_ARE};
use crate::domain::MAX_TOOLS;
use crate::domain::sampling::MAX_STOPS;

const NO_MEDIA: &str = "only text is available";
const ONLY_CUSTOM: &str = "is not available: tools are functions that the client calls";

const BLOCK: Shape = Shape {
    name: "MessageBlock",
    about: "A piece of a turn: text, a call, or what a call returned.",
    fields: &[&[
        Field::unbuilt("source", NO_MEDIA, &[]),
        Field::new(
            "type",
            Kind::Choice(&[
                "text",
                "tool_use",
                "tool_result",
                "thinking",
                "redacted_thinking",
            ]),
            "What was only thought is not read.",
        )
        .required(),
        Field::new("text", TEXT, "Of `text`."),
        Field::new("id", NAME, "Of `tool_use`: what its result names."),
        Field::new("name", FUNCTION_NAME, "Of `tool_use`."),
        Field::new("input", ANYTHING, "Of `tool_use`: the arguments."),
        Field::new("tool_use_id", NAME, "Of `tool_result`."),
        Field::new(
            "content",
            CONTENT,
            "Of `tool_result`; parts are text. Absent is empty.",
        ),
        Field::new("is_error", FLAG, "Ignored: the content says it."),
        Field::ignored("cache_control"),
        Field::ignored("citations"),
        Field::ignored("caller"),
        Field::ignored("thinking"),
        Field::ignored("signature"),
        Field::ignored("data"),
    ]],
};

const TURN: Shape = Shape {
    name: "MessageTurn",
    about: "One turn of a conversation.",
    fields: &[&[
        Field::new(
            "role",
            Kind::Choice(&["user", "assistant", "system"]),
            "Who speaks.",
        )
        .required(),
        Field::new(
            "content",
            Kind::Either(&[
                TEXT,
                Kind::List {
                    of: &Kind::Object(&BLOCK),
                    min: 0,
                    max: 4096,
                },
            ]),
            "Text, or blocks.",
        )
        .required(),
        Field::ignored("cache_control"),
    ]],
};

const TOOL: Shape = Shape {
    name: "MessageTool",
    about: "Something the model may call.",
    fields: &[
        &[Field::new("type", Kind::Choice(&["custom"]), "")],
        NAMED_FOR,
        &[
            Field::new(
                "input_schema",
                ANYTHING,
                "JSON schema of its arguments, an object.",
            )
            .required(),
            STRICT,
            Field::ignored("cache_control"),
            Field::ignored("eager_input_streaming"),
            Field::unbuilt(
                "input_examples",
                "is not told to the model",
                &[Neutral::Empty],
            ),
            Field::unbuilt("defer_loading", ONLY_CUSTOM, &[Neutral::Flag(false)]),
            Field::unbuilt(
                "allowed_callers",
                ONLY_CUSTOM,
                &[Neutral::Only("direct"), Neutral::Empty],
            ),
        ],
    ],
};

const TOOL_CHOICE: Shape = Shape {
    name: "MessageToolChoice",
    about: "Whether, and what, the model calls.",
    fields: &[&[
        Field::new(
            "type",
            Kind::Choice(&["auto", "any", "tool", "none"]),
            "`any`: one or more. `tool`: the one of this name, once. `none`: the model is not told of them.",
        )
        .required(),
        Field::new("name", FUNCTION_NAME, "With `tool`: one of `tools`."),
        Field::new(
            "disable_parallel_tool_use",
            FLAG,
            "With true, only the first call of an answer is kept. Default false.",
        ),
    ]],
};

const FORMAT: Shape = Shape {
    name: "MessageFormat",
    about: "The form of an answer.",
    fields: &[&[
        Field::new("type", Kind::Choice(&["json_schema"]), "").required(),
        Field::new(
            "schema",
            SCHEMA,
            "The schema that answers follow; docs/structured-output.md has the keywords.",
        )
        .required(),
    ]],
};

const OUTPUT: Shape = Shape {
    name: "MessageOutputConfig",
    about: "What an answer is like.",
    fields: &[&[
        Field::new("format", Kind::Object(&FORMAT), "Its form."),
        Field::new("effort", TEXT, "Ignored."),
    ]],
};

/// What both routes take.
const CONVERSATION: &[Field] = &[
    Field::new(
        "messages",
        Kind::List {
            of: &Kind::Object(&TURN),
            min: 1,
            max: 4096,
        },
        "The conversation, oldest first. It does not end with an assistant's turn.",
    )
    .required(),
    Field::new("system", CONTENT, "A system message before all others.").neutral(&[Neutral::Empty]),
    Field::new(
        "tools",
        Kind::List {
            of: &Kind::Object(&TOOL),
            min: 0,
            max: MAX_TOOLS,
        },
        TOOLS_ARE,
    )
    .neutral(&[Neutral::Empty]),
    Field::new(
        "tool_choice",
        Kind::Object(&TOOL_CHOICE),
        "`auto` where absent.",
    )
    .neutral(&[Neutral::Empty]),
    Field::new(
        "output_config",
        Kind::Object(&OUTPUT),
        "The form of an answer that is no call.",
    )
    .neutral(&[Neutral::Empty]),
    Field::unbuilt(
        "thinking",
        "only `disabled` is available: thoughts are not told apart from answers",
        &[Neutral::Type("disabled"), Neutral::Empty],
    ),
    Field::unbuilt("mcp_servers", ONLY_CUSTOM, &[Neutral::Empty]),
    Field::unbuilt(
        "context_management",
        "a conversation is read as it is sent",
        &[Neutral::Empty],
    ),
    Field::unbuilt(
        "speed",
        "only `standard` is available",
        &[Neutral::Text("standard"), Neutral::Empty],
    ),
    Field::ignored("cache_control"),
    Field::ignored("user_profile_id"),
    Field::ignored("workspace_id"),
];

pub(in super::super) const MESSAGES: Shape = Shape {
    name: "MessageRequest",
    about: "A conversation to continue, in Anthropic's form.",
    fields: &[
        CHOICE,
        CONVERSATION,
        &[
            Field::new(
                "max_tokens",
                Kind::Integer {
                    min: 1,
                    max: i64::MAX,
                },
                "Tokens to generate at most.",
            )
            .required(),
            Field::new(
                "stop_sequences",
                Kind::List {
                    of: &STOP,
                    min: 0,
                    max: MAX_STOPS,
                },
                "Strings that end an answer; they are not part of it.",
            ),
            Field::unbuilt("container", ONLY_CUSTOM, &[Neutral::Empty]),
            Field::ignored("diagnostics"),
            Field::ignored("inference_geo"),
        ],
        &NUMBERS_OF_SAMPLING,
        STEERING,
        BOOKKEEPING,
    ],
};

pub(in super::super) const COUNTED: Shape = Shape {
    name: "MessageCountRequest",
    about: "A conversation to count, in Anthropic's form.",
    fields: &[CHOICE, CONVERSATION],
};
