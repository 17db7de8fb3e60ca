//! Names and versions as rows. Every function works inside a caller's transaction.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::domain::{AdapterName, Generation, Reason};
use crate::store::database::{Statement, run};
use crate::store::entry::{Entry, NamedVersion, Version};
use crate::store::names::{Unserved, routes};

/// All names, or the one given, and what is kept under names that point to nothing.
pub(super) async fn read(
    db: &mut SqliteConnection,
    only: Option<&AdapterName>,
) -> Result<(Vec<Entry>, Unserved), Reason> {
    let only = only.map(AdapterName::as_str);
    let mut had: HashMap<String, Vec<Arc<NamedVersion>>> = HashMap::new();
    let rows = sqlx::query(
        "SELECT name, generation, kind, rank, bytes, created_at, source, evaluation, base_name, base_digest
         FROM adapter_history JOIN adapter_versions USING (generation)
         WHERE ?1 IS NULL OR name = ?1 ORDER BY sequence DESC",
    )
    .bind(only)
    .fetch_all(&mut *db)
    .await?;
    for row in rows {
        had.entry(row.try_get("name")?)
            .or_default()
            .push(Arc::new(held(&row)?));
    }
    let rows = sqlx::query(
        "SELECT name, generation, pinned, canary, shadow, watched,
                (SELECT generation FROM adapter_lineage AS before WHERE before.name = adapter_names.name
                 ORDER BY depth DESC LIMIT 1) AS previous
         FROM adapter_names LEFT JOIN adapter_routes USING (name) WHERE ?1 IS NULL OR name = ?1 ORDER BY name",
    )
    .bind(only)
    .fetch_all(&mut *db)
    .await?;
    let entries = rows
        .iter()
        .map(|row| {
            let name: String = row.try_get("name")?;
            let had = had.remove(&name).unwrap_or_default();
            let generation: Generation = parsed(row, "generation")?;
            let current = had
                .iter()
                .find(|held| held.generation() == generation)
                .cloned();
            let previous: Option<String> = row.try_get("previous")?;
            Ok(Entry {
                current: current.ok_or_else(|| damaged(&name, "its current version is missing"))?,
                previous: previous.map(|text| parse(&text)).transpose()?,
                name: parse(&name)?,
                pinned: row.try_get("pinned")?,
                versions: had,
                route: routes::read(row)?,
            })
        })
        .collect::<Result<Vec<_>, Reason>>()?;
    let unserved = had.into_iter().map(|(name, had)| Ok((parse(&name)?, had)));
    Ok((entries, unserved.collect::<Result<_, Reason>>()?))
}

/// One name that exists.
pub(super) async fn read_one(
    db: &mut SqliteConnection,
    name: &AdapterName,
) -> Result<Entry, Reason> {
    let missing = || damaged(name.as_str(), "its row is missing");
    read(db, Some(name)).await?.0.pop().ok_or_else(missing)
}

/// Records a version and that `name` has had it; a version or pair that is known is brought up to date.
pub(super) async fn record(
    db: &mut SqliteConnection,
    name: &AdapterName,
    held: &NamedVersion,
) -> Result<(), Reason> {
    let NamedVersion {
        version,
        source,
        evaluation,
        base_name,
        base_digest,
    } = held;
    let insert = sqlx::query(
        "INSERT INTO adapter_versions (generation, kind, rank, bytes, created_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (generation) DO NOTHING",
    )
    .bind(version.generation.to_string())
    .bind(&version.kind)
    .bind(version.rank as i64)
    .bind(version.bytes as i64)
    .bind(version.created_at);
    run(&mut *db, insert).await?;
    // The sequence moves too: a version published again is the newest publication.
    let insert = sqlx::query(
        "INSERT INTO adapter_history (sequence, name, generation, source, evaluation, base_name, base_digest)
         VALUES ((SELECT coalesce(max(sequence), 0) + 1 FROM adapter_history), ?, ?, ?, ?, ?, ?)
         ON CONFLICT (name, generation) DO UPDATE SET sequence = excluded.sequence, source = excluded.source,
             evaluation = excluded.evaluation, base_name = excluded.base_name, base_digest = excluded.base_digest",
    )
    .bind(name.as_str())
    .bind(version.generation.to_string())
    .bind(source)
    .bind(evaluation.as_ref().map(ToString::to_string))
    .bind(base_name)
    .bind(&base_digest[..]);
    run(db, insert).await.map(drop)
}

/// Points `name` to a version it has had, from `from` (`None`: the name is new); what it pointed to becomes the one
/// before. Fails where the name is elsewhere by now.
pub(super) async fn point(
    db: &mut SqliteConnection,
    name: &AdapterName,
    from: Option<Generation>,
    to: Generation,
) -> Result<(), Reason> {
    let moved = match from {
        None => sqlx::query(
            "INSERT INTO adapter_names (name, generation) VALUES (?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(name.as_str())
        .bind(to.to_string()),
        Some(from) => {
            let insert = sqlx::query(
                "INSERT INTO adapter_lineage (name, depth, generation)
                 VALUES (?1, (SELECT coalesce(max(depth), 0) + 1 FROM adapter_lineage WHERE name = ?1), ?2)",
            )
            .bind(name.as_str())
            .bind(from.to_string());
            run(&mut *db, insert).await?;
            swap(name, from, to)
        }
    };
    run_once(db, moved, name).await
}

/// Takes back the last `point`: `to` is the version before `from`.
pub(super) async fn step_back(
    db: &mut SqliteConnection,
    name: &AdapterName,
    from: Generation,
    to: Generation,
) -> Result<(), Reason> {
    let newest = "DELETE FROM adapter_lineage WHERE name = ?1 AND generation = ?2
                  AND depth = (SELECT max(depth) FROM adapter_lineage WHERE name = ?1)";
    let remove = sqlx::query(newest).bind(name.as_str()).bind(to.to_string());
    run_once(&mut *db, remove, name).await?;
    run_once(db, swap(name, from, to), name).await
}

fn swap(name: &AdapterName, from: Generation, to: Generation) -> Statement<'static> {
    sqlx::query("UPDATE adapter_names SET generation = ? WHERE name = ? AND generation = ?")
        .bind(to.to_string())
        .bind(name.to_string())
        .bind(from.to_string())
}

pub(super) async fn set_pinned(
    db: &mut SqliteConnection,
    name: &AdapterName,
    pinned: bool,
) -> Result<(), Reason> {
    let query = sqlx::query("UPDATE adapter_names SET pinned = ? WHERE name = ?")
        .bind(pinned)
        .bind(name.as_str());
    run_once(db, query, name).await
}

/// Forgets the name, which has had these versions. Returns those that no name has any more.
pub(super) async fn remove(
    db: &mut SqliteConnection,
    name: &AdapterName,
    had: &[Generation],
) -> Result<Vec<Generation>, Reason> {
    for sql in [
        "DELETE FROM adapter_lineage WHERE name = ?",
        "DELETE FROM adapter_routes WHERE name = ?",
        "DELETE FROM adapter_names WHERE name = ?",
        "DELETE FROM adapter_history WHERE name = ?",
    ] {
        run(&mut *db, sqlx::query(sql).bind(name.as_str())).await?;
    }
    orphans(db, had).await
}

/// Forgets versions that the name does not point to, and with each the way back that leads over it. Returns those that no
/// name has any more.
pub(super) async fn forget(
    db: &mut SqliteConnection,
    name: &AdapterName,
    versions: &[Generation],
) -> Result<Vec<Generation>, Reason> {
    for generation in versions {
        for sql in [
            "DELETE FROM adapter_lineage WHERE name = ?1 AND depth <=
                 (SELECT max(depth) FROM adapter_lineage WHERE name = ?1 AND generation = ?2)",
            "DELETE FROM adapter_history WHERE name = ?1 AND generation = ?2",
        ] {
            let query = sqlx::query(sql).bind(name.as_str());
            run(&mut *db, query.bind(generation.to_string())).await?;
        }
    }
    orphans(db, versions).await
}

/// Forgets what a name that points to nothing has beyond `most` versions. Returns the others, and those that no name has
/// any more.
pub(super) async fn keep_unserved(
    db: &mut SqliteConnection,
    name: &AdapterName,
    most: usize,
) -> Result<(Vec<Arc<NamedVersion>>, Vec<Generation>), Reason> {
    let mut kept = { read(db, Some(name)).await?.1.remove(name) }.unwrap_or_default();
    let surplus = kept.split_off(most.min(kept.len()));
    let surplus: Vec<_> = surplus.iter().map(|held| held.generation()).collect();
    let orphans = forget(db, name, &surplus).await?;
    Ok((kept, orphans))
}

/// Forgets the way back but for its last `most` steps.
pub(super) async fn shorten(
    db: &mut SqliteConnection,
    name: &AdapterName,
    most: usize,
) -> Result<(), Reason> {
    let sql = "DELETE FROM adapter_lineage WHERE name = ?1 AND depth <=
                   (SELECT max(depth) FROM adapter_lineage WHERE name = ?1) - ?2";
    let query = sqlx::query(sql).bind(name.as_str());
    run(db, query.bind(most as i64)).await.map(drop)
}

/// Removes those of `versions` that no name has. Returns them.
async fn orphans(
    db: &mut SqliteConnection,
    versions: &[Generation],
) -> Result<Vec<Generation>, Reason> {
    let mut orphans = Vec::new();
    for generation in versions {
        let remove = sqlx::query(
            "DELETE FROM adapter_versions WHERE generation = ?1
                 AND NOT EXISTS (SELECT 1 FROM adapter_history WHERE generation = ?1)",
        );
        if run(&mut *db, remove.bind(generation.to_string())).await? > 0 {
            orphans.push(*generation);
        }
    }
    Ok(orphans)
}

/// Of a statement that finds its one row unless something else has changed the name.
async fn run_once(
    db: &mut SqliteConnection,
    statement: Statement<'_>,
    name: &AdapterName,
) -> Result<(), Reason> {
    match run(db, statement).await? {
        1 => Ok(()),
        _ => Err(Reason::WrongState(format!(
            "adapter `{name}` has been changed by another process; try again"
        ))),
    }
}

fn held(row: &SqliteRow) -> Result<NamedVersion, Reason> {
    let name: String = row.try_get("name")?;
    let evaluation: Option<String> = row.try_get("evaluation")?;
    let digest: Vec<u8> = row.try_get("base_digest")?;
    Ok(NamedVersion {
        version: Version {
            generation: parsed(row, "generation")?,
            kind: row.try_get("kind")?,
            rank: row.try_get::<i64, _>("rank")? as usize,
            bytes: row.try_get::<i64, _>("bytes")? as u64,
            created_at: row.try_get("created_at")?,
        },
        source: row.try_get("source")?,
        evaluation: evaluation
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|_| damaged(&name, "its evaluation is no JSON"))?,
        base_name: row.try_get("base_name")?,
        base_digest: digest
            .try_into()
            .map_err(|_| damaged(&name, "its base digest is not 32 bytes"))?,
    })
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(row: &SqliteRow, name: &str) -> Result<T, Reason> {
    parse(row.try_get::<&str, _>(name)?)
}

fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Reason> {
    text.parse()
        .map_err(|error| Reason::Storage(format!("the database is damaged: {error}")))
}

fn damaged(name: &str, what: &str) -> Reason {
    Reason::Storage(format!(
        "the database is damaged: of adapter `{name}`, {what}"
    ))
}

/// Keeps for a job that it has published, until it has succeeded.
pub(super) async fn remember(
    db: &mut SqliteConnection,
    name: &AdapterName,
    held: &NamedVersion,
) -> Result<(), Reason> {
    if !held.source.starts_with("job:") {
        return Ok(());
    }
    let insert = "INSERT OR IGNORE INTO publications (source, name, generation) VALUES (?, ?, ?)";
    let insert = sqlx::query(insert)
        .bind(&held.source)
        .bind(name.as_str())
        .bind(held.generation().to_string());
    run(db, insert).await.map(drop)
}
