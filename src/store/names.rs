//! What each name points to, which versions it has had, and the way back. Every change is one transaction, and its line in
//! the audit is part of it.

mod routes;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::audit::{self, Line};
use super::database::{Change, Database, commit};
use super::entry::{Entry, NamedVersion, Route};
use super::failpoint::{Failpoint, Failpoints};
use crate::domain::rollout::{Canary, Watched};
use crate::domain::{Action, Actor, AdapterName, Generation, Reason};

/// Versions by the name they are kept under, newest first.
pub type Unserved = BTreeMap<AdapterName, Vec<Arc<NamedVersion>>>;

/// What becomes of a version that arrives.
pub enum Landing {
    /// The name moves to it.
    Now,
    /// The name has it, and stays where it is.
    Keep,
    /// It answers part of the name's requests.
    Canary(Canary),
}

impl Landing {
    const fn action(&self) -> Action {
        match self {
            Self::Now => Action::AdapterPublish,
            Self::Keep => Action::AdapterKeep,
            Self::Canary(_) => Action::AdapterCanary,
        }
    }
}

/// Where a version has landed.
pub enum Landed {
    Named(Box<Entry>),
    /// Under a name that points to nothing; all that it keeps.
    Unserved(Vec<Arc<NamedVersion>>),
}

pub struct Names {
    database: Database,
    failpoints: Arc<dyn Failpoints>,
}

impl Names {
    pub fn new(database: Database, failpoints: Arc<dyn Failpoints>) -> Self {
        Self {
            database,
            failpoints,
        }
    }

    /// Every name, and the versions that are kept under names that point to nothing.
    pub async fn read(&self) -> Result<(Vec<Entry>, Unserved), Reason> {
        rows::read(&mut *self.database.pool().acquire().await?, None).await
    }

    /// Records a version of the name, which is at `from` (`None`: it points to nothing), and lets it land; the name forgets
    /// what it then has beyond `keep` versions. Returns what no name has any more, too.
    pub async fn publish(
        &self,
        actor: &Actor,
        name: &AdapterName,
        held: &NamedVersion,
        from: Option<Generation>,
        landing: &Landing,
        keep: usize,
    ) -> Result<(Landed, Vec<Generation>), Reason> {
        let mut change = self.database.begin().await?;
        rows::record(&mut change, name, held).await?;
        let moves = matches!(landing, Landing::Now);
        // The same content for another base: the name stays where it is.
        if moves && from != Some(held.generation()) {
            rows::point(&mut change, name, from, held.generation()).await?;
        }
        let line = Line {
            generation: Some(held.generation()),
            previous: from,
            detail: Some(&held.source),
            ..Line::of(actor, landing.action(), name.as_str())
        };
        audit::write(&mut change, &line).await?;
        rows::remember(&mut change, name, held).await?;
        if !moves && from.is_none() {
            let (kept, orphans) = rows::keep_unserved(&mut change, name, keep).await?;
            commit(change).await?;
            return Ok((Landed::Unserved(kept), orphans));
        }
        let mut entry = routes::settled(&mut change, name).await?;
        if let Landing::Canary(canary) = landing {
            let shadow = entry.route.watched.shadow;
            entry.route.watched = Watched {
                shadow,
                ..Watched::default()
            };
            entry.route.canary = Some(canary.clone());
            routes::write(&mut change, name, &entry.route).await?;
        }
        let surplus = entry.surplus(keep);
        rows::shorten(&mut change, name, keep).await?;
        let orphans = rows::forget(&mut change, name, &surplus).await?;
        entry
            .versions
            .retain(|held| !surplus.contains(&held.generation()));
        self.failpoints.reached(Failpoint::Prepared);
        commit(change).await?;
        self.failpoints.reached(Failpoint::Committed);
        Ok((Landed::Named(Box::new(entry)), orphans))
    }

    /// Points a name that points to nothing to a version that is kept under it.
    pub async fn raise(
        &self,
        actor: &Actor,
        name: &AdapterName,
        to: Generation,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        rows::point(&mut change, name, None, to).await?;
        let line = Line {
            generation: Some(to),
            ..Line::of(actor, Action::AdapterPromote, name.as_str())
        };
        finished(change, name, &line).await
    }

    /// What takes part of a name's requests from now on; `of` is the generation that the action is about.
    pub async fn route(
        &self,
        actor: &Actor,
        entry: &Entry,
        route: &Route,
        (action, why): (Action, Option<&str>),
        of: Generation,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        routes::write(&mut change, &entry.name, route).await?;
        let line = Line {
            generation: Some(of),
            previous: Some(entry.generation()),
            detail: why,
            ..Line::of(actor, action, entry.name.as_str())
        };
        finished(change, &entry.name, &line).await
    }

    /// Stores what has been counted of a route. Nothing changes where it is gone.
    pub async fn watched(&self, name: &AdapterName, watched: &Watched) -> Result<(), Reason> {
        routes::watched(&self.database, name, watched).await
    }

    /// Points the name to a version it has had; the way back keeps its last `keep` steps.
    pub async fn promote(
        &self,
        actor: &Actor,
        name: &AdapterName,
        (from, to): (Generation, Generation),
        (action, why): (Action, Option<&str>),
        keep: usize,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        rows::point(&mut change, name, Some(from), to).await?;
        rows::shorten(&mut change, name, keep).await?;
        let line = Line {
            detail: why,
            ..Line::of(actor, action, name.as_str())
        };
        moved(change, name, line, (from, to)).await
    }

    /// Points the name to the version before.
    pub async fn roll_back(
        &self,
        actor: &Actor,
        name: &AdapterName,
        from: Generation,
        to: Generation,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        rows::step_back(&mut change, name, from, to).await?;
        let line = Line::of(actor, Action::AdapterRollback, name.as_str());
        moved(change, name, line, (from, to)).await
    }

    /// `generation` is what the name points to.
    pub async fn set_pinned(
        &self,
        actor: &Actor,
        name: &AdapterName,
        generation: Generation,
        pinned: bool,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        rows::set_pinned(&mut change, name, pinned).await?;
        let action = match pinned {
            true => Action::AdapterPin,
            false => Action::AdapterUnpin,
        };
        let line = Line::of(actor, action, name.as_str());
        moved(change, name, line, (generation, generation)).await
    }

    /// Forgets the name, which has had these versions. Returns what no name has any more.
    pub async fn remove(
        &self,
        actor: &Actor,
        name: &AdapterName,
        had: &[Generation],
        previous: Option<Generation>,
    ) -> Result<Vec<Generation>, Reason> {
        let mut change = self.database.begin().await?;
        let orphans = rows::remove(&mut change, name, had).await?;
        let line = Line {
            previous,
            ..Line::of(actor, Action::AdapterRemove, name.as_str())
        };
        audit::write(&mut change, &line).await?;
        commit(change).await?;
        Ok(orphans)
    }
}

/// Commits with the line of a name that has moved, and returns the name as it is then.
async fn moved(
    change: Change,
    name: &AdapterName,
    line: Line<'_>,
    (from, to): (Generation, Generation),
) -> Result<Entry, Reason> {
    let line = Line {
        generation: Some(to),
        previous: Some(from),
        ..line
    };
    finished(change, name, &line).await
}

/// Commits with the line, and returns the name as it is then.
async fn finished(
    mut change: Change,
    name: &AdapterName,
    line: &Line<'_>,
) -> Result<Entry, Reason> {
    audit::write(&mut change, line).await?;
    let entry = routes::settled(&mut change, name).await?;
    commit(change).await?;
    Ok(entry)
}
