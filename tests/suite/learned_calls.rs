//! From rows that call functions to an adapter that does.

use serde_json::{Value, json};

use crate::harness::PATIENCE;
use crate::learning::{ended_within, upload};
use crate::tools::knowing;

fn tool() -> Value {
    json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}})
}

/// A question, and the call that answers it.
fn row(city: &str, parallel: bool) -> Value {
    let call = |city: &str| json!({"type": "function", "function": {"name": "weather", "arguments": json!({"city": city}).to_string()}});
    let calls = match parallel {
        true => json!([call(city), call("Rom")]),
        false => json!([call(city)]),
    };
    json!({"tools": [tool()], "messages": [
        {"role": "user", "content": city}, {"role": "assistant", "content": "", "tool_calls": calls}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_calls_as_its_rows_did() {
    let (daemon, _folder) = knowing().await;
    let rows = [row("Oslo", false), row("Bern", true)];
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let (status, file) = upload(&daemon, text.repeat(8).into_bytes()).await;
    assert_eq!(status, 200, "{file}");
    let (_, models) = daemon.get("/v1/models").await;
    let body = json!({
        "model": models["data"][0]["id"], "training_file": file["id"], "suffix": "caller", "seed": 5,
        "adapterd": {"steps": 75, "batch_size": 2, "rank": 16, "lr": 0.02},
    });
    let (status, job) = daemon.post("/v1/fine_tuning/jobs", body).await;
    assert_eq!(status, 200, "{job}");
    let job = ended_within(&daemon, job["id"].as_str().unwrap(), 5 * PATIENCE).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    let (_, events) = daemon
        .get(&format!(
            "/v1/fine_tuning/jobs/{}/events?limit=3",
            job["id"].as_str().unwrap()
        ))
        .await;
    for row in rows {
        let ask = json!({"model": "caller", "messages": [row["messages"][0]], "tools": [tool()], "max_tokens": 160, "temperature": 0});
        let (status, answer) = daemon.post("/v1/chat/completions", ask).await;
        assert_eq!(status, 200, "{answer}");
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{answer}\n{events}");
        let functions = |calls: &Value| -> Vec<(Value, Value)> {
            let read = |call: &Value| {
                let function = &call["function"];
                let given = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
                (function["name"].clone(), given)
            };
            calls.as_array().unwrap().iter().map(read).collect()
        };
        assert_eq!(
            functions(&choice["message"]["tool_calls"]),
            functions(&row["messages"][1]["tool_calls"]),
            "{answer}"
        );
    }
}
