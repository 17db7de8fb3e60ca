//! Whether a turn is trained on, by any of the names that data sets have for it.

use serde_json::Value;

use super::fields::Fields;
use crate::domain::Role;

/// Names and whether 1 (or true) means that the turn is trained on.
const FLAGS: [(&str, bool); 7] = [
    ("weight", true),
    ("loss", true),
    ("train", true),
    ("training", true),
    ("trainable", true),
    ("masked", false),
    ("mask", false),
];

/// Takes all flags of a turn; they must agree. None where there is no flag.
///
/// Only answers are trained on, so a flag that takes any other turn out says nothing new, and one that wants it in is refused.
pub(super) fn take(turn: &mut Fields, role: Role) -> Result<Option<f32>, String> {
    let mut found: Option<(&str, bool)> = None;
    for (key, meaning) in FLAGS {
        let Some(value) = turn.take(key) else {
            continue;
        };
        let trained = truth(&value)
            .map(|truth| truth == meaning)
            .ok_or_else(|| match key {
                "weight" => format!("{}: {value} is neither 0 nor 1", turn.named(key)),
                _ => format!("{}: {value} is neither true nor false", turn.named(key)),
            })?;
        if trained && role != Role::Assistant {
            return Err(format!(
                "{}: only assistant turns can be trained on, not a {} turn",
                turn.named(key),
                role.as_str()
            ));
        }
        match found {
            Some((other, before)) if before != trained => {
                return Err(format!(
                    "{} contradicts `{other}`: one says that the turn is trained on, the other that it is not",
                    turn.named(key)
                ));
            }
            _ => found = Some((key, trained)),
        }
    }
    Ok(found
        .filter(|_| role == Role::Assistant)
        .map(|(_, trained)| f32::from(u8::from(trained))))
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => None,
        },
        _ => None,
    }
}
