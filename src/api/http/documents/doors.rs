//! Answers in the forms of OpenAI's Responses and of Anthropic.

use super::super::shape::{ANY_NUMBER, COUNT, FLAG, Field, Kind, Shape, TEXT};
use super::{CREATED_AT, GENERATION, ID, list_of, shape};

const NULL: Kind = Kind::Unbuilt("");
const ANY_OBJECT: Kind = Kind::Map {
    of: &Kind::Any,
    max: usize::MAX,
};

const CACHED: Shape = shape(
    "ResponseInputTokens",
    "",
    &[&[
        Field::new("cached_tokens", COUNT, "Found in the cache.").required(),
        Field::new("cache_write_tokens", COUNT, "Always 0.").required(),
    ]],
);
const REASONED: Shape = shape(
    "ResponseOutputTokens",
    "",
    &[&[Field::new(
        "reasoning_tokens",
        COUNT,
        "Always 0: reasoning is not told apart.",
    )
    .required()]],
);
const USAGE: Shape = shape(
    "ResponseUsage",
    "Tokens of the whole request.",
    &[&[
        Field::new("input_tokens", COUNT, "").required(),
        Field::new("input_tokens_details", Kind::Object(&CACHED), "").required(),
        Field::new("output_tokens", COUNT, "").required(),
        Field::new("output_tokens_details", Kind::Object(&REASONED), "").required(),
        Field::new("total_tokens", COUNT, "").required(),
    ]],
);
const PART: Shape = shape(
    "ResponseOutputText",
    "",
    &[&[
        Field::new("type", Kind::Choice(&["output_text"]), "").required(),
        Field::new("text", TEXT, "").required(),
        Field::new("annotations", list_of(&Kind::Any), "Always empty.").required(),
        Field::new("logprobs", list_of(&Kind::Any), "Where asked for.").required(),
    ]],
);
const STATUS: Kind = Kind::Choice(&["in_progress", "completed", "incomplete", "failed"]);
const ITEM: Shape = shape(
    "ResponseOutputItem",
    "A message or a call.",
    &[&[
        ID,
        Field::new("type", Kind::Choice(&["message", "function_call"]), "").required(),
        Field::new("status", STATUS, "").required(),
        Field::new("role", Kind::Choice(&["assistant"]), "Of a message."),
        Field::new("content", list_of(&Kind::Object(&PART)), "Of a message."),
        Field::new("call_id", TEXT, "Of a call: what its output names."),
        Field::new("name", TEXT, "Of a call."),
        Field::new("arguments", TEXT, "Of a call: the text of a JSON object."),
    ]],
);
const INCOMPLETE: Shape = shape(
    "ResponseIncomplete",
    "",
    &[&[Field::new("reason", Kind::Choice(&["max_output_tokens"]), "").required()]],
);
const FAILED: Shape = shape(
    "ResponseError",
    "",
    &[&[
        Field::new(
            "code",
            Kind::Choice(&["server_error", "rate_limit_exceeded", "invalid_prompt"]),
            "",
        )
        .required(),
        Field::new("message", TEXT, "For people.").required(),
        Field::new("param", TEXT, "The field at fault."),
    ]],
);

pub(in super::super) const RESPONSE: Shape = shape(
    "Response",
    "An answer to a conversation. Fields of the request are repeated.",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["response"]), "").required(),
        CREATED_AT,
        Field::new("status", STATUS, "`incomplete`: cut short by its length.").required(),
        Field::new("model", TEXT, "What answered.").required(),
        GENERATION,
        Field::new(
            "output",
            list_of(&Kind::Object(&ITEM)),
            "Messages and calls.",
        )
        .required(),
        Field::new("usage", Kind::Object(&USAGE), "Null until the answer ends."),
        Field::new("incomplete_details", Kind::Object(&INCOMPLETE), ""),
        Field::new("error", Kind::Object(&FAILED), "In a stream that fails."),
        Field::new("background", FLAG, "Always false.").required(),
        Field::new("store", FLAG, "Always false.").required(),
        Field::new("previous_response_id", NULL, ""),
        Field::new("truncation", Kind::Choice(&["disabled"]), "").required(),
        Field::new("instructions", TEXT, ""),
        Field::new("max_output_tokens", COUNT, ""),
        Field::new("metadata", ANY_OBJECT, "").required(),
        Field::new("parallel_tool_calls", FLAG, "").required(),
        Field::new("prompt_cache_key", TEXT, ""),
        Field::new("reasoning", ANY_OBJECT, "").required(),
        Field::new("safety_identifier", TEXT, ""),
        Field::new("temperature", ANY_NUMBER, "").required(),
        Field::new("text", ANY_OBJECT, "").required(),
        Field::new("tool_choice", Kind::Any, "").required(),
        Field::new("tools", list_of(&Kind::Any), "").required(),
        Field::new("top_p", ANY_NUMBER, "").required(),
        Field::new("user", TEXT, ""),
    ]],
);

pub(in super::super) const RESPONSE_EVENT: Shape = shape(
    "ResponseEvent",
    "A step of an answer; its type is the event's name too. `response.completed`, `response.incomplete` or `response.failed` is the last.",
    &[&[
        Field::new(
            "type",
            Kind::Choice(&[
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.completed",
                "response.incomplete",
                "response.failed",
            ]),
            "",
        )
        .required(),
        Field::new("sequence_number", COUNT, "Counted from 0.").required(),
        Field::new("response", Kind::Object(&RESPONSE), ""),
        Field::new("output_index", COUNT, "Which item."),
        Field::new("item", Kind::Object(&ITEM), ""),
        Field::new("item_id", TEXT, ""),
        Field::new("content_index", COUNT, "Always 0."),
        Field::new("part", Kind::Object(&PART), ""),
        Field::new("delta", TEXT, "To be joined."),
        Field::new("logprobs", list_of(&Kind::Any), "Where asked for."),
        Field::new("text", TEXT, "All of it."),
        Field::new("name", TEXT, ""),
        Field::new("arguments", TEXT, "All of them."),
    ]],
);

const READ: &[Field] = &[
    Field::new("input_tokens", COUNT, "Without those found in the cache.").required(),
    Field::new("cache_read_input_tokens", COUNT, "Found in the cache.").required(),
    Field::new("cache_creation_input_tokens", COUNT, "Always 0.").required(),
    Field::new("output_tokens", COUNT, "").required(),
];
const MESSAGE_USAGE: Shape = shape("MessageUsage", "Tokens of the whole request.", &[READ]);
const BLOCK: Shape = shape(
    "MessageOutputBlock",
    "Text or a call.",
    &[&[
        Field::new("type", Kind::Choice(&["text", "tool_use"]), "").required(),
        Field::new("text", TEXT, "Of text."),
        Field::new("citations", NULL, ""),
        Field::new("id", TEXT, "Of a call: what its result names."),
        Field::new("name", TEXT, "Of a call."),
        Field::new("input", ANY_OBJECT, "Of a call: its arguments."),
    ]],
);
const STOPPED: &[Field] = &[
    Field::new(
        "stop_reason",
        Kind::Choice(&["end_turn", "max_tokens", "stop_sequence", "tool_use"]),
        "Null until the answer ends.",
    ),
    Field::new("stop_sequence", TEXT, "The one that ended it."),
];

pub(in super::super) const MESSAGE: Shape = shape(
    "Message",
    "An answer to a conversation.",
    &[
        &[
            ID,
            Field::new("type", Kind::Choice(&["message"]), "").required(),
            Field::new("role", Kind::Choice(&["assistant"]), "").required(),
            Field::new("model", TEXT, "What answered.").required(),
            Field::new("content", list_of(&Kind::Object(&BLOCK)), "").required(),
            Field::new("usage", Kind::Object(&MESSAGE_USAGE), "").required(),
            GENERATION,
        ],
        STOPPED,
    ],
);

const DELTA: Shape = shape(
    "MessageDelta",
    "",
    &[
        &[
            Field::new(
                "type",
                Kind::Choice(&["text_delta", "input_json_delta"]),
                "Of a block.",
            ),
            Field::new("text", TEXT, "To be joined."),
            Field::new("partial_json", TEXT, "To be joined."),
        ],
        STOPPED,
    ],
);

pub(in super::super) const MESSAGE_EVENT: Shape = shape(
    "MessageEvent",
    "A step of an answer; its type is the event's name too. `message_stop` or `error` is the last.",
    &[&[
        Field::new(
            "type",
            Kind::Choice(&[
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
                "ping",
                "error",
            ]),
            "",
        )
        .required(),
        Field::new("message", Kind::Object(&MESSAGE), ""),
        Field::new("index", COUNT, "Which block."),
        Field::new("content_block", Kind::Object(&BLOCK), ""),
        Field::new("delta", Kind::Object(&DELTA), ""),
        Field::new("usage", Kind::Object(&MESSAGE_USAGE), ""),
        Field::new("error", Kind::Object(&ERROR_PARTS), ""),
        Field::new("request_id", TEXT, ""),
    ]],
);

pub(in super::super) const TOKEN_COUNT: Shape = shape(
    "MessageTokenCount",
    "",
    &[&[Field::new("input_tokens", COUNT, "Of the whole prompt.").required()]],
);

const ERROR_PARTS: Shape = shape(
    "MessageErrorDetail",
    "",
    &[&[
        Field::new("type", TEXT, "").required(),
        Field::new("message", TEXT, "For people.").required(),
        Field::new("param", TEXT, "The field at fault."),
        Field::new("code", TEXT, "For programs.").required(),
    ]],
);
pub(in super::super) const ANTHROPIC_ERROR: Shape = shape(
    "MessageError",
    "Every error of these routes.",
    &[&[
        Field::new("type", Kind::Choice(&["error"]), "").required(),
        Field::new("error", Kind::Object(&ERROR_PARTS), "").required(),
        Field::new(
            "request_id",
            TEXT,
            "As the headers `request-id` and `x-request-id`.",
        )
        .required(),
    ]],
);
