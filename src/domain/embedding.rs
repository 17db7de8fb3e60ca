//! A text as one vector: which hidden states stand for it, and how the vector is scaled.

use super::{Input, Reason, Urgency};

/// Which hidden states stand for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// That of its last token, which has seen all others.
    #[default]
    Last,
    /// The mean over all its tokens.
    Mean,
}

impl Pooling {
    pub const NAMES: &'static [&'static str] = &["last", "mean"];

    pub fn of(field: &str, name: &str) -> Result<Self, Reason> {
        match name {
            "last" => Ok(Self::Last),
            "mean" => Ok(Self::Mean),
            _ => Err(Reason::field(field, "must be `last` or `mean`")),
        }
    }
}

/// Texts of one request.
pub const MOST_TEXTS: usize = 2048;
/// Tokens of all texts of one request together.
pub const MOST_EMBEDDED_TOKENS: usize = 300_000;

/// Texts to turn into vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedAsk {
    pub inputs: Vec<Input>,
    pub pooling: Pooling,
    /// So many leading numbers of each vector; all where absent.
    pub dimensions: Option<usize>,
    pub cache_salt: String,
    pub urgency: Urgency,
}

/// The first `dimensions` numbers of a vector, scaled to a length of 1. One of nothing but zeros has no direction and
/// stays as it is.
pub fn normalised(mut vector: Vec<f32>, dimensions: Option<usize>) -> Vec<f32> {
    vector.truncate(dimensions.unwrap_or(usize::MAX));
    let squares = vector.iter().map(|x| f64::from(*x) * f64::from(*x));
    let length = squares.sum::<f64>().sqrt();
    if length > 0.0 {
        for x in &mut vector {
            *x = (f64::from(*x) / length) as f32;
        }
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_length_1_also_where_it_is_cut() {
        assert_eq!(normalised(vec![3.0, 0.0, 4.0], None), [0.6, 0.0, 0.8]);
        assert_eq!(normalised(vec![3.0, 4.0, 12.0], Some(2)), [0.6, 0.8]);
        assert_eq!(normalised(vec![3.0, 4.0], Some(7)), [0.6, 0.8]);
        assert_eq!(normalised(vec![0.0, 0.0], None), [0.0, 0.0]);
        let large = normalised(vec![f32::MAX, f32::MAX], None);
        assert!(large.iter().all(|x| (x - 0.5f32.sqrt()).abs() < 1e-6));
    }

    #[test]
    fn a_pooling_has_a_name() {
        for (name, pooling) in Pooling::NAMES.iter().zip([Pooling::Last, Pooling::Mean]) {
            assert_eq!(Pooling::of("pooling", name), Ok(pooling));
        }
        let refused = Pooling::of("pooling", "max");
        assert!(matches!(refused, Err(Reason::BadField { field, .. }) if field == "pooling"));
    }
}
