//! Managing adapters: names and conditions are read here, the registry does the rest.

use super::{Caller, Files, Work};
use crate::domain::{AdapterName, AdapterView, BlendAsk, Generation, Pin, Reason, Scope};
use crate::registry::Expected;

const ADAPTERS: Scope = Scope::Adapters;

impl Caller {
    pub async fn adapters(&self) -> Result<Vec<AdapterView>, Reason> {
        let mut adapters = self.may(ADAPTERS)?.registry.list().await;
        adapters.retain(|view| self.sees(&view.id));
        adapters.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(adapters.into_iter().map(|view| self.shown(view)).collect())
    }

    pub async fn adapter(&self, name: &str) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        let view = registry.show(&self.known(name)?).await?;
        Ok(self.shown(view))
    }

    /// The adapter's folder as it was published.
    pub async fn adapter_files(&self, name: &str) -> Result<Files, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        registry.files(&self.known(name)?).await
    }

    /// Publishes an uploaded folder and moves the name to it.
    pub async fn register(
        &self,
        name: &str,
        files: Files,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        self.afford(Work::Upload)?;
        let (name, expected) = (self.own_name("name", name)?, condition(expected)?);
        let view = registry.publish(&name, files, expected, "upload").await?;
        Ok(self.shown(view))
    }

    /// Publishes a folder under the adapter root. `fresh`: only if the name is not taken.
    pub async fn register_folder(
        &self,
        (field, name): (&str, &str),
        path: &str,
        fresh: bool,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        self.afford(Work::Upload)?;
        let name = self.own_name(field, name)?;
        let given = condition(expected)?;
        if fresh && given.is_none() && registry.show(&name).await.is_ok() {
            return Err(Reason::AdapterExists(name.to_string()));
        }
        let files = registry.read_folder(path).await?;
        self.check(ADAPTERS)?;
        let expected = if fresh { given.or(Some(None)) } else { given };
        let source = format!("path:{path}");
        let view = registry.publish(&name, files, expected, &source).await?;
        Ok(self.shown(view))
    }

    /// Makes an adapter of others and moves the name to it.
    pub async fn blend(
        &self,
        name: &str,
        ask: BlendAsk,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        self.afford(Work::Background)?;
        let (name, expected) = (self.own_name("name", name)?, condition(expected)?);
        for member in ask.from.members() {
            self.see(&member.name)?;
        }
        let blended = self.unless_ended(registry.blend(&name, ask, expected));
        let (files, source) = blended.await?;
        // Carried through once it has begun.
        let view = registry.publish(&name, files, expected, &source).await?;
        Ok(self.shown(view))
    }

    /// Moves a name to a generation it once had; at least 8 hex digits of it.
    pub async fn promote(
        &self,
        name: &str,
        to: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        let (name, expected) = (self.known(name)?, condition(expected)?);
        let pin = to
            .parse::<Pin>()
            .map_err(|wrong| Reason::field("generation", wrong.to_string()))?;
        let history = registry.history(&name).await?;
        let to = history
            .into_iter()
            .find(|generation| pin.matches(generation))
            .ok_or_else(|| Reason::NoSuchGeneration {
                name: name.to_string(),
                generation: pin.as_str().to_owned(),
            })?;
        let view = registry.promote(&name, to, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn rollback(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        let (name, expected) = (self.known(name)?, condition(expected)?);
        let view = registry.rollback(&name, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn pin(
        &self,
        name: &str,
        pinned: bool,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        let (name, expected) = (self.known(name)?, condition(expected)?);
        let view = registry.set_pinned(&name, pinned, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn load_adapter(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        let (name, expected) = (self.known(name)?, condition(expected)?);
        let view = registry.load(&name, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn unload_adapter(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        let (name, expected) = (self.known(name)?, condition(expected)?);
        let view = registry.unload(&name, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn remove_adapter(&self, name: &str, expected: Option<&str>) -> Result<(), Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        let (name, expected) = (self.known(name)?, condition(expected)?);
        registry.remove(&name, expected).await
    }

    /// Bytes of resident adapters, used and allowed; of those that exist for the caller.
    pub fn resident_bytes(&self) -> Result<(u64, u64), Reason> {
        let registry = &self.may(ADAPTERS)?.registry;
        let (used, allowed) = registry.resident_bytes();
        if self.sees_everything() {
            return Ok((used, allowed));
        }
        let mut resident = registry.resident();
        resident.retain(|(name, ..)| self.sees(name));
        let used = resident.iter().map(|(_, _, bytes, _)| bytes).sum();
        Ok((used, allowed))
    }

    /// As the caller may see it: where it came from may tell of jobs and adapters that do not exist for it.
    pub(super) fn shown(&self, view: AdapterView) -> AdapterView {
        if self.sees_everything() {
            return view;
        }
        let source = view.source.split(':').next().unwrap_or_default().to_owned();
        AdapterView { source, ..view }
    }

    /// A name that exists for the caller, if it exists. What cannot be a name cannot have been registered.
    fn known(&self, text: &str) -> Result<AdapterName, Reason> {
        let missing = || Reason::NoSuchAdapter(text.chars().take(200).collect());
        let name = text.parse().map_err(|_| missing())?;
        self.see(&name).map(|()| name)
    }

    /// A name that the caller may give an adapter.
    fn own_name(&self, field: &str, text: &str) -> Result<AdapterName, Reason> {
        let name = self.new_name(field, text)?;
        self.see(&name).map(|()| name)
    }

    /// A name something new may take; `field` is where the caller wrote it.
    pub(super) fn new_name(&self, field: &str, text: &str) -> Result<AdapterName, Reason> {
        let name: AdapterName = text
            .parse()
            .map_err(|wrong: crate::domain::NameError| Reason::field(field, wrong.to_string()))?;
        if name.as_str() == self.gateway().base_name() {
            return Err(Reason::field(
                field,
                format!("`{name}` is the base model's name"),
            ));
        }
        Ok(name)
    }
}

/// `expected_generation`: absent sets no condition, `none` means that the name must not exist.
fn condition(text: Option<&str>) -> Result<Expected, Reason> {
    match text {
        None => Ok(None),
        Some("none") => Ok(Some(None)),
        Some(text) => text
            .parse::<Generation>()
            .map(|generation| Some(Some(generation)))
            .map_err(|wrong| Reason::field("expected_generation", wrong.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_a_whole_generation_or_none() {
        let generation = Generation::new([7; 32]);
        assert_eq!(condition(None), Ok(None));
        assert_eq!(condition(Some("none")), Ok(Some(None)));
        assert_eq!(
            condition(Some(&generation.to_string())),
            Ok(Some(Some(generation)))
        );
        for bad in ["", "0707", "latest"] {
            assert!(
                matches!(condition(Some(bad)), Err(Reason::BadField { field, .. }) if field == "expected_generation")
            );
        }
    }
}
