//! From a rule to a parser at its beginning.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::{JsonCompileOptions, ParserFactory, TokenParser, regex_to_lark};
use serde_json::{Value, json};

use super::limits::{BRACKETS, CHOICES, REGEX_BYTES, SOURCE_BYTES, STACK};
use super::{Effort, locate, schema};
use crate::domain::{CallsOr, Rule};

/// What is wrong with a rule, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// From the rule's root; empty for the whole.
    pub path: String,
    pub why: String,
    /// It is not wrong, but too much.
    pub too_complex: bool,
}

impl Flaw {
    pub fn new(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            why: why.into(),
            too_complex: false,
        }
    }

    pub fn too_complex(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            too_complex: true,
            ..Self::new(path, why)
        }
    }
}

/// A parser at the beginning of its grammar, from which those of answers are copied.
pub struct Compiled(Mutex<TokenParser>);

impl Compiled {
    /// A copy that shares nothing that grows: what one answer does to it, no other answer meets.
    pub fn fresh(&self) -> TokenParser {
        let parser = self.0.lock().unwrap_or_else(|held| held.into_inner());
        parser.deep_clone()
    }
}

/// Works on a thread of its own, whose stack holds what a chain of references needs.
pub fn compile(factory: &ParserFactory, rule: &Rule, effort: &Effort) -> Result<Compiled, Flaw> {
    let compiled = std::thread::scope(|threads| {
        let thread = std::thread::Builder::new()
            .name("grammar".into())
            .stack_size(STACK)
            .spawn_scoped(threads, || {
                let _working = effort.join();
                of_rule(factory, rule)
            })
            .map_err(|error| Flaw::too_complex("", format!("no thread to compile it: {error}")))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Flaw::new("", "cannot be compiled")))
    });
    compiled.map(|parser| Compiled(Mutex::new(parser)))
}

fn of_rule(factory: &ParserFactory, rule: &Rule) -> Result<TokenParser, Flaw> {
    match rule {
        Rule::JsonObject => of_schema(factory, json!({"type": "object"})),
        Rule::JsonSchema(value) => {
            let prepared = schema::prepare(value)?;
            of_schema(factory, prepared.clone()).map_err(|flaw| {
                let fails = |part: Value| of_schema(factory, part).err();
                locate::locate(&prepared, flaw, fails)
            })
        }
        Rule::Regex(text) => of_regex(factory, &bare(sized(text, REGEX_BYTES)?)),
        Rule::Choice(texts) => of_regex(factory, &one_of(texts)?),
        Rule::Lark(text) => {
            let text = of_lark(text)?;
            build(factory, TopLevelGrammar::from_lark(text.to_owned()))
        }
        Rule::CallsOr(either) => of_calls_or(factory, either),
    }
}

/// The library reads the two as grammars of their own, the first of which names the second.
fn of_calls_or(factory: &ParserFactory, either: &CallsOr) -> Result<TokenParser, Flaw> {
    let lark = |text: String| GrammarWithLexer::from_lark(text);
    // Calls are read behind blanks too.
    let apart: String = (either.begin.iter())
        .map(|begin| format!(" & ~/\\s*(?:{begin})(?s:.*)/"))
        .collect();
    // An expression of its own, so that a text that begins as a call is none of the form's.
    let text = |expression: &str| {
        let expression = regex_to_lark(expression, "dw");
        lark(format!("start: FORM\nFORM: /{expression}/{apart}"))
    };
    let form = match &*either.form {
        Rule::JsonObject => json_grammar(json!({"type": "object"})),
        Rule::JsonSchema(value) => json_grammar(schema::prepare(value)?),
        Rule::Regex(expression) => text(&bare(sized(expression, REGEX_BYTES)?)),
        Rule::Choice(texts) => text(&one_of(texts)?),
        Rule::Lark(grammar) => lark(of_lark(grammar)?.to_owned()),
        Rule::CallsOr(_) => return Err(Flaw::new("", "calls are no form beside calls")),
    };
    let form = GrammarWithLexer {
        name: Some("form".to_owned()),
        ..form
    };
    let calls = lark(sized(&either.grammar, SOURCE_BYTES)?.to_owned());
    let grammars = vec![calls, form];
    build(
        factory,
        TopLevelGrammar {
            grammars,
            max_tokens: None,
        },
    )
}

fn json_grammar(schema: Value) -> GrammarWithLexer {
    GrammarWithLexer::from_json_schema(written(schema))
}

/// JSON has a space after commas and colons or none, or a line of its own with up to 16 blanks before it: as people and
/// models write it. Any blank space would let an answer go on with nothing else.
const BLANK: &str = r" |\r?\n[ \t]{0,16}";
/// Letters behind a backslash. Without `u` a text has one spelling: a name that is taken cannot come again by its codes.
const ESCAPES: &str = "nrbtf\\\"";

/// How JSON is written, told to the library within the schema.
pub fn written(mut schema: Value) -> Value {
    let options = JsonCompileOptions {
        whitespace_pattern: Some(BLANK.to_owned()),
        json_allowed_escapes: Some(ESCAPES.to_owned()),
        ..JsonCompileOptions::default()
    };
    if schema.is_object() {
        options.apply_to(&mut schema);
    }
    schema
}

fn of_schema(factory: &ParserFactory, mut schema: Value) -> Result<TokenParser, Flaw> {
    if !schema.is_object() {
        schema = match schema {
            Value::Bool(true) => json!({}),
            _ => return Err(Flaw::new("", "allows no value")),
        };
    }
    build(factory, TopLevelGrammar::from_json_schema(written(schema)))
}

/// `\d` and `\w` are of ASCII, as in a schema's `pattern`.
fn of_regex(factory: &ParserFactory, text: &str) -> Result<TokenParser, Flaw> {
    let text = regex_to_lark(text, "dw");
    build(
        factory,
        TopLevelGrammar::from_lark(format!("start: /{text}/")),
    )
}

fn build(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<TokenParser, Flaw> {
    let built = catch_unwind(AssertUnwindSafe(|| factory.create_parser(grammar)));
    match built {
        Ok(Ok(mut parser)) => {
            parser.start_without_prompt();
            Ok(parser)
        }
        Ok(Err(error)) => {
            let why = plain(&format!("{error:#}"));
            match is_about_size(&why) {
                true => Err(Flaw::too_complex("", why)),
                false => Err(Flaw::new("", why)),
            }
        }
        Err(_) => Err(Flaw::new("", "cannot be compiled")),
    }
}

fn is_about_size(why: &str) -> bool {
    [
        "too large",
        "too big",
        "too complex",
        "too many",
        "limit",
        "fuel",
        "exceeded",
    ]
    .iter()
    .any(|word| why.contains(word))
}

/// Bytes of a message that are worth repeating.
const MESSAGE: usize = 300;

const ONE_OF: &str = "`oneOf` is followed where its schemas exclude one another by their types or by what they require";

const EMPTY: &str = "Regex is empty";
const NO_TEXT: &str = ": no text follows its pattern, format and lengths at once";

/// A message of the library's without what it adds for those who know its insides.
pub fn plain(why: &str) -> String {
    if why.contains("oneOf constraints are not supported") {
        return ONE_OF.to_owned();
    }
    let why = why.split("\n<").next().unwrap_or(why);
    let mut line = why.split_whitespace().collect::<Vec<_>>().join(" ");
    // What follows are the expressions as the library writes them, often too long for a message.
    if let Some(at) = line.find(EMPTY) {
        line.replace_range(at + EMPTY.len().., NO_TEXT);
    }
    let mut end = line.len().min(MESSAGE);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

fn of_lark(text: &str) -> Result<&str, Flaw> {
    let text = sized(text, SOURCE_BYTES)?;
    let names = |rule: &str| {
        let name = rule.trim();
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-".contains(c))
    };
    let mut lines = text.lines().filter_map(|line| line.split_once("::="));
    match lines.any(|(rule, _)| names(rule)) {
        true => Err(Flaw::new("", GBNF)),
        false => Ok(text),
    }
}

const GBNF: &str =
    "is written as GBNF (`root ::= …`), which is not read; Lark's syntax is: `start: …`";

/// The text, if it is no larger than `most` and not nested beyond what is read.
fn sized(text: &str, most: usize) -> Result<&str, Flaw> {
    if text.trim().is_empty() {
        return Err(Flaw::new("", "is empty"));
    }
    if text.len() > most {
        let why = format!("has {} bytes, at most {most} are compiled", text.len());
        return Err(Flaw::too_complex("", why));
    }
    let mut open = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > BRACKETS {
            let why = format!("has more than {BRACKETS} brackets within one another");
            return Err(Flaw::too_complex("", why));
        }
    }
    Ok(text)
}

/// The expression without the signs for the beginning and the end of the text, which are meant anyway.
fn bare(text: &str) -> String {
    let text = text.strip_prefix('^').unwrap_or(text);
    let escapes = |text: &str| text.bytes().rev().take_while(|b| *b == b'\\').count();
    match text.strip_suffix('$') {
        Some(rest) if escapes(rest).is_multiple_of(2) => rest.to_owned(),
        _ => text.to_owned(),
    }
}

fn one_of(texts: &[String]) -> Result<String, Flaw> {
    let bytes: usize = texts.iter().map(String::len).sum();
    if texts.is_empty() {
        return Err(Flaw::new("", "needs at least one text"));
    }
    if texts.len() > CHOICES || bytes > SOURCE_BYTES {
        let why = format!(
            "has {} texts with {bytes} bytes; at most {CHOICES} with {SOURCE_BYTES} are compiled",
            texts.len()
        );
        return Err(Flaw::too_complex("", why));
    }
    if let Some(at) = texts.iter().position(String::is_empty) {
        return Err(Flaw::new(format!("[{at}]"), "is empty"));
    }
    let escaped: Vec<String> = texts.iter().map(|text| regex::escape(text)).collect();
    Ok(format!("(?:{})", escaped.join("|")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_for_beginning_and_end_are_meant_anyway() {
        for (text, meant) in [
            ("^a+$", "a+"),
            ("a+", "a+"),
            (r"a\$", r"a\$"),
            (r"a\\$", r"a\\"),
            ("^$", ""),
        ] {
            assert_eq!(bare(text), meant, "{text}");
        }
    }

    #[test]
    fn texts_to_choose_from_are_taken_as_they_are() {
        let texts = ["a.b".to_owned(), "c|d".to_owned()];
        assert_eq!(one_of(&texts).unwrap(), r"(?:a\.b|c\|d)");
        let empty = one_of(&["a".to_owned(), String::new()]).unwrap_err();
        assert_eq!(empty.path, "[1]");
        assert!(
            one_of(&vec!["a".to_owned(); CHOICES + 1])
                .unwrap_err()
                .too_complex
        );
    }

    #[test]
    fn a_message_is_one_line_without_insides() {
        let told = plain("no such rule:\n  `a`\n<state>\nTokens: 5\n</state>");
        assert_eq!(told, "no such rule: `a`");
        let told = plain("a is unsatisfiable: Regex is empty: (And (Regex /a/) (Regex /b/))");
        assert!(told.starts_with("a is unsatisfiable: Regex is empty: no text"));
        assert!(!told.contains("And"));
        assert!(plain(&"é".repeat(1000)).len() <= MESSAGE);
    }
}
