//! Lays file, environment and flags over the defaults and remembers where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::Values;

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub origin: String,
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.why)
    }
}

/// Resolved settings.
#[derive(Debug, Clone)]
pub struct Settings {
    pub values: Values,
    origins: BTreeMap<String, String>,
}

impl Settings {
    /// `(key, value, origin)` of every setting, in order.
    pub fn rows(&self) -> Vec<(String, String, String)> {
        let table = as_dict(&self.values);
        leaves(&table)
            .into_iter()
            .map(|(key, value)| {
                let origin = self
                    .origins
                    .get(&key)
                    .cloned()
                    .unwrap_or_else(|| "default".into());
                (key, plain(&value), origin)
            })
            .collect()
    }

    pub fn data_dir(&self) -> PathBuf {
        if !self.values.storage.data_dir.as_os_str().is_empty() {
            return self.values.storage.data_dir.clone();
        }
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        std::env::var_os("XDG_STATE_HOME")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
            .or_else(home)
            .unwrap_or_else(std::env::temp_dir)
            .join("adapterd")
    }

    pub fn adapter_root(&self) -> PathBuf {
        match self.values.adapters.root.as_os_str().is_empty() {
            true => self.data_dir().join("incoming"),
            false => self.values.adapters.root.clone(),
        }
    }
}

struct Given {
    key: String,
    value: Value,
    origin: String,
}

/// Resolves the settings, or says everything that is wrong with them.
///
/// `environment` are variables with their full names; those that are not `ADAPTERD_SECTION__KEY` are left alone.
/// `flags` are `(key, value)` pairs such as `("server.http", "127.0.0.1:0")`.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
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
    let mut variables: Vec<_> = environment.filter_map(from_variable).collect();
    variables.sort_by(|a, b| a.key.cmp(&b.key));
    given.extend(variables);
    given.extend(flags.iter().map(|(key, text)| Given {
        key: (*key).to_owned(),
        value: parse_text(text),
        origin: "flag".into(),
    }));

    let known: Vec<String> = leaves(&as_dict(&Values::default()))
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let mut figment = Figment::from(Serialized::defaults(Values::default()));
    let mut origins = BTreeMap::new();
    for Given { key, value, origin } in given {
        if !known.contains(&key) {
            problems.push(Problem {
                why: unknown(&key, &known),
                key,
                origin,
            });
            continue;
        }
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
            problems.extend(values.mistakes().into_iter().map(|(key, why)| {
                Problem {
                    origin: origins
                        .get(&key)
                        .cloned()
                        .unwrap_or_else(|| "default".into()),
                    key,
                    why,
                }
            }));
            if problems.is_empty() {
                return Ok(Settings { values, origins });
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
            value,
            origin: origin.clone(),
        })
        .collect())
}

fn from_variable((name, text): (String, String)) -> Option<Given> {
    let (section, key) = name.strip_prefix("ADAPTERD_")?.split_once("__")?;
    Some(Given {
        key: format!("{}.{}", section.to_lowercase(), key.to_lowercase()),
        value: parse_text(&text),
        origin: name,
    })
}

/// Numbers and booleans as such, everything else as text.
fn parse_text(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    match text {
        "true" => Value::from(true),
        "false" => Value::from(false),
        _ => Value::from(text),
    }
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

fn leaves(table: &Dict) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Dict(_, inner) => found.extend(
                leaves(inner)
                    .into_iter()
                    .map(|(key, value)| (format!("{name}.{key}"), value)),
            ),
            other => found.push((name.clone(), other.clone())),
        }
    }
    found
}

fn plain(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(list: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
        let owned: Vec<_> = list
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        owned.into_iter()
    }

    #[test]
    fn flags_win_over_the_environment_which_wins_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("adapterd.toml");
        std::fs::write(
            &file,
            "[engine]\nrows = 3\nstep_tokens = 100\nblock_size = 8\n",
        )
        .unwrap();
        let settings = load(
            Some(&file),
            vars(&[
                ("ADAPTERD_ENGINE__STEP_TOKENS", "200"),
                ("ADAPTERD_ENGINE__BLOCK_SIZE", "32"),
            ]),
            &[("engine.block_size", "64".into())],
        )
        .unwrap();
        assert_eq!(settings.values.engine.rows, 3);
        assert_eq!(settings.values.engine.step_tokens, 200);
        assert_eq!(settings.values.engine.block_size, 64);
        let rows = settings.rows();
        let origin = |key: &str| rows.iter().find(|row| row.0 == key).unwrap().2.clone();
        assert_eq!(origin("engine.block_size"), "flag");
        assert_eq!(origin("engine.step_tokens"), "ADAPTERD_ENGINE__STEP_TOKENS");
        assert!(origin("engine.rows").ends_with("adapterd.toml"));
        assert_eq!(origin("engine.kv_bytes"), "default");
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_near_misses_get_a_suggestion() {
        let problems = load(
            None,
            vars(&[
                ("ADAPTERD_ENGINE__ROWZ", "3"),
                ("ADAPTERD_SERVER__HTTP", "nowhere"),
            ]),
            &[("model.quant", "q9".into()), ("engine.rows", "0".into())],
        )
        .unwrap_err();
        let of = |key: &str| {
            problems
                .iter()
                .find(|p| p.key == key)
                .map(|p| p.why.clone())
        };
        assert!(
            of("engine.rowz").unwrap().contains("engine.rows"),
            "{problems:?}"
        );
        assert!(of("server.http").is_some(), "{problems:?}");
        assert!(of("model.quant").unwrap().contains("q9"), "{problems:?}");
        assert!(of("engine.rows").is_some(), "{problems:?}");
    }

    #[test]
    fn the_client_variables_are_not_settings() {
        assert!(
            load(
                None,
                vars(&[("ADAPTERD_SERVER", "http://x"), ("ADAPTERD_API_KEY", "k")]),
                &[]
            )
            .is_ok()
        );
    }
}
