//! Chat templates: Jinja as Hugging Face models use it.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, State, context};
use regex::Regex;
use serde::Serialize;

use super::json::Style;
use super::python;
use super::special::object;
use super::{Specials, TextError};
use crate::domain::{Message, Role};

/// For a model that brings no template of its own. Every message is headed by its role; an answer ends with the end
/// token, so that a model trained on it learns to stop.
const PLAIN: &str = "\
{{ bos_token }}{% for message in messages %}\
### {{ message.role | capitalize }}:
{{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}


{% endfor %}\
{% if add_generation_prompt %}### Assistant:
{% endif %}";

/// Instructions one rendering may take: far beyond any chat, and well below a second.
const FUEL: u64 = 5_000_000;

/// A compiled template. Cheap to clone.
///
/// What it renders is tokenized without adding special tokens: a template writes the begin token itself.
#[derive(Clone)]
pub struct ChatTemplate(Arc<Inner>);

struct Inner {
    environment: Environment<'static>,
    source: String,
    /// `bos_token` and the like.
    tokens: BTreeMap<String, String>,
    knows_developer: bool,
    marks_answers: bool,
}

/// A rendering, and which parts of it the template marked as answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// Byte ranges of `text` inside `{% generation %}` blocks, in order, none empty.
    pub answers: Vec<Range<usize>>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl ChatTemplate {
    /// `chat_template.jinja`, else `chat_template` in `tokenizer_config.json` (one template, or named ones of which
    /// `default` is taken), else the plain template.
    pub fn from_folder(dir: &Path) -> Result<Self, TextError> {
        let specials = Specials::from_folder(dir)?;
        match std::fs::read_to_string(dir.join("chat_template.jinja")) {
            Ok(source) => return Self::of(&source, &specials),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(TextError::File(format!("chat_template.jinja: {e}"))),
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
                let found = named
                    .iter()
                    .find(|t| t["name"] == "default")
                    .and_then(|t| t["template"].as_str());
                Self::of(found.ok_or_else(wrong)?, &specials)
            }
            Some(named) => Self::of(named["default"].as_str().ok_or_else(wrong)?, &specials),
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

    pub fn of(source: &str, specials: &Specials) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(python::print);
        environment.set_unknown_method_callback(python::method);
        environment.add_filter("string", python::string);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_function(MARK, mark_answer);
        let (compiled, marks_answers) = with_marked_answers(source);
        environment
            .add_template_owned("chat", compiled)
            .map_err(|e| explain(&e))?;
        let knows_developer = source.contains("developer");
        let tokens = specials.named.clone();
        Ok(Self(Arc::new(Inner {
            environment,
            source: source.to_owned(),
            tokens,
            knows_developer,
            marks_answers,
        })))
    }

    /// The same template with its clock stopped: what asks for the time is told this one (Unix seconds), however often
    /// and on whatever day.
    pub fn at(&self, time: i64) -> Self {
        let mut environment = self.0.environment.clone();
        environment.add_function("strftime_now", move |format: String| {
            let then = chrono::DateTime::from_timestamp(time, 0).unwrap_or_default();
            strftime(then.with_timezone(&chrono::Local), &format)
        });
        Self(Arc::new(Inner {
            environment,
            source: self.0.source.clone(),
            tokens: self.0.tokens.clone(),
            knows_developer: self.0.knows_developer,
            marks_answers: self.0.marks_answers,
        }))
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
        self.values(messages, add_generation_prompt, None)
    }

    /// The same text as [`Self::render`], and which parts of it the template marked as answers.
    pub fn render_marked(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Rendered, TextError> {
        let text = self.render(messages, add_generation_prompt)?;
        if !self.0.marks_answers {
            let answers = Vec::new();
            return Ok(Rendered { text, answers });
        }
        let fence = Fence::absent_from(&text)?;
        let fenced = self.values(messages, add_generation_prompt, Some(&fence))?;
        let rendered = fence.take_out(&fenced);
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
        self.0.marks_answers
    }

    fn values(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        fence: Option<&Fence>,
    ) -> Result<String, TextError> {
        let turns: Vec<_> = messages
            .iter()
            .map(|message| Turn {
                role: match message.role {
                    // The newer name of the same thing; older templates refuse or misplace it.
                    Role::Developer if !self.0.knows_developer => Role::System.as_str(),
                    role => role.as_str(),
                },
                content: &message.content,
                name: message.name.as_deref(),
            })
            .collect();
        let values = context! {
            messages => Value::from_serialize(&turns),
            add_generation_prompt,
            tools => Value::from(()),
            documents => Value::from(()),
            answer_fence => fence.map(|fence| [fence.open, fence.close].into_iter().collect::<String>()),
            ..Value::from_serialize(&self.0.tokens)
        };
        let template = self
            .0
            .environment
            .get_template("chat")
            .map_err(|e| explain(&e))?;
        template.render(values).map_err(|e| explain(&e))
    }

    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// BLAKE3 of the source and of the tokens it writes.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.0.source.as_bytes());
        for (name, token) in &self.0.tokens {
            hasher.update(format!("\0{name}\0{token}").as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

fn explain(error: &Error) -> TextError {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "rendering takes too long".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    // Where it happened is of use where the template itself is at fault.
    match error
        .line()
        .filter(|_| !matches!(error.kind(), RAISED | ErrorKind::OutOfFuel))
    {
        Some(line) => TextError::Template(format!("{what} (line {line})")),
        None => TextError::Template(what),
    }
}

/// The function that a generation block calls.
const MARK: &str = "mark_answer";

/// Generation blocks as the reference has them: call blocks of a function, scoping included. And whether there are any.
fn with_marked_answers(source: &str) -> (String, bool) {
    static TAG: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").ok());
    let Some(tag) = TAG.as_ref() else {
        return (source.to_owned(), false);
    };
    let compiled = tag.replace_all(source, |found: &regex::Captures<'_>| {
        let inside = match found.get(2) {
            Some(_) => "endcall".to_owned(),
            None => format!("call {MARK}()"),
        };
        format!("{{%{} {inside} {}%}}", &found[1], &found[3])
    });
    let marks = matches!(compiled, std::borrow::Cow::Owned(_));
    (compiled.into_owned(), marks)
}

/// What the block encloses, between the two characters of the fence where there is one.
fn mark_answer(state: &State<'_, '_>, options: Kwargs) -> Result<String, Error> {
    let caller: Value = options.get("caller")?;
    let text = caller.call(state, &[])?.to_string();
    let fence = state.lookup("answer_fence").unwrap_or_default();
    let mut fence = fence.as_str().unwrap_or_default().chars();
    Ok(match (fence.next(), fence.next()) {
        (Some(open), Some(close)) => format!("{open}{text}{close}"),
        _ => text,
    })
}

/// Two characters that stand around answers in a rendering until they are taken out.
struct Fence {
    open: char,
    close: char,
}

impl Fence {
    /// Characters for private use, of which some are absent from any text of less than a hundred thousand of them.
    fn absent_from(text: &str) -> Result<Self, TextError> {
        let used: HashSet<char> = text.chars().filter(|c| *c >= '\u{f0000}').collect();
        let mut free = ('\u{f0000}'..='\u{10fffd}').filter(|c| !used.contains(c));
        match (free.next(), free.next()) {
            (Some(open), Some(close)) => Ok(Self { open, close }),
            _ => Err(TextError::Template("a text uses every character".into())),
        }
    }

    fn take_out(&self, fenced: &str) -> Rendered {
        let mut text = String::with_capacity(fenced.len());
        let mut answers: Vec<Range<usize>> = Vec::new();
        let mut opened = Vec::new();
        for c in fenced.chars() {
            if c == self.open {
                opened.push(text.len());
            } else if c == self.close {
                // A block within a block is part of the outer one's answer.
                match opened.pop() {
                    Some(start) if opened.is_empty() && start < text.len() => {
                        answers.push(start..text.len());
                    }
                    _ => {}
                }
            } else {
                text.push(c);
            }
        }
        Rendered { text, answers }
    }
}

const RAISED: ErrorKind = ErrorKind::InvalidOperation;

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(RAISED, message))
}

/// Local time, as Python's `datetime.now().strftime`.
fn strftime_now(format: String) -> Result<String, Error> {
    strftime(chrono::Local::now(), &format)
}

fn strftime(time: chrono::DateTime<chrono::Local>, format: &str) -> Result<String, Error> {
    let mut out = String::new();
    match write!(out, "{}", time.format(format)) {
        Ok(()) => Ok(out),
        Err(_) => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("`{format}` is not a time format"),
        )),
    }
}

fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<(String, String)> = match options.get::<Option<Value>>("separators")? {
        None => None,
        Some(pair) => Some((
            pair.get_item_by_index(0)?.to_string(),
            pair.get_item_by_index(1)?.to_string(),
        )),
    };
    let plain = Style::new(indent);
    let style = Style {
        ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        separators: separators.unwrap_or_else(|| plain.separators.clone()),
        ..plain
    };
    options.assert_all_used()?;
    let json = serde_json::to_value(value).map_err(|e| {
        Error::new(
            ErrorKind::BadSerialization,
            "tojson cannot write this value",
        )
        .with_source(e)
    })?;
    Ok(Value::from(style.write(&json)))
}

#[cfg(test)]
mod tests;
