//! The keys by which a LoRA replaces parts of the base: whole modules, rows of tokens, and what stays tied then.
//! The rules are those of PEFT's `set_additional_trainable_modules`.

use serde_json::Value;

use super::super::config::{self, ConfigFile};
use crate::adapter::{AdapterFault, Outer};

const TOKENS: &str = "trainable_token_indices";

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    /// B has a bias.
    pub lora_bias: bool,
    /// Ends of the paths of modules whose weights are the adapter's own.
    pub modules: Vec<String>,
    /// Tokens whose rows are, by the end of the path of the embedding or the head.
    pub tokens: Vec<(String, Vec<u32>)>,
    /// What a tied base has in the embedding and the head stays the same.
    pub tie: bool,
}

/// Tokens whose rows are the adapter's own.
#[derive(Debug, Default, PartialEq)]
pub struct TokenRows {
    pub embedding: Option<Vec<u32>>,
    pub head: Option<Vec<u32>>,
    /// The head's rows are the embedding's.
    pub tied: bool,
}

impl Saved {
    pub fn parse(file: &ConfigFile) -> Result<Self, AdapterFault> {
        let saved = Self {
            lora_bias: file.flag("lora_bias")?,
            modules: file.texts("modules_to_save")?.unwrap_or_default(),
            tokens: tokens(file)?,
            tie: file.flag("ensure_weight_tying")?,
        };
        if saved.lora_bias && file.flag("use_dora")? {
            let why = "is not supported by PEFT beside `use_dora`";
            return Err(AdapterFault::new("lora_bias", why));
        }
        if saved.modules.iter().any(String::is_empty) {
            return Err(AdapterFault::new("modules_to_save", "has an empty name"));
        }
        Ok(saved)
    }

    /// Whether nothing of the base is replaced.
    pub fn is_nothing(&self) -> bool {
        !self.lora_bias && self.modules.is_empty() && self.tokens.is_empty()
    }

    /// Whether a module is kept from adapters because it, or what it is part of, is saved whole.
    pub fn holds(&self, path: &str) -> bool {
        let path = format!(".{path}.");
        let mut modules = self.modules.iter();
        modules.any(|name| path.contains(&format!(".{name}.")))
    }

    /// Whether a module is replaced, or what it is part of: by the ends of paths, even within a name.
    pub fn replaces(&self, path: &str) -> bool {
        let mut ends: Vec<usize> = path.match_indices('.').map(|(at, _)| at).collect();
        ends.push(path.len());
        let mut modules = self.modules.iter();
        modules.any(|name| ends.iter().any(|end| path[..*end].ends_with(name.as_str())))
    }

    /// The rows of tokens that are replaced, of a base that may be tied.
    pub fn token_rows(&self, tied: bool) -> Result<TokenRows, AdapterFault> {
        let mut rows = TokenRows::default();
        for (name, ids) in &self.tokens {
            let ends = |outer: &Outer| !name.is_empty() && outer.path().ends_with(name.as_str());
            let Some(outer) = Outer::ALL.into_iter().find(ends) else {
                let why = format!("names `{name}`, which is neither the embedding nor the head");
                return Err(AdapterFault::new(TOKENS, why));
            };
            if self.modules.contains(name) || self.replaces(outer.path()) {
                let why = format!("names `{name}`, which `modules_to_save` replaces");
                return Err(AdapterFault::new(TOKENS, why));
            }
            let place = match outer {
                Outer::Embedding => &mut rows.embedding,
                Outer::Head => &mut rows.head,
            };
            if place.replace(ids.clone()).is_some() {
                let why = format!("names `{}` twice", outer.path());
                return Err(AdapterFault::new(TOKENS, why));
            }
        }
        if !tied || rows.embedding.is_none() {
            return Ok(rows);
        }
        match &rows.head {
            Some(head) if Some(head) != rows.embedding.as_ref() => {
                if self.tie {
                    let why = "names other tokens of the head than of the embedding, which `ensure_weight_tying` keeps the same";
                    return Err(AdapterFault::new(TOKENS, why));
                }
            }
            _ => {
                rows.tied = true;
                rows.head = None;
            }
        }
        Ok(rows)
    }
}

/// A list is of the embedding's.
fn tokens(file: &ConfigFile) -> Result<Vec<(String, Vec<u32>)>, AdapterFault> {
    let ids = |field: &str, value: &Value| {
        let wrong = || AdapterFault::new(field, "is not a list of token ids");
        let items = value.as_array().ok_or_else(wrong)?;
        let mut ids = Vec::with_capacity(items.len());
        for item in items {
            let id = config::count(field, item)?;
            let id = u32::try_from(id).map_err(|_| wrong())?;
            ids.push(id);
        }
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(AdapterFault::new(
                field,
                format!("names token {} twice", pair[0]),
            ));
        }
        Ok(ids)
    };
    Ok(match file.get(TOKENS) {
        None => Vec::new(),
        Some(Value::Object(_)) => file.patterns(TOKENS, ids)?,
        Some(list) => vec![(Outer::Embedding.path().to_owned(), ids(TOKENS, list)?)],
    })
    .map(|all| all.into_iter().filter(|(_, ids)| !ids.is_empty()).collect())
}
