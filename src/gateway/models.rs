//! The models a client can name: the base and every adapter.

use super::{Caller, Claims};
use crate::domain::{AdapterChoice, Generation, Reason};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelView {
    pub id: String,
    /// Unix seconds.
    pub created: i64,
    /// The base's name, for an adapter.
    pub parent: Option<String>,
    /// The base's name.
    pub root: String,
    pub generation: Option<Generation>,
    /// Tokens of prompt and answer together.
    pub context: usize,
}

impl Caller {
    /// The base first, then the adapters that can be asked for on it, by name.
    pub async fn models(&self) -> Result<Vec<ModelView>, Reason> {
        let parts = self.with_any_key()?;
        let base = &parts.base;
        let context = parts.scheduler.limits().context;
        let own = ModelView {
            id: base.name.clone(),
            created: self.gateway().inner.opened_at,
            parent: None,
            root: base.name.clone(),
            generation: None,
            context,
        };
        let adapters = parts.registry.servable().await.into_iter();
        let adapters = adapters
            .filter(|view| self.sees(&view.id))
            .map(|view| ModelView {
                id: view.id.to_string(),
                created: view.created_at,
                parent: Some(base.name.clone()),
                root: base.name.clone(),
                generation: Some(view.generation),
                context,
            });
        Ok(std::iter::once(own).chain(adapters).collect())
    }

    /// One model by any text the `model` field takes.
    pub async fn model(&self, id: &str) -> Result<ModelView, Reason> {
        let claims = Claims {
            model: Some(id.to_owned()),
            ..Claims::default()
        };
        let wanted = match self.choose(&claims)?.choice {
            AdapterChoice::Base => self.gateway().base_name().to_owned(),
            AdapterChoice::Named { name, .. } => name.to_string(),
            AdapterChoice::Blend(_) | AdapterChoice::Checkpoint { .. } => {
                return Err(Reason::NoSuchModel(id.to_owned()));
            }
        };
        let found = self
            .models()
            .await?
            .into_iter()
            .find(|model| model.id == wanted);
        found.ok_or_else(|| Reason::NoSuchModel(id.to_owned()))
    }
}
