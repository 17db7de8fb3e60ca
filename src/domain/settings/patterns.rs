//! Numbers for modules by name or regular expression, as PEFT's `rank_pattern` and `alpha_pattern` have them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// In the order given, which decides where several match; as JSON text. What the text says is checked with the other
/// settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Value", into = "Value")]
pub struct Patterns(String);

impl Default for Patterns {
    fn default() -> Self {
        Self("{}".to_owned())
    }
}

/// An object, or its text.
impl From<Value> for Patterns {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::from_text(&text),
            Value::Object(pairs) => Self::from_pairs(pairs),
            other => Self(other.to_string()),
        }
    }
}

impl From<Patterns> for Value {
    fn from(patterns: Patterns) -> Self {
        serde_json::from_str(&patterns.0).unwrap_or(Self::String(patterns.0))
    }
}

impl Patterns {
    pub fn of_ranks(ranks: &[(String, usize)]) -> Self {
        let pairs = ranks
            .iter()
            .map(|(name, rank)| (name.clone(), (*rank).into()));
        Self::from_pairs(pairs.collect())
    }

    pub fn of_alphas(alphas: &[(String, f64)]) -> Self {
        let pairs = alphas
            .iter()
            .map(|(name, alpha)| (name.clone(), (*alpha).into()));
        Self::from_pairs(pairs.collect())
    }

    /// From JSON; what is none is kept for [`ranks`](Self::ranks) and [`alphas`](Self::alphas) to say so.
    pub fn from_text(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(pairs) => Self::from_pairs(pairs),
            Err(_) => Self(text.to_owned()),
        }
    }

    /// Numbers that are whole are written so, however they came.
    fn from_pairs(mut pairs: Map<String, Value>) -> Self {
        for number in pairs.values_mut() {
            if let Some(value) = number.as_f64().filter(|value| value.fract() == 0.0)
                && value.abs() < 9e15
            {
                *number = (value as i64).into();
            }
        }
        Self(Value::Object(pairs).to_string())
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whole numbers of at least 1.
    ///
    /// # Errors
    /// Which entry is at fault, and how.
    pub fn ranks(&self) -> Result<Vec<(String, usize)>, String> {
        self.read("a whole number from 1 to 512", |number| {
            let rank = number.as_u64().and_then(|rank| usize::try_from(rank).ok());
            rank.filter(|rank| (1..=512).contains(rank))
        })
    }

    /// Numbers above 0.
    ///
    /// # Errors
    /// As [`ranks`](Self::ranks).
    pub fn alphas(&self) -> Result<Vec<(String, f64)>, String> {
        self.read("a number above 0", |number| {
            let alpha = number.as_f64();
            alpha.filter(|alpha| *alpha > 0.0 && *alpha <= f64::from(f32::MAX))
        })
    }

    fn read<T>(
        &self,
        wanted: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<(String, T)>, String> {
        let pairs: Map<String, Value> = serde_json::from_str(&self.0).map_err(|error| {
            format!(r#"is no JSON object of names and numbers such as {{"q_proj": 8}}: {error}"#)
        })?;
        let pairs = pairs.into_iter().map(|(name, number)| match read(&number) {
            Some(value) => Ok((name, value)),
            None => Err(format!("`{name}`: {number} is not {wanted}")),
        });
        pairs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_and_its_text_are_the_same_in_their_order() {
        let text = r#"{ "v_proj": 8, ".*q_proj": 4.0}"#;
        let object: Value = serde_json::from_str(text).unwrap();
        let of = |value: Value| serde_json::from_value::<Patterns>(value).unwrap();
        let patterns = Patterns::from_text(text);
        assert_eq!(of(object), patterns);
        assert_eq!(of(text.into()), patterns);
        assert_eq!(of(serde_json::to_value(&patterns).unwrap()), patterns);
        let wanted = [("v_proj".to_owned(), 8), (".*q_proj".to_owned(), 4)];
        assert_eq!(patterns.ranks().unwrap(), wanted);
        let alphas = [("v_proj".to_owned(), 2.5)];
        assert_eq!(Patterns::of_alphas(&alphas).alphas().unwrap(), alphas);
        assert_eq!(Patterns::default().ranks().unwrap(), []);
    }

    #[test]
    fn what_is_no_number_is_named() {
        for (text, named) in [
            ("[1]", "object"),
            ("8", "object"),
            (r#"{"q_proj": 0}"#, "q_proj"),
            (r#"{"q_proj": 2.5}"#, "q_proj"),
            (r#"{"q_proj": 513}"#, "q_proj"),
            (r#"{"q_proj": "8"}"#, "q_proj"),
        ] {
            let why = Patterns::from_text(text).ranks().unwrap_err();
            assert!(why.contains(named), "{text}: {why}");
        }
        let why = Patterns::from_text(r#"{"q_proj": -1}"#)
            .alphas()
            .unwrap_err();
        assert!(why.contains("above 0"), "{why}");
    }
}
