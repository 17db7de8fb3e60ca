//! Several places that say settings, made one.

use super::deepspeed::several;
use super::read::{Reading, Set};
use super::told::{Effect, Mapping, shown};
use crate::domain::settings;
use crate::domain::{Precision, Reason, Wishes};

/// What flags and files say together.
#[derive(Debug, Clone)]
pub struct Joined {
    pub wishes: Wishes,
    /// Of every key of every file, in their order.
    pub mappings: Vec<Mapping>,
    places: Vec<Place>,
}

/// Where a setting is said first.
#[derive(Debug, Clone)]
struct Place {
    name: &'static str,
    key: String,
    shown: String,
    is_flag: bool,
}

impl Joined {
    pub(super) fn of(flags: Wishes, reading: Reading) -> Result<Self, Reason> {
        let said = flags.said_publicly().map(|(setting, shown)| Place {
            name: setting.name,
            key: setting.name.to_owned(),
            shown,
            is_flag: true,
        });
        let mut joined = Self {
            places: said.collect(),
            wishes: flags,
            mappings: reading.mappings,
        };
        for set in reading.sets {
            joined.add(set)?;
        }
        for (at, sets) in reading.only_f16 {
            joined.add_with_f16(at, sets)?;
        }
        joined.check_batches()?;
        joined.check_length()?;
        let complete = Wishes::from(joined.wishes.clone().complete(usize::MAX));
        for (at, names) in reading.filled {
            joined.fill(at, names, &complete);
        }
        Ok(joined)
    }

    /// `reason`, with a setting's name replaced by the key that said it, where that is a file's.
    pub fn explain(&self, reason: Reason) -> Reason {
        let Reason::BadField { field, why } = reason else {
            return reason;
        };
        let place = settings::find(&field).and_then(|setting| self.place(setting.name));
        match place.filter(|place| !place.is_flag) {
            Some(place) => Reason::field(place.key.clone(), why),
            None => Reason::BadField { field, why },
        }
    }

    /// The flag or key that says a setting.
    pub fn says(&self, name: &str) -> Option<&str> {
        self.place(name).map(|place| place.key.as_str())
    }

    fn place(&self, name: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.name == name)
    }

    fn add(&mut self, set: Set) -> Result<(), Reason> {
        let Set {
            setting,
            value,
            key,
            shown: said,
        } = set;
        let means = shown(&value);
        let wish = Wishes::of(setting, value).map_err(|why| Reason::field(&key, why))?;
        if self.wishes.unite(&wish).is_err() {
            let other = self.place(setting.name);
            let other = other.map_or(String::new(), |other| {
                format!("`{}` = {}", other.key, other.shown)
            });
            let mean = match means == said {
                true => String::new(),
                false => format!(", which is `{}` = {means} here,", setting.name),
            };
            let why = format!("{said}{mean} contradicts {other}; leave one of them out");
            return Err(Reason::field(key, why));
        }
        if self.place(setting.name).is_none() {
            self.places.push(Place {
                name: setting.name,
                key,
                shown: said,
                is_flag: false,
            });
        }
        Ok(())
    }

    /// What counts only with f16, which is known when everything else is said.
    fn add_with_f16(&mut self, at: usize, sets: Vec<Set>) -> Result<(), Reason> {
        if self.wishes.precision == Some(Precision::F16) {
            return sets.into_iter().try_for_each(|set| self.add(set));
        }
        if let Some(mapping) = self.mappings.get_mut(at) {
            mapping.becomes = "counts with `precision` f16".to_owned();
            mapping.effect = Effect::None;
        }
        Ok(())
    }

    /// The places that say all of `names`, where any of them is a file's.
    fn said<const N: usize>(&self, names: [&str; N]) -> Option<[&Place; N]> {
        let places = names.map(|name| self.place(name));
        let all = places.iter().all(Option::is_some);
        let any = places.iter().flatten().any(|place| !place.is_flag);
        (all && any).then(|| places.map(|place| place.unwrap_or(&self.places[0])))
    }

    /// Rows in a step are rows in a forward times forwards in a step: on one device there is no third factor.
    fn check_batches(&self) -> Result<(), Reason> {
        let Wishes {
            batch_size: Some(batch),
            micro_batch: Some(micro),
            accumulate: Some(times),
            ..
        } = self.wishes
        else {
            return Ok(());
        };
        let one = micro.saturating_mul(times);
        let places = self.said(["batch_size", "micro_batch", "accumulate"]);
        let Some(places) = places.filter(|_| one != batch) else {
            return Ok(());
        };
        let [whole, part, count] = places;
        let at = places.into_iter().find(|place| !place.is_flag);
        let mut why = format!(
            "`{}` = {batch} is not `{}` = {micro} times `{}` = {times}",
            whole.key, part.key, count.key
        );
        if one > 0 && batch.is_multiple_of(one) {
            let devices = batch / one;
            why += &format!(
                ": a recipe for {devices} devices. For the same batch on one leave `{}` out, or say {}; {}",
                count.key,
                devices * times,
                several(&devices.to_string())
            );
        }
        Err(Reason::field(at.map_or("", |place| &place.key), why))
    }

    /// A job is as long as its steps or its epochs say.
    fn check_length(&self) -> Result<(), Reason> {
        let Some([steps, epochs]) = self.said(["steps", "epochs"]) else {
            return Ok(());
        };
        let (at, other) = match steps.is_flag {
            true => (epochs, steps),
            false => (steps, epochs),
        };
        let why = format!(
            "{} contradicts `{}` = {}: a job has a number of steps or of epochs; leave one of them out",
            at.shown, other.key, other.shown
        );
        Err(Reason::field(&at.key, why))
    }

    /// Tells what a key that leaves its value to others became.
    fn fill(&mut self, at: usize, names: &[&'static str], complete: &Wishes) {
        let each = names.iter().map(|name| {
            let value = complete
                .said_publicly()
                .find(|(setting, _)| setting.name == *name);
            let value = value.map_or("its default".to_owned(), |(_, shown)| shown);
            match self.place(name) {
                Some(place) if place.is_flag => format!("`{name}` = {value}"),
                Some(place) => format!("`{name}` = {value}, as `{}` says", place.key),
                None => format!("`{name}` = {value}, the default"),
            }
        });
        let becomes = each.collect::<Vec<_>>().join("; ");
        if let Some(mapping) = self.mappings.get_mut(at) {
            mapping.becomes = becomes;
            mapping.effect = Effect::Setting;
        }
    }
}
