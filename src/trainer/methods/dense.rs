//! Whole weights: those of chosen modules, of one stage of modules after the other, or all. Trained in f32 from what the base
//! holds, served in the base's own formats.

mod forward;
mod selection;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Fitting, Masks, Method, Trainable, not_resumed};
use crate::adapter::peft::{DenseSettings, Files, dense_files};
use crate::adapter::{
    Adapt, Adapter, AdapterFault, BaseTensor, BaseWeights, Fit, Place, Uniform, served_dense,
};
use crate::device::{Array, Result, bail};
use crate::domain::{self, Named, Reason, Recipe, Stage, Wishes};
use crate::kernels::tape::Parameter;
use crate::trainer::account::{self, Footprint, Outermost, Touch};
use selection::Choice;

pub struct Kind {
    method: domain::Method,
}

pub const MODULES: Kind = Kind {
    method: domain::Method::Modules,
};
pub const STAGED: Kind = Kind {
    method: domain::Method::Staged,
};
pub const FULL: Kind = Kind {
    method: domain::Method::Full,
};

impl super::Kind for Kind {
    fn method(&self) -> domain::Method {
        self.method
    }

    fn made(&self, adapter: &Adapter) -> bool {
        let settings: Option<&DenseSettings> = adapter.resume();
        let by = settings.and_then(|settings| settings.method.as_deref());
        // What does not say is trained further where it changes the base.
        let by = by.unwrap_or(domain::Method::Modules.name());
        self.continues(adapter) && by == self.method.name()
    }

    fn continues(&self, adapter: &Adapter) -> bool {
        adapter.kind() == "dense"
    }

    fn shape(
        &self,
        _: &Adapter,
        _: &Wishes,
        _: Fitting<'_>,
    ) -> std::result::Result<Wishes, Reason> {
        Ok(Wishes {
            method: Some(self.method),
            ..Wishes::default()
        })
    }

    fn settle(
        &self,
        recipe: &Recipe,
        parent: Option<Arc<Adapter>>,
        base: Fitting<'_>,
    ) -> std::result::Result<Box<dyn Method>, Reason> {
        let carried = match &parent {
            None => BTreeMap::new(),
            Some(parent) => {
                let settings: Option<&DenseSettings> = parent.resume();
                let settings = settings.ok_or_else(|| not_resumed(parent))?;
                settings.values.clone()
            }
        };
        let model = Model::of(base.weights);
        let stages = self.stages(recipe, &carried, &model)?;
        Ok(Box::new(Dense {
            method: self.method,
            learned: stages.iter().flatten().copied().collect(),
            stages,
            carried,
            decay: recipe.lr_decay_per_layer,
            model,
        }))
    }
}

impl Kind {
    /// The places that learn in each stage.
    fn stages(
        &self,
        recipe: &Recipe,
        carried: &BTreeMap<Place, Array>,
        model: &Model,
    ) -> std::result::Result<Vec<BTreeSet<Place>>, Reason> {
        match self.method {
            domain::Method::Staged => {
                let Some(stages) = &recipe.stages else {
                    let why = r#"must say what to train and in which order, such as [{"layers": "3"}, {"layers": "2"}]"#;
                    return Err(Reason::field("stages", why));
                };
                let stages = stages.list().map_err(|why| Reason::field("stages", why))?;
                let of = |(at, stage): (usize, &Stage)| {
                    let choice = Choice {
                        modules: stage.modules.as_ref(),
                        layers: stage.layers.as_ref(),
                    };
                    choice.places(model).map_err(|fault| {
                        Reason::field(
                            "stages",
                            format!("stage {at}: {} {}", fault.field, fault.why),
                        )
                    })
                };
                stages.iter().enumerate().map(of).collect()
            }
            domain::Method::Modules => {
                let layers = recipe.train_layers.clone().map(domain::Layers::Text);
                if recipe.train_modules.is_none() && layers.is_none() {
                    if !carried.is_empty() {
                        return Ok(vec![carried.keys().copied().collect()]);
                    }
                    let why = "must say what to train: attention, ffn, embeddings, head, norms, names or a regular expression; or say `train_layers`";
                    return Err(Reason::field("train_modules", why));
                }
                let choice = Choice {
                    modules: recipe.train_modules.as_ref(),
                    layers: layers.as_ref(),
                };
                let named = |fault: selection::Fault| {
                    Reason::field(format!("train_{}", fault.field), fault.why)
                };
                Ok(vec![choice.places(model).map_err(named)?])
            }
            _ => Ok(vec![model.places.iter().copied().collect()]),
        }
    }
}

/// What there is to choose from.
pub(super) struct Model {
    /// In the order of a forward.
    places: Vec<Place>,
    sizes: BTreeMap<Place, (usize, usize)>,
    /// As the base holds them.
    bytes: BTreeMap<Place, u64>,
    layers: usize,
    tied: bool,
}

impl Model {
    fn of(weights: &dyn BaseWeights) -> Self {
        let (mut places, mut sizes, mut bytes) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (path, size) in weights.sizes() {
            let Some(place) = Place::parse(&path) else {
                continue;
            };
            places.push(place);
            sizes.insert(place, size.dims);
            bytes.insert(place, size.bytes);
        }
        let shape = weights.shape();
        Self {
            places,
            sizes,
            bytes,
            layers: shape.layers,
            tied: shape.tied,
        }
    }

    fn size(&self, place: Place) -> u64 {
        let dims = self.sizes.get(&place).copied().unwrap_or_default();
        (dims.0 * dims.1) as u64
    }
}

struct Dense {
    method: domain::Method,
    stages: Vec<BTreeSet<Place>>,
    /// In any of them.
    learned: BTreeSet<Place>,
    /// The parent's weights.
    carried: BTreeMap<Place, Array>,
    decay: f64,
    model: Model,
}

impl Dense {
    /// Rates fall by layers from the top; embeddings lie below the first.
    fn rate(&self, place: Place) -> f64 {
        let below = match place {
            Place::Embedding => self.model.layers,
            place => place
                .layer()
                .map_or(0, |layer| self.model.layers - 1 - layer),
        };
        self.decay.powi(below as i32)
    }
}

impl Dense {
    /// Of a stage in which these places learn.
    fn footprint(&self, stage: &BTreeSet<Place>) -> Footprint {
        let mut footprint = Footprint::default();
        for place in self.learned.iter().chain(self.carried.keys()) {
            let learns = stage.contains(place);
            match *place {
                Place::Embedding => {
                    footprint.embedding = Outermost::Own { learns };
                    // It is the head as well, where that has no weight of its own.
                    if self.model.tied && footprint.head == Outermost::Frozen {
                        footprint.head = Outermost::Own { learns };
                    }
                }
                Place::Head => footprint.head = Outermost::Own { learns },
                Place::Weight(site) => {
                    footprint.linears.insert(site, Touch::Own { learns });
                }
                Place::Bias(site) => {
                    footprint.biases.insert(site, account::Bias::Own { learns });
                }
                Place::Norm(at) => {
                    footprint.norms.insert(at, learns);
                }
            }
        }
        footprint
    }
}

impl Method for Dense {
    fn count(&self) -> u64 {
        self.learned
            .iter()
            .map(|place| self.model.size(*place))
            .sum()
    }

    fn added(&self) -> u64 {
        0
    }

    fn rank(&self) -> usize {
        0
    }

    fn sizes(&self) -> (u64, u64) {
        let all: BTreeSet<&Place> = self.learned.iter().chain(self.carried.keys()).collect();
        let file = all.iter().map(|place| 4 * self.model.size(**place)).sum();
        let held = all.iter().filter_map(|place| self.model.bytes.get(place));
        (file, held.sum())
    }

    fn footprints(&self) -> Vec<Footprint> {
        let stages = self.stages.iter();
        stages.map(|stage| self.footprint(stage)).collect()
    }

    fn start(&self, weights: &dyn BaseWeights) -> Result<Box<dyn Trainable>> {
        let mut learned = Vec::with_capacity(self.learned.len());
        for (path, tensor) in weights.tensors() {
            let Some(place) = Place::parse(&path).filter(|place| self.learned.contains(place))
            else {
                continue;
            };
            let start = match (self.carried.get(&place), tensor) {
                (Some(carried), _) => carried.clone(),
                (None, BaseTensor::Vector(array)) => array,
                (None, BaseTensor::Matrix(matrix)) => {
                    let dims = matrix.dims();
                    Array::new(matrix.rows(0..dims.0)?, dims)?
                }
            };
            learned.push((place, Parameter::new(start)));
        }
        if learned.len() != self.learned.len() {
            bail!("a base without some of the weights that are to be trained");
        }
        let fixed = self.carried.iter();
        let fixed = fixed.filter(|(place, _)| !self.learned.contains(place));
        Ok(Box::new(Weights {
            method: self.method,
            rates: learned.iter().map(|(place, _)| self.rate(*place)).collect(),
            fixed: fixed
                .map(|(place, array)| (*place, array.clone()))
                .collect(),
            places: learned
                .iter()
                .enumerate()
                .map(|(at, (place, _))| (*place, at))
                .collect(),
            learned,
            stages: self.stages.clone(),
            stage: 0,
            tied: self.model.tied,
        }))
    }
}

/// The weights that a job trains, in the order of a forward, and those of its parent that it leaves alone.
struct Weights {
    method: domain::Method,
    learned: Vec<(Place, Parameter)>,
    /// Each of them, by its number.
    places: BTreeMap<Place, usize>,
    rates: Vec<f64>,
    fixed: BTreeMap<Place, Array>,
    stages: Vec<BTreeSet<Place>>,
    /// The one under way.
    stage: usize,
    tied: bool,
}

impl Weights {
    /// Those that learn and those that do not.
    fn all(&self) -> BTreeMap<Place, Array> {
        let mut values = self.fixed.clone();
        for (place, parameter) in &self.learned {
            values.insert(*place, parameter.array());
        }
        values
    }

    fn learns_now(&self, place: Place) -> bool {
        self.stages
            .get(self.stage)
            .is_some_and(|stage| stage.contains(&place))
    }
}

impl Trainable for Weights {
    fn parameters(&self) -> Vec<(String, &Parameter)> {
        let learned = self.learned.iter();
        learned
            .map(|(place, parameter)| (place.path(), parameter))
            .collect()
    }

    fn rates(&self) -> Vec<f64> {
        self.rates.clone()
    }

    fn enter(&mut self, stage: usize) {
        self.stage = stage;
    }

    fn active(&self) -> Vec<bool> {
        let learned = self.learned.iter();
        learned.map(|(place, _)| self.learns_now(*place)).collect()
    }

    fn learning(&self, _: Option<Masks>) -> Box<dyn Adapt + '_> {
        Box::new(forward::Learning(self))
    }

    fn files(&self, base_name: &str) -> Result<Files> {
        dense_files(base_name, self.method.name(), &self.all())
    }

    /// Without the folder, which would take as much memory again as the weights.
    fn served(&self, fit: &Fit<'_>) -> Result<std::result::Result<Uniform, AdapterFault>> {
        Ok(served_dense(&self.all(), fit).map(|adapter| Uniform {
            adapter: Arc::new(adapter),
        }))
    }
}
