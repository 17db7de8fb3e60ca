//! A registered adapter as callers see it.

use serde::{Deserialize, Serialize};

use super::rollout::RouteView;
use super::{AdapterName, Generation};

/// Where an adapter's weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Disk,
    Resident,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterView {
    pub id: AdapterName,
    /// Always `adapter`.
    pub object: String,
    pub generation: Generation,
    pub previous_generation: Option<Generation>,
    /// Those the name has, the newest publication first.
    pub generations: Vec<Generation>,
    /// `lora`, …
    pub kind: String,
    /// The largest rank of any site.
    pub rank: usize,
    pub bytes: u64,
    pub tier: Tier,
    pub pinned: bool,
    /// Unix seconds.
    pub created_at: i64,
    /// The base model's served name.
    pub base: String,
    /// Where it came from: `upload`, `path:…`, `job:ftjob-…`, `bundled`.
    pub source: String,
    pub evaluation: Option<serde_json::Value>,
    /// Which generations answer for the name.
    pub route: RouteView,
}
