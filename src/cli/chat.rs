//! `chat` and `generate`: text in, text out.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use futures::StreamExt;
use serde_json::{Map, Value, json};

use super::calls::{self, Calls, Due};
use super::flags::{Flags, Rows};
use super::form::FormArgs;
use super::{Client, Failure, Output, output, sse};
use crate::domain::sampling::NUMBERS;
use crate::domain::settings::Setting;

/// People who try a model want its best guess.
const TEMPERATURE: u8 = 0;

/// What both commands let a user choose about an answer.
#[derive(Debug, Clone, clap::Args)]
pub struct AnswerArgs {
    /// The adapter to answer with; the base model without it
    #[arg(long, value_name = "NAME[@GENERATION]")]
    adapter: Option<String>,
    /// Stop after this many tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Makes a sampled answer repeatable
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    numbers: Flags<Answering>,
}

#[derive(Debug, Clone)]
enum Answering {}

impl Rows for Answering {
    const ROWS: &'static [Setting] = NUMBERS;

    fn default(setting: &Setting) -> String {
        match setting.name {
            "temperature" => TEMPERATURE.to_string(),
            _ => setting.default(),
        }
    }
}

impl AnswerArgs {
    fn fields(&self) -> Result<Map<String, Value>, Failure> {
        let mut fields = self.numbers.said.clone();
        fields.entry("temperature").or_insert(json!(TEMPERATURE));
        fields.insert("stream".into(), json!(true));
        fields.insert("stream_options".into(), json!({"include_usage": true}));
        let optional = [
            ("adapter", self.adapter.as_ref().map(|v| json!(v))),
            ("max_tokens", self.max_tokens.map(|v| json!(v))),
            ("seed", self.seed.map(|v| json!(v))),
            ("stop", (!self.stop.is_empty()).then(|| json!(self.stop))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                fields.insert(name.into(), value);
            }
        }
        if let Some((name, value)) = self.form.field()? {
            fields.insert(name.into(), value);
        }
        Ok(fields)
    }
}

#[derive(Debug, Clone, clap::Args)]
pub struct ChatArgs {
    /// A first message that sets the scene
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// A JSON file with functions the model may call, as the field `tools` has them; nothing is run, you are asked for results
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Start an engine in this process instead of talking to a daemon
    #[arg(long)]
    pub local: bool,
    #[command(flatten)]
    answer: AnswerArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct GenerateArgs {
    /// The text to continue, without a chat template; `-` reads it from standard input
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Start an engine in this process instead of talking to a daemon
    #[arg(long)]
    pub local: bool,
    #[command(flatten)]
    answer: AnswerArgs,
}

struct Answer {
    text: String,
    calls: Calls,
    usage: Value,
    generation: Value,
    finish_reason: Value,
}

/// Streams one answer; `piece` finds the new text in a choice.
async fn ask(
    client: &Client,
    path: &[&str],
    body: &Value,
    output: Output,
    piece: impl Fn(&Value) -> Option<&str>,
) -> Result<Answer, Failure> {
    let response = client.stream(path, body).await?;
    let mut chunks = std::pin::pin!(sse::chunks(response));
    let mut answer = Answer {
        text: String::new(),
        calls: Calls::default(),
        usage: Value::Null,
        generation: Value::Null,
        finish_reason: Value::Null,
    };
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if !chunk["usage"].is_null() {
            answer.usage = chunk["usage"].clone();
        }
        answer.generation = chunk["adapter_generation"].clone();
        let choice = &chunk["choices"][0];
        if !choice["finish_reason"].is_null() {
            answer.finish_reason = choice["finish_reason"].clone();
        }
        answer.calls.hear(choice);
        if let Some(text) = piece(choice) {
            answer.text.push_str(text);
            if !output.is_json() {
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
        }
    }
    if !output.is_json() {
        output::line("")?;
    }
    Ok(answer)
}

impl Answer {
    fn as_json(&self) -> Value {
        let mut told = json!({
            "text": self.text,
            "finish_reason": self.finish_reason,
            "adapter_generation": self.generation,
            "usage": self.usage,
        });
        if !self.calls.is_empty() {
            told["tool_calls"] = self.calls.sent();
        }
        told
    }

    /// The turn as the next request has it.
    fn turn(&self) -> Value {
        let mut turn = json!({"role": "assistant", "content": self.text});
        if !self.calls.is_empty() {
            turn["tool_calls"] = self.calls.sent();
        }
        turn
    }
}

pub async fn generate(client: &Client, args: &GenerateArgs, output: Output) -> Result<(), Failure> {
    let prompt = match args.prompt.as_str() {
        "-" => std::io::read_to_string(std::io::stdin())?,
        text => text.to_owned(),
    };
    let mut body = args.answer.fields()?;
    body.insert("prompt".into(), json!(prompt));
    let body = Value::Object(body);
    let path = ["v1", "completions"];
    let answer = ask(client, &path, &body, output, |choice| {
        choice["text"].as_str()
    })
    .await?;
    match output.is_json() {
        true => output.show(&answer.as_json(), |_| String::new()),
        false => Ok(()),
    }
}

/// Whether the daemon answers and has the adapter, before the user types anything.
async fn meet(client: &Client, adapter: Option<&str>) -> Result<(), Failure> {
    let name = adapter.map(|text| text.split('@').next().unwrap_or(text));
    match name.filter(|name| *name != "none") {
        Some(name) => client.get(&["v1", "adapters", name], &[]).await?,
        None => client.get(&["v1", "models"], &[]).await?,
    };
    Ok(())
}

pub async fn chat(client: &Client, args: &ChatArgs, output: Output) -> Result<(), Failure> {
    meet(client, args.answer.adapter.as_deref()).await?;
    let mut messages: Vec<Value> = Vec::new();
    if let Some(system) = &args.system {
        messages.push(json!({"role": "system", "content": system}));
    }
    let tools = args.tools.as_deref().map(calls::described).transpose()?;
    let interactive = std::io::stdin().is_terminal() && !output.is_json();
    if interactive {
        let adapter = args.answer.adapter.as_deref().unwrap_or("the base model");
        output::line(&format!(
            "Talking to {adapter}. An empty line or Ctrl-D ends."
        ))?;
    }
    // Calls whose results the model waits for.
    let mut due: VecDeque<Due> = VecDeque::new();
    loop {
        let asked = due.front().map_or("> ".to_owned(), Due::prompt);
        if interactive {
            let mut out = std::io::stdout().lock();
            out.write_all(asked.as_bytes())?;
            out.flush()?;
        }
        let mut said = String::new();
        if std::io::stdin().lock().read_line(&mut said)? == 0 {
            return Ok(());
        }
        let said = said.trim_end_matches(['\n', '\r']);
        if let Some(call) = due.pop_front() {
            messages.push(call.result(said));
            if !due.is_empty() {
                continue;
            }
        } else if said.is_empty() {
            match interactive {
                true => return Ok(()),
                false => continue,
            }
        } else {
            messages.push(json!({"role": "user", "content": said}));
        }
        let mut body = args.answer.fields()?;
        body.insert("messages".into(), json!(messages));
        if let Some(tools) = &tools {
            body.insert("tools".into(), tools.clone());
        }
        let body = Value::Object(body);
        let path = ["v1", "chat", "completions"];
        let answer = ask(client, &path, &body, output, |choice| {
            choice["delta"]["content"].as_str()
        })
        .await?;
        match output.is_json() {
            true => output::line(&answer.as_json().to_string())?,
            false => answer
                .calls
                .shown()
                .try_for_each(|line| output::line(&line))?,
        }
        messages.push(answer.turn());
        due = answer.calls.due();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn door() -> (TcpListener, Client) {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", door.local_addr().unwrap());
        (door, Client::new(&url, None).unwrap())
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        answer: AnswerArgs,
    }

    #[test]
    fn every_number_is_sent_under_its_own_name() {
        let fields = |flags: &[&str]| {
            let line = ["generate"].iter().chain(flags);
            <Line as clap::Parser>::try_parse_from(line).map(|line| line.answer.fields().unwrap())
        };
        assert_eq!(fields(&[]).unwrap()["temperature"], 0);
        for setting in NUMBERS {
            let flag = format!("--{}", setting.flag());
            assert_eq!(fields(&[&flag, "-0.5"]).unwrap()[setting.name], -0.5);
            assert!(fields(&[&flag, "much"]).is_err());
        }
    }

    #[tokio::test]
    async fn an_absent_daemon_is_noticed_before_the_first_message() {
        let (door, client) = door().await;
        drop(door);
        let met = meet(&client, None).await;
        assert!(matches!(met, Err(Failure::Unreachable { .. })), "{met:?}");
    }

    #[tokio::test]
    async fn an_unknown_adapter_is_noticed_before_the_first_message() {
        let (door, client) = door().await;
        let answering = tokio::spawn(async move {
            let (mut caller, _) = door.accept().await.unwrap();
            let mut asked = vec![0; 1024];
            let read = caller.read(&mut asked).await.unwrap();
            let body = r#"{"error":{"message":"adapter `legal` does not exist"}}"#;
            let head = format!(
                "HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            caller
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let met = meet(&client, Some("legal@0123abcd")).await;
        let Err(Failure::Failed(why)) = met else {
            panic!("{met:?}")
        };
        assert!(why.contains("does not exist"), "{why}");
        let asked = answering.await.unwrap();
        assert!(asked.starts_with("GET /v1/adapters/legal HTTP"), "{asked}");
    }
}
