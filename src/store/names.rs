//! What each name points to, which versions it has had, and the way back. Every change is one transaction, and its line in
//! the audit is part of it.

mod rows;

use std::sync::Arc;

use super::audit::{self, Line};
use super::database::{Change, Database, commit};
use super::entry::{Entry, NamedVersion};
use super::failpoint::{Failpoint, Failpoints};
use crate::domain::{AdapterName, Generation, Reason};

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
            source: Some(&held.source),
            ..Line::of("publish", name)
        };
        audit::write(&mut change, &line).await?;
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
        name: &AdapterName,
        from: Generation,
        to: Generation,
        keep: usize,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        rows::point(&mut change, name, Some(from), to).await?;
        rows::shorten(&mut change, name, keep).await?;
        moved(change, "promote", name, (from, to)).await
    }

    /// Points the name to the version before.
    pub async fn roll_back(
        &self,
        name: &AdapterName,
        from: Generation,
        to: Generation,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        rows::step_back(&mut change, name, from, to).await?;
        moved(change, "rollback", name, (from, to)).await
    }

    /// `generation` is what the name points to.
    pub async fn set_pinned(
        &self,
        name: &AdapterName,
        generation: Generation,
        pinned: bool,
    ) -> Result<Entry, Reason> {
        let mut change = self.database.begin().await?;
        rows::set_pinned(&mut change, name, pinned).await?;
        let line = Line {
            generation: Some(generation),
            ..Line::of(if pinned { "pin" } else { "unpin" }, name)
        };
        finished(change, &line).await
    }

    /// Forgets the name. Returns what no name has any more.
    pub async fn remove(&self, entry: &Entry) -> Result<Vec<Generation>, Reason> {
        let had: Vec<_> = entry.generations().collect();
        let mut change = self.database.begin().await?;
        let orphans = rows::remove(&mut change, &entry.name, &had).await?;
        let line = Line {
            previous: Some(entry.generation()),
            ..Line::of("remove", &entry.name)
        };
        audit::write(&mut change, &line).await?;
        commit(change).await?;
        Ok(orphans)
    }
}

async fn moved(
    change: Change,
    action: &'static str,
    name: &AdapterName,
    (from, to): (Generation, Generation),
) -> Result<Entry, Reason> {
    let line = Line {
        generation: Some(to),
        previous: Some(from),
        ..Line::of(action, name)
    };
    finished(change, &line).await
}

/// Commits with the line, and returns the name as it is then.
async fn finished(mut change: Change, line: &Line<'_>) -> Result<Entry, Reason> {
    audit::write(&mut change, line).await?;
    let entry = rows::read_one(&mut change, line.name).await?;
    commit(change).await?;
    Ok(entry)
}
