//! Functions in chat requests: the tables of their fields, and what they mean.

use serde::Deserialize;
use serde_json::Value;

use super::shape::{COUNT, FLAG, Field, Kind, NAME, Neutral, Shape, TEXT};
use crate::domain::{MAX_CALLS, MAX_TOOL_NAME, MAX_TOOLS, Reason, ToolCall, ToolChoice, Toolset};

pub(super) const ANYTHING: Kind = Kind::Map {
    of: &Kind::Any,
    max: 256,
};
pub(super) const FUNCTION_ONLY: Kind = Kind::Choice(&["function"]);
pub(super) const FUNCTION_NAME: Kind = Kind::Text {
    min: 1,
    max: MAX_TOOL_NAME,
};

/// What a function is called and what it is for.
pub(super) const NAMED_FOR: &[Field] = &[
    Field::new(
        "name",
        FUNCTION_NAME,
        "Letters, digits, `_`, `-`, `.` and `:`.",
    )
    .required(),
    Field::new("description", TEXT, "Told to the model."),
];
/// What it takes, as OpenAI says it.
pub(super) const TAKES: &[Field] = &[
    Field::new(
        "parameters",
        ANYTHING,
        "JSON schema of its arguments, an object.",
    ),
    STRICT,
];
pub(super) const STRICT: Field = Field::new(
    "strict",
    FLAG,
    "Hold arguments to the schema; default false.",
);
/// Of a list of functions.
pub(super) const TOOLS_ARE: &str =
    "Functions the model may call, told to it by its chat template. An empty list is none.";
pub(super) const PARALLEL: Field = Field::new(
    "parallel_tool_calls",
    FLAG,
    "With false, only the first call of an answer is kept. Default true.",
);

const FUNCTION: Shape = Shape {
    name: "FunctionDefinition",
    about: "What a function is for and takes.",
    fields: &[NAMED_FOR, TAKES],
};
const TOOL: Shape = Shape {
    name: "Tool",
    about: "Something the model may call.",
    fields: &[&[
        Field::new("type", FUNCTION_ONLY, "").required(),
        Field::new("function", Kind::Object(&FUNCTION), "").required(),
    ]],
};
const NAMED: Shape = Shape {
    name: "NamedFunction",
    about: "",
    fields: &[&[Field::new("name", FUNCTION_NAME, "One of `tools`.").required()]],
};
const NAMED_CHOICE: Shape = Shape {
    name: "NamedToolChoice",
    about: "The function to call.",
    fields: &[&[
        Field::new("type", FUNCTION_ONLY, "").required(),
        Field::new("function", Kind::Object(&NAMED), "").required(),
    ]],
};

/// Of a chat request.
pub(super) const TOOLS: &[Field] = &[
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
        Kind::Either(&[
            Kind::Choice(&["none", "auto", "required"]),
            Kind::Object(&NAMED_CHOICE),
        ]),
        "`auto` (default with `tools`): the model decides. `none`: it is not told of them. `required`: it calls at least one. A function: it calls that one, once.",
    )
    .neutral(&[Neutral::Empty]),
    PARALLEL,
];

const CALLED: Shape = Shape {
    name: "CalledFunction",
    about: "",
    fields: &[&[
        Field::new("name", FUNCTION_NAME, "").required(),
        Field::new(
            "arguments",
            Kind::Either(&[TEXT, ANYTHING]),
            "An object, or the text of one.",
        ),
    ]],
};
const CALL: Shape = Shape {
    name: "ToolCall",
    about: "A call as it came in an answer.",
    fields: &[&[
        Field::new("id", NAME, "What the result names.").neutral(&[Neutral::Text("")]),
        Field::new("type", FUNCTION_ONLY, ""),
        Field::new("function", Kind::Object(&CALLED), "").required(),
        Field::new("index", COUNT, "Ignored."),
        Field::ignored("extra_content"),
        Field::ignored("provider_specific_fields"),
    ]],
};

/// Of a message in a conversation.
pub(super) const MESSAGE: &[Field] = &[
    Field::new(
        "tool_calls",
        Kind::List {
            of: &Kind::Object(&CALL),
            min: 0,
            max: MAX_CALLS,
        },
        "What an assistant called.",
    )
    .neutral(&[Neutral::Empty]),
    Field::new(
        "tool_call_id",
        NAME,
        "With role `tool`: the call that this is the result of.",
    )
    .neutral(&[Neutral::Text("")]),
];

/// `tools` and what goes with them, as sent.
#[derive(Debug, Deserialize)]
pub(super) struct ToolsAsk {
    tools: Option<Vec<Value>>,
    tool_choice: Option<ChoiceAsk>,
    parallel_tool_calls: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ChoiceAsk {
    Word(String),
    Named { function: NamedAsk },
}

#[derive(Debug, Deserialize)]
struct NamedAsk {
    name: String,
}

impl ToolsAsk {
    pub fn settle(self) -> Result<Toolset, Reason> {
        let choice = match self.tool_choice {
            None => ToolChoice::Auto,
            Some(ChoiceAsk::Named { function }) => ToolChoice::Named(function.name),
            Some(ChoiceAsk::Word(word)) => match word.as_str() {
                "none" => ToolChoice::None,
                "required" => ToolChoice::Required,
                _ => ToolChoice::Auto,
            },
        };
        let tools = self.tools.unwrap_or_default();
        Toolset::check(tools, choice, self.parallel_tool_calls.unwrap_or(true))
    }
}

/// The calls of a message; `place` names it.
pub(super) fn calls(place: &str, calls: &[Value]) -> Result<Vec<ToolCall>, Reason> {
    let call = |(at, call): (usize, &Value)| {
        ToolCall::read(call).map_err(|(part, why)| {
            let dot = if part.is_empty() { "" } else { "." };
            Reason::field(format!("{place}.tool_calls[{at}]{dot}{part}"), why)
        })
    };
    calls.iter().enumerate().map(call).collect()
}
