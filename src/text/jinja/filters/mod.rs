//! Filters: what can stand behind `|`.

pub(super) mod html;
mod lists;
mod numbers;
mod pretty;
mod selecting;
mod sorting;
mod texts;
mod urlize;
mod wrapping;

use super::args::Args;
use super::fault::Outcome;
use super::json;
use super::machine::Machine;
use super::value::Value;

type Function = fn(&Machine<'_>, Args) -> Outcome<Value>;

#[derive(Clone, Copy, Debug)]
pub(in crate::text) struct Filter(pub Function);

impl Filter {
    pub fn named(name: &str) -> Option<Self> {
        let function: Function = match name {
            "abs" => numbers::abs,
            "attr" => selecting::attr,
            "batch" => lists::batch,
            "capitalize" => |m, args| texts::simple(m, args, super::text::capitalize),
            "center" => texts::center,
            "count" | "length" => lists::length,
            "d" | "default" => default,
            "dictsort" => sorting::dictsort,
            "e" | "escape" => html::escape,
            "filesizeformat" => numbers::filesizeformat,
            "first" => lists::first,
            "float" => numbers::float,
            "forceescape" => html::force_escape,
            "format" => texts::format,
            "groupby" => sorting::groupby,
            "indent" => wrapping::indent,
            "int" => numbers::int,
            "items" => lists::items,
            "join" => lists::join,
            "last" => lists::last,
            "list" => lists::list,
            "lower" => |m, args| texts::simple(m, args, str::to_lowercase),
            "map" => selecting::map,
            "max" => sorting::max,
            "min" => sorting::min,
            "pprint" => pretty::pprint,
            "random" => lists::random,
            "reject" => |m, args| selecting::select(m, args, false, false),
            "rejectattr" => |m, args| selecting::select(m, args, true, false),
            "replace" => texts::replace,
            "reverse" => lists::reverse,
            "round" => numbers::round,
            "safe" => html::safe,
            "select" => |m, args| selecting::select(m, args, false, true),
            "selectattr" => |m, args| selecting::select(m, args, true, true),
            "slice" => lists::slice,
            "sort" => sorting::sort,
            "string" => texts::string,
            "striptags" => html::striptags,
            "sum" => lists::sum,
            "title" => |m, args| texts::simple(m, args, texts::title),
            "tojson" => |m, args| json::to_json(&m.budget, args),
            "trim" => texts::trim,
            "truncate" => wrapping::truncate,
            "unique" => sorting::unique,
            "upper" => |m, args| texts::simple(m, args, str::to_uppercase),
            "urlencode" => html::urlencode,
            "urlize" => urlize::urlize,
            "wordcount" => texts::wordcount,
            "wordwrap" => wrapping::wordwrap,
            "xmlattr" => html::xmlattr,
            _ => return None,
        };
        Some(Self(function))
    }
}

fn default(_: &Machine<'_>, args: Args) -> Outcome<Value> {
    let mut args = args.bind("default", &["value", "default_value?", "boolean?"])?;
    let value = args.need(0);
    let instead = args.or(1, Value::str(""));
    let falsy_too = args.flag(2);
    Ok(
        match value.is_undefined() || falsy_too && !value.is_true() {
            true => instead,
            false => value,
        },
    )
}
