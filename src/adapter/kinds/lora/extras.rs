//! What a folder has beside A and B: biases, whole modules, rows of tokens, and the embeddings that PEFT saves together with
//! adapters on them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::adapter::catalogue::Folder;
use crate::adapter::peft::{
    LoraOuter, LoraSettings, LoraSite, Product, Saved, TokenRows, bias_name,
};
use crate::adapter::{AdapterFault, BaseTensor, Fit, Outer, Place, Scales, Site, SiteMap};
use crate::device::Array;
use crate::domain::Bias;
use crate::kernels::lookup::OwnRows;
use crate::kernels::quant::{Format, Matrix};

/// For the root mean square of a tensor: what exceeds this was never trained.
const MOST: f64 = 1e3;

#[derive(Default)]
pub struct Extras {
    /// What is added to the outputs of layers.
    pub shifts: SiteMap<Scales>,
    pub head_scales: Option<Scales>,
    pub biases: BTreeMap<Site, Array>,
    /// Whole weights.
    pub values: BTreeMap<Place, Array>,
    /// A new embedding is the head as well.
    pub tied: bool,
    pub embedding_rows: Option<Arc<OwnRows>>,
    pub head_rows: Option<Arc<OwnRows>>,
}

/// Reads them, and adds their names to those that are `wanted`.
pub fn read(
    folder: &Folder<'_>,
    fit: &Fit<'_>,
    settings: &LoraSettings,
    (sites, outer): (&[LoraSite], &[LoraOuter]),
    wanted: &mut HashSet<String>,
) -> Result<Extras, AdapterFault> {
    if settings.bias == Bias::None && settings.saved.is_nothing() && outer.is_empty() {
        // Embeddings that were saved although nothing adapts them.
        let saved = Outer::ALL.map(|outer| stored_name(&format!("{}.weight", outer.path())));
        if saved
            .iter()
            .all(|name| folder.weights.shape(name).is_none())
        {
            return Ok(Extras::default());
        }
    }
    let adapted = sites.iter().map(|at| at.shape.site).collect();
    let mut reader = Reader {
        bias: settings.bias,
        sites,
        outer,
        ..Reader::new(folder, fit, (&settings.saved, adapted), wanted)
    };
    reader.modules()?;
    reader.embeddings()?;
    reader.tokens()?;
    reader.biases()?;
    reader.lora_biases()?;
    let Reader {
        shifts, mut extras, ..
    } = reader;
    for (site, shift) in shifts {
        extras.shifts.insert(site, by(shift));
    }
    Ok(extras)
}

/// The whole modules of an adapter that changes these layers in another way.
pub fn modules(
    folder: &Folder<'_>,
    fit: &Fit<'_>,
    (saved, adapted): (&Saved, HashSet<Site>),
    wanted: &mut HashSet<String>,
) -> Result<Extras, AdapterFault> {
    if saved.modules.is_empty() {
        return Ok(Extras::default());
    }
    let mut reader = Reader::new(folder, fit, (saved, adapted), wanted);
    reader.modules()?;
    Ok(reader.extras)
}

fn by(shift: Vec<f32>) -> Scales {
    Scales {
        shift: Some(shift.into()),
        ..Scales::default()
    }
}

fn stored_name(path: &str) -> String {
    format!("base_model.model.{path}")
}

struct Reader<'a, 'f> {
    folder: &'a Folder<'f>,
    tied: bool,
    base: BTreeMap<Place, BaseTensor>,
    saved: &'a Saved,
    bias: Bias,
    /// Layers that are changed in another way.
    adapted: HashSet<Site>,
    sites: &'a [LoraSite],
    outer: &'a [LoraOuter],
    wanted: &'a mut HashSet<String>,
    shifts: BTreeMap<Site, Vec<f32>>,
    extras: Extras,
}

impl<'a, 'f> Reader<'a, 'f> {
    fn new(
        folder: &'a Folder<'f>,
        fit: &Fit<'_>,
        (saved, adapted): (&'a Saved, HashSet<Site>),
        wanted: &'a mut HashSet<String>,
    ) -> Self {
        let tensors = fit.weights.tensors().into_iter();
        let placed = tensors.filter_map(|(path, tensor)| Some((Place::parse(&path)?, tensor)));
        Self {
            folder,
            tied: fit.weights.shape().tied,
            base: placed.collect(),
            saved,
            bias: Bias::None,
            adapted,
            sites: &[],
            outer: &[],
            wanted,
            shifts: BTreeMap::new(),
            extras: Extras::default(),
        }
    }

    /// A tensor of these sizes, of one dimension where `flat`.
    fn array(
        &mut self,
        name: &str,
        dims: (usize, usize),
        flat: bool,
    ) -> Result<Array, AdapterFault> {
        self.wanted.insert(name.to_owned());
        let stored = match flat {
            true => self.folder.weights.vector(name, dims.1),
            false => self.folder.weights.matrix(name, [dims.0, dims.1]),
        };
        let missing =
            || AdapterFault::new(name, "is missing although the configuration asks for it");
        let stored = stored.ok_or_else(missing)??;
        let size = stored.root_mean_square();
        if size > MOST {
            let why = format!("has numbers of {size:.3e}; up to {MOST:e} is served");
            return Err(AdapterFault::new(name, why));
        }
        let array = Array::new(stored.to_f32(), dims);
        array.map_err(|error| AdapterFault::new(name, error.to_string()))
    }

    fn has(&self, name: &str) -> bool {
        self.folder.weights.shape(name).is_some()
    }

    fn is_adapted(&self, site: Site) -> bool {
        self.adapted.contains(&site)
    }

    fn adapts(&self, outer: Outer) -> bool {
        self.outer.iter().any(|at| at.outer == outer)
    }

    /// `modules_to_save`.
    fn modules(&mut self) -> Result<(), AdapterFault> {
        const KEY: &str = "modules_to_save";
        let saved = self.saved;
        if saved.modules.is_empty() {
            return Ok(());
        }
        let mut places: Vec<(Place, (usize, usize))> = Vec::new();
        let head = self.base.get(&Place::Embedding).filter(|_| self.tied);
        let all = self
            .base
            .iter()
            .map(|(place, tensor)| (*place, tensor.dims()));
        for (place, dims) in all.chain(head.map(|tensor| (Place::Head, tensor.dims()))) {
            let path = place.path();
            let module = path.rsplit_once('.').map_or(&*path, |(module, _)| module);
            if !saved.replaces(module) {
                continue;
            }
            let adapted = match place {
                Place::Weight(site) | Place::Bias(site) => self.is_adapted(site),
                Place::Embedding => self.adapts(Outer::Embedding),
                Place::Head => self.adapts(Outer::Head),
                Place::Norm(_) => false,
            };
            if adapted {
                let why = format!("replaces `{module}`, which is adapted as well");
                return Err(AdapterFault::new(KEY, why));
            }
            places.push((place, dims));
        }
        // PEFT leaves the head out of the list then, and the embedding in.
        let names = |outer: &Outer| places.iter().any(|(place, _)| *place == place_of(*outer));
        let keeps_tied = self.tied && saved.tie && Outer::ALL.iter().any(names);
        if keeps_tied {
            let dims = head.map(BaseTensor::dims).unwrap_or_default();
            places.retain(|(place, _)| !Outer::ALL.map(place_of).contains(place));
            places.push((Place::Embedding, dims));
        }
        let stored = |place: &Place| stored_name(&place.path());
        if let Some((first, _)) = places.first()
            && !places.iter().any(|(place, _)| self.has(&stored(place)))
        {
            let why = format!("replaces weights, but the file has no {}", stored(first));
            return Err(AdapterFault::new(KEY, why));
        }
        for (place, dims) in places {
            if let (Place::Bias(site), Bias::All) = (place, self.bias) {
                // Copies that PEFT writes and does not read.
                let path = site.path();
                let copies = ["modules_to_save", "original_module"];
                let copies = copies.map(|copy| stored_name(&format!("{path}.{copy}.bias")));
                self.wanted.extend(copies);
            }
            let flat = matches!(place, Place::Norm(_) | Place::Bias(_));
            let array = self.array(&stored(&place), dims, flat)?;
            self.extras.values.insert(place, array);
        }
        if keeps_tied {
            self.extras.tied = true;
            let name = stored(&Place::Head);
            if self.has(&name) {
                let dims = self.extras.values[&Place::Embedding].dims();
                if self.array(&name, dims, false)? != self.extras.values[&Place::Embedding] {
                    let why =
                        "differs from the embedding, which `ensure_weight_tying` keeps the same";
                    return Err(AdapterFault::new(name, why));
                }
            }
        }
        Ok(())
    }

    /// The embedding and the head as PEFT saves them where they are targets: the base's, most of the time.
    fn embeddings(&mut self) -> Result<(), AdapterFault> {
        for outer in Outer::ALL {
            let place = place_of(outer);
            if self.extras.values.contains_key(&place) {
                continue;
            }
            let below = if self.adapts(outer) {
                ".base_layer"
            } else {
                ""
            };
            let name = stored_name(&format!("{}{below}.weight", outer.path()));
            if !self.has(&name) {
                continue;
            }
            let stored = match self.tied {
                true => Place::Embedding,
                false => place,
            };
            let Some(BaseTensor::Matrix(base)) = self.base.get(&stored).cloned() else {
                continue;
            };
            let array = self.array(&name, base.dims(), false)?;
            if !is_base(&array, &base).map_err(|e| AdapterFault::new(&*name, e.to_string()))? {
                // Both are one weight in a tied base; what comes last counts.
                self.extras.tied |= self.tied;
                self.extras.values.insert(stored, array);
            }
        }
        Ok(())
    }

    /// `trainable_token_indices`.
    fn tokens(&mut self) -> Result<(), AdapterFault> {
        const KEY: &str = "trainable_token_indices";
        let TokenRows {
            embedding,
            head,
            tied,
        } = self.saved.token_rows(self.tied)?;
        let all = [(Outer::Embedding, embedding), (Outer::Head, head)];
        let all = all
            .into_iter()
            .filter_map(|(outer, ids)| Some((outer, ids?)));
        let named: Vec<(Outer, Vec<u32>, String)> = all
            .map(|(outer, ids)| {
                let path = format!("{}.token_adapter.trainable_tokens_delta", outer.path());
                (outer, ids, stored_name(&path))
            })
            .collect();
        if let Some((_, _, name)) = named.first()
            && !named.iter().any(|(_, _, name)| self.has(name))
        {
            let why = format!("asks for rows of tokens, but the file has no {name}");
            return Err(AdapterFault::new(KEY, why));
        }
        for (outer, ids, name) in named {
            if self.adapts(outer) || (tied && self.adapts(Outer::Head)) {
                let why = format!("names `{}`, which is adapted as well", outer.path());
                return Err(AdapterFault::new(KEY, why));
            }
            let base = self.base.get(&Place::Embedding);
            let (vocabulary, hidden) = base.map(BaseTensor::dims).unwrap_or_default();
            if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
                let why = format!("names token {id} of {vocabulary}");
                return Err(AdapterFault::new(KEY, why));
            }
            let rows = self.array(&name, (ids.len(), hidden), false)?;
            let rows = OwnRows::new(&ids, rows);
            let rows = Arc::new(rows.map_err(|e| AdapterFault::new(&*name, e.to_string()))?);
            if outer == Outer::Embedding {
                self.extras.embedding_rows = Some(rows.clone());
            }
            if outer == Outer::Head || tied {
                self.extras.head_rows = Some(rows);
            }
        }
        Ok(())
    }

    /// Biases of the base that the adapter trained.
    fn biases(&mut self) -> Result<(), AdapterFault> {
        let mut trained = Vec::new();
        for (place, tensor) in &self.base {
            let (Place::Bias(site), BaseTensor::Vector(base)) = (*place, tensor) else {
                continue;
            };
            let adapted = self.is_adapted(site);
            let trains = match self.bias {
                Bias::None => false,
                Bias::All => !self.extras.values.contains_key(place),
                Bias::LoraOnly => adapted,
            };
            if trains {
                trained.push((site, bias_name(site, adapted), base.clone()));
            }
        }
        if let Some((_, name, _)) = trained.first()
            && !trained.iter().any(|(_, name, _)| self.has(name))
        {
            // Older versions of PEFT train the biases of adapted layers and do not save them.
            if self.bias == Bias::LoraOnly {
                return Ok(());
            }
            let why = format!("asks for all biases, but the file has no {name}");
            return Err(AdapterFault::new("bias", why));
        }
        for (site, name, base) in trained {
            let own = self.array(&name, base.dims(), true)?;
            let pairs = own.values().iter().zip(base.values());
            self.shifts
                .insert(site, pairs.map(|(own, base)| own - base).collect());
            self.extras.biases.insert(site, own);
        }
        Ok(())
    }

    /// Biases of B, times the scale of the update.
    fn lora_biases(&mut self) -> Result<(), AdapterFault> {
        const KEY: &str = "lora_bias";
        if !self.saved.lora_bias {
            return Ok(());
        }
        if self.adapts(Outer::Embedding) {
            let why = "is not supported by PEFT on `model.embed_tokens`";
            return Err(AdapterFault::new(KEY, why));
        }
        let named = |product: Product| {
            (
                stored_name(&format!("{}.lora_B.bias", product.path)),
                product,
            )
        };
        let of_sites: Vec<_> = self.sites.iter().map(|at| named(at.product())).collect();
        let of_head: Vec<_> = self.outer.iter().map(|at| named(at.product())).collect();
        if let Some((name, _)) = of_sites.iter().chain(&of_head).next()
            && !of_sites
                .iter()
                .chain(&of_head)
                .any(|(name, _)| self.has(name))
        {
            let why = format!("is on, but the file has no {name}");
            return Err(AdapterFault::new(KEY, why));
        }
        let sites: Vec<Site> = self.sites.iter().map(|at| at.shape.site).collect();
        for (site, (name, product)) in sites.into_iter().zip(of_sites) {
            let scaled = self.scaled(&name, &product)?;
            let shift = self
                .shifts
                .entry(site)
                .or_insert_with(|| vec![0.0; scaled.len()]);
            let places = shift.iter_mut().zip(scaled);
            places.for_each(|(shift, more)| *shift += more);
        }
        for (name, product) in of_head {
            self.extras.head_scales = Some(by(self.scaled(&name, &product)?));
        }
        Ok(())
    }

    fn scaled(&mut self, name: &str, product: &Product) -> Result<Vec<f32>, AdapterFault> {
        let bias = self.array(name, (1, product.outputs), true)?;
        let scale = product.scale as f32;
        Ok(bias.values().iter().map(|value| scale * value).collect())
    }
}

fn place_of(outer: Outer) -> Place {
    match outer {
        Outer::Embedding => Place::Embedding,
        Outer::Head => Place::Head,
    }
}

/// Whether these values are what the base holds, once they are rounded as its are.
fn is_base(values: &Array, base: &Matrix) -> crate::device::Result<bool> {
    let rows = 0..base.dims().0;
    let format = base.format().unwrap_or(Format::F32);
    let rounded = Matrix::quantize(values, format)?;
    Ok(rounded.rows(rows.clone())? == base.rows(rows)?)
}
