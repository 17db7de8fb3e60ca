//! Functions that a row describes, and the calls of its turns.

use serde_json::{Value, json};

use super::fields::Fields;
use super::kind;
use crate::domain::{MAX_CALLS, Role, ToolCall, ToolChoice, Toolset};

/// What can be called, as chat templates are told of it: `tools` as a list or as the text of one, each a function as
/// requests describe it, or only what is inside. A schema may say more than requests may.
pub(super) fn offered(row: &mut Fields) -> Result<Vec<Value>, String> {
    // How many calls an answer may hold is seen in the answer.
    row.take("parallel_tool_calls");
    let named = row.named("tools");
    if !row.has("tools") {
        row.take("tools");
        return Ok(Vec::new());
    }
    let tools = match row.take("tools") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => {
            serde_json::from_str(&text).map_err(|_| format!("{named} is not the text of a list"))?
        }
        Some(value) => value,
    };
    let Value::Array(tools) = tools else {
        return Err(format!(
            "{named} is {}, not a list of functions",
            kind(&tools)
        ));
    };
    let whole = |tool: Value| match tool.get("function").is_none() && tool.get("name").is_some() {
        true => json!({"type": "function", "function": tool}),
        false => tool,
    };
    let tools = tools.into_iter().map(whole).collect();
    let tools = Toolset::check(tools, ToolChoice::Auto, true);
    let tools = tools.map_err(|reason| format!("{named}: {reason}"))?;
    Ok({ tools.offered().iter() }
        .map(|tool| tool.sent.clone())
        .collect())
}

/// What a turn calls, and whose result it is.
pub(super) fn of_turn(
    turn: &mut Fields,
    role: Role,
) -> Result<(Vec<ToolCall>, Option<String>), String> {
    let calls = calls(turn, role)?;
    let id = turn.text("tool_call_id")?.filter(|id| !id.is_empty());
    if id.is_some() && role != Role::Tool {
        let named = turn.named("tool_call_id");
        return Err(format!("{named}: only a tool turn is the result of a call"));
    }
    Ok((calls, id))
}

fn calls(turn: &mut Fields, role: Role) -> Result<Vec<ToolCall>, String> {
    let named = turn.named("tool_calls");
    if !turn.has("tool_calls") {
        turn.take("tool_calls");
        return Ok(Vec::new());
    }
    let Some(Value::Array(calls)) = turn.take("tool_calls") else {
        return Err(format!("{named} is not a list of calls"));
    };
    if role != Role::Assistant {
        return Err(format!("{named}: only an assistant calls"));
    }
    if calls.len() > MAX_CALLS {
        return Err(format!(
            "{named} has {} calls, at most {MAX_CALLS}",
            calls.len()
        ));
    }
    let call = |(at, call): (usize, &Value)| {
        let bare = call.get("function").is_none() && call.get("name").is_some();
        let read = match bare {
            true => ToolCall::read(&json!({"id": call["id"], "function": call})),
            false => ToolCall::read(call),
        };
        let place = named.trim_matches('`');
        read.map_err(|(part, why)| match part.as_str() {
            "" => format!("`{place}[{at}]`: {why}"),
            part => format!("`{place}[{at}].{part}`: {why}"),
        })
    };
    calls.iter().enumerate().map(call).collect()
}
