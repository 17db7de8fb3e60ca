//! Blends: several adapters at once, each by a weight.

use std::fmt;
use std::str::FromStr;

use super::{AdapterName, Pin, Reason};

/// Adapters of one blend.
pub const MOST_MEMBERS: usize = 8;
/// Of a member's weight, in either direction.
pub const MOST_WEIGHT: f64 = 100.0;

/// How much of an adapter a blend takes: a finite number within ±[`MOST_WEIGHT`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight(f64);

// Never NaN.
impl Eq for Weight {}

impl Weight {
    pub const ONE: Self = Self(1.0);

    pub fn new(value: f64) -> Option<Self> {
        // Without the sign of a zero, which changes nothing and would look different.
        (value.abs() <= MOST_WEIGHT).then_some(Self(value + 0.0))
    }

    pub const fn get(self) -> f64 {
        self.0
    }
}

/// One adapter of a blend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: AdapterName,
    /// Present for `name@GENERATION`.
    pub pin: Option<Pin>,
    pub weight: Weight,
}

/// One to [`MOST_MEMBERS`] adapters, each once, by name: what was written in another order is the same blend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blend(Vec<Member>);

impl Blend {
    /// `field`: where the caller wrote it. Each entry is `name` or `name@GENERATION`, and a weight.
    pub fn new(
        field: &str,
        entries: impl IntoIterator<Item = (String, f64)>,
    ) -> Result<Self, Reason> {
        let mut members = Vec::new();
        for (key, weight) in entries {
            let short: String = key.chars().take(200).collect();
            let wrong = |why: String| Reason::field(format!("{field}.{short}"), why);
            if members.len() == MOST_MEMBERS {
                let why = format!("blends more than {MOST_MEMBERS} adapters");
                return Err(Reason::field(field, why));
            }
            let weight = Weight::new(weight).ok_or_else(|| {
                wrong(format!(
                    "has the weight {weight}; weights are from -{MOST_WEIGHT} to {MOST_WEIGHT}"
                ))
            })?;
            let (name, pin) = match key.split_once('@') {
                None => (key.as_str(), None),
                Some((name, pin)) => {
                    let pin = pin.parse::<Pin>();
                    (name, Some(pin.map_err(|error| wrong(error.to_string()))?))
                }
            };
            if name == "none" {
                return Err(wrong("is the base, which every blend adds to".to_owned()));
            }
            // What cannot be a name cannot have been registered.
            let name: AdapterName = name
                .parse()
                .map_err(|_| Reason::NoSuchAdapter(short.clone()))?;
            members.push(Member { name, pin, weight });
        }
        if members.is_empty() {
            return Err(Reason::field(field, "blends no adapter"));
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let twice = members.windows(2).find(|pair| pair[0].name == pair[1].name);
        match twice {
            Some(pair) => Err(Reason::field(
                field,
                format!("names `{}` twice", pair[0].name),
            )),
            None => Ok(Self(members)),
        }
    }

    /// `legal=0.7,medical=0.3`
    pub fn parse(field: &str, text: &str) -> Result<Self, Reason> {
        let mut entries = Vec::new();
        for part in text.split(',').map(str::trim) {
            let read = part.split_once('=').and_then(|(name, weight)| {
                let weight = f64::from_str(weight.trim()).ok()?;
                Some((name.trim().to_owned(), weight))
            });
            entries.push(read.ok_or_else(|| {
                let part: String = part.chars().take(200).collect();
                let why =
                    format!("`{part}` is not of the form NAME=WEIGHT, as in legal=0.7,medical=0.3");
                Reason::field(field, why)
            })?);
        }
        Self::new(field, entries)
    }

    pub fn members(&self) -> &[Member] {
        &self.0
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pin, weight } = self;
        match pin {
            None => write!(f, "{name}={}", weight.0),
            Some(pin) => write!(f, "{name}@{}={}", pin.as_str(), weight.0),
        }
    }
}

impl fmt::Display for Blend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, member) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{member}")?;
        }
        Ok(())
    }
}

/// How weights of several adapters become those of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlendMethod {
    /// Their weighted sum.
    #[default]
    Linear,
    /// The largest of each, then at each place those that agree with the sign of the sum (arXiv 2306.01708).
    Ties,
    /// Some of each, drawn at random and scaled up for what was dropped, then their weighted sum (arXiv 2311.03099).
    DareLinear,
    /// Drawn as with `dare_linear`, then as with `ties`.
    DareTies,
}

impl BlendMethod {
    pub const NAMES: &[&str] = &["linear", "ties", "dare_linear", "dare_ties"];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Ties => "ties",
            Self::DareLinear => "dare_linear",
            Self::DareTies => "dare_ties",
        }
    }

    pub fn of(field: &str, text: &str) -> Result<Self, Reason> {
        let all = [Self::Linear, Self::Ties, Self::DareLinear, Self::DareTies];
        all.into_iter()
            .find(|method| method.name() == text)
            .ok_or_else(|| {
                let text: String = text.chars().take(80).collect();
                let known = Self::NAMES.join(", ");
                Reason::field(field, format!("`{text}` is no method; known: {known}"))
            })
    }
}

/// A blend that becomes an adapter of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct BlendAsk {
    pub from: Blend,
    pub method: BlendMethod,
    /// Share of the weights that stay; all where absent. Not of `linear`.
    pub density: Option<f64>,
    /// What the result is reduced to.
    pub rank: Option<usize>,
    /// Of what is drawn at random; 0 where absent.
    pub seed: Option<u64>,
}

impl BlendAsk {
    /// Refuses what its method does not use.
    pub fn check(&self) -> Result<(), Reason> {
        let name = self.method.name();
        if let Some(density) = self.density {
            if self.method == BlendMethod::Linear {
                let why = format!("is not used by method `{name}`, which keeps all weights");
                return Err(Reason::field("density", why));
            }
            if !(density > 0.0 && density <= 1.0) {
                let why = format!("is {density}; a density is a share above 0, up to 1");
                return Err(Reason::field("density", why));
            }
        }
        let draws = matches!(self.method, BlendMethod::DareLinear | BlendMethod::DareTies);
        if self.seed.is_some() && !draws {
            let why = format!("is not used by method `{name}`, which draws nothing at random");
            return Err(Reason::field("seed", why));
        }
        if self.rank == Some(0) {
            return Err(Reason::field("rank", "is 0; a rank is at least 1"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Reason {
        Blend::parse("adapter", text).expect_err(text)
    }

    #[test]
    fn a_blend_is_the_same_in_any_order() {
        let one = Blend::parse("adapter", "medical=0.3, legal=0.7").unwrap();
        assert_eq!(
            one,
            Blend::parse("adapter", "legal=.7,medical=3e-1").unwrap()
        );
        assert_eq!(one.to_string(), "legal=0.7,medical=0.3");
        let pinned = Blend::parse("adapter", "legal@12345678=-1").unwrap();
        assert_eq!(pinned.to_string(), "legal@12345678=-1");
        assert_eq!(
            Blend::parse("adapter", &pinned.to_string()).unwrap(),
            pinned
        );
    }

    #[test]
    fn what_is_no_blend_is_told_by_its_field() {
        for (text, field) in [
            ("legal", "adapter"),
            ("legal=0.7,", "adapter"),
            ("legal=x", "adapter"),
            ("legal=1,legal=2", "adapter"),
            ("legal=nan", "adapter.legal"),
            ("legal=inf", "adapter.legal"),
            ("legal=101", "adapter.legal"),
            ("legal@12=1", "adapter.legal@12"),
            ("none=1", "adapter.none"),
            ("a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1", "adapter"),
        ] {
            assert!(
                matches!(refused(text), Reason::BadField { field: at, .. } if at == field),
                "{text}"
            );
        }
        assert!(matches!(refused("Legal!=1"), Reason::NoSuchAdapter(name) if name == "Legal!"));
        assert!(Blend::new("from", []).is_err());
    }

    #[test]
    fn a_setting_that_its_method_does_not_use_is_refused() {
        let ask = |method, density, seed, rank| BlendAsk {
            from: Blend::parse("from", "a=1").unwrap(),
            method,
            density,
            rank,
            seed,
        };
        use BlendMethod::{DareTies, Linear, Ties};
        for (ask, named) in [
            (ask(Linear, Some(0.5), None, None), "density"),
            (ask(Ties, Some(0.0), None, None), "density"),
            (ask(Ties, Some(f64::NAN), None, None), "density"),
            (ask(Ties, Some(0.5), Some(1), None), "seed"),
            (ask(Linear, None, None, Some(0)), "rank"),
        ] {
            let refused = ask.check().expect_err(named);
            assert!(
                matches!(&refused, Reason::BadField { field, .. } if field == named),
                "{refused}"
            );
        }
        assert_eq!(ask(DareTies, Some(0.5), Some(1), Some(4)).check(), Ok(()));
    }
}
