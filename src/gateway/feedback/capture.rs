//! Whose prompts and answers may be kept. Pure.

use crate::domain::{AdapterGlobs, AdapterName, Input, KeyId};

/// Nothing is kept by default. Each list that is not empty narrows what is: an answer is kept where both have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capture {
    is_on: bool,
    adapters: Option<Adapters>,
    /// Ids.
    keys: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Adapters {
    has_base: bool,
    globs: Option<AdapterGlobs>,
}

impl Capture {
    /// `adapters` are names and patterns of them, `none` is the base; `keys` are ids.
    ///
    /// # Errors
    /// What of the adapters is no name and no pattern.
    pub fn new(is_on: bool, adapters: &[String], keys: &[String]) -> Result<Self, String> {
        let (base, named): (Vec<_>, Vec<_>) = adapters
            .iter()
            .cloned()
            .partition(|adapter| adapter == "none");
        let globs = match named.is_empty() {
            true => None,
            false => Some(AdapterGlobs::try_from(named)?),
        };
        Ok(Self {
            is_on,
            adapters: (!adapters.is_empty()).then_some(Adapters {
                has_base: !base.is_empty(),
                globs,
            }),
            keys: keys.to_vec(),
        })
    }

    /// Whether something that a caller with this key asks may be kept.
    pub fn hears(&self, key: Option<&KeyId>) -> bool {
        let listed = |key: &KeyId| self.keys.iter().any(|id| id == key.as_str());
        self.is_on && (self.keys.is_empty() || key.is_some_and(listed))
    }

    /// Whether what these adapters answer may be kept; `None` is the base. Of a blend all count.
    pub fn keeps(&self, adapters: Option<&[AdapterName]>) -> bool {
        let Some(listed) = &self.adapters else {
            return self.is_on;
        };
        let globs = listed.globs.as_ref();
        self.is_on
            && match adapters {
                None => listed.has_base,
                Some(names) => {
                    let allow = |name| globs.is_some_and(|globs| globs.allow(name));
                    names.iter().all(allow)
                }
            }
    }
}

/// A prompt as it was sent, as JSON; `None` for token ids, of which no text was sent.
pub(in crate::gateway) fn written(input: &Input) -> Option<String> {
    let value = match input {
        Input::Tokens(_) => return None,
        Input::Text(text) => serde_json::json!({ "prompt": text }),
        Input::Chat(messages) => serde_json::json!({ "messages": messages }),
    };
    Some(value.to_string())
}
