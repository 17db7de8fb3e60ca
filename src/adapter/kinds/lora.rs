//! LoRA (Hu et al., 2021, arXiv:2106.09685) as PEFT stores it: `y += s · B A x` on chosen linear layers, the embedding and
//! the head, with s = alpha/r, or alpha/√r when rank-stabilised (Kalajdzievski, 2023, arXiv:2312.03732); and what its
//! configuration replaces of the base beside that.

pub(super) mod extras;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::adapter::around::Around;
use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::fold::{OuterUpdate, Outside};
use crate::adapter::own::Own;
use crate::adapter::peft::{
    ConfigFile, LoraOuter, LoraResume, LoraSettings, LoraSite, OuterFactors, Product,
};
use crate::adapter::{AdapterFault, Fit, Outer, SiteMap};
use crate::device::Array;
use crate::kernels::lookup::LowRankRows;
use crate::kernels::pool;
use crate::kernels::segmented::{Factors, LowRank, Matrix};

pub struct Lora;

/// For the bound on the root mean square of the entries of s · B A. Weights of a base are around 0.02: what exceeds
/// this drowns the base in every answer and was never trained.
const MAX_UPDATE: f64 = 1e4;

impl AdapterKind for Lora {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn peft_type(&self) -> Option<&'static str> {
        Some("LORA")
    }

    fn is(&self, config: &ConfigFile) -> Result<bool, AdapterFault> {
        Ok(!config.flag("use_dora")?)
    }

    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> Result<Parts, AdapterFault> {
        Ok(read(folder, fit, false)?.into_parts())
    }
}

/// A LoRA, or what a DoRA has of one.
pub struct Read {
    pub parts: Parts,
    pub around: Around,
    pub outer: Vec<LoraOuter>,
    pub resume: LoraResume,
    pub outside: Outside,
}

impl Read {
    pub fn into_parts(self) -> Parts {
        Parts {
            change: self.around.into_change(),
            resume: Some(Arc::new(self.resume)),
            outside: Some(Arc::new(self.outside)),
            ..self.parts
        }
    }
}

pub fn read(folder: &Folder<'_>, fit: &Fit<'_>, dora: bool) -> Result<Read, AdapterFault> {
    let settings = LoraSettings::parse(&folder.config)?;
    let sites = settings.sites(fit.sites)?;
    let outer = settings.outer(fit.weights.shape())?;
    let of_sites = sites.iter().map(LoraSite::product);
    let of_outer = outer.iter().map(LoraOuter::product);
    let products: Vec<Product> = of_sites.chain(of_outer).collect();
    if products.is_empty() && settings.saved.is_nothing() {
        let why = "leaves no layer of this base to adapt";
        return Err(AdapterFault::new("target_modules", why));
    }
    check_ranks(folder, &products, fit.max_rank)?;
    let mut wanted: HashSet<String> = HashSet::new();
    for product in &products {
        wanted.extend(product.names.clone());
        wanted.extend(dora.then(|| product.magnitude.clone()));
    }
    let extras = extras::read(folder, fit, &settings, (&sites, &outer), &mut wanted)?;
    refuse_surplus(folder, &settings, &products, fit, (dora, &wanted))?;
    let factors = products
        .iter()
        .map(|product| read_product(folder, product))
        .collect::<Result<Vec<_>, _>>()?;
    // The embedding's are looked up, not multiplied.
    let (in_head, in_embedding): (Vec<_>, Vec<_>) = factors[sites.len()..]
        .iter()
        .zip(&outer)
        .partition(|(_, outer)| outer.outer == Outer::Head);
    let multiplied: Vec<_> = { factors[..sites.len()].iter() }
        .chain(in_head.iter().map(|(factors, _)| *factors))
        .copied()
        .collect();
    let mut packed = LowRank::pack(&multiplied, fit.precision)
        .ok_or_else(|| AdapterFault::new("r", "leaves a layer without weights"))?;
    let mut around = Around {
        own: Own::new(&extras.values, fit.weights, extras.tied)?,
        ..Around::default()
    };
    let mut outside = Outside::default();
    for (outer, rows) in [
        (Outer::Embedding, &extras.embedding_rows),
        (Outer::Head, &extras.head_rows),
    ] {
        outside.rows.extend(rows.clone().map(|rows| (outer, rows)));
    }
    around.embedding.rows = extras.embedding_rows;
    around.head.rows = extras.head_rows;
    around.head.scales = extras.head_scales;
    around.head.low_rank = packed.split_off(sites.len()).pop();
    let mut outer_factors = BTreeMap::new();
    for (factors, at) in in_head.iter().chain(&in_embedding) {
        let names = at.product().names;
        let array = |matrix: Matrix<'_>, dims, name: &str| {
            let array = Array::new(matrix.to_f32(), dims);
            array.map_err(|error| AdapterFault::new(name, error.to_string()))
        };
        let read = OuterFactors {
            a: array(factors.a, (factors.rank, factors.inputs), &names[0])?,
            b: array(factors.b, (factors.outputs, factors.rank), &names[1])?,
            magnitude: None,
        };
        if at.outer == Outer::Embedding {
            let update = LowRankRows::new(&read.a, &read.b, factors.scale);
            let update = update.map_err(|e| AdapterFault::new(&*names[0], e.to_string()))?;
            around.embedding.low_rank = Some(update);
        }
        let update = OuterUpdate {
            a: read.a.clone(),
            b: read.b.clone(),
            scale: factors.scale,
            factors: None,
        };
        outside.updates.insert(at.outer, update);
        outer_factors.insert(at.outer, read);
    }
    let mut low_rank = SiteMap::default();
    for (site, weights) in sites.iter().zip(packed) {
        low_rank.insert(site.shape.site, weights);
    }
    (outside.whole, outside.tied) = (extras.values, extras.tied);
    let ranks = products.iter().map(|product| product.rank);
    Ok(Read {
        parts: Parts {
            rank: ranks.max().unwrap_or(0),
            low_rank,
            scales: extras.shifts,
            ..Parts::default()
        },
        around,
        outer,
        resume: LoraResume {
            settings,
            magnitudes: SiteMap::default(),
            outer: outer_factors,
            biases: extras.biases,
        },
        outside,
    })
}

/// Ranks are checked before any tensor: where A and B agree with each other but not with the configuration, the
/// configuration is at fault.
fn check_ranks(folder: &Folder<'_>, products: &[Product], most: usize) -> Result<(), AdapterFault> {
    for Product {
        path,
        names,
        inputs,
        outputs,
        rank,
        rank_key,
        ..
    } in products
    {
        if *rank > most {
            let why = format!("gives `{path}` rank {rank}; at most {most} is served");
            return Err(AdapterFault::new(*rank_key, why));
        }
        let shape = |name: &String| folder.weights.shape(name).unwrap_or_default();
        let [a, b] = names.each_ref().map(shape);
        if let ([a_rank, a_inputs], [b_outputs, b_rank]) = (&a[..], &b[..])
            && (a_rank, a_inputs, b_outputs) == (b_rank, inputs, outputs)
            && a_rank != rank
        {
            return Err(AdapterFault::new(
                *rank_key,
                format!("gives `{path}` rank {rank}, but its tensors have {a_rank}"),
            ));
        }
    }
    Ok(())
}

fn read_product<'a>(folder: &Folder<'a>, product: &Product) -> Result<Factors<'a>, AdapterFault> {
    let [a_name, b_name] = &product.names;
    if [a_name, b_name]
        .iter()
        .all(|name| folder.weights.shape(name).is_none())
    {
        let why = format!(
            "chooses `{}`, but the file has neither {a_name} nor {b_name}",
            product.path
        );
        return Err(AdapterFault::new("target_modules", why));
    }
    let matrix = |name: &str, dims| {
        let missing = || {
            AdapterFault::new(
                name,
                "is missing although the configuration adapts this layer",
            )
        };
        folder.weights.matrix(name, dims).ok_or_else(missing)?
    };
    let (rank, inputs, outputs) = (product.rank, product.inputs, product.outputs);
    let a = matrix(a_name, [rank, inputs])?;
    let b = matrix(b_name, [outputs, rank])?;
    check_size(product, (a_name, &a), (b_name, &b))?;
    pool::give_way();
    Ok(Factors {
        rank,
        inputs,
        outputs,
        scale: product.scale as f32,
        a,
        b,
    })
}

/// ‖s · B A‖ ≤ s ‖A‖ ‖B‖ (Frobenius), so the entries' root mean square is at most s · r · rms(A) · rms(B).
fn check_size(
    product: &Product,
    a: (&str, &Matrix<'_>),
    b: (&str, &Matrix<'_>),
) -> Result<(), AdapterFault> {
    let (a_size, b_size) = (a.1.root_mean_square(), b.1.root_mean_square());
    let bound = product.scale * product.rank as f64 * a_size * b_size;
    if bound <= MAX_UPDATE {
        return Ok(());
    }
    let shares = [
        (product.alpha_key, product.scale),
        (a.0, a_size),
        (b.0, b_size),
    ];
    let (culprit, size) =
        shares.into_iter().fold(
            shares[0],
            |most, share| if share.1 > most.1 { share } else { most },
        );
    let why = format!(
        "with a size of {size:.3e} lets the update of `{}` reach {bound:.3e} a weight; up to {MAX_UPDATE:e} is served",
        product.path
    );
    Err(AdapterFault::new(culprit, why))
}

/// A tensor without a place would mean that the adapter is only half applied.
fn refuse_surplus(
    folder: &Folder<'_>,
    settings: &LoraSettings,
    products: &[Product],
    fit: &Fit<'_>,
    (dora, wanted): (bool, &HashSet<String>),
) -> Result<(), AdapterFault> {
    // The first by name, so that the same folder always gives the same answer.
    let Some(name) = folder
        .weights
        .names()
        .into_iter()
        .filter(|name| !wanted.contains(*name))
        .min()
    else {
        return Ok(());
    };
    if !dora && products.iter().any(|product| product.magnitude == name) {
        let why = format!("is off, but the file has {name}");
        return Err(AdapterFault::new("use_dora", why));
    }
    // Of a layer this base has: the configuration leaves it out.
    if let Some(shape) = fit.sites.iter().find(|shape| {
        let mut known = crate::adapter::peft::tensor_names(shape.site).into_iter();
        known.any(|known| known == name)
    }) && let Some(key) = settings.selection.left_out_by(shape.site)?
    {
        return Err(AdapterFault::new(
            key,
            format!(
                "leaves out `{}`, but the file has {name}",
                shape.site.path()
            ),
        ));
    }
    let why = if name.contains("lora_embedding_") || name.contains("embed_tokens") {
        "belongs to the embedding, which the configuration leaves as it is"
    } else if name.contains("lm_head") {
        "belongs to the output head, which the configuration leaves as it is"
    } else if name.contains(".lora_") {
        "belongs to no layer of this base"
    } else {
        "is no part of a LoRA adapter"
    };
    Err(AdapterFault::new(name, why))
}
