//! The tables of a Responses request.

use super::super::chat::CONTENT;
use super::super::constraint::SCHEMA;
use super::super::sampling::{
    ALTERNATIVES, BOOKKEEPING, CHOICE, NUMBERS_OF_SAMPLING, STEERING, STOPS,
};
use super::super::shape::{COUNT, FLAG, Field, Kind, NAME, Neutral, Shape, TEXT};
use super::super::tools::{FUNCTION_NAME, FUNCTION_ONLY, NAMED_FOR, PARALLEL, TAKES, TOOLS_ARE};
use crate::domain::MAX_TOOLS;

const NOT_STORED: &str =
    "is not available: answers are not stored; send the conversation so far in `input`";
const ONLY_FUNCTIONS: &str = "is not available: functions are called by the client, in one answer";
const NO_SUMMARY: &str = "reasoning is not told apart from answers";

const ITEM: Shape = Shape {
    name: "ResponseInputItem",
    about: "A message, a call as it came in an answer, or what a call returned.",
    fields: &[&[
        Field::new(
            "type",
            Kind::Choice(&[
                "message",
                "function_call",
                "function_call_output",
                "reasoning",
            ]),
            "Absent in a message. What was only reasoning is not read.",
        ),
        Field::new(
            "role",
            Kind::Choice(&["user", "assistant", "system", "developer"]),
            "Of a message.",
        ),
        Field::new("content", CONTENT, "Of a message; parts are text."),
        Field::new("call_id", NAME, "Of a call and of its output."),
        Field::new("name", FUNCTION_NAME, "Of a call."),
        Field::new("arguments", TEXT, "Of a call: the text of an object."),
        Field::new("output", CONTENT, "Of a call's output."),
        Field::ignored("id"),
        Field::ignored("status"),
        Field::ignored("phase"),
        Field::ignored("summary"),
        Field::ignored("encrypted_content"),
        Field::ignored("caller"),
    ]],
};

const FUNCTION: Shape = Shape {
    name: "ResponseFunction",
    about: "Something the model may call.",
    fields: &[
        &[Field::new("type", FUNCTION_ONLY, "").required()],
        NAMED_FOR,
        TAKES,
        &[
            Field::unbuilt("defer_loading", ONLY_FUNCTIONS, &[Neutral::Flag(false)]),
            Field::unbuilt("async", ONLY_FUNCTIONS, &[Neutral::Flag(false)]),
            Field::unbuilt(
                "allowed_callers",
                ONLY_FUNCTIONS,
                &[Neutral::Only("direct"), Neutral::Empty],
            ),
            Field::unbuilt("output_schema", ONLY_FUNCTIONS, &[Neutral::Empty]),
        ],
    ],
};

const NAMED: Shape = Shape {
    name: "ResponseToolChoice",
    about: "The function to call.",
    fields: &[&[
        Field::new("type", FUNCTION_ONLY, "").required(),
        Field::new("name", FUNCTION_NAME, "One of `tools`.").required(),
    ]],
};

const FORMAT: Shape = Shape {
    name: "ResponseTextFormat",
    about: "The form of an answer.",
    fields: &[&[
        Field::new(
            "type",
            Kind::Choice(&["text", "json_object", "json_schema"]),
            "Any text, any JSON object, or JSON that follows a schema.",
        )
        .required(),
        Field::new("name", NAME, "Ignored."),
        Field::new("description", TEXT, "Ignored."),
        Field::new(
            "schema",
            SCHEMA,
            "With `json_schema`, and required then; docs/structured-output.md has the keywords.",
        ),
        Field::new("strict", FLAG, "Ignored: answers follow the schema always."),
    ]],
};

const TEXT_OPTIONS: Shape = Shape {
    name: "ResponseText",
    about: "What the text of an answer is like.",
    fields: &[&[
        Field::new("format", Kind::Object(&FORMAT), "Its form.")
            .neutral(&[Neutral::Type("text"), Neutral::Empty]),
        Field::unbuilt(
            "verbosity",
            "only `medium` is available",
            &[Neutral::Text("medium"), Neutral::Empty],
        ),
    ]],
};

const REASONING: Shape = Shape {
    name: "ResponseReasoning",
    about: "What asks for reasoning that is told apart.",
    fields: &[&[
        Field::new("effort", TEXT, "Ignored."),
        Field::unbuilt(
            "summary",
            NO_SUMMARY,
            &[Neutral::Text("auto"), Neutral::Empty],
        ),
        Field::unbuilt(
            "generate_summary",
            NO_SUMMARY,
            &[Neutral::Text("auto"), Neutral::Empty],
        ),
        Field::unbuilt(
            "context",
            NO_SUMMARY,
            &[Neutral::Text("auto"), Neutral::Empty],
        ),
        Field::unbuilt(
            "mode",
            NO_SUMMARY,
            &[Neutral::Text("standard"), Neutral::Empty],
        ),
    ]],
};

const STREAM_OPTIONS: Shape = Shape {
    name: "ResponseStreamOptions",
    about: "How a stream is sent.",
    fields: &[&[Field::new(
        "include_obfuscation",
        FLAG,
        "Ignored: events are not padded.",
    )]],
};

/// What more an answer may tell. Of all of these only the first is in answers of this server.
const INCLUDE: Kind = Kind::Choice(&[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "web_search_call.results",
]);

const UNBUILT: &[Field] = &[
    Field::unbuilt("previous_response_id", NOT_STORED, &[Neutral::Empty]),
    Field::unbuilt("conversation", NOT_STORED, &[Neutral::Empty]),
    Field::unbuilt("background", NOT_STORED, &[Neutral::Flag(false)]),
    Field::unbuilt("background_options", NOT_STORED, &[Neutral::Empty]),
    Field::unbuilt(
        "prompt",
        "prompt templates are not available",
        &[Neutral::Empty],
    ),
    Field::unbuilt(
        "truncation",
        "a prompt that is too long is refused, never cut",
        &[Neutral::Text("disabled"), Neutral::Empty],
    ),
    Field::unbuilt(
        "context_management",
        "a conversation is read as it is sent",
        &[Neutral::Empty],
    ),
    Field::unbuilt(
        "moderation",
        "moderation is not available",
        &[Neutral::Empty],
    ),
    Field::unbuilt("image", "only text is available", &[Neutral::Empty]),
    Field::new(
        "max_tool_calls",
        COUNT,
        "Ignored: it counts calls of tools that servers run.",
    ),
    Field::ignored("prompt_cache_options"),
];

pub(in super::super) const RESPONSE: Shape = Shape {
    name: "ResponseRequest",
    about: "A conversation to continue, in the form of OpenAI's Responses.",
    fields: &[
        CHOICE,
        &[
            Field::new(
                "input",
                Kind::Either(&[
                    TEXT,
                    Kind::List {
                        of: &Kind::Object(&ITEM),
                        min: 1,
                        max: 4096,
                    },
                ]),
                "What the user says, or the conversation so far, oldest first.",
            )
            .required(),
            Field::new("instructions", TEXT, "A system message before all others.")
                .neutral(&[Neutral::Text("")]),
            Field::new(
                "max_output_tokens",
                Kind::Integer {
                    min: 1,
                    max: i64::MAX,
                },
                "Tokens to generate at most.",
            ),
            Field::new(
                "tools",
                Kind::List {
                    of: &Kind::Object(&FUNCTION),
                    min: 0,
                    max: MAX_TOOLS,
                },
                TOOLS_ARE,
            )
            .neutral(&[Neutral::Empty]),
            Field::new(
                "tool_choice",
                Kind::Either(&[
                    Kind::Choice(&["none", "auto", "required"]),
                    Kind::Object(&NAMED),
                ]),
                "As in chat completions.",
            )
            .neutral(&[Neutral::Empty]),
            PARALLEL,
            Field::new(
                "text",
                Kind::Object(&TEXT_OPTIONS),
                "The form of an answer that is no call.",
            )
            .neutral(&[Neutral::Empty]),
            Field::new(
                "reasoning",
                Kind::Object(&REASONING),
                "Only what asks for nothing.",
            )
            .neutral(&[Neutral::Empty]),
            Field::new(
                "include",
                Kind::List {
                    of: &INCLUDE,
                    min: 0,
                    max: 64,
                },
                "`message.output_text.logprobs` reports the log-probability of each token; the others are in no answer.",
            ),
            Field::new(
                "top_logprobs",
                ALTERNATIVES,
                "Alternatives for each token; needs `include` to ask for log-probabilities.",
            )
            .neutral(&[Neutral::Number(0.0)]),
            STOPS,
            Field::new(
                "stream_options",
                Kind::Object(&STREAM_OPTIONS),
                "With `stream` only.",
            )
            .neutral(&[Neutral::Empty]),
        ],
        &NUMBERS_OF_SAMPLING,
        STEERING,
        BOOKKEEPING,
        UNBUILT,
    ],
};
