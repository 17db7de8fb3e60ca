//! Functions that a model may call: how a request describes them, and their calls in a conversation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Reason;

/// Functions of one request.
pub const MAX_TOOLS: usize = 128;
/// Bytes of their descriptions together: they are part of every prompt.
pub const MAX_TOOLS_BYTES: usize = 1 << 20;
/// Bytes of a function's name.
pub const MAX_TOOL_NAME: usize = 128;
/// Calls in one message.
pub const MAX_CALLS: usize = 128;

/// A call in a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Pairs a call with its result; some rows of training data have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub name: String,
    /// As an object, which is what chat templates expect.
    pub arguments: Map<String, Value>,
}

impl ToolCall {
    /// The call as clients and rows write it: `{"id"?, "type"?, "function": {"name", "arguments"}}`, the arguments as an
    /// object or as its text.
    ///
    /// # Errors
    /// Where in it something is wrong (empty: in the call itself), and what.
    pub fn read(value: &Value) -> Result<Self, (String, String)> {
        let wrong = |at: &str, why: &str| (at.to_owned(), why.to_owned());
        if value
            .get("type")
            .is_some_and(|kind| !kind.is_null() && kind != "function")
        {
            return Err(wrong("type", "only functions can be called"));
        }
        let function = &value["function"];
        if !function.is_object() {
            return Err(wrong(
                "function",
                "is required, with `name` and `arguments`",
            ));
        }
        let name = function["name"].as_str().unwrap_or_default();
        check_name(name).map_err(|why| ("function.name".to_owned(), why))?;
        let id = match &value["id"] {
            Value::Null => None,
            Value::String(id) if id.is_empty() => None,
            Value::String(id) => Some(id.clone()),
            _ => return Err(wrong("id", "is not a string")),
        };
        let arguments =
            arguments(&function["arguments"]).map_err(|why| wrong("function.arguments", why))?;
        Ok(Self {
            id,
            name: name.to_owned(),
            arguments,
        })
    }

    /// As chat templates read it.
    pub fn told(&self) -> Value {
        let mut told = Map::new();
        if let Some(id) = &self.id {
            told.insert("id".into(), json!(id));
        }
        told.insert("type".into(), json!("function"));
        let function = json!({"name": self.name, "arguments": self.arguments});
        told.insert("function".into(), function);
        Value::Object(told)
    }
}

fn arguments(value: &Value) -> Result<Map<String, Value>, &'static str> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map.clone()),
        Value::String(text) if text.trim().is_empty() => Ok(Map::new()),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err("is not the text of a JSON object"),
        },
        _ => Err("is not an object, nor the text of one"),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    match name.len() {
        0 => Err("is required".into()),
        long if long > MAX_TOOL_NAME => Err(format!("has {long} bytes, at most {MAX_TOOL_NAME}")),
        _ if !name.chars().all(known) => {
            Err("may hold letters, digits, `_`, `-`, `.` and `:`".into())
        }
        _ => Ok(()),
    }
}

/// A function as a request describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    /// A call's arguments must follow the schema, whatever the model would say.
    pub strict: bool,
    /// `{"type": "function", "function": {…}}`, as it was sent and as templates are told of it.
    pub sent: Value,
}

impl Tool {
    /// # Errors
    /// Where in it something is wrong (empty: in the description itself), and what.
    pub fn read(mut value: Value) -> Result<Self, (String, String)> {
        let wrong = |at: &str, why: &str| (at.to_owned(), why.to_owned());
        let Some(tool) = value.as_object_mut() else {
            return Err(wrong("", "is not an object"));
        };
        tool.retain(|_, value| !value.is_null());
        if tool.get("type").is_some_and(|kind| kind != "function") {
            return Err(wrong("type", "must be `function`"));
        }
        if let Some(key) = tool
            .keys()
            .find(|key| !matches!(key.as_str(), "type" | "function"))
        {
            return Err((key.clone(), "is not a field of a tool".into()));
        }
        let Some(Value::Object(function)) = tool.get_mut("function") else {
            return Err(wrong("function", "is required, an object with `name`"));
        };
        function.retain(|_, value| !value.is_null());
        for (key, value) in &*function {
            let fits = match key.as_str() {
                "name" | "description" => value.is_string(),
                "parameters" => value.is_object(),
                "strict" => value.is_boolean(),
                _ => {
                    return Err((
                        format!("function.{key}"),
                        "is not a field of a function".into(),
                    ));
                }
            };
            if !fits {
                let kind = match key.as_str() {
                    "parameters" => "must be an object: a JSON schema",
                    "strict" => "must be true or false",
                    _ => "must be a string",
                };
                return Err((format!("function.{key}"), kind.into()));
            }
        }
        let name = function.get("name").and_then(Value::as_str);
        let name = name.unwrap_or_default().to_owned();
        check_name(&name).map_err(|why| ("function.name".to_owned(), why))?;
        let of_object = |schema: &Value| match schema.get("type") {
            None => true,
            Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
            Some(kind) => kind == "object",
        };
        if !function.get("parameters").is_none_or(of_object) {
            let why = "must be the schema of an object: arguments have names";
            return Err(wrong("function.parameters.type", why));
        }
        let strict = function.get("strict") == Some(&Value::Bool(true));
        if !tool.contains_key("type") {
            let function = tool.remove("function").unwrap_or_default();
            tool.insert("type".into(), json!("function"));
            tool.insert("function".into(), function);
        }
        Ok(Self {
            name,
            strict,
            sent: value,
        })
    }

    /// The schema of its arguments; without one, any object.
    pub fn parameters(&self) -> Option<&Value> {
        self.sent["function"].get("parameters")
    }
}

/// Whether, and what, the model calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model is not told of the functions.
    None,
    #[default]
    Auto,
    /// Some call must come.
    Required,
    /// A call of this function must come.
    Named(String),
}

/// The functions of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Toolset {
    tools: Vec<Tool>,
    choice: ToolChoice,
    /// An answer may hold more than one call.
    parallel: bool,
}

impl Default for Toolset {
    fn default() -> Self {
        Self {
            tools: Vec::new(),
            choice: ToolChoice::Auto,
            parallel: true,
        }
    }
}

impl Toolset {
    /// # Errors
    /// `BadField`: what is wrong, by its path below `tools`, or `tool_choice`.
    pub fn check(tools: Vec<Value>, choice: ToolChoice, parallel: bool) -> Result<Self, Reason> {
        if tools.len() > MAX_TOOLS {
            let why = format!("has {} entries; at most {MAX_TOOLS}", tools.len());
            return Err(Reason::field("tools", why));
        }
        let mut read: Vec<Tool> = Vec::with_capacity(tools.len());
        let mut bytes = 0;
        for (at, value) in tools.into_iter().enumerate() {
            let place = |part: &str| match part {
                "" => format!("tools[{at}]"),
                part => format!("tools[{at}].{part}"),
            };
            let tool = Tool::read(value).map_err(|(part, why)| Reason::field(place(&part), why))?;
            if read.iter().any(|other| other.name == tool.name) {
                let why = format!("`{}` is described twice", tool.name);
                return Err(Reason::field(place("function.name"), why));
            }
            bytes += tool.sent.to_string().len();
            if bytes > MAX_TOOLS_BYTES {
                let why = format!("have more than {MAX_TOOLS_BYTES} bytes");
                return Err(Reason::field("tools", why));
            }
            read.push(tool);
        }
        match &choice {
            ToolChoice::Required | ToolChoice::Named(_) if read.is_empty() => {
                return Err(Reason::field("tool_choice", "needs `tools`"));
            }
            ToolChoice::Named(name) if read.iter().all(|tool| tool.name != *name) => {
                let why = format!("`{name}` is not among `tools`");
                return Err(Reason::field("tool_choice.function.name", why));
            }
            _ => {}
        }
        Ok(Self {
            tools: read,
            choice,
            parallel,
        })
    }

    /// Those that the model is told of and may call.
    pub fn offered(&self) -> &[Tool] {
        match self.choice {
            ToolChoice::None => &[],
            _ => &self.tools,
        }
    }

    /// The model does not decide whether it calls.
    pub fn must_call(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    pub fn choice(&self) -> &ToolChoice {
        &self.choice
    }

    pub fn parallel(&self) -> bool {
        self.parallel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
    }

    fn field(tools: Vec<Value>, choice: ToolChoice) -> String {
        match Toolset::check(tools, choice, true) {
            Err(Reason::BadField { field, .. }) => field,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_description_keeps_its_order_and_loses_its_nulls() {
        let sent = json!({"type": "function", "function": {
            "description": "d", "name": "f", "strict": null,
            "parameters": {"type": "object", "properties": {"b": {"default": null}, "a": {}}}}});
        let tool = Tool::read(sent).unwrap();
        assert_eq!(
            tool.sent.to_string(),
            r#"{"type":"function","function":{"description":"d","name":"f","parameters":{"type":"object","properties":{"b":{"default":null},"a":{}}}}}"#
        );
        assert!(!tool.strict && tool.parameters().is_some());
        let bare = Tool::read(json!({"function": {"name": "f", "strict": true}})).unwrap();
        assert_eq!(bare.sent["type"], "function");
        assert!(bare.strict && bare.parameters().is_none());
    }

    #[test]
    fn what_is_wrong_with_tools_is_named_by_its_path() {
        let with = |key: &str, value: Value| {
            let mut tool = tool("f");
            tool["function"][key] = value;
            vec![tool]
        };
        for (tools, path) in [
            (vec![json!("f")], "tools[0]"),
            (vec![tool("a"), tool("a")], "tools[1].function.name"),
            (vec![json!({"type": "web_search"})], "tools[0].type"),
            (vec![json!({"type": "function"})], "tools[0].function"),
            (
                vec![json!({"function": {"name": "f"}, "x": 1})],
                "tools[0].x",
            ),
            (with("name", json!("")), "tools[0].function.name"),
            (with("name", json!("a b")), "tools[0].function.name"),
            (
                with("name", json!("a".repeat(129))),
                "tools[0].function.name",
            ),
            (
                with("description", json!(5)),
                "tools[0].function.description",
            ),
            (
                with("parameters", json!([])),
                "tools[0].function.parameters",
            ),
            (
                with("parameters", json!({"type": "string"})),
                "tools[0].function.parameters.type",
            ),
            (with("strict", json!("yes")), "tools[0].function.strict"),
            (with("color", json!(1)), "tools[0].function.color"),
            (
                with("description", json!("x".repeat(MAX_TOOLS_BYTES))),
                "tools",
            ),
            ((0..129).map(|n| tool(&format!("f{n}"))).collect(), "tools"),
        ] {
            assert_eq!(field(tools, ToolChoice::Auto), path);
        }
        let named = ToolChoice::Named("g".into());
        assert_eq!(field(vec![tool("f")], named), "tool_choice.function.name");
        assert_eq!(field(vec![], ToolChoice::Required), "tool_choice");
    }

    #[test]
    fn a_model_that_must_not_call_is_not_told_of_what_it_could() {
        let told = |choice| Toolset::check(vec![tool("f")], choice, true).unwrap();
        assert!(told(ToolChoice::None).offered().is_empty());
        assert_eq!(told(ToolChoice::Auto).offered().len(), 1);
    }

    #[test]
    fn arguments_are_read_as_an_object_or_as_its_text() {
        let call = |arguments: Value| {
            ToolCall::read(
                &json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}),
            )
        };
        let told = json!({"b": 1, "a": [null]});
        for sent in [told.clone(), json!(told.to_string())] {
            let told = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": told}});
            assert_eq!(call(sent).unwrap().told(), told);
        }
        for nothing in [json!(null), json!(""), json!("{}"), json!({})] {
            assert!(call(nothing).unwrap().arguments.is_empty());
        }
        for bad in [json!(5), json!([1]), json!("[1]"), json!("{"), json!("x")] {
            assert_eq!(call(bad).unwrap_err().0, "function.arguments");
        }
        for (bad, at) in [
            (json!({"type": "custom"}), "type"),
            (json!({}), "function"),
            (json!({"function": {"name": ""}}), "function.name"),
            (json!({"id": 5, "function": {"name": "f"}}), "id"),
        ] {
            assert_eq!(ToolCall::read(&bad).unwrap_err().0, at);
        }
    }
}
