//! What each name points to, which versions it has had, and the way back. Every change is one transaction, and its line in
//! the audit is part of it.

mod rows;

use std::sync::Arc;

use super::audit::{self, Line};
use super::database::{Change, Database, commit};
use super::entry::{Entry, NamedVersion};
use super::failpoint::{Failpoint, Failpoints};
use crate::domain::{Actor, AdapterName, Generation, Reason};

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

    /// Every name.
    pub async fn read(&self) -> Result<Vec<Entry>, Reason> {
        rows::read(&mut *self.database.pool().acquire().await?, None).await
    }

    /// Points the name, which is at `from` (`None`: it is new), to a version; it forgets what it then has beyond `keep`
    /// versions. Returns what no name has any more, too.
    pub async fn publish(
        &self,
        actor: &Actor,
        name: &AdapterName,
        held: &NamedVersion,
        from: Option<Generation>,
        keep: usize,
    ) -> Result<(Entry, Vec<Generation>), Reason> {
        let mut change = self.database.begin().await?;
        rows::record(&mut change, name, held).await?;
        // The same content for another base: the name stays where it is.
        if from != Some(held.generation()) {
            rows::point(&mut change, name, from, held.generation()).await?;
        }
        let line = Line {
            generation: Some(held.generation()),
            previous: from,
            detail: Some(&held.source),
            ..Line::of(actor, "adapter.publish", name.as_str())
        };
        audit::write(&mut change, &line).await?;
        rows::remember(&mut change, name, held).await?;
        let mut entry = rows::read_one(&mut change, name).await?;
        let surplus = entry.surplus(keep);
        rows::shorten(&mut change, name, keep).await?;
        let orphans = rows::forget(&mut change, name, &surplus).await?;
        entry
            .versions
            .retain(|held| !surplus.contains(&held.generation()));
        self.failpoints.reached(Failpoint::Prepared);
        commit(change).await?;
        self.failpoints.reached(Failpoint::Committed);
        Ok((entry, orphans))
    }

    /// Points the name to a version it has had; the way back keeps its last `keep` steps.
    pub async fn promote(
        &self,
        actor: &Actor,
        name: &AdapterName,
        from: Generation,
        to: Generation,
        keep: usize,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        rows::point(&mut change, name, Some(from), to).await?;
        rows::shorten(&mut change, name, keep).await?;
        let line = Line::of(actor, "adapter.promote", name.as_str());
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
        let line = Line::of(actor, "adapter.rollback", name.as_str());
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
            true => "adapter.pin",
            false => "adapter.unpin",
        };
        let line = Line::of(actor, action, name.as_str());
        moved(change, name, line, (generation, generation)).await
    }

    /// Forgets the name. Returns what no name has any more.
    pub async fn remove(&self, actor: &Actor, entry: &Entry) -> Result<Vec<Generation>, Reason> {
        let had: Vec<_> = entry.generations().collect();
        let mut change = self.database.begin().await?;
        let orphans = rows::remove(&mut change, &entry.name, &had).await?;
        let line = Line {
            previous: Some(entry.generation()),
            ..Line::of(actor, "adapter.remove", entry.name.as_str())
        };
        audit::write(&mut change, &line).await?;
        commit(change).await?;
        Ok(orphans)
    }
}

/// Commits with the line, and returns the name as it is then.
async fn moved(
    mut change: Change,
    name: &AdapterName,
    line: Line<'_>,
    (from, to): (Generation, Generation),
) -> Result<Entry, Reason> {
    let line = Line {
        generation: Some(to),
        previous: Some(from),
        ..line
    };
    audit::write(&mut change, &line).await?;
    let entry = rows::read_one(&mut change, name).await?;
    commit(change).await?;
    Ok(entry)
}
