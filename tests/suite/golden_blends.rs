//! Blends against what PEFT makes of the same adapters.

use std::collections::BTreeSet;

use adapterd::adapter::blend::{Mix, Share, blended};
use adapterd::adapter::peft;
use adapterd::adapter::{Adapter, Precision, Site};
use adapterd::domain::BlendMethod;
use adapterd::kernels::quant::Format;
use adapterd::model::{Base, KvKind, Origin, Quant};
use safetensors::SafeTensors;

use crate::harness::{folder, golden};

/// s · B A of a layer, [out, in].
fn update(adapter: &Adapter, site: Site) -> Option<Vec<f64>> {
    let (a, b, scale) = adapter.lora_site(site)?;
    let width = a.width();
    let mut out = Vec::with_capacity(b.rows() * width);
    for row in b.values().chunks_exact(b.width()) {
        for column in 0..width {
            let terms = row.iter().zip(a.values().chunks_exact(width));
            let sum: f64 = terms
                .map(|(b, a)| f64::from(*b) * f64::from(a[column]))
                .sum();
            out.push(scale * sum);
        }
    }
    Some(out)
}

fn base() -> Base {
    let folder = Origin::Folder(golden("models/llama"));
    Base::open(&folder, Some(Quant::To(Format::F32)), KvKind::F32).unwrap()
}

fn share(base: &Base, name: &str, weight: f64) -> Share {
    let files = folder(&golden(&format!("blends/{name}")));
    let adapter = peft::read(&files, &base.fit(64, Precision::Exact)).unwrap();
    Share { adapter, weight }
}

fn mix(method: BlendMethod, density: f64, rank: Option<usize>) -> Mix {
    Mix {
        method,
        density,
        rank,
        most: 64,
        seed: 0,
    }
}

#[test]
fn blends_are_those_that_peft_makes() {
    use BlendMethod::{DareLinear, DareTies, Linear, Ties};
    let base = base();
    let sites = base.model.sites();
    let stored = std::fs::read(golden("blends/expected.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&stored).unwrap();
    let mut compared = BTreeSet::new();
    for (case, mix, from) in [
        (
            "linear",
            mix(Linear, 1.0, None),
            &[("a", 0.7), ("b", 0.3), ("c", -0.5)][..],
        ),
        (
            "linear-reduced",
            mix(Linear, 1.0, Some(3)),
            &[("a", 0.7), ("c", 0.5)],
        ),
        ("ties", mix(Ties, 0.5, None), &[("a", 0.7), ("b", 0.6)]),
        (
            "ties-negative",
            mix(Ties, 0.3, None),
            &[("a", 0.7), ("b", -0.4)],
        ),
        (
            "ties-products",
            mix(Ties, 0.4, None),
            &[("a", 0.7), ("c", 0.6)],
        ),
        (
            "ties-reduced",
            mix(Ties, 0.4, Some(2)),
            &[("a", 0.7), ("b", 0.6)],
        ),
        (
            "dare_linear",
            mix(DareLinear, 1.0, None),
            &[("a", 0.7), ("b", -0.6)],
        ),
        (
            "dare_ties",
            mix(DareTies, 1.0, None),
            &[("a", 0.7), ("b", 0.6)],
        ),
        (
            "dare_linear-products",
            mix(DareLinear, 1.0, None),
            &[("a", 0.7), ("c", 0.6)],
        ),
        (
            "dare_ties-products",
            mix(DareTies, 1.0, None),
            &[("a", 0.7), ("c", 0.6)],
        ),
    ] {
        let shares: Vec<Share> = { from.iter() }
            .map(|(name, weight)| share(&base, name, *weight))
            .collect();
        let files = blended(&shares, mix, sites, "llama").unwrap();
        let made = peft::read(&files, &base.fit(64, Precision::Exact)).unwrap();
        assert_eq!((made.kind(), made.is_low_rank()), ("lora", true), "{case}");
        for at in sites {
            let name = format!("{case}/{}", at.site.path());
            let Ok(wanted) = stored.tensor(&name) else {
                continue;
            };
            let wanted = wanted.data().as_chunks::<4>().0.iter();
            let wanted: Vec<f64> = wanted.map(|b| f32::from_le_bytes(*b).into()).collect();
            let found = update(&made, at.site).unwrap_or_else(|| panic!("{name}"));
            let size = wanted.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!(
                    (found - wanted).abs() <= 1e-4 * size,
                    "{name}: {found} {wanted}"
                );
            }
            compared.insert(name);
        }
    }
    assert_eq!(compared.len(), stored.len());
}

#[test]
fn what_is_drawn_at_random_repeats_by_its_seed() {
    let base = base();
    let shares = || [share(&base, "a", 0.5), share(&base, "b", 0.5)];
    let made = |method, seed, rank| {
        let mix = Mix {
            seed,
            ..mix(method, 0.5, rank)
        };
        blended(&shares(), mix, base.model.sites(), "llama").unwrap()
    };
    for method in [BlendMethod::DareLinear, BlendMethod::DareTies] {
        for rank in [None, Some(3)] {
            assert_eq!(made(method, 1, rank), made(method, 1, rank));
            assert_ne!(made(method, 1, rank), made(method, 2, rank));
        }
    }
}
