//! `urlize`: addresses in a text as links.

use std::sync::LazyLock;

use regex::Regex;

use crate::text::jinja::args::Args;
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::iterate;
use crate::text::jinja::machine::Machine;
use crate::text::jinja::markup::{escape, escape_value};
use crate::text::jinja::text::is_space;
use crate::text::jinja::value::{Str, Value};

static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // With a scheme any name will do; without one, it ends in one of the oldest domains.
    let named = r"(?:https?://|www\.)(?:[\w%-]+\.)*(?:[a-z]{2,63}|xn--[\w%]{2,59})";
    let bare = r"(?:[\w%-]{2,63}\.)+(?:com|net|int|edu|gov|org|info|mil)";
    let v4 = r"https?://\d{1,3}(?:\.\d{1,3}){3}";
    let v6 = r"https?://\[(?:[\da-f]{0,4}:){2}(?:[\da-f]{0,4}:?){1,6}\]";
    let behind = r"(?::\d{1,5})?(?:[/?#]\S*)?";
    Regex::new(&format!("(?i)^(?:{named}|{bare}|{v4}|{v6}){behind}$")).ok()
});
static MAIL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\S+@\w[\w.-]*\.\w+$").ok());

fn matches(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern
        .as_ref()
        .is_some_and(|pattern| pattern.is_match(text))
}

struct Links {
    limit: Option<usize>,
    attributes: String,
    schemes: Vec<String>,
}

pub(super) fn urlize(m: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind(
        "urlize",
        &[
            "value",
            "trim_url_limit?",
            "nofollow?",
            "target?",
            "rel?",
            "extra_schemes?",
        ],
    )?;
    let text = escape_value(&m.budget, &args.need(0))?;
    let limit = match args.get(1) {
        None | Some(Value::None) => None,
        Some(limit) => Some(usize::try_from(limit.as_index()?).unwrap_or(0)),
    };
    let nofollow = args.flag(2);
    let target = args.maybe_text(3)?;
    let rel = args.maybe_text(4)?;
    let mut rels: Vec<&str> = rel
        .as_deref()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    rels.extend(nofollow.then_some("nofollow"));
    rels.push("noopener");
    rels.sort_unstable();
    rels.dedup();
    let mut attributes = format!(" rel=\"{}\"", escape(&rels.join(" ")));
    if let Some(target) = target {
        attributes.push_str(&format!(" target=\"{}\"", escape(&target)));
    }
    let mut schemes = Vec::new();
    if let Some(given) = args.get(5).filter(|given| !matches!(given, Value::None)) {
        for scheme in iterate::items(&m.budget, &given)? {
            let scheme = crate::text::jinja::args::text(&scheme)?;
            let name = scheme.trim_end_matches('/').strip_suffix(':');
            if name.is_none_or(|name| name.chars().count() < 2) {
                return Err(failed(format!(
                    "'{}' is not a valid URI scheme prefix.",
                    &*scheme
                )));
            }
            schemes.push(scheme.to_string());
        }
    }
    let links = Links {
        limit,
        attributes,
        schemes,
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let word = rest.find(is_space).unwrap_or(rest.len());
        links.word(&rest[..word], &mut out);
        rest = &rest[word..];
        let space = rest.find(|c| !is_space(c)).unwrap_or(rest.len());
        out.push_str(&rest[..space]);
        rest = &rest[space..];
        m.budget.spend(8)?;
    }
    m.budget.text(out.len())?;
    Ok(match m.escaping() {
        true => Value::Str(Str::markup(out)),
        false => Value::str(out),
    })
}

impl Links {
    /// A word, without the brackets before it and the punctuation behind.
    fn word(&self, word: &str, out: &mut String) {
        let mut middle = word;
        while let Some(rest) = ["(", "<", "&lt;"]
            .iter()
            .find_map(|b| middle.strip_prefix(b))
        {
            middle = rest;
        }
        let head = &word[..word.len() - middle.len()];
        let behind = middle;
        let ends = [")", ">", ".", ",", "&gt;"];
        while let Some(rest) = ends.iter().find_map(|b| middle.strip_suffix(b)) {
            middle = rest;
        }
        let mut split = middle.len();
        // A bracket that was opened inside the address is closed inside it.
        for (open, close) in [("(", ")"), ("<", ">"), ("&lt;", "&gt;")] {
            let opened = behind[..split].matches(open).count();
            if opened <= behind[..split].matches(close).count() {
                continue;
            }
            let closing = opened.min(behind[split..].matches(close).count());
            for _ in 0..closing {
                if let Some(at) = behind[split..].find(close) {
                    split += at + close.len();
                }
            }
        }
        out.push_str(head);
        out.push_str(&self.link(&behind[..split]));
        out.push_str(&behind[split..]);
    }

    fn link(&self, address: &str) -> String {
        let attributes = &self.attributes;
        let shown = match self.limit {
            Some(limit) if address.chars().count() > limit => {
                let kept: String = address.chars().take(limit).collect();
                format!("{kept}...")
            }
            _ => address.to_owned(),
        };
        let mail = address.strip_prefix("mailto:");
        if matches(&ADDRESS, address) {
            let scheme = match address.starts_with("https://") || address.starts_with("http://") {
                true => "",
                false => "https://",
            };
            return format!("<a href=\"{scheme}{address}\"{attributes}>{shown}</a>");
        }
        if let Some(mail) = mail.filter(|mail| matches(&MAIL, mail)) {
            return format!("<a href=\"{address}\">{mail}</a>");
        }
        let bare = address.contains('@') && !address.starts_with("www.") && !address.contains(':');
        if bare && matches(&MAIL, address) {
            return format!("<a href=\"mailto:{address}\">{address}</a>");
        }
        let scheme = self
            .schemes
            .iter()
            .find(|s| address != **s && address.starts_with(s.as_str()));
        match scheme {
            Some(_) => format!("<a href=\"{address}\"{attributes}>{address}</a>"),
            None => address.to_owned(),
        }
    }
}
