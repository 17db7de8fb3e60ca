//! Fields of OpenAI's, vLLM's and other servers' requests that do nothing here: for each, the values that ask for
//! nothing (beside null), and what is said of any other. A feature that is built leaves this table.

use super::shape::Neutral::{Empty, Flag, Like, Number, Only, Text};
use super::shape::{FLAG, Field};

const OLD_TOOLS: &str = "is an older form of `tools`, `tool_choice` and `tool_calls`; send those";
const ONE_GUIDE: &str = "there is one backend, and blank space in JSON has one form";
const NO_MEDIA: &str = "only text is available";
const NO_VARIABLES: &str = "the model's own chat template is used as it is";
const NO_SAMPLER: &str = "this sampler is not available";
const NO_ROUTING: &str = "requests are not passed on to other providers or models";
const NO_REASONING: &str = "reasoning is not told apart from answers";

/// Of chat and text completions.
pub(super) const SAMPLING: &[Field] = &[
    Field::unbuilt(
        "guided_decoding_backend",
        ONE_GUIDE,
        &[Empty, Text("auto"), Text("guidance")],
    ),
    Field::unbuilt("guided_whitespace_pattern", ONE_GUIDE, &[Empty]),
    Field::unbuilt(
        "structural_tag",
        "is not available; `guided_grammar` says the same",
        &[Empty],
    ),
    Field::unbuilt(
        "use_beam_search",
        "beam search is not available",
        &[Flag(false)],
    ),
    Field::unbuilt(
        "length_penalty",
        "is for beam search, which is not available",
        &[Number(1.0)],
    ),
    Field::unbuilt(
        "early_stopping",
        "is for beam search, which is not available",
        &[Flag(false)],
    ),
    Field::unbuilt("typical_p", NO_SAMPLER, &[Number(1.0)]),
    Field::unbuilt("tfs_z", NO_SAMPLER, &[Number(1.0)]),
    Field::unbuilt("top_a", NO_SAMPLER, &[Number(0.0)]),
    Field::unbuilt("mirostat", NO_SAMPLER, &[Number(0.0)]),
    Field::unbuilt(
        "allowed_token_ids",
        "is not available; use `logit_bias`",
        &[Empty],
    ),
    Field::unbuilt("bad_words", "is not available; use `logit_bias`", &[Empty]),
    Field::unbuilt("logits_processors", "is not available", &[Empty]),
    Field::unbuilt("repetition_detection", "is not available", &[Empty]),
    Field::unbuilt("thinking_token_budget", NO_REASONING, &[]),
    Field::unbuilt("include_reasoning", NO_REASONING, &[Flag(true)]),
    Field::unbuilt("reasoning", NO_REASONING, &[Empty]),
    Field::unbuilt(
        "skip_special_tokens",
        "special tokens are no part of an answer's text; ask for `return_token_ids`",
        &[Flag(true)],
    ),
    Field::new(
        "spaces_between_special_tokens",
        FLAG,
        "Ignored: special tokens are no part of an answer's text.",
    ),
    Field::unbuilt(
        "include_stop_str_in_output",
        "a stop string is never part of the answer",
        &[Flag(false)],
    ),
    Field::unbuilt("detokenize", "answers are always text", &[Flag(true)]),
    Field::unbuilt(
        "truncate_prompt_tokens",
        "a prompt that is too long is refused, never cut",
        &[],
    ),
    Field::unbuilt(
        "truncation_side",
        "a prompt that is too long is refused, never cut",
        &[Empty, Text("left"), Text("right")],
    ),
    Field::unbuilt(
        "prompt_logprobs",
        "is not available; /v1/completions has `echo` with `logprobs`",
        &[Flag(false)],
    ),
    Field::unbuilt("logprob_token_ids", "is not available", &[Empty]),
    Field::unbuilt(
        "return_tokens_as_token_ids",
        "is not available; ask for `return_token_ids`",
        &[Flag(false)],
    ),
    Field::unbuilt("kv_transfer_params", "is not available", &[Empty]),
    Field::unbuilt("vllm_xargs", "is not available", &[Empty]),
    Field::unbuilt("provider", NO_ROUTING, &[Empty]),
    Field::unbuilt("models", NO_ROUTING, &[Empty]),
    Field::unbuilt("route", NO_ROUTING, &[Empty]),
    Field::unbuilt("transforms", NO_ROUTING, &[Empty]),
    Field::unbuilt("plugins", "plug-ins are not available", &[Empty]),
    Field::unbuilt(
        "usage",
        "is always part of an answer; of a stream with `stream_options.include_usage`",
        &[Empty],
    ),
];

/// What vLLM's clients say of the chat template.
pub(super) const TEMPLATE: &[Field] = &[
    Field::unbuilt("documents", NO_VARIABLES, &[Empty]),
    Field::unbuilt("chat_template", NO_VARIABLES, &[Empty]),
    Field::unbuilt(
        "continue_final_message",
        "an answer always begins a turn of its own",
        &[Flag(false)],
    ),
    Field::unbuilt("mm_processor_kwargs", NO_MEDIA, &[Empty]),
    Field::unbuilt("media_io_kwargs", NO_MEDIA, &[Empty]),
];

pub(super) const CHAT: &[Field] = &[
    Field::unbuilt("chat_template_kwargs", NO_VARIABLES, &[Empty]),
    Field::unbuilt(
        "add_generation_prompt",
        "an answer always begins a turn of its own",
        &[Flag(true)],
    ),
    Field::unbuilt("functions", OLD_TOOLS, &[Empty]),
    Field::unbuilt(
        "function_call",
        OLD_TOOLS,
        &[Empty, Text("none"), Text("auto")],
    ),
    Field::unbuilt("modalities", NO_MEDIA, &[Only("text"), Empty]),
    Field::unbuilt("audio", NO_MEDIA, &[Empty]),
    Field::unbuilt(
        "prediction",
        "predicted outputs are not available",
        &[Empty],
    ),
    // An empty object switches the search on.
    Field::unbuilt("web_search_options", "web search is not available", &[]),
    Field::unbuilt(
        "verbosity",
        "only `medium` is available",
        &[Text("medium"), Empty],
    ),
    Field::unbuilt("echo", "is for /v1/completions", &[Flag(false)]),
    Field::unbuilt(
        "add_special_tokens",
        "a chat template writes its own",
        &[Flag(false)],
    ),
];

pub(super) const COMPLETION: &[Field] = &[
    Field::unbuilt("suffix", "infilling is not available", &[Empty]),
    Field::unbuilt(
        "best_of",
        "is not available beyond `n`; use `n`",
        &[Number(1.0), Like("n")],
    ),
    Field::unbuilt(
        "prompt_embeds",
        "is not available; send text or token ids",
        &[Empty],
    ),
    Field::unbuilt(
        "add_special_tokens",
        "text gets the model's special tokens; send token ids to have none",
        &[Flag(true)],
    ),
];

/// What clients of other servers say of vectors.
pub(super) const EMBEDDING: &[Field] = &[
    Field::unbuilt("normalize", "a vector always has length 1", &[Flag(true)]),
    Field::unbuilt(
        "add_special_tokens",
        "text gets the model's special tokens; send token ids to have none",
        &[Flag(true)],
    ),
    Field::unbuilt(
        "truncate_prompt_tokens",
        "a text that is too long is refused, never cut",
        &[],
    ),
    Field::unbuilt(
        "truncate",
        "a text that is too long is refused, never cut",
        &[Flag(false)],
    ),
];

/// Of a message in a conversation: what would change what the model reads.
pub(super) const MESSAGE: &[Field] = &[
    Field::unbuilt("function_call", OLD_TOOLS, &[Empty]),
    Field::unbuilt("audio", NO_MEDIA, &[Empty]),
    Field::unbuilt("images", NO_MEDIA, &[Empty]),
    Field::unbuilt("videos", NO_MEDIA, &[Empty]),
    Field::unbuilt(
        "prefix",
        "an answer always begins a turn of its own",
        &[Flag(false)],
    ),
    Field::unbuilt(
        "partial",
        "an answer always begins a turn of its own",
        &[Flag(false)],
    ),
];

/// What servers write beside an answer's text and clients send back with it. The model never reads it.
pub(super) const ECHOED: &[Field] = &[
    Field::ignored("type"),
    Field::ignored("id"),
    Field::ignored("object"),
    Field::ignored("status"),
    Field::ignored("phase"),
    Field::ignored("index"),
    Field::ignored("model"),
    Field::ignored("created"),
    Field::ignored("created_at"),
    Field::ignored("timestamp"),
    Field::ignored("finish_reason"),
    Field::ignored("stop_reason"),
    Field::ignored("logprobs"),
    Field::ignored("token_ids"),
    Field::ignored("usage"),
    Field::ignored("metadata"),
    Field::ignored("annotations"),
    Field::ignored("citations"),
    Field::ignored("refusal"),
    Field::ignored("parsed"),
    Field::ignored("reasoning"),
    Field::ignored("reasoning_content"),
    Field::ignored("reasoning_details"),
    Field::ignored("thinking"),
    Field::ignored("thinking_blocks"),
    Field::ignored("provider_specific_fields"),
    Field::ignored("extra_content"),
    Field::ignored("cache_control"),
];

/// The same of a part of a message.
pub(super) const ECHOED_PART: &[Field] = &[
    Field::ignored("id"),
    Field::ignored("index"),
    Field::ignored("annotations"),
    Field::ignored("citations"),
    Field::ignored("logprobs"),
    Field::ignored("metadata"),
    Field::ignored("cache_control"),
    Field::ignored("provider_specific_fields"),
    Field::ignored("extra_content"),
];
