//! Managing adapters: names and conditions are read here, the registry does the rest.

use super::{Caller, Files, Work};
use crate::domain::rollout::Publish;
use crate::domain::{AdapterName, AdapterView, BlendAsk, Generation, HubId, Reason, Scope};
use crate::registry::{Expected, Registry};

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

    /// Publishes an uploaded folder: the name moves to it, or else `publish` says what becomes of it.
    pub async fn register(
        &self,
        name: &str,
        files: Files,
        expected: Option<&str>,
        publish: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        self.check(ADAPTERS)?;
        self.afford(Work::Upload)?;
        let (name, expected) = (self.own_name("name", name)?, condition(expected)?);
        self.publish_as(&name, files, expected, ("upload", publish))
            .await
    }

    async fn publish_as(
        &self,
        name: &AdapterName,
        files: Files,
        expected: Expected,
        (source, publish): (&str, Option<&str>),
    ) -> Result<AdapterView, Reason> {
        let registry = self.registry()?;
        let publish = self.way(name, publish)?;
        let published = registry.publish_as(name, files, expected, source, publish);
        let missing = || Reason::NoSuchAdapter(name.to_string());
        let view = published.await?.ok_or_else(missing)?;
        Ok(self.shown(view))
    }

    /// How a folder for that name is to be published.
    pub(super) fn way(&self, name: &AdapterName, text: Option<&str>) -> Result<Publish, Reason> {
        let publish = text.map_or(Ok(Publish::Now), str::parse);
        let publish = publish.map_err(|why| Reason::field("publish", why))?;
        let registry = &self.may(ADAPTERS)?.registry;
        if publish != Publish::Now && !registry.knows(name) {
            let why = format!(
                "`{publish}` needs a name that serves something already, and `{name}` does not; leave it out to serve this"
            );
            return Err(Reason::field("publish", why));
        }
        Ok(publish)
    }

    /// Publishes a folder under the adapter root. `fresh`: only if the name is not taken.
    pub async fn register_folder(
        &self,
        (field, name): (&str, &str),
        path: &str,
        fresh: bool,
        (expected, publish): (Option<&str>, Option<&str>),
    ) -> Result<AdapterView, Reason> {
        let registry = self.registry()?;
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
        self.publish_as(&name, files, expected, (&source, publish))
            .await
    }

    /// Publishes an adapter of the hub and moves the name to it.
    pub async fn register_from_hub(
        &self,
        name: &str,
        id: HubId,
        (expected, publish): (Option<&str>, Option<&str>),
    ) -> Result<AdapterView, Reason> {
        let registry = self.registry()?;
        self.afford(Work::Upload)?;
        let (name, expected) = (self.own_name("name", name)?, condition(expected)?);
        // Before anything is fetched for it.
        self.way(&name, publish)?;
        let hub = &self.gateway().inner.config.hub;
        let (files, source) = self.unless_ended(registry.fetch(hub, id)).await?;
        self.check(ADAPTERS)?;
        self.publish_as(&name, files, expected, (&source, publish))
            .await
    }

    /// Makes an adapter of others and moves the name to it.
    pub async fn blend(
        &self,
        name: &str,
        ask: BlendAsk,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let registry = self.registry()?;
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
        let (registry, name, expected) = self.change(name, expected)?;
        let to = self.generation_of(&name, to).await?;
        let view = registry.promote(&name, to, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn rollback(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let view = registry.rollback(&name, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn pin(
        &self,
        name: &str,
        pinned: bool,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let view = registry.set_pinned(&name, pinned, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn load_adapter(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let view = registry.load(&name, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn unload_adapter(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        let view = registry.unload(&name, expected).await?;
        Ok(self.shown(view))
    }

    pub async fn remove_adapter(&self, name: &str, expected: Option<&str>) -> Result<(), Reason> {
        let (registry, name, expected) = self.change(name, expected)?;
        registry.remove(&name, expected).await
    }

    /// A change of a name that exists for the caller: where it is made, of what, and under which condition.
    pub(super) fn change(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<(Registry, AdapterName, Expected), Reason> {
        Ok((self.registry()?, self.known(name)?, condition(expected)?))
    }

    /// The registry, for changes.
    fn registry(&self) -> Result<Registry, Reason> {
        Ok(self.may(ADAPTERS)?.registry.by(self.actor()))
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
        let view = self.gateway().parts().routes.told(view);
        if self.sees_everything() {
            return view;
        }
        let source = view.source.split(':').next().unwrap_or_default().to_owned();
        AdapterView { source, ..view }
    }

    /// A name that exists for the caller, if it exists. What cannot be a name cannot have been registered.
    pub(super) fn known(&self, text: &str) -> Result<AdapterName, Reason> {
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
