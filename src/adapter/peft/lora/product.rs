//! The low-rank products that a configuration asks for, by where they belong.

use super::super::{magnitude_name, outer_names, tensor_names};
use crate::adapter::{Outer, SiteShape};

/// One site a configuration adapts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraSite {
    pub shape: SiteShape,
    pub rank: usize,
    /// The key that says so: `r` or `rank_pattern`.
    pub rank_key: &'static str,
    pub scale: f64,
    /// `lora_alpha` or `alpha_pattern`.
    pub alpha_key: &'static str,
}

/// The embedding, whose inputs are the vocabulary, or the head, whose outputs are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraOuter {
    pub outer: Outer,
    pub inputs: usize,
    pub outputs: usize,
    pub rank: usize,
    pub rank_key: &'static str,
    pub scale: f64,
    pub alpha_key: &'static str,
}

/// Either, as its tensors are checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// Of the module.
    pub path: String,
    /// Of A and B.
    pub names: [String; 2],
    /// Of DoRA's magnitudes.
    pub magnitude: String,
    pub inputs: usize,
    pub outputs: usize,
    pub rank: usize,
    pub rank_key: &'static str,
    pub scale: f64,
    pub alpha_key: &'static str,
}

impl LoraSite {
    pub fn product(&self) -> Product {
        let site = self.shape.site;
        Product {
            path: site.path(),
            names: tensor_names(site),
            magnitude: magnitude_name(site),
            inputs: self.shape.inputs,
            outputs: self.shape.outputs,
            rank: self.rank,
            rank_key: self.rank_key,
            scale: self.scale,
            alpha_key: self.alpha_key,
        }
    }
}

impl LoraOuter {
    pub fn product(&self) -> Product {
        let [a, b, magnitude] = outer_names(self.outer);
        Product {
            path: self.outer.path().to_owned(),
            names: [a, b],
            magnitude,
            inputs: self.inputs,
            outputs: self.outputs,
            rank: self.rank,
            rank_key: self.rank_key,
            scale: self.scale,
            alpha_key: self.alpha_key,
        }
    }
}
