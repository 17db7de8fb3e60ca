//! What the weights of a model are held as, and which instructions multiply them: `doctor` and the log show it, since
//! it decides how fast the model is.

use std::fmt;

use crate::kernels::quant::{Format, Matrix};

/// Matrices that are held and multiplied alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightGroup {
    /// The layers' names, without their numbers: `q_proj`, `embed_tokens`.
    pub modules: Vec<String>,
    /// As stored; `int8` for LLM.int8.
    pub format: &'static str,
    /// As held, where products have another format.
    pub held_as: Option<&'static str>,
    /// What multiplies them: `amx_int8`, `avx2`.
    pub unit: &'static str,
    pub matrices: usize,
    /// In memory.
    pub bytes: u64,
}

/// Counts the matrix of a path like `model.layers.3.self_attn.q_proj.weight`.
pub(super) fn count(groups: &mut Vec<WeightGroup>, path: &str, matrix: &Matrix) {
    let format = matrix.format();
    let held = format.map(Format::computed_as);
    let new = WeightGroup {
        modules: Vec::new(),
        format: format.map_or("int8", Format::name),
        held_as: held.filter(|held| Some(*held) != format).map(Format::name),
        unit: matrix.unit(),
        matrices: 0,
        bytes: 0,
    };
    let alike = |group: &WeightGroup| {
        (group.format, group.held_as, group.unit) == (new.format, new.held_as, new.unit)
    };
    let at = groups.iter().position(alike).unwrap_or(groups.len());
    if at == groups.len() {
        groups.push(new);
    }
    let group = &mut groups[at];
    let module = path.trim_end_matches(".weight").rsplit('.').next();
    let module = module.unwrap_or(path);
    if !group.modules.iter().any(|known| known == module) {
        group.modules.push(module.to_owned());
    }
    group.matrices += 1;
    group.bytes += matrix.bytes();
}

/// `q_proj k_proj: 48 matrices in q3_k, held as q6_k, by amx_int8`
impl fmt::Display for WeightGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            format,
            unit,
            matrices,
            ..
        } = self;
        let plural = if *matrices == 1 { "matrix" } else { "matrices" };
        write!(
            f,
            "{}: {matrices} {plural} in {format}",
            self.modules.join(" ")
        )?;
        if let Some(held) = self.held_as {
            write!(f, ", held as {held}")?;
        }
        write!(f, ", by {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Array;
    use crate::kernels::Unit;

    #[test]
    fn matrices_that_are_held_alike_are_one_group() {
        let weight = Array::zeros((32, 256));
        let [q8_0, q3_k] =
            [Format::Q8_0, Format::Q3K].map(|format| Matrix::quantize(&weight, format).unwrap());
        let mut groups = Vec::new();
        for layer in 0..2 {
            for module in ["self_attn.q_proj", "self_attn.k_proj"] {
                let path = format!("model.layers.{layer}.{module}.weight");
                count(&mut groups, &path, &q8_0);
            }
            let path = format!("model.layers.{layer}.mlp.down_proj.weight");
            count(&mut groups, &path, &q3_k);
        }
        count(&mut groups, "lm_head.weight", &q3_k);
        let unit = Unit::best().name();
        let said: Vec<_> = groups.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                format!("q_proj k_proj: 4 matrices in q8_0, by {unit}"),
                format!("down_proj lm_head: 3 matrices in q3_k, held as q6_k, by {unit}"),
            ]
        );
        assert_eq!(groups[0].bytes, 4 * q8_0.bytes());
    }
}
