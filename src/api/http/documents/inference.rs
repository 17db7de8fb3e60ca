//! Answers of the inference endpoints.

use super::super::shape::{ANY_NUMBER, COUNT, Field, Kind, Shape, TEXT};
use super::{CREATED, GENERATION, ID, IDS, LIST, list_of, shape};

const FINISH: Field = Field::new(
    "finish_reason",
    Kind::Choice(&["stop", "length", "tool_calls"]),
    "Null until the answer ends.",
);

const CACHED: Shape = shape(
    "PromptTokensDetails",
    "",
    &[&[Field::new("cached_tokens", COUNT, "").required()]],
);
const USAGE: Shape = shape(
    "Usage",
    "Tokens of the whole request.",
    &[&[
        Field::new("prompt_tokens", COUNT, "").required(),
        Field::new("completion_tokens", COUNT, "").required(),
        Field::new("total_tokens", COUNT, "").required(),
        Field::new("prompt_tokens_details", Kind::Object(&CACHED), "").required(),
    ]],
);
const USED: Field = Field::new("usage", Kind::Object(&USAGE), "");

const ENVELOPE: &[Field] = &[
    ID,
    CREATED,
    Field::new("model", TEXT, "What answered.").required(),
    Field::new("system_fingerprint", TEXT, "Which base answered.").required(),
    GENERATION,
    USED,
];

const BYTES: Kind = list_of(&Kind::Integer { min: 0, max: 255 });
const ALTERNATIVE: &[Field] = &[
    Field::new("token", TEXT, "").required(),
    Field::new(
        "logprob",
        ANY_NUMBER,
        "Natural log, of the model's own distribution.",
    ),
    Field::new("bytes", BYTES, "").required(),
];
const TOP: Shape = shape("TopLogprob", "", &[ALTERNATIVE]);
const TOKEN: Shape = shape(
    "TokenLogprob",
    "",
    &[
        ALTERNATIVE,
        &[Field::new("top_logprobs", list_of(&Kind::Object(&TOP)), "").required()],
    ],
);
const CHAT_LOGPROBS: Shape = shape(
    "ChatLogprobs",
    "",
    &[&[
        Field::new("content", list_of(&Kind::Object(&TOKEN)), "").required(),
        Field::new("refusal", Kind::Unbuilt(""), ""),
    ]],
);
const CHAT_PARTS: &[Field] = &[
    Field::new("index", COUNT, "").required(),
    Field::new("logprobs", Kind::Object(&CHAT_LOGPROBS), ""),
    FINISH,
    Field::new("token_ids", IDS, "Where asked for."),
];
const CALLED: Shape = shape(
    "AnsweredFunction",
    "",
    &[&[
        Field::new("name", TEXT, "").required(),
        Field::new("arguments", TEXT, "The text of a JSON object.").required(),
    ]],
);
const CALL: Shape = shape(
    "AnsweredCall",
    "",
    &[&[
        ID,
        Field::new("type", Kind::Choice(&["function"]), "").required(),
        Field::new("function", Kind::Object(&CALLED), "").required(),
    ]],
);
const CALLED_PIECE: Shape = shape(
    "AnsweredFunctionDelta",
    "",
    &[&[
        Field::new("name", TEXT, "In the first piece of a call."),
        Field::new("arguments", TEXT, "To be joined.").required(),
    ]],
);
const CALL_PIECE: Shape = shape(
    "AnsweredCallDelta",
    "",
    &[&[
        Field::new("index", COUNT, "Which call of the answer.").required(),
        Field::new("id", TEXT, "In the first piece of a call."),
        Field::new(
            "type",
            Kind::Choice(&["function"]),
            "In the first piece of a call.",
        ),
        Field::new("function", Kind::Object(&CALLED_PIECE), "").required(),
    ]],
);
const ANSWER: Shape = shape(
    "AssistantMessage",
    "",
    &[&[
        Field::new("role", Kind::Choice(&["assistant"]), "").required(),
        Field::new("content", TEXT, "Null where it only calls."),
        Field::new("refusal", Kind::Unbuilt(""), ""),
        Field::new(
            "tool_calls",
            list_of(&Kind::Object(&CALL)),
            "Where it calls functions.",
        ),
    ]],
);
const DELTA: Shape = shape(
    "AssistantDelta",
    "",
    &[&[
        Field::new("role", Kind::Choice(&["assistant"]), ""),
        Field::new("content", TEXT, ""),
        Field::new(
            "tool_calls",
            list_of(&Kind::Object(&CALL_PIECE)),
            "Pieces of calls.",
        ),
    ]],
);
const CHAT_CHOICE: Shape = shape(
    "ChatChoice",
    "",
    &[
        CHAT_PARTS,
        &[Field::new("message", Kind::Object(&ANSWER), "").required()],
    ],
);
const CHUNK_CHOICE: Shape = shape(
    "ChatChunkChoice",
    "",
    &[
        CHAT_PARTS,
        &[Field::new("delta", Kind::Object(&DELTA), "").required()],
    ],
);
const PROMPT_IDS: Field = Field::new("prompt_token_ids", IDS, "Where asked for.");

pub(in super::super) const CHAT: Shape = shape(
    "ChatCompletion",
    "Answers to a conversation.",
    &[
        ENVELOPE,
        &[
            Field::new("object", Kind::Choice(&["chat.completion"]), "").required(),
            Field::new("choices", list_of(&Kind::Object(&CHAT_CHOICE)), "").required(),
            PROMPT_IDS,
        ],
    ],
);
pub(in super::super) const CHAT_CHUNK: Shape = shape(
    "ChatCompletionChunk",
    "A piece of an answer; the stream ends with `[DONE]`.",
    &[
        ENVELOPE,
        &[
            Field::new("object", Kind::Choice(&["chat.completion.chunk"]), "").required(),
            Field::new("choices", list_of(&Kind::Object(&CHUNK_CHOICE)), "").required(),
            PROMPT_IDS,
        ],
    ],
);

const TEXT_LOGPROBS: Shape = shape(
    "TextLogprobs",
    "Parallel lists; the first token of an echoed prompt has null.",
    &[&[
        Field::new("tokens", list_of(&TEXT), "").required(),
        Field::new("token_logprobs", list_of(&Kind::Any), "").required(),
        Field::new("top_logprobs", list_of(&Kind::Any), "").required(),
        Field::new("text_offset", list_of(&COUNT), "In characters.").required(),
    ]],
);
const TEXT_CHOICE: Shape = shape(
    "TextChoice",
    "",
    &[&[
        Field::new("index", COUNT, "Prompt times n, plus the answer's number.").required(),
        Field::new("text", TEXT, "").required(),
        Field::new("logprobs", Kind::Object(&TEXT_LOGPROBS), ""),
        FINISH,
        Field::new("token_ids", IDS, "Where asked for."),
        PROMPT_IDS,
    ]],
);
pub(in super::super) const TEXT_COMPLETION: Shape = shape(
    "TextCompletion",
    "Answers to prompts, or a piece of one.",
    &[
        ENVELOPE,
        &[
            Field::new("object", Kind::Choice(&["text_completion"]), "").required(),
            Field::new("choices", list_of(&Kind::Object(&TEXT_CHOICE)), "").required(),
        ],
    ],
);

const EMBEDDING: Shape = shape(
    "Embedding",
    "",
    &[&[
        Field::new("object", Kind::Choice(&["embedding"]), "").required(),
        Field::new("index", COUNT, "Of the text.").required(),
        Field::new(
            "embedding",
            Kind::Either(&[list_of(&ANY_NUMBER), TEXT]),
            "Numbers, or in base64 where asked for.",
        )
        .required(),
    ]],
);
const EMBEDDED: Shape = shape(
    "EmbeddingUsage",
    "Tokens of all texts.",
    &[&[
        Field::new("prompt_tokens", COUNT, "").required(),
        Field::new("total_tokens", COUNT, "").required(),
    ]],
);
pub(in super::super) const EMBEDDINGS: Shape = shape(
    "EmbeddingList",
    "Vectors in the order of their texts.",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&EMBEDDING)), "").required(),
        Field::new("model", TEXT, "What made them.").required(),
        Field::new("usage", Kind::Object(&EMBEDDED), "").required(),
        GENERATION,
    ]],
);

pub(in super::super) const TOKENS: Shape = shape(
    "Tokens",
    "",
    &[&[
        Field::new("tokens", IDS, "").required(),
        Field::new("count", COUNT, "").required(),
    ]],
);
pub(in super::super) const PROMPT: Shape = shape(
    "Prompt",
    "",
    &[&[Field::new("prompt", TEXT, "").required()]],
);
pub(in super::super) const MODEL: Shape = shape(
    "Model",
    "What the `model` field can name.",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["model"]), "").required(),
        CREATED,
        Field::new("owned_by", TEXT, "").required(),
        Field::new("root", TEXT, "The base.").required(),
        Field::new("parent", TEXT, "The base, for an adapter."),
        Field::new(
            "max_model_len",
            COUNT,
            "Tokens of prompt and answer together.",
        )
        .required(),
        GENERATION,
    ]],
);
pub(in super::super) const MODELS: Shape = shape(
    "ModelList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&MODEL)), "").required(),
    ]],
);
