//! What takes part of a name's requests, as rows.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::rows;
use crate::domain::rollout::Watched;
use crate::domain::{AdapterName, Reason};
use crate::store::database::{Database, run};
use crate::store::entry::{Entry, Route};
use crate::store::fault::unreadable;

pub(super) fn read(row: &SqliteRow) -> Result<Route, Reason> {
    Ok(Route {
        canary: maybe(row, "canary")?,
        shadow: maybe(row, "shadow")?,
        watched: maybe(row, "watched")?.unwrap_or_default(),
    })
}

fn maybe<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<Option<T>, Reason> {
    let text: Option<String> = row.try_get(column)?;
    let read = text.map(|text| serde_json::from_str(&text)).transpose();
    read.map_err(|fault| unreadable("route", fault))
}

fn text(value: &impl Serialize) -> Result<String, Reason> {
    serde_json::to_string(value).map_err(|fault| Reason::Internal(fault.to_string()))
}

/// The name as it is, after what it points to no longer counts as its canary or shadow.
pub(super) async fn settled(
    db: &mut SqliteConnection,
    name: &AdapterName,
) -> Result<Entry, Reason> {
    let mut entry = rows::read_one(db, name).await?;
    let route = entry.route.clone().after_move_to(entry.generation());
    if route != entry.route {
        write(db, name, &route).await?;
        entry.route = route;
    }
    Ok(entry)
}

pub(super) async fn write(
    db: &mut SqliteConnection,
    name: &AdapterName,
    route: &Route,
) -> Result<(), Reason> {
    if route.is_empty() {
        let delete = sqlx::query("DELETE FROM adapter_routes WHERE name = ?");
        return run(db, delete.bind(name.as_str())).await.map(drop);
    }
    let Route {
        canary,
        shadow,
        watched,
    } = route;
    let generation = |of: Option<crate::domain::Generation>| of.map(|of| of.to_string());
    let put = sqlx::query(
        "INSERT INTO adapter_routes (name, canary, canary_generation, shadow, shadow_generation, watched)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET canary = excluded.canary, canary_generation = excluded.canary_generation,
             shadow = excluded.shadow, shadow_generation = excluded.shadow_generation, watched = excluded.watched",
    )
    .bind(name.as_str())
    .bind(canary.as_ref().map(text).transpose()?)
    .bind(generation(canary.as_ref().map(|canary| canary.generation)))
    .bind(shadow.as_ref().map(text).transpose()?)
    .bind(generation(shadow.as_ref().map(|shadow| shadow.generation)))
    .bind(text(watched)?);
    run(db, put).await.map(drop)
}

pub(super) async fn watched(
    database: &Database,
    name: &AdapterName,
    watched: &Watched,
) -> Result<(), Reason> {
    let update = sqlx::query("UPDATE adapter_routes SET watched = ? WHERE name = ?");
    let update = update.bind(text(watched)?).bind(name.as_str());
    run(database.pool(), update).await.map(drop)
}
