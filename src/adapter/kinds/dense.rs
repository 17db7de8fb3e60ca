//! Dense: whole weights of chosen places of the base, under the base's own tensor names: what training all of a model, or
//! modules of it, makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::own::Own;
use crate::adapter::peft::{DenseSettings, check_numbers};
use crate::adapter::{Adapter, AdapterFault, Fit, Place};
use crate::device::Array;
use crate::domain::Generation;
use crate::kernels::pool;
use crate::kernels::segmented::Matrix;

pub struct Dense;

/// For the root mean square of a tensor. Weights of a base are around 0.02, its norms around 1: what exceeds this was
/// never trained.
const MOST: f64 = 1e3;

impl AdapterKind for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn peft_type(&self) -> Option<&'static str> {
        Some("DENSE")
    }

    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> Result<Parts, AdapterFault> {
        let mut settings = DenseSettings::parse(&folder.config)?;
        let names: BTreeSet<&str> = folder.weights.names().into_iter().collect();
        if let Some(listed) = &settings.tensors {
            if let Some(missing) = listed.iter().find(|name| !names.contains(&***name)) {
                return Err(AdapterFault::new(
                    missing,
                    "is missing although the configuration lists it",
                ));
            }
            let unlisted = names
                .iter()
                .find(|name| !listed.iter().any(|known| known == *name));
            if let Some(name) = unlisted {
                return Err(AdapterFault::new(
                    *name,
                    "is not listed by the configuration's `tensors`",
                ));
            }
        }
        if names.is_empty() {
            return Err(AdapterFault::new(
                "tensors",
                "are none: the file holds no weight",
            ));
        }
        let of_base: BTreeMap<String, (usize, usize)> = { fit.weights.tensors() }
            .into_iter()
            .map(|(path, tensor)| (path, tensor.dims()))
            .collect();
        for name in names {
            let (Some(place), Some(dims)) = (Place::parse(name), of_base.get(name)) else {
                return Err(AdapterFault::new(name, "is no weight of this base"));
            };
            let stored = match place {
                Place::Norm(_) | Place::Bias(_) => folder.weights.vector(name, dims.1),
                _ => folder.weights.matrix(name, [dims.0, dims.1]),
            };
            let missing = || AdapterFault::new(name, "is missing");
            let stored = stored.ok_or_else(missing)??;
            check_size(name, &stored)?;
            let array = Array::new(stored.to_f32(), *dims);
            let array = array.map_err(|error| AdapterFault::new(name, error.to_string()))?;
            settings.values.insert(place, array);
        }
        Ok(Parts {
            change: Some(Arc::new(Own::new(
                &settings.values,
                fit.weights,
                fit.weights.shape().tied,
            )?)),
            resume: Some(Arc::new(settings)),
            ..Parts::default()
        })
    }
}

fn check_size(name: &str, stored: &Matrix<'_>) -> Result<(), AdapterFault> {
    let size = stored.root_mean_square();
    if size > MOST {
        let why = format!("has weights of {size:.3e}; up to {MOST:e} is served");
        return Err(AdapterFault::new(name, why));
    }
    Ok(())
}

/// What these weights, of the base's sizes, are served as: as if their folder had been read, without its bytes in memory.
pub fn served_dense(
    values: &BTreeMap<Place, Array>,
    fit: &Fit<'_>,
) -> Result<Adapter, AdapterFault> {
    for (place, array) in values {
        let name = place.path();
        let numbers: &[u8] = bytemuck::cast_slice(array.values());
        let numbers = Matrix::F32(numbers.as_chunks().0);
        let shape = match place {
            Place::Norm(_) | Place::Bias(_) => vec![array.len()],
            _ => vec![array.rows(), array.width()],
        };
        check_numbers(&name, &numbers, &shape)?;
        check_size(&name, &numbers)?;
        pool::give_way();
    }
    let parts = Parts {
        change: Some(Arc::new(Own::new(
            values,
            fit.weights,
            fit.weights.shape().tied,
        )?)),
        ..Parts::default()
    };
    // It is nobody's until its folder is published.
    let generation = Generation::new([0; 32]);
    Ok(Adapter::new(generation, Dense.name(), parts))
}
