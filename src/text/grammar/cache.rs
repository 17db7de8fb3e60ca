//! What was compiled lately, by the digest of what it was compiled from.

use std::collections::HashMap;

use crate::domain::Rule;

pub type Digest = [u8; 32];

/// Compiled constraints that are kept.
const ENTRIES: usize = 64;

/// The newest [`ENTRIES`] that were asked for.
pub struct Cache<T> {
    entries: HashMap<Digest, (u64, T)>,
    /// Grows with each use.
    clock: u64,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            clock: 0,
        }
    }
}

impl<T: Clone> Cache<T> {
    pub fn get(&mut self, digest: &Digest) -> Option<T> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(digest)?;
        *used = self.clock;
        Some(value.clone())
    }

    /// What was not used for longest makes room.
    pub fn put(&mut self, digest: Digest, value: T) {
        self.clock += 1;
        if self.entries.len() >= ENTRIES && !self.entries.contains_key(&digest) {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(digest, (self.clock, value));
    }
}

/// Schemas with the same keys in another order differ: answers follow their order.
pub fn digest(rule: &Rule, owner: u64) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&owner.to_le_bytes());
    write(rule, &mut hasher);
    *hasher.finalize().as_bytes()
}

fn write(rule: &Rule, hasher: &mut blake3::Hasher) {
    let mut add = |kind: &str, text: &str| {
        hasher.update(kind.as_bytes());
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    match rule {
        Rule::JsonObject => add("object", ""),
        Rule::JsonSchema(schema) => add("schema", &schema.to_string()),
        Rule::Regex(text) => add("regex", text),
        Rule::Choice(texts) => texts.iter().for_each(|text| add("choice", text)),
        Rule::Lark(text) => add("lark", text),
        Rule::CallsOr(either) => {
            add("calls", &either.grammar);
            either.begin.iter().for_each(|text| add("begin", text));
            write(&either.form, hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CallsOr;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let mut cache = Cache::default();
        let digest = |n: usize| digest(&Rule::Regex(n.to_string()), 0);
        for n in 0..ENTRIES {
            cache.put(digest(n), n);
        }
        assert_eq!(cache.get(&digest(0)), Some(0));
        cache.put(digest(ENTRIES), ENTRIES);
        assert_eq!(cache.get(&digest(0)), Some(0));
        assert_eq!(cache.get(&digest(1)), None);
        assert_eq!(cache.get(&digest(ENTRIES)), Some(ENTRIES));
        assert_eq!(cache.entries.len(), ENTRIES);
    }

    #[test]
    fn rules_that_differ_have_digests_that_differ() {
        let choice = |texts: &[&str]| Rule::Choice(texts.iter().map(|t| (*t).to_owned()).collect());
        let schema = |text: &str| Rule::JsonSchema(serde_json::from_str(text).unwrap());
        let calls = |grammar: &str, begin: &str, form: &str| {
            Rule::CallsOr(CallsOr {
                grammar: grammar.into(),
                form: Box::new(Rule::Regex(form.into())),
                begin: vec![begin.into()],
            })
        };
        let rules = [
            calls("a", "b", "c"),
            calls("b", "b", "c"),
            calls("a", "a", "c"),
            calls("a", "b", "a"),
            Rule::JsonObject,
            Rule::Regex("a".into()),
            Rule::Lark("a".into()),
            choice(&["a"]),
            choice(&["a", "b"]),
            choice(&["ab"]),
            schema(r#"{"properties":{"a":{},"b":{}}}"#),
            schema(r#"{"properties":{"b":{},"a":{}}}"#),
        ];
        let of = |owner: u64| rules.iter().map(move |rule| digest(rule, owner));
        let digests: std::collections::HashSet<_> = of(0).chain(of(1)).collect();
        assert_eq!(digests.len(), 2 * rules.len());
    }
}
