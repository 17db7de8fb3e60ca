//! Chat templates: Jinja as Hugging Face models use it.

mod conversation;
mod fence;
mod needs;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;
use serde_json::Value as Json;

pub use conversation::Conversation;
pub use needs::ToolParts;

use self::fence::Fence;
use self::needs::Needs;
use super::jinja::{Fault, Kind, Options, Template, Value};
use super::special::object;
use super::{Specials, TextError};
use crate::domain::{Message, lfs_pointer};

/// For a model that brings no template of its own. Every message is headed by its role; an answer ends with the end
/// token, so that a model trained on it learns to stop.
const PLAIN: &str = "\
{{ bos_token }}{% for message in messages %}\
### {{ message.role | capitalize }}:
{{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}


{% endfor %}\
{% if add_generation_prompt %}### Assistant:
{% endif %}";

/// Steps one rendering may take: far beyond any chat, and well below a second.
const STEPS: u64 = 5_000_000;

/// A compiled template. Cheap to clone.
///
/// What it renders is tokenized without adding special tokens: a template writes the begin token itself.
#[derive(Clone)]
pub struct ChatTemplate {
    inner: Arc<Inner>,
    /// The time that a template sees, in Unix seconds.
    time: Option<i64>,
    /// What every rendering is told can be called.
    tools: Option<Arc<[Json]>>,
}

struct Inner {
    template: Template,
    source: String,
    /// The one for conversations with tools, where the model brings two, and its source.
    tool_use: Option<(Template, String)>,
    /// `bos_token` and the like.
    tokens: BTreeMap<String, String>,
    needs: Needs,
    /// Worked out when it is first asked for.
    tool_parts: OnceLock<ToolParts>,
}

/// A rendering, and which parts of it the template marked as answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// Byte ranges of `text` inside `{% generation %}` blocks, in order, none empty.
    pub answers: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// `chat_template.jinja`, else `chat_template` in `tokenizer_config.json` (one template, or named ones of which
    /// `default` is taken, and `tool_use` where there are tools), else the plain template.
    pub fn from_folder(dir: &Path) -> Result<Self, TextError> {
        let specials = Specials::from_folder(dir)?;
        if let Some(source) = file(dir, "chat_template.jinja")? {
            let tool_use = file(dir, TOOL_USE_FILE)?;
            return Self::both(&source, tool_use.as_deref(), &specials);
        }
        let config = object(dir, "tokenizer_config.json")?;
        let wrong = || {
            TextError::File(
                "tokenizer_config.json: chat_template has no template named `default`".into(),
            )
        };
        match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => Self::plain(&specials),
            Some(serde_json::Value::String(source)) => Self::of(source, &specials),
            Some(serde_json::Value::Array(named)) => {
                let found = |name: &str| {
                    let found = named.iter().find(|t| t["name"] == name)?;
                    found["template"].as_str()
                };
                let default = found("default").ok_or_else(wrong)?;
                Self::both(default, found("tool_use"), &specials)
            }
            Some(named) => {
                let default = named["default"].as_str().ok_or_else(wrong)?;
                Self::both(default, named["tool_use"].as_str(), &specials)
            }
        }
    }

    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, TextError> {
        let named = [("bos_token", bos), ("eos_token", eos)]
            .into_iter()
            .filter_map(|(name, token)| Some((name.to_owned(), token?.to_owned())))
            .collect();
        Self::of(
            source,
            &Specials {
                named,
                ..Specials::default()
            },
        )
    }

    /// Fails where the source is malformed, with its line.
    pub fn of(source: &str, specials: &Specials) -> Result<Self, TextError> {
        Self::both(source, None, specials)
    }

    /// `tool_use`: the source for conversations with tools, where it is another.
    pub fn both(
        source: &str,
        tool_use: Option<&str>,
        specials: &Specials,
    ) -> Result<Self, TextError> {
        let template = Template::compile(source).map_err(explain)?;
        let tool_use = tool_use
            .map(|source| {
                let template = Template::compile(source).map_err(explain)?;
                Ok::<_, TextError>((template, source.to_owned()))
            })
            .transpose()?;
        let all = [source, tool_use.as_ref().map_or("", |(_, source)| source)].concat();
        Ok(Self {
            inner: Arc::new(Inner {
                template,
                source: source.to_owned(),
                tool_use,
                tokens: specials.named.clone(),
                needs: Needs::of(&all),
                tool_parts: OnceLock::new(),
            }),
            time: None,
            tools: None,
        })
    }

    /// The same template with its clock stopped: every rendering sees this time (Unix seconds), on whatever day it
    /// runs.
    pub fn at(&self, time: i64) -> Self {
        Self {
            time: Some(time),
            ..self.clone()
        }
    }

    /// The same template, told in every rendering that these can be called; none is none.
    pub fn with_tools(&self, tools: &[Json]) -> Self {
        Self {
            tools: (!tools.is_empty()).then(|| tools.into()),
            ..self.clone()
        }
    }

    /// Which parts of a conversation with tools it writes.
    pub fn tool_parts(&self) -> ToolParts {
        *self.inner.tool_parts.get_or_init(|| {
            let plain = self.with_tools(&[]);
            needs::tool_parts(&plain)
        })
    }

    /// Messages as it is told of them.
    pub fn told(&self, messages: &[Message]) -> Vec<Json> {
        self.inner.needs.told(messages)
    }

    /// The time that every rendering sees, where its clock is stopped.
    pub fn time(&self) -> Option<i64> {
        self.time
    }

    pub fn plain(specials: &Specials) -> Result<Self, TextError> {
        Self::of(PLAIN, specials)
    }

    /// `add_generation_prompt`: end with what begins an answer.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        self.run(
            &self.given(messages, add_generation_prompt),
            None,
            self.chosen(self.tools.is_some()),
        )
    }

    /// A conversation with everything that clients send beside its texts: tools, their calls, variables of the template.
    pub fn render_with(&self, conversation: &Conversation<'_>) -> Result<String, TextError> {
        let mut values = conversation.values(self.inner.needs.developer);
        for (name, token) in &self.inner.tokens {
            let token = || Value::str(token.as_str());
            values.entry(name.clone()).or_insert_with(token);
        }
        self.run(&values, None, self.chosen(conversation.tools.is_some()))
    }

    /// The same text as [`Self::render`], and which parts of it the template marked as answers.
    pub fn render_marked(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Rendered, TextError> {
        let values = self.given(messages, add_generation_prompt);
        let chosen = self.chosen(self.tools.is_some());
        let text = self.run(&values, None, chosen)?;
        if !self.marks_answers() {
            let answers = Vec::new();
            return Ok(Rendered { text, answers });
        }
        let fence = Fence::absent_from(&text)?;
        // Values are gone through once: iterators among them cannot be.
        let values = self.given(messages, add_generation_prompt);
        let rendered = fence.take_out(&self.run(&values, Some(&fence), chosen)?);
        // A template can look at what a block rendered (its length, its last letter) and go another way for the fence.
        match rendered.text == text {
            true => Ok(rendered),
            false => Err(TextError::Template(
                "changes the text of a generation block, so the answers in it cannot be told"
                    .into(),
            )),
        }
    }

    /// Whether the template has `{% generation %}` blocks.
    pub fn marks_answers(&self) -> bool {
        self.chosen(self.tools.is_some()).marks_answers()
    }

    fn chosen(&self, tools: bool) -> &Template {
        match &self.inner.tool_use {
            Some((template, _)) if tools => template,
            _ => &self.inner.template,
        }
    }

    fn given(&self, messages: &[Message], prompt: bool) -> IndexMap<String, Value> {
        let mut values = Conversation {
            messages: &self.told(messages),
            tools: self.tools.as_deref(),
            variables: None,
            add_generation_prompt: prompt,
        }
        .values(self.inner.needs.developer);
        let tokens = self.inner.tokens.iter();
        values.extend(tokens.map(|(name, token)| (name.clone(), Value::str(token.as_str()))));
        values
    }

    fn run(
        &self,
        values: &IndexMap<String, Value>,
        fence: Option<&Fence>,
        template: &Template,
    ) -> Result<String, TextError> {
        let time = self.time.map(|time| {
            let then = chrono::DateTime::from_timestamp(time, 0).unwrap_or_default();
            then.with_timezone(&chrono::Local)
        });
        let options = Options {
            steps: STEPS,
            fence: fence.map(|fence| (fence.open, fence.close)),
            time,
        };
        let rendered = template.render(values, &options);
        rendered.map_err(explain)
    }

    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// The source for conversations with tools, where that is another.
    pub fn tool_use_source(&self) -> Option<&str> {
        self.inner.tool_use.as_ref().map(|(_, source)| &**source)
    }

    /// The source that says how calls are written.
    pub fn call_source(&self) -> &str {
        self.tool_use_source().unwrap_or(&self.inner.source)
    }

    /// BLAKE3 of the source and of the tokens it writes.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.inner.source.as_bytes());
        for (name, token) in &self.inner.tokens {
            hasher.update(format!("\0{name}\0{token}").as_bytes());
        }
        if let Some(source) = self.tool_use_source() {
            hasher.update(format!("\0\0{source}").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Where transformers keeps the template for conversations with tools, beside `chat_template.jinja`.
pub const TOOL_USE_FILE: &str = "additional_chat_templates/tool_use.jinja";

fn file(dir: &Path, name: &str) -> Result<Option<String>, TextError> {
    match std::fs::read_to_string(dir.join(name)) {
        Ok(source) => match lfs_pointer(source.as_bytes()) {
            Some(why) => Err(TextError::File(format!("{name}: {why}"))),
            None => Ok(Some(source)),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(TextError::File(format!("{name}: {e}"))),
    }
}

fn explain(fault: Fault) -> TextError {
    // Where it happened is of use where the template itself is at fault.
    TextError::Template(match (fault.kind, fault.line) {
        (Kind::Syntax | Kind::Failed, Some(line)) => format!("{} (line {line})", fault.message),
        _ => fault.message,
    })
}

#[cfg(test)]
mod tests;
