//! Lays file, environment and flags over the defaults and remembers where each value came from.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::limits::LIMITS_OF_ADAPTERS;
use super::place::{self, Hints, Place};
use super::problem::Problem;
use super::{Values, feedback};
use crate::api::tls::Tls;

/// Resolved settings.
#[derive(Debug, Clone)]
pub struct Settings {
    pub values: Values,
    /// What looks like a setting and is none, and settings that are hardly meant.
    pub warnings: Vec<Problem>,
    origins: BTreeMap<String, String>,
    place: Result<Place, Problem>,
}

const DATA_DIR: &str = "storage.data_dir";
/// What opens doors elsewhere is not shown.
const SECRET: &str = "adapters.hub_token";
const DEFAULT: &str = "default";
const FLAG: &str = "flag";

impl Settings {
    /// `(key, value, origin)` of every setting, in order.
    pub fn rows(&self) -> Vec<(String, String, String)> {
        let table = as_dict(&self.values);
        leaves(&table)
            .into_iter()
            .map(|(key, value)| {
                let said = self.origins.get(&key);
                let (value, origin) = match (&self.place, said) {
                    (Ok(place), said) if key == DATA_DIR => {
                        let chosen = || format!("{DEFAULT}: {}", place.why);
                        let origin = said.cloned().unwrap_or_else(chosen);
                        (place.dir.display().to_string(), origin)
                    }
                    (Err(problem), _) if key == DATA_DIR => (String::new(), problem.why.clone()),
                    (_, said) => {
                        let origin = said.cloned().unwrap_or_else(|| DEFAULT.into());
                        let shown = plain(&value);
                        let hidden = key == SECRET && !shown.is_empty();
                        (if hidden { "(hidden)".into() } else { shown }, origin)
                    }
                };
                (key, value, origin)
            })
            .collect()
    }

    /// Where state is kept. A problem where no setting says it and no usual place can be used.
    pub fn place(&self) -> Result<&Place, Vec<Problem>> {
        self.place.as_ref().map_err(|problem| vec![problem.clone()])
    }

    /// What connections are served with, from the files that the settings name.
    pub fn tls(&self) -> Result<Option<Tls>, Vec<Problem>> {
        let opened = self.values.server.tls.open();
        opened.map_err(|mistakes| {
            let mistakes = mistakes.into_iter();
            mistakes
                .map(|(key, why)| Problem {
                    origin: origin_of(&self.origins, key),
                    key: key.to_owned(),
                    why,
                })
                .collect()
        })
    }

    /// The tree that requests may name paths in, with state in `data_dir`.
    pub fn adapter_root(&self, data_dir: &Path) -> PathBuf {
        match self.values.adapters.root.as_os_str().is_empty() {
            true => data_dir.join("incoming"),
            false => self.values.adapters.root.clone(),
        }
    }
}

fn origin_of(origins: &BTreeMap<String, String>, key: &str) -> String {
    origins.get(key).cloned().unwrap_or_else(|| DEFAULT.into())
}

/// Where the settings put state, or else what surrounds the process.
fn place_of(
    values: &Values,
    origins: &BTreeMap<String, String>,
    hints: &Hints,
) -> Result<Place, Problem> {
    let said = &values.storage.data_dir;
    let problem = |why: String, origin: &str| Problem {
        key: DATA_DIR.into(),
        origin: origin.into(),
        why,
    };
    if said.as_os_str().is_empty() {
        return place::find(hints, &place::Here).map_err(|why| problem(why, DEFAULT));
    }
    let origin = origins.get(DATA_DIR).map_or(DEFAULT, String::as_str);
    let why = match origin {
        FLAG => "--data-dir",
        other => other,
    };
    match std::path::absolute(said) {
        Ok(dir) => Ok(Place {
            dir,
            why: why.to_owned(),
        }),
        Err(error) => Err(problem(format!("{}: {error}", said.display()), origin)),
    }
}

struct Given {
    key: String,
    value: Said,
    origin: String,
}

enum Said {
    Typed(Value),
    /// What it is depends on the setting: `2024` may be a number or a folder.
    Text(String),
}

impl Said {
    fn like(self, default: &Value) -> Value {
        match self {
            Self::Typed(value) => value,
            Self::Text(text) => parse_text(&text, default),
        }
    }
}

/// Resolves the settings, or says everything that is wrong with them.
///
/// `environment` are variables with their full names; of those that do not begin with `ADAPTERD_`, only what tells where
/// state is kept is read.
/// `flags` are `(key, value)` pairs such as `("server.http", "127.0.0.1:0")`.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    flags: &[(&str, String)],
) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut given = Vec::new();
    if let Some(path) = file {
        match read_file(path) {
            Ok(found) => given.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    let defaults: BTreeMap<String, Value> =
        leaves(&as_dict(&Values::default())).into_iter().collect();
    let known: Vec<String> = defaults.keys().cloned().collect();
    let (mut variables, mut warnings) = (Vec::new(), Vec::new());
    let mut hints = Hints::default();
    for (name, value) in environment {
        hints.hear(&name, &value);
        // No setting has a name that is not text.
        let Ok(name) = name.into_string() else {
            continue;
        };
        match from_variable(name, value, &known) {
            Variable::Setting(found) => variables.push(found),
            Variable::Mistake(problem) => problems.push(problem),
            Variable::Warning(problem) => warnings.push(problem),
            Variable::Other => {}
        }
    }
    variables.sort_by(|a, b| a.key.cmp(&b.key));
    given.extend(variables);
    given.extend(flags.iter().map(|(key, text)| Given {
        key: (*key).to_owned(),
        value: Said::Text(text.clone()),
        origin: FLAG.into(),
    }));

    let mut figment = Figment::from(Serialized::defaults(Values::default()));
    let mut origins = BTreeMap::new();
    for Given { key, value, origin } in given {
        let Some(default) = defaults.get(&key) else {
            problems.push(Problem {
                why: unknown(&key, &known),
                key,
                origin,
            });
            continue;
        };
        let value = value.like(default);
        let tried = figment.clone().merge(Serialized::global(&key, value));
        match tried.extract::<Values>() {
            Ok(_) => {
                figment = tried;
                origins.insert(key, origin);
            }
            Err(error) => problems.push(Problem {
                key,
                origin,
                why: error.kind.to_string(),
            }),
        }
    }
    match figment.extract::<Values>() {
        Ok(values) => {
            let told = |(key, why): (String, String)| {
                // A rule of a list comes from where the list does.
                let said = key.split_once('[').map_or(&*key, |(list, _)| list);
                let origin = origin_of(&origins, said);
                Problem { key, origin, why }
            };
            problems.extend(values.mistakes().into_iter().map(told));
            if problems.is_empty() {
                warnings.extend(feedback::doubts(&values.retrain).into_iter().map(told));
                let place = place_of(&values, &origins, &hints);
                return Ok(Settings {
                    values,
                    warnings,
                    origins,
                    place,
                });
            }
        }
        Err(error) => problems.push(Problem {
            key: "settings".into(),
            origin: "defaults".into(),
            why: error.to_string(),
        }),
    }
    Err(problems)
}

fn read_file(path: &Path) -> Result<Vec<Given>, Problem> {
    let origin = path.display().to_string();
    let problem = |why: String| Problem {
        key: "file".into(),
        origin: origin.clone(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let table: Dict = toml::from_str(&text).map_err(|error| problem(error.to_string()))?;
    Ok(leaves(&table)
        .into_iter()
        .map(|(key, value)| Given {
            key,
            value: Said::Typed(value),
            origin: origin.clone(),
        })
        .collect())
}

/// What a variable of the environment is to the settings.
enum Variable {
    Setting(Given),
    /// A setting's name but for an underscore.
    Mistake(Problem),
    /// Ours by its first letters only. No error: some systems make such names of a service's name.
    Warning(Problem),
    Other,
}

/// Read by the command line itself.
const OF_COMMANDS: [&str; 6] = [
    "ADAPTERD_SERVER",
    "ADAPTERD_API_KEY",
    "ADAPTERD_CONFIG",
    "ADAPTERD_CA",
    "ADAPTERD_CERT",
    "ADAPTERD_CERT_KEY",
];
/// No setting: what a processor is allowed to use holds for every command, from the first product on.
const OF_KERNELS: &str = crate::kernels::SWITCH;

fn from_variable(name: String, value: OsString, known: &[String]) -> Variable {
    let Some(rest) = name.strip_prefix("ADAPTERD_") else {
        return Variable::Other;
    };
    if OF_COMMANDS.contains(&name.as_str()) {
        return Variable::Other;
    }
    let text = match value.into_string() {
        Ok(text) => text,
        Err(value) => {
            return Variable::Mistake(Problem {
                why: format!("`{}` is not UTF-8", value.display()),
                key: name,
                origin: "environment".into(),
            });
        }
    };
    if name == OF_KERNELS {
        return match crate::kernels::check_switch(&text) {
            Ok(()) => Variable::Other,
            Err(why) => Variable::Mistake(Problem {
                key: name,
                origin: "environment".into(),
                why,
            }),
        };
    }
    let lower = rest.to_lowercase();
    if let Some((section, key)) = lower.split_once("__") {
        return Variable::Setting(Given {
            key: format!("{section}.{}", key.replace("__", ".")),
            value: Said::Text(text),
            origin: name,
        });
    }
    let meant = known.iter().find(|key| key.replace('.', "_") == lower);
    let (why, is_sure) = match meant {
        Some(key) => {
            let variable = key.replace('.', "__").to_uppercase();
            (
                format!("not a setting; did you mean `ADAPTERD_{variable}`?"),
                true,
            )
        }
        None => (
            "not a setting; those are named `ADAPTERD_SECTION__KEY`".into(),
            false,
        ),
    };
    let problem = Problem {
        key: name,
        origin: "environment".into(),
        why,
    };
    if is_sure {
        Variable::Mistake(problem)
    } else {
        Variable::Warning(problem)
    }
}

/// Numbers, booleans and lists where the default is one, everything else as text.
fn parse_text(text: &str, default: &Value) -> Value {
    let parsed = match default {
        Value::Num(..) => {
            let whole = text.parse::<i64>().map(Value::from).ok();
            whole.or_else(|| text.parse::<f64>().map(Value::from).ok())
        }
        Value::Bool(..) => text.parse::<bool>().ok().map(Value::from),
        Value::Array(..) => Some(Value::from(listed(text))),
        Value::Dict(..) => tabled(text),
        _ => None,
    };
    parsed.unwrap_or_else(|| Value::from(text))
}

/// A table, as TOML writes it between braces.
fn tabled(text: &str) -> Option<Value> {
    let table: Dict = toml::from_str(&format!("table = {text}")).ok()?;
    table.into_values().next()
}

/// Entries of a list: as TOML writes them, or with commas between them.
fn listed(text: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct List {
        list: Vec<String>,
    }
    if let Ok(List { list }) = toml::from_str(&format!("list = {text}")) {
        return list;
    }
    let entries = text.split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

fn unknown(key: &str, known: &[String]) -> String {
    let close = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.8);
    match close {
        Some((_, candidate)) => format!("unknown key; did you mean `{candidate}`?"),
        None => "unknown key".into(),
    }
}

fn as_dict(values: &Values) -> Dict {
    match Value::serialize(values) {
        Ok(Value::Dict(_, dict)) => dict,
        _ => Dict::new(),
    }
}

/// Every setting with its full name.
fn leaves(table: &Dict) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    gather("", table, &mut found);
    found
}

fn gather(above: &str, table: &Dict, found: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = match above {
            "" => name.clone(),
            above => format!("{above}.{name}"),
        };
        match value {
            Value::Dict(_, inner) if key != LIMITS_OF_ADAPTERS => gather(&key, inner, found),
            other => found.push((key, other.clone())),
        }
    }
}

fn plain(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    if let Some(entries) = value.as_array() {
        return entries.iter().map(plain).collect::<Vec<_>>().join(",");
    }
    if let Some(table) = value.as_dict() {
        let entries = table.iter();
        let entries = entries.map(|(name, value)| format!("{name:?} = {}", plain(value)));
        let entries = entries.collect::<Vec<_>>().join(", ");
        return match entries.is_empty() {
            true => String::new(),
            false => format!("{{ {entries} }}"),
        };
    }
    if let Some(truth) = value.to_bool() {
        return truth.to_string();
    }
    if let Some(number) = value.to_i128() {
        return number.to_string();
    }
    if let Some(number) = value.to_u128() {
        return number.to_string();
    }
    value
        .to_f64()
        .map_or_else(String::new, |number| number.to_string())
}
