//! `upper()`, `strip()`, `replace()`: methods of texts that make another of them.

use crate::text::jinja::args::{self, Args};
use crate::text::jinja::dict::Dict;
use crate::text::jinja::fault::{Outcome, failed};
use crate::text::jinja::filters::html;
use crate::text::jinja::machine::Machine;
use crate::text::jinja::markup::escape;
use crate::text::jinja::text::{self, is_space};
use crate::text::jinja::value::{Str, Value};

/// `None` for a method that is not among them.
pub(super) fn call(
    m: &Machine<'_>,
    of: &Str,
    name: &'static str,
    args: Args,
) -> Outcome<Option<Value>> {
    let made: String = match name {
        "capitalize" | "casefold" | "lower" | "swapcase" | "title" | "upper" => {
            args.plain(name, 0, 0)?;
            recased(of, name)
        }
        "center" | "ljust" | "rjust" => {
            let mut args = args.plain(name, 1, 2)?.into_iter();
            let width = args.next().unwrap_or(Value::None).as_index()?;
            let fill = match args.next() {
                None => ' ',
                Some(fill) => {
                    let fill = args::text(&fill)?;
                    let mut chars = fill.chars();
                    match (chars.next(), chars.next()) {
                        (Some(fill), None) => fill,
                        _ => {
                            return Err(failed(
                                "The fill character must be exactly one character long",
                            ));
                        }
                    }
                }
            };
            justified(m, of, name, width, fill)?
        }
        "zfill" => {
            let width = args.plain(name, 1, 1)?.remove(0).as_index()?;
            let width = usize::try_from(width).unwrap_or(0);
            let zeros = width.saturating_sub(of.chars().count());
            m.budget.text(zeros)?;
            let (sign, digits) = match of.strip_prefix(['+', '-']) {
                Some(digits) => (&of[..1], digits),
                None => ("", &**of),
            };
            format!("{sign}{}{digits}", "0".repeat(zeros))
        }
        "strip" | "lstrip" | "rstrip" => {
            let chars = args.plain(name, 0, 1)?.into_iter().next();
            let chars = match chars {
                None | Some(Value::None) => None,
                Some(chars) => Some(args::text(&chars)?),
            };
            let strips = |c: char| match &chars {
                Some(chars) => chars.contains(c),
                None => is_space(c),
            };
            match name {
                "strip" => of.trim_matches(strips),
                "lstrip" => of.trim_start_matches(strips),
                _ => of.trim_end_matches(strips),
            }
            .to_owned()
        }
        "removeprefix" => {
            let part = args::text(&args.plain(name, 1, 1)?.remove(0))?;
            of.strip_prefix(&*part).unwrap_or(of).to_owned()
        }
        "removesuffix" => {
            let part = args::text(&args.plain(name, 1, 1)?.remove(0))?;
            of.strip_suffix(&*part).unwrap_or(of).to_owned()
        }
        "replace" => {
            let args = args.plain(name, 2, 3)?;
            let old = args::text(args.first().unwrap_or(&Value::None))?;
            let new = args::text(args.get(1).unwrap_or(&Value::None))?;
            let most = args.get(2).map_or(Ok(-1), Value::as_index)?;
            match of.markup && !new.markup {
                true => replaced(m, of, &old, &escape(&new), most)?,
                false => replaced(m, of, &old, &new, most)?,
            }
        }
        "expandtabs" => {
            let width = args.bind(name, &["tabsize?"])?.index(0, 8)?;
            expanded(m, of, usize::try_from(width).unwrap_or(0))?
        }
        "translate" => translated(m, of, &args.plain(name, 1, 1)?.remove(0))?,
        "maketrans" => return make_table(args).map(Some),
        "encode" => {
            let mut args = args.bind(name, &["encoding?", "errors?"])?;
            let encoding = args.or(0, Value::str("utf-8"));
            return encoded(of, &args::text(&encoding)?).map(Some);
        }
        "striptags" => return Ok(Some(Value::str(html::strip_tags(of)))),
        "unescape" => return Ok(Some(Value::str(html::unescape(of)))),
        _ => return Ok(None),
    };
    Ok(Some(Value::Str(of.like(made))))
}

fn recased(of: &str, name: &str) -> String {
    match name {
        "capitalize" => text::capitalize(of),
        "title" => text::title(of),
        "lower" => of.to_lowercase(),
        "upper" => of.to_uppercase(),
        // What is written alike in capitals is alike.
        "casefold" => {
            let folded = of.chars().map(|c| match c {
                'İ' => "i\u{307}".to_owned(),
                'ı' => "ı".to_owned(),
                c => c
                    .to_uppercase()
                    .flat_map(char::to_lowercase)
                    .collect::<String>(),
            });
            folded.collect()
        }
        _ => {
            let swapped = of.chars().map(|c| match () {
                () if text::is_uppercase(c) => c.to_lowercase().collect::<String>(),
                () if text::is_lowercase(c) => c.to_uppercase().collect(),
                () => c.to_string(),
            });
            swapped.collect()
        }
    }
}

fn justified(m: &Machine<'_>, of: &str, name: &str, width: i64, fill: char) -> Outcome<String> {
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(of.chars().count());
    m.budget.text(missing.saturating_mul(fill.len_utf8()))?;
    // As Python centers: the odd one goes left where the width is odd too.
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        _ => missing / 2 + (missing & width & 1),
    };
    let mut out: String = std::iter::repeat_n(fill, left).collect();
    out.push_str(of);
    out.extend(std::iter::repeat_n(fill, missing - left));
    Ok(out)
}

/// Negative: as often as it is there.
pub(in crate::text::jinja) fn replaced(
    m: &Machine<'_>,
    of: &str,
    old: &str,
    new: &str,
    most: i64,
) -> Outcome<String> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let places = match old.is_empty() {
        true => of.chars().count() + 1,
        false => of.len() / old.len(),
    };
    let times = match new.len() > old.len() {
        true if !old.is_empty() => of.matches(old).take(most).count(),
        true => places.min(most),
        false => 0,
    };
    m.budget
        .text(of.len().saturating_add(times.saturating_mul(new.len())))?;
    Ok(of.replacen(old, new, most))
}

fn expanded(m: &Machine<'_>, of: &str, width: usize) -> Outcome<String> {
    let mut out = String::with_capacity(of.len());
    let mut column = 0;
    for c in of.chars() {
        match c {
            '\t' => {
                let spaces = if width > 0 { width - column % width } else { 0 };
                m.budget.text(spaces)?;
                m.budget.bound(out.len().saturating_add(spaces))?;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(out)
}

fn translated(m: &Machine<'_>, of: &str, table: &Value) -> Outcome<String> {
    let mut out = String::with_capacity(of.len());
    for (at, c) in of.char_indices() {
        let code = Value::Int(i64::from(u32::from(c)));
        let found = match table.defined()? {
            Value::Dict(dict) => dict.find(&code)?.cloned(),
            Value::List(seq) | Value::Tuple(seq) => seq.items.get(c as usize).cloned(),
            Value::Str(text) => {
                let found = text.chars().nth(c as usize);
                found.map(|c| Value::str(c.to_string()))
            }
            other => {
                return Err(failed(format!(
                    "'{}' object is not subscriptable",
                    other.type_name()
                )));
            }
        };
        match found {
            None => out.push(c),
            Some(Value::None) => {}
            Some(Value::Str(text)) => out.push_str(&text),
            Some(code @ (Value::Int(_) | Value::Bool(_))) => {
                let c = u32::try_from(code.as_index()?)
                    .ok()
                    .and_then(char::from_u32);
                out.push(c.ok_or_else(|| failed("character mapping must be in range(0x110000)"))?);
            }
            Some(_) => {
                return Err(failed("character mapping must return integer, None or str"));
            }
        }
        if at % 64 == 0 {
            m.budget.text(out.len())?;
        }
    }
    Ok(out)
}

/// `str.maketrans`
fn make_table(args: Args) -> Outcome<Value> {
    let args = args.plain("maketrans", 1, 3)?;
    let code = |c: char| Value::Int(i64::from(u32::from(c)));
    let mut table = Dict::default();
    match args.as_slice() {
        [Value::Dict(dict)] => {
            for (key, value) in dict.iter() {
                let key = match key {
                    Value::Str(text) if text.chars().count() == 1 => {
                        text.chars().next().map_or(Value::None, code)
                    }
                    Value::Int(_) => key.clone(),
                    _ => return Err(failed("string keys in translate table must be of length 1")),
                };
                table.insert(key, value.clone())?;
            }
        }
        [from, to, rest @ ..] => {
            let (from, to) = (args::text(from)?, args::text(to)?);
            if from.chars().count() != to.chars().count() {
                return Err(failed(
                    "the first two maketrans arguments must have equal length",
                ));
            }
            for (a, b) in from.chars().zip(to.chars()) {
                table.insert(code(a), code(b))?;
            }
            if let Some(gone) = rest.first() {
                for c in args::text(gone)?.chars() {
                    table.insert(code(c), Value::None)?;
                }
            }
        }
        _ => {
            return Err(failed(
                "if you give only one argument to maketrans it must be a dict",
            ));
        }
    }
    Ok(Value::dict(table))
}

fn encoded(of: &str, encoding: &str) -> Outcome<Value> {
    let bytes = match encoding.to_ascii_lowercase().replace('_', "-").as_str() {
        "utf-8" | "utf8" => of.as_bytes().to_vec(),
        "ascii" | "us-ascii" if of.is_ascii() => of.as_bytes().to_vec(),
        "latin-1" | "latin1" | "iso-8859-1" => {
            let bytes = of.chars().map(|c| u8::try_from(u32::from(c)).ok());
            let bytes: Option<Vec<u8>> = bytes.collect();
            bytes.ok_or_else(|| failed("'latin-1' codec can't encode characters"))?
        }
        "ascii" | "us-ascii" => return Err(failed("'ascii' codec can't encode characters")),
        other => return Err(failed(format!("unknown encoding: {other}"))),
    };
    Ok(Value::Bytes(bytes.into()))
}
