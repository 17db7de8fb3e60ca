//! The database: one file, its schema, and the transactions on it.

use std::path::Path;
use std::time::Duration;

use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, SqliteExecutor, SqlitePool, Transaction};

use super::audit;
use crate::domain::Reason;

/// The change of the schema that is not done by SQL alone.
const AUDIT: &str = "audit";

/// Every change of the schema, oldest first. A row that has been released is never edited: add one.
const MIGRATIONS: &[(&str, &str)] = &[
    ("adapters", include_str!("migrations/001_adapters.sql")),
    ("training", include_str!("migrations/002_training.sql")),
    ("job base", include_str!("migrations/003_job_base.sql")),
    (
        "job mappings",
        include_str!("migrations/004_job_mappings.sql"),
    ),
    ("keys", include_str!("migrations/005_keys.sql")),
    ("owners", include_str!("migrations/006_owners.sql")),
    ("limits", include_str!("migrations/007_limits.sql")),
    (AUDIT, include_str!("migrations/008_audit.sql")),
    ("routes", include_str!("migrations/009_routes.sql")),
    ("feedback", include_str!("migrations/010_feedback.sql")),
    ("identities", include_str!("migrations/012_identities.sql")),
];

/// Pages that each connection keeps, as so many KiB (a negative number says that). The system has the file in memory as well,
/// and with SQLite's own 2 MiB for each connection a daemon's memory grows for as long as its history does.
const CACHE: &str = "-512";

/// A transaction that may write.
pub(super) type Change = Transaction<'static, Sqlite>;

/// With its arguments.
pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: SqlitePool,
}

impl Database {
    /// Opens the file, creating it where there is none, and brings its schema up to date. A commit is on disk when it
    /// returns (write-ahead log, synchronous=FULL).
    pub async fn open(file: &Path) -> Result<Self, Reason> {
        keep_private(file)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("cache_size", CACHE)
            // What is deleted is overwritten: prompts and answers are among it.
            .pragma("secure_delete", "on")
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(|error| Reason::Storage(format!("cannot open {}: {error}", file.display())))?;
        let database = Self { pool };
        database.migrate(MIGRATIONS).await?;
        Ok(database)
    }

    /// Ends all connections, once they have done what they are at.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// For reading, and for single statements.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Takes the write lock at once: a transaction that upgrades later can fail halfway.
    pub(super) async fn begin(&self) -> Result<Change, Reason> {
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        Ok(begun?)
    }

    async fn migrate(&self, migrations: &'static [(&str, &str)]) -> Result<(), Reason> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS schema_version (
                 version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL DEFAULT (unixepoch())
             ) STRICT",
        )
        .execute(&mut *transaction)
        .await?;
        let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_version")
            .fetch_one(&mut *transaction)
            .await?;
        let known = migrations.len() as i64;
        if found > known {
            return Err(Reason::Storage(format!(
                "the database has schema version {found}; this program knows up to {known}: start the newer program"
            )));
        }
        for (version, (name, sql)) in (1..).zip(migrations) {
            if version > found {
                sqlx::raw_sql(*sql).execute(&mut *transaction).await?;
                if *name == AUDIT {
                    audit::carry_over(&mut transaction).await?;
                }
                sqlx::query("INSERT INTO schema_version (version, name) VALUES (?, ?)")
                    .bind(version)
                    .bind(*name)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        commit(transaction).await
    }
}

/// Makes a file, also one that is there, one that only its owner reads: it holds the digests of keys.
fn keep_private(file: &Path) -> Result<(), Reason> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => hide(file),
        Err(error) => Err(Reason::Storage(format!(
            "cannot open {}: {error}",
            file.display()
        ))),
    }
}

/// A file of before keys, or of another process's making.
fn hide(file: &Path) -> Result<(), Reason> {
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        match std::fs::set_permissions(&name, mode) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                // Whoever is not its owner cannot change that, and may still be let to use it.
                tracing::warn!(file = %Path::new(&name).display(), %error, "the database cannot be hidden from others");
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) async fn commit(change: Change) -> Result<(), Reason> {
    Ok(change.commit().await?)
}

/// Returns how many rows it changed.
pub(super) async fn run(
    db: impl SqliteExecutor<'_>,
    statement: Statement<'_>,
) -> Result<u64, Reason> {
    Ok(statement.execute(db).await?.rows_affected())
}

/// What tests look at and change behind the store's back.
#[cfg(test)]
impl Database {
    pub async fn execute(&self, sql: &str) {
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        statement.execute(&self.pool).await.unwrap();
    }

    /// The one column of each row.
    pub async fn select<T>(&self, sql: &str) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + Send + Unpin,
    {
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
        query.fetch_all(&self.pool).await.unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every change of the schema, and one more.
    const fn and(
        more: (&'static str, &'static str),
    ) -> [(&'static str, &'static str); MIGRATIONS.len() + 1] {
        let mut all = [more; MIGRATIONS.len() + 1];
        let mut at = 0;
        while at < MIGRATIONS.len() {
            all[at] = MIGRATIONS[at];
            at += 1;
        }
        all
    }

    #[tokio::test]
    async fn commits_are_synchronous_and_references_are_enforced() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("state.db")).await.unwrap();
        let pragma = async |sql| database.select::<i64>(sql).await;
        assert_eq!(pragma("PRAGMA synchronous").await, [2]);
        assert_eq!(pragma("PRAGMA foreign_keys").await, [1]);
        let journal: Vec<String> = database.select("PRAGMA journal_mode").await;
        assert_eq!(journal, ["wal"]);
    }

    #[tokio::test]
    async fn a_schema_is_brought_up_to_date_once_and_a_newer_one_is_refused() {
        const MORE: &[(&str, &str)] = &and(("more", "CREATE TABLE more (x INTEGER) STRICT"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.db");
        let database = Database::open(&file).await.unwrap();
        for _ in 0..2 {
            database.migrate(MORE).await.unwrap();
        }
        database.execute("INSERT INTO more (x) VALUES (1)").await;
        database.close().await;
        let refusal = Database::open(&file).await.err().unwrap();
        assert!(refusal.to_string().contains("newer"), "{refusal}");
    }

    #[tokio::test]
    async fn a_migration_that_fails_leaves_nothing_behind() {
        const BROKEN: &[(&str, &str)] =
            &and(("broken", "CREATE TABLE half (x INTEGER); CREATE nonsense"));
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("state.db")).await.unwrap();
        assert!(database.migrate(BROKEN).await.is_err());
        let half = "SELECT name FROM sqlite_schema WHERE name = 'half'";
        assert!(database.select::<String>(half).await.is_empty());
    }
}
