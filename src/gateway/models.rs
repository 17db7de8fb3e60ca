//! The models a client can name: the base and every adapter.

use super::{Caller, Claims, Parts};
use crate::domain::{AdapterChoice, AdapterView, Generation, Reason};

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
        let adapters = parts.registry.servable().await.into_iter();
        let adapters = adapters
            .filter(|view| self.sees(&view.id))
            .map(|view| of_adapter(parts, &view));
        let own = std::iter::once(self.of_base(parts));
        Ok(own.chain(adapters).collect())
    }

    /// One model by any text the `model` field takes.
    pub async fn model(&self, id: &str) -> Result<ModelView, Reason> {
        let claims = Claims {
            model: Some(id.to_owned()),
            ..Claims::default()
        };
        let parts = self.with_any_key()?;
        let missing = || Reason::NoSuchModel(id.to_owned());
        let name = match self.choose(&claims)?.choice {
            AdapterChoice::Base => return Ok(self.of_base(parts)),
            AdapterChoice::Named { name, .. } if self.sees(&name) => name,
            _ => return Err(missing()),
        };
        // Not by the list: clients ask for one name again and again, and there may be thousands.
        let view = parts.registry.show(&name).await.map_err(|_| missing())?;
        let served = parts
            .registry
            .check_choice(&AdapterChoice::Named { name, pin: None });
        served.map_err(|_| missing())?;
        Ok(of_adapter(parts, &view))
    }

    fn of_base(&self, parts: &Parts) -> ModelView {
        let name = &parts.base.name;
        ModelView {
            id: name.clone(),
            created: self.gateway().inner.opened_at,
            parent: None,
            root: name.clone(),
            generation: None,
            context: parts.scheduler.limits().context,
        }
    }
}

fn of_adapter(parts: &Parts, view: &AdapterView) -> ModelView {
    let base = &parts.base.name;
    ModelView {
        id: view.id.to_string(),
        created: view.created_at,
        parent: Some(base.clone()),
        root: base.clone(),
        generation: Some(view.generation),
        context: parts.scheduler.limits().context,
    }
}
