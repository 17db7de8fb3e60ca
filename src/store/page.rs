//! Listings in pages.

use sqlx::sqlite::SqliteRow;

use crate::domain::Reason;

/// A page of a listing, newest first; what it starts after is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

impl<T> Page<T> {
    /// From a query for [`one_more`] row than asked for.
    pub(super) fn read(
        rows: Result<Vec<SqliteRow>, sqlx::Error>,
        limit: usize,
        item: impl Fn(&SqliteRow) -> Result<T, Reason>,
    ) -> Result<Self, Reason> {
        let rows = rows?;
        Ok(Self {
            has_more: rows.len() > limit,
            items: rows
                .iter()
                .take(limit)
                .map(item)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// SQLite counts in i64; one row more than asked for tells whether there are more.
pub(super) fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}
