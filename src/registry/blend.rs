//! Blends: several versions at once for a request, or as a new version.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;

use super::lease::Lease;
use super::{Expected, Files, Registry, Shared, invalid, resident};
use crate::adapter::blend::{Mix, Share, blended};
use crate::adapter::peft::{self, PROVENANCE_FILE, Provenance};
use crate::adapter::{Adapter, AdapterFault, Precision};
use crate::domain::{AdapterName, Blend, BlendAsk, Generation, Member, Reason, Weight};
use crate::store::NamedVersion;

/// The kind that is blended: low-rank products add up, and nothing else of it does.
const BLENDED: &str = "lora";

fn refusal(field: &str, member: &Member, why: String) -> Reason {
    Reason::field(format!("{field}.{}", member.name), why)
}

impl Registry {
    /// What the members mean now; each exists on this base and can be blended. `field` is where the caller named them.
    fn versions(&self, field: &str, blend: &Blend) -> Result<Vec<Arc<NamedVersion>>, Reason> {
        let snapshot = self.snapshot();
        let members = blend.members().iter();
        let versions = members.map(|member| {
            let version = snapshot.find(&member.name)?.choose(member.pin.as_ref())?;
            self.check_base(version)?;
            match &*version.version.kind {
                BLENDED => Ok(version.clone()),
                kind => {
                    let why =
                        format!("is a `{kind}` adapter; only `{BLENDED}` adapters are blended");
                    Err(refusal(field, member, why))
                }
            }
        });
        versions.collect()
    }

    /// Whether a request can blend these: they exist, are of the kind, and have room together. Loads nothing.
    pub(super) fn check_blend(&self, blend: &Blend) -> Result<(), Reason> {
        let versions = self.versions("adapter", blend)?;
        let members: HashMap<Generation, u64> = { versions.iter() }
            .map(|held| (held.generation(), held.version.bytes))
            .collect();
        let bytes: u64 = members.values().sum();
        let residency = &self.shared.residency;
        let (budget, pinned) = (residency.budget(), residency.pinned_besides(&members));
        match bytes + pinned > budget {
            true => Err(Reason::WrongState(format!(
                "the members need {bytes} bytes in memory together, and other pinned adapters take {pinned}; all adapters together may take {budget}"
            ))),
            false => Ok(()),
        }
    }

    /// Holds every member. Nothing is copied: their products are added one after the other.
    pub(super) async fn lease_blend(&self, blend: &Blend) -> Result<Lease, Reason> {
        self.check_blend(blend)?;
        let mut members = match self.loaded_members(blend)? {
            Some(members) => members,
            None => {
                // Two blends that each hold what the other has no room for would wait for each other.
                let _turn = self.shared.gathering.lock().await;
                let mut members = Vec::with_capacity(blend.members().len());
                for member in blend.members() {
                    let held = self.hold_named(&member.name, member.pin.as_ref()).await?;
                    members.push((member.clone(), held));
                }
                members
            }
        };
        for (member, held) in &members {
            check_member("adapter", member, held.adapter())?;
        }
        // One adapter as it is.
        if let [(member, _)] = &members[..]
            && member.weight == Weight::ONE
            && let Some((member, held)) = members.pop()
        {
            return Ok(Lease::of_one(member.name, held));
        }
        Ok(Lease::of_blend(members))
    }

    /// The members where all are in memory.
    fn loaded_members(
        &self,
        blend: &Blend,
    ) -> Result<Option<Vec<(Member, resident::Held)>>, Reason> {
        let snapshot = self.snapshot();
        let mut members = Vec::with_capacity(blend.members().len());
        for member in blend.members() {
            let version = snapshot.find(&member.name)?.choose(member.pin.as_ref())?;
            let Some(held) = self.shared.residency.hold(version.generation()) else {
                return Ok(None);
            };
            members.push((member.clone(), held));
        }
        Ok(Some(members))
    }

    /// Makes of others the files of an adapter that may be published under `name`, and says where they came from.
    pub async fn blend(
        &self,
        name: &AdapterName,
        ask: BlendAsk,
        expected: Expected,
    ) -> Result<(Files, String), Reason> {
        ask.check()?;
        let most = self.shared.max_rank;
        if let Some(rank) = ask.rank.filter(|rank| *rank > most) {
            let why = format!("is {rank}; at most {most} is served");
            return Err(Reason::field("rank", why));
        }
        // Before the work: publishing checks it again.
        self.snapshot().check(name, expected)?;
        let versions = self.versions("from", &ask.from)?;
        let source = format!("blend:{}", ask.from);
        let shared = self.shared.clone();
        let make = move || shared.blend(&ask, &versions);
        // It may take long, and publications must not wait for several.
        let turn = self.shared.blending.lock().await;
        let files = self.shared.background.run(make).await?;
        drop(turn);
        Ok((files, source))
    }
}

impl Shared {
    /// The folder of a blend, with the record of what went into it.
    fn blend(&self, ask: &BlendAsk, versions: &[Arc<NamedVersion>]) -> Result<Files, Reason> {
        let fit = self.fit(Precision::Exact);
        let (mut shares, mut tokenizers) = (Vec::new(), Vec::new());
        for (member, version) in ask.from.members().iter().zip(versions) {
            let generation = version.generation();
            let files = self.contents.read(generation)?;
            let adapter = peft::read_known(&files, generation, &fit).map_err(invalid)?;
            check_member("from", member, &adapter)?;
            let origin = files.get(PROVENANCE_FILE);
            let origin = origin.and_then(|text| Provenance::parse(text).ok());
            tokenizers.push(origin.and_then(|origin| origin.tokenizer_digest));
            shares.push(Share {
                adapter,
                weight: member.weight.get(),
            });
        }
        let mix = Mix {
            method: ask.method,
            density: ask.density.unwrap_or(1.0),
            rank: ask.rank,
            most: self.max_rank,
            seed: ask.seed.unwrap_or(0),
        };
        let made = blended(&shares, mix, &self.base.sites, &self.base.name);
        let mut files = made.map_err(|AdapterFault { field, why }| Reason::field(field, why))?;
        tokenizers.dedup();
        let origin = Provenance {
            base: Some(self.base.name.clone()),
            base_digest: Some(
                blake3::Hash::from_bytes(self.base.digest)
                    .to_hex()
                    .to_string(),
            ),
            tokenizer_digest: match &mut tokenizers[..] {
                [one] => one.take(),
                _ => None,
            },
            blend: Some(record(ask, versions)),
            ..Provenance::default()
        };
        let origin = serde_json::to_vec_pretty(&origin);
        let origin = origin.map_err(|error| Reason::Internal(error.to_string()))?;
        files.insert(PROVENANCE_FILE.to_owned(), origin.into());
        Ok(files)
    }
}

/// What a blend was made of, and how.
fn record(ask: &BlendAsk, versions: &[Arc<NamedVersion>]) -> serde_json::Value {
    let parents = ask.from.members().iter().zip(versions);
    let parents = parents.map(|(member, version)| {
        let generation: Generation = version.generation();
        json!({"name": member.name, "generation": generation, "weight": member.weight.get()})
    });
    json!({
        "method": ask.method.name(),
        "density": ask.density,
        "rank": ask.rank,
        "seed": ask.seed,
        "parents": parents.collect::<Vec<_>>(),
    })
}

/// What a name means may have changed since it was looked at, and some of this kind do more than add products.
fn check_member(field: &str, member: &Member, adapter: &Adapter) -> Result<(), Reason> {
    match adapter.kind() == BLENDED && adapter.is_low_rank() {
        true => Ok(()),
        false => {
            let why =
                "does more than add low-rank products to linear layers, and cannot be blended";
            Err(refusal(field, member, why.to_owned()))
        }
    }
}
