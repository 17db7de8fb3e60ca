//! Pages of listings: `after` and `limit`.

use serde::Deserialize;

use super::shape::{Field, Kind, NAME, Neutral, Shape};

pub(super) const MAX_PAGE: i64 = 100;
pub(super) const DEFAULT_PAGE: usize = 20;

pub(super) const PAGING: &[Field] = &[
    Field::new("after", NAME, "Start after this id.").neutral(&[Neutral::Text("")]),
    Field::new(
        "limit",
        Kind::Integer {
            min: 1,
            max: 10_000,
        },
        "Entries of a page; at most 100 are sent.",
    ),
];

pub(super) const PAGE: Shape = Shape {
    name: "Page",
    about: "Which part of a listing.",
    fields: &[PAGING],
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct PageAsk {
    pub after: Option<String>,
    limit: Option<usize>,
}

impl PageAsk {
    pub fn has_limit(&self) -> bool {
        self.limit.is_some()
    }

    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE as usize)
    }
}
