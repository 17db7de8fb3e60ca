//! Chat templates: Jinja as Hugging Face models use it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
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
        environment
            .add_template_owned("chat", without_generation_tags(source))
            .map_err(|e| explain(&e))?;
        let knows_developer = source.contains("developer");
        let tokens = specials.named.clone();
        Ok(Self(Arc::new(Inner {
            environment,
            source: source.to_owned(),
            tokens,
            knows_developer,
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

/// The tag only marks answers for training tools; what it encloses is rendered as it stands.
fn without_generation_tags(source: &str) -> String {
    static TAG: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").ok());
    let Some(tag) = TAG.as_ref() else {
        return source.to_owned();
    };
    tag.replace_all(source, |found: &regex::Captures<'_>| {
        let inside = if found.get(2).is_some() {
            "endif"
        } else {
            "if true"
        };
        format!("{{%{} {inside} {}%}}", &found[1], &found[3])
    })
    .into_owned()
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
