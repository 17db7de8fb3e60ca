//! Grouped-query attention with rotary positions.

use super::{At, Linear, Norm, Step};
use crate::adapter::{Module, NormAt};
use crate::device::Result;
use crate::kernels::attention::Attend;
use crate::kernels::op::Value;
use crate::model::spec::Biases;
use crate::model::weights::WeightError;

pub(in crate::model) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    /// Of queries and of keys.
    head_norm: Option<(Norm, Norm)>,
    attend: Attend,
    layer: usize,
}

impl Attention {
    /// With the heads, and this layer's window, of the spec.
    pub fn grouped(at: &mut At<'_>, bias: Biases) -> std::result::Result<Self, WeightError> {
        let spec = at.spec();
        let (hidden, dim) = (spec.hidden, spec.head_dim);
        let (queries, keys) = (spec.heads * dim, spec.kv_heads * dim);
        let window = spec.windows.get(at.layer()).copied().flatten();
        let attend = Attend {
            dim,
            scale: 1.0 / (dim as f32).sqrt(),
            window,
        };
        Ok(Self {
            q: Linear::new(at, Module::Q, (queries, hidden), bias.qkv)?,
            k: Linear::new(at, Module::K, (keys, hidden), bias.qkv)?,
            v: Linear::new(at, Module::V, (keys, hidden), bias.qkv)?,
            o: Linear::new(at, Module::O, (hidden, queries), bias.o)?,
            head_norm: None,
            attend,
            layer: at.layer(),
        })
    }

    /// Normalises each head of queries and keys before they turn.
    pub fn with_head_norm(mut self, at: &mut At<'_>) -> std::result::Result<Self, WeightError> {
        let q = Norm::new(at, NormAt::Query(self.layer), self.attend.dim)?;
        let k = Norm::new(at, NormAt::Key(self.layer), self.attend.dim)?;
        self.head_norm = Some((q, k));
        Ok(self)
    }

    pub fn forward(&self, x: &Value, step: &mut Step<'_, '_>) -> Result<Value> {
        let [mut q, mut k, v] = Linear::each([&self.q, &self.k, &self.v], x, step)?;
        if let Some((q_norm, k_norm)) = &self.head_norm {
            q = q_norm.forward(&q, step.run, step.adapt)?;
            k = k_norm.forward(&k, step.run, step.adapt)?;
        }
        let mixed = step.attend(self.layer, [&q, &k, &v], self.attend)?;
        self.o.forward(&mixed, step)
    }

    pub fn norms(&self) -> impl Iterator<Item = &Norm> {
        self.head_norm.iter().flat_map(|(q, k)| [q, k])
    }

    pub fn linears(&self) -> [&Linear; 4] {
        [&self.q, &self.k, &self.v, &self.o]
    }
}
