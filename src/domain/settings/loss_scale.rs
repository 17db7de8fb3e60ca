//! What losses are multiplied by before gradients of 16 bits are taken.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum LossScale {
    /// Rises and falls with what gradients bear.
    Dynamic,
    /// A number above 0.
    Fixed(f64),
}

impl LossScale {
    pub const DYNAMIC: &'static str = "dynamic";
    /// Where the dynamic one begins.
    pub const START: f64 = 65_536.0;
    pub const LEAST: f64 = 1.0;
    /// Where it is, small gradients are far from what f16 rounds to 0.
    pub const MOST: f64 = 16_777_216.0;
    /// Good steps in a row after which it is doubled.
    pub const PATIENCE: u64 = 2000;
}

impl FromStr for LossScale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == Self::DYNAMIC => Ok(Self::Dynamic),
            Ok(number) if number > 0.0 && number.is_finite() => Ok(Self::Fixed(number)),
            _ => Err(format!(
                "`{text}` is neither `dynamic` nor a number above 0"
            )),
        }
    }
}

impl TryFrom<Value> for LossScale {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => text.parse(),
            other => other.to_string().parse(),
        }
    }
}

impl From<LossScale> for Value {
    fn from(scale: LossScale) -> Self {
        match scale {
            LossScale::Dynamic => LossScale::DYNAMIC.into(),
            LossScale::Fixed(number) => number.into(),
        }
    }
}

impl fmt::Display for LossScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dynamic => f.write_str(Self::DYNAMIC),
            Self::Fixed(number) => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_a_word_or_a_number_at_every_door() {
        for (said, meaning) in [
            (json!("dynamic"), LossScale::Dynamic),
            (json!(1024), LossScale::Fixed(1024.0)),
            (json!("1024"), LossScale::Fixed(1024.0)),
            (json!(0.5), LossScale::Fixed(0.5)),
        ] {
            let scale: LossScale = serde_json::from_value(said).unwrap();
            assert_eq!(scale, meaning);
            assert_eq!(scale.to_string().parse(), Ok(meaning));
            let kept = serde_json::to_value(scale).unwrap();
            assert_eq!(serde_json::from_value::<LossScale>(kept).unwrap(), meaning);
        }
        for said in [
            json!("static"),
            json!(0),
            json!(-1),
            json!("inf"),
            json!(null),
        ] {
            assert!(
                serde_json::from_value::<LossScale>(said.clone()).is_err(),
                "{said}"
            );
        }
    }
}
