//! LoRA (Hu et al., 2021, arXiv:2106.09685) as PEFT stores it: `y += s · B A x` on chosen linear layers, with
//! s = alpha/r, or alpha/√r when rank-stabilised (Kalajdzievski, 2023, arXiv:2312.03732).

use std::collections::HashSet;
use std::sync::Arc;

use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::peft::{
    ConfigFile, LoraResume, LoraSettings, LoraSite, magnitude_name, tensor_names,
};
use crate::adapter::{AdapterFault, Fit, SiteMap};
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
        read(folder, fit, false)
    }
}

/// A LoRA, or what a DoRA has of one.
pub fn read(folder: &Folder<'_>, fit: &Fit<'_>, dora: bool) -> Result<Parts, AdapterFault> {
    let settings = LoraSettings::parse(&folder.config)?;
    let sites = settings.sites(fit.sites)?;
    check_ranks(folder, &sites, fit.max_rank)?;
    refuse_surplus(folder, &settings, &sites, fit, dora)?;
    let factors = sites
        .iter()
        .map(|site| read_site(folder, site))
        .collect::<Result<Vec<_>, _>>()?;
    let packed = LowRank::pack(&factors, fit.precision)
        .ok_or_else(|| AdapterFault::new("r", "leaves a layer without weights"))?;
    let mut low_rank = SiteMap::default();
    for (site, weights) in sites.iter().zip(packed) {
        low_rank.insert(site.shape.site, weights);
    }
    let rank = sites.iter().map(|site| site.rank).max().unwrap_or(0);
    Ok(Parts {
        rank,
        low_rank,
        resume: Some(Arc::new(LoraResume {
            settings,
            magnitudes: SiteMap::default(),
        })),
        ..Parts::default()
    })
}

/// Ranks are checked before any tensor: where A and B agree with each other but not with the configuration, the
/// configuration is at fault.
fn check_ranks(folder: &Folder<'_>, sites: &[LoraSite], most: usize) -> Result<(), AdapterFault> {
    for LoraSite {
        shape,
        rank,
        rank_key,
        ..
    } in sites
    {
        let path = shape.site.path();
        if *rank > most {
            let why = format!("gives `{path}` rank {rank}; at most {most} is served");
            return Err(AdapterFault::new(*rank_key, why));
        }
        let [a, b] =
            tensor_names(shape.site).map(|name| folder.weights.shape(&name).unwrap_or_default());
        if let ([a_rank, inputs], [outputs, b_rank]) = (&a[..], &b[..])
            && (a_rank, *inputs, *outputs) == (b_rank, shape.inputs, shape.outputs)
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

fn read_site<'a>(folder: &Folder<'a>, site: &LoraSite) -> Result<Factors<'a>, AdapterFault> {
    let LoraSite {
        shape, rank, scale, ..
    } = *site;
    let [a_name, b_name] = tensor_names(shape.site);
    if [&a_name, &b_name]
        .iter()
        .all(|name| folder.weights.shape(name).is_none())
    {
        let why = format!(
            "chooses `{}`, but the file has neither {a_name} nor {b_name}",
            shape.site.path()
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
    let a = matrix(&a_name, [rank, shape.inputs])?;
    let b = matrix(&b_name, [shape.outputs, rank])?;
    check_size(site, (&a_name, &a), (&b_name, &b))?;
    pool::give_way();
    Ok(Factors {
        rank,
        inputs: shape.inputs,
        outputs: shape.outputs,
        scale: scale as f32,
        a,
        b,
    })
}

/// ‖s · B A‖ ≤ s ‖A‖ ‖B‖ (Frobenius), so the entries' root mean square is at most s · r · rms(A) · rms(B).
fn check_size(
    site: &LoraSite,
    a: (&str, &Matrix<'_>),
    b: (&str, &Matrix<'_>),
) -> Result<(), AdapterFault> {
    let (a_size, b_size) = (a.1.root_mean_square(), b.1.root_mean_square());
    let bound = site.scale * site.rank as f64 * a_size * b_size;
    if bound <= MAX_UPDATE {
        return Ok(());
    }
    let shares = [(site.alpha_key, site.scale), (a.0, a_size), (b.0, b_size)];
    let (culprit, size) =
        shares.into_iter().fold(
            shares[0],
            |most, share| if share.1 > most.1 { share } else { most },
        );
    let why = format!(
        "with a size of {size:.3e} lets the update of `{}` reach {bound:.3e} a weight; up to {MAX_UPDATE:e} is served",
        site.shape.site.path()
    );
    Err(AdapterFault::new(culprit, why))
}

/// A tensor without a place would mean that the adapter is only half applied.
fn refuse_surplus(
    folder: &Folder<'_>,
    settings: &LoraSettings,
    sites: &[LoraSite],
    fit: &Fit<'_>,
    dora: bool,
) -> Result<(), AdapterFault> {
    let magnitudes = sites.iter().filter(|_| dora);
    let wanted: HashSet<String> = sites
        .iter()
        .flat_map(|site| tensor_names(site.shape.site))
        .chain(magnitudes.map(|site| magnitude_name(site.shape.site)))
        .collect();
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
    let is_magnitude = |site: &LoraSite| magnitude_name(site.shape.site) == name;
    if !dora && sites.iter().any(is_magnitude) {
        let why = format!("is off, but the file has {name}");
        return Err(AdapterFault::new("use_dora", why));
    }
    // Of a layer this base has: the configuration leaves it out.
    if let Some(shape) = fit
        .sites
        .iter()
        .find(|shape| tensor_names(shape.site).iter().any(|known| known == name))
        && let Some(key) = settings.selection.left_out_by(shape.site)?
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
        "is not supported: embeddings cannot be adapted"
    } else if name.contains("lm_head") {
        "is not supported: the output head cannot be adapted"
    } else if name.contains(".lora_") {
        "belongs to no layer of this base"
    } else {
        "is no part of a LoRA adapter"
    };
    Err(AdapterFault::new(name, why))
}
