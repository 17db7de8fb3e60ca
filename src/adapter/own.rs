//! Whole weights that take the place of the base's, held as the base holds its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::points::{Change, NormAt, Rows};
use super::{AdapterFault, BaseTensor, BaseWeights, Outer, Place, Site, SiteMap};
use crate::device::{Array, Result};
use crate::kernels::pool;
use crate::kernels::quant::{Format, Layer, Matrix};

/// Weights of some places; elsewhere the base's hold.
#[derive(Debug, Default)]
pub struct Own {
    linears: SiteMap<Linear>,
    norms: BTreeMap<NormAt, Array>,
    embedding: Option<Arc<Matrix>>,
    head: Option<Arc<Matrix>>,
    bytes: u64,
}

#[derive(Debug)]
struct Linear {
    weight: Arc<Matrix>,
    bias: Option<Arc<[f32]>>,
}

impl Own {
    /// `values`: the f32 weights of each place, of the base's sizes; of a base whose head is the embedding, a head may have
    /// one too. A matrix is rounded to the format of the one it replaces. Where they are `tied`, a new embedding is the head.
    pub fn new(
        values: &BTreeMap<Place, Array>,
        base: &dyn BaseWeights,
        tied: bool,
    ) -> std::result::Result<Self, AdapterFault> {
        let mut own = Self::default();
        if values.is_empty() {
            return Ok(own);
        }
        let of_base: BTreeMap<Place, BaseTensor> = { base.tensors() }
            .into_iter()
            .filter_map(|(path, tensor)| Some((Place::parse(&path)?, tensor)))
            .collect();
        for (place, array) in values {
            let fault = |why: String| AdapterFault::new(place.path(), why);
            let stored = match place {
                Place::Head if base.shape().tied => &Place::Embedding,
                place => place,
            };
            let Some(replaced) = of_base.get(stored) else {
                return Err(fault("is no weight of this base".to_owned()));
            };
            if replaced.dims() != array.dims() {
                let (found, wanted) = (array.dims(), replaced.dims());
                return Err(fault(format!(
                    "has shape {found:?} where the base has {wanted:?}"
                )));
            }
            pool::give_way();
            let rounded = || match replaced {
                BaseTensor::Matrix(matrix) => {
                    let matrix = Matrix::quantize(array, format_like(matrix));
                    matrix.map_err(|error| fault(error.to_string()))
                }
                BaseTensor::Vector(_) => Err(fault("is a vector in the base".to_owned())),
            };
            match *place {
                Place::Embedding => own.embedding = Some(rounded()?.into()),
                Place::Head => own.head = Some(rounded()?.into()),
                Place::Norm(at) => drop(own.norms.insert(at, array.clone())),
                Place::Weight(site) => own.put_linear(site, Some(rounded()?), None, &of_base),
                Place::Bias(site) => own.put_linear(site, None, Some(array), &of_base),
            }
        }
        if tied && own.head.is_none() {
            own.head = own.embedding.clone();
        }
        own.bytes = own.count_bytes(values);
        Ok(own)
    }

    /// Of the embedding or the head, where it has one of its own.
    pub fn outer(&self, outer: Outer) -> Option<Arc<Matrix>> {
        match outer {
            Outer::Embedding => self.embedding.clone(),
            Outer::Head => self.head.clone(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The weight or bias of a linear layer; the other is the base's until it is replaced too.
    fn put_linear(
        &mut self,
        site: Site,
        weight: Option<Matrix>,
        bias: Option<&Array>,
        of_base: &BTreeMap<Place, BaseTensor>,
    ) {
        let known = self.linears.get(site);
        let weight = weight.map(Arc::new).or_else(|| {
            let base = match of_base.get(&Place::Weight(site)) {
                Some(BaseTensor::Matrix(matrix)) => Some(matrix.clone()),
                _ => None,
            };
            known.map(|linear| linear.weight.clone()).or(base)
        });
        let bias = bias.map(|bias| bias.values().into()).or_else(|| {
            let base = match of_base.get(&Place::Bias(site)) {
                Some(BaseTensor::Vector(bias)) => Some(bias.values().into()),
                _ => None,
            };
            known.map_or(base, |linear| linear.bias.clone())
        });
        if let Some(weight) = weight {
            self.linears.insert(site, Linear { weight, bias });
        }
    }

    /// Of what is not the base's.
    fn count_bytes(&self, values: &BTreeMap<Place, Array>) -> u64 {
        let of = |(place, array): (&Place, &Array)| match place {
            Place::Embedding => self.embedding.as_ref().map_or(0, |matrix| matrix.bytes()),
            Place::Head => self.head.as_ref().map_or(0, |matrix| matrix.bytes()),
            Place::Weight(site) => {
                let linear = self.linears.get(*site);
                linear.map_or(0, |linear| linear.weight.bytes())
            }
            Place::Bias(_) | Place::Norm(_) => array.bytes(),
        };
        values.iter().map(of).sum()
    }
}

/// What a replaced matrix is held as. LLM.int8 has no format of stored weights; eight bits a weight come closest.
fn format_like(replaced: &Matrix) -> Format {
    let wanted = replaced.format().unwrap_or(Format::Q8_0);
    wanted.fitting(replaced.dims().1).unwrap_or(Format::F32)
}

impl Change for Own {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn sites(&self) -> Vec<Site> {
        self.linears.iter().map(|(site, _)| site).collect()
    }

    fn embedded(&self, tokens: &[u32], _: Rows<'_>) -> Result<Option<Array>> {
        let rows = self.embedding.as_ref().map(|own| own.gather(tokens));
        rows.transpose()
    }

    fn linear(&self, site: Site) -> Option<Layer<'_>> {
        let linear = self.linears.get(site)?;
        Some(Layer {
            weight: &linear.weight,
            bias: linear.bias.as_ref(),
        })
    }

    fn norm(&self, at: NormAt) -> Option<&Array> {
        self.norms.get(&at)
    }

    fn head(&self) -> Option<Layer<'_>> {
        let weight = self.head.as_ref()?;
        Some(Layer { weight, bias: None })
    }
}
