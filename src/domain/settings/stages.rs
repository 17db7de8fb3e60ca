//! The stages of a staged job.

use serde::{Deserialize, Serialize};

use super::Targets;

/// One after the other, as JSON text. What the text says is checked with the other settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Given", into = "serde_json::Value")]
pub struct Stages(String);

/// What trains in a stage, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// As `train_modules`.
    #[serde(default)]
    pub modules: Option<Targets>,
    /// As `train_layers`.
    #[serde(default)]
    pub layers: Option<Layers>,
    #[serde(default)]
    pub steps: Option<u64>,
    #[serde(default)]
    pub epochs: Option<f64>,
    /// `None`: the job's.
    #[serde(default)]
    pub lr: Option<f64>,
}

/// `"0-3,11"`, one number, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    One(usize),
    List(Vec<usize>),
    Text(String),
}

impl Layers {
    /// Their numbers, ascending.
    ///
    /// # Errors
    /// What of the text is no layer.
    pub fn numbers(&self) -> Result<Vec<usize>, String> {
        let mut numbers = match self {
            Self::One(layer) => vec![*layer],
            Self::List(layers) => layers.clone(),
            Self::Text(text) => numbers(text)?,
        };
        numbers.sort_unstable();
        numbers.dedup();
        match numbers.is_empty() {
            true => Err("names no layer".to_owned()),
            false => Ok(numbers),
        }
    }
}

fn numbers(text: &str) -> Result<Vec<usize>, String> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        let wrong = || format!("`{part}` is neither a layer nor a range of layers such as `0-3`");
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
        match part.split_once('-') {
            None => all.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last > 100_000 {
                    return Err(wrong());
                }
                all.extend(first..=last);
            }
        }
    }
    Ok(all)
}

/// A list, or its text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Text(String),
    Value(serde_json::Value),
}

impl From<Given> for Stages {
    fn from(given: Given) -> Self {
        match given {
            Given::Text(text) => Self(text),
            Given::Value(value) => Self(value.to_string()),
        }
    }
}

impl From<Stages> for serde_json::Value {
    fn from(stages: Stages) -> Self {
        serde_json::from_str(&stages.0).unwrap_or(Self::String(stages.0))
    }
}

impl Stages {
    /// From JSON.
    ///
    /// # Errors
    /// Which stage is at fault, and how.
    pub fn parse(text: &str) -> Result<Self, String> {
        let stages = Self(text.to_owned());
        stages.list().map(|_| stages)
    }

    /// The stages in order.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn list(&self) -> Result<Vec<Stage>, String> {
        let list: Vec<serde_json::Value> = serde_json::from_str(&self.0).map_err(|error| {
            format!(r#"is no list of stages such as [{{"layers": "3", "epochs": 1}}]: {error}"#)
        })?;
        if list.is_empty() {
            return Err("has no stage".to_owned());
        }
        let stages = list.into_iter().enumerate();
        stages
            .map(|(at, stage)| {
                let fault = |why: String| format!("stage {at}: {why}");
                let stage: Stage =
                    serde_json::from_value(stage).map_err(|error| fault(error.to_string()))?;
                stage.check().map_err(fault)?;
                Ok(stage)
            })
            .collect()
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Stage {
    fn check(&self) -> Result<(), String> {
        match (self.steps, self.epochs) {
            (Some(_), Some(_)) => return Err("give either `steps` or `epochs`, not both".into()),
            (Some(0), _) => return Err("steps 0 is not at least 1".into()),
            (_, Some(epochs)) if !(epochs > 0.0 && epochs <= 10_000.0) => {
                return Err(format!("epochs {epochs} is not above 0 and at most 10000"));
            }
            _ => {}
        }
        if let Some(lr) = self.lr
            && !(0.0..=100.0).contains(&lr)
        {
            return Err(format!("lr {lr} is not between 0 and 100"));
        }
        if let Some(layers) = &self.layers {
            layers.numbers().map_err(|why| format!("layers {why}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_its_text_are_the_same_stages() {
        let text = r#"[{"layers":"2-3,5","steps":4},{"modules":"head","epochs":1.5,"lr":0.001}]"#;
        let stages = Stages::parse(text).unwrap();
        let list = stages.list().unwrap();
        assert_eq!(
            list[0].layers.as_ref().unwrap().numbers().unwrap(),
            [2, 3, 5]
        );
        assert_eq!(list[1].lr, Some(0.001));
        let value = serde_json::to_value(&stages).unwrap();
        assert!(value.is_array());
        for value in [value, text.into()] {
            let again = serde_json::from_value::<Stages>(value).unwrap();
            assert_eq!(again.list().unwrap(), list);
        }
    }

    #[test]
    fn a_stage_that_makes_no_sense_is_named() {
        for (text, named) in [
            ("{}", "list"),
            ("[]", "no stage"),
            ("[", "list"),
            (r#"[{"steps":1},{"steps":0}]"#, "stage 1"),
            (r#"[{"steps":1,"epochs":1}]"#, "either"),
            (r#"[{"layers":"3-1"}]"#, "`3-1`"),
            (r#"[{"layers":"x"}]"#, "`x`"),
            (r#"[{"lr":-1}]"#, "lr"),
            (r#"[{"rate":1}]"#, "rate"),
        ] {
            let why = Stages::parse(text).unwrap_err();
            assert!(why.contains(named), "{text}: {why}");
        }
    }
}
