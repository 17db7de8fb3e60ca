//! Managing adapters: names and conditions are read here, the registry does the rest.

use super::{Caller, Files};
use crate::domain::{AdapterName, AdapterView, BlendAsk, Generation, Pin, Reason};
use crate::registry::Expected;

impl Caller {
    pub async fn adapters(&self) -> Vec<AdapterView> {
        let mut adapters = self.parts().registry.list().await;
        adapters.sort_by(|a, b| a.id.cmp(&b.id));
        adapters
    }

    pub async fn adapter(&self, name: &str) -> Result<AdapterView, Reason> {
        self.parts().registry.show(&known(name)?).await
    }

    /// The adapter's folder as it was published.
    pub async fn adapter_files(&self, name: &str) -> Result<Files, Reason> {
        self.parts().registry.files(&known(name)?).await
    }

    /// Publishes an uploaded folder and moves the name to it.
    pub async fn register(
        &self,
        name: &str,
        files: Files,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (name, expected) = (self.new_name("name", name)?, condition(expected)?);
        self.parts()
            .registry
            .publish(&name, files, expected, "upload")
            .await
    }

    /// Publishes a folder under the adapter root. `fresh`: only if the name is not taken.
    pub async fn register_folder(
        &self,
        (field, name): (&str, &str),
        path: &str,
        fresh: bool,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let name = self.new_name(field, name)?;
        let given = condition(expected)?;
        let registry = &self.parts().registry;
        if fresh && given.is_none() && registry.show(&name).await.is_ok() {
            return Err(Reason::AdapterExists(name.to_string()));
        }
        let files = registry.read_folder(path).await?;
        let expected = if fresh { given.or(Some(None)) } else { given };
        registry
            .publish(&name, files, expected, &format!("path:{path}"))
            .await
    }

    /// Makes an adapter of others and moves the name to it.
    pub async fn blend(
        &self,
        name: &str,
        ask: BlendAsk,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (name, expected) = (self.new_name("name", name)?, condition(expected)?);
        self.parts().registry.blend(&name, ask, expected).await
    }

    /// Moves a name to a generation it once had; at least 8 hex digits of it.
    pub async fn promote(
        &self,
        name: &str,
        to: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        let (name, expected) = (known(name)?, condition(expected)?);
        let pin = to
            .parse::<Pin>()
            .map_err(|wrong| Reason::field("generation", wrong.to_string()))?;
        let history = self.parts().registry.history(&name).await?;
        let to = history
            .into_iter()
            .find(|generation| pin.matches(generation))
            .ok_or_else(|| Reason::NoSuchGeneration {
                name: name.to_string(),
                generation: pin.as_str().to_owned(),
            })?;
        self.parts().registry.promote(&name, to, expected).await
    }

    pub async fn rollback(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        self.parts()
            .registry
            .rollback(&known(name)?, condition(expected)?)
            .await
    }

    pub async fn pin(
        &self,
        name: &str,
        pinned: bool,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        self.parts()
            .registry
            .set_pinned(&known(name)?, pinned, condition(expected)?)
            .await
    }

    pub async fn load_adapter(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        self.parts()
            .registry
            .load(&known(name)?, condition(expected)?)
            .await
    }

    pub async fn unload_adapter(
        &self,
        name: &str,
        expected: Option<&str>,
    ) -> Result<AdapterView, Reason> {
        self.parts()
            .registry
            .unload(&known(name)?, condition(expected)?)
            .await
    }

    pub async fn remove_adapter(&self, name: &str, expected: Option<&str>) -> Result<(), Reason> {
        self.parts()
            .registry
            .remove(&known(name)?, condition(expected)?)
            .await
    }

    /// Bytes of resident adapters, used and allowed.
    pub fn resident_bytes(&self) -> (u64, u64) {
        self.parts().registry.resident_bytes()
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

/// What cannot be a name cannot have been registered.
fn known(text: &str) -> Result<AdapterName, Reason> {
    text.parse()
        .map_err(|_| Reason::NoSuchAdapter(text.chars().take(200).collect()))
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
