//! Prefix-tuning (Li and Liang, 2021, arXiv:2101.00190) as PEFT stores it: learned keys and values of virtual tokens before
//! every prompt, in every layer. The keys do not turn; the tokens of the prompt count their positions from after them.

use std::sync::Arc;

use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::peft::{Encoder, PrefixResume, parse_prefix};
use crate::adapter::{AdapterFault, Change, Fit};
use crate::device::Array;

pub struct Prefix;

impl AdapterKind for Prefix {
    fn name(&self) -> &'static str {
        "prefix"
    }

    fn peft_type(&self) -> Option<&'static str> {
        Some("PREFIX_TUNING")
    }

    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> Result<Parts, AdapterFault> {
        let base = fit.weights.shape();
        let (embeddings, projected) = parse_prefix(&folder.config, &folder.weights, base)?;
        let encoder = folder.encoder.as_ref().filter(|_| projected);
        let encoder = encoder
            .map(|weights| Encoder::parse(weights, embeddings.rows(), base))
            .transpose()?;
        Ok(Parts {
            change: Some(Arc::new(Past::of(&embeddings, base.key_width))),
            resume: Some(Arc::new(PrefixResume {
                embeddings,
                encoder,
            })),
            ..Parts::default()
        })
    }
}

/// Keys and values of each layer, [tokens, key width].
#[derive(Debug)]
struct Past {
    layers: Vec<[Array; 2]>,
    tokens: usize,
}

impl Past {
    fn of(embeddings: &Array, width: usize) -> Self {
        let tokens = embeddings.rows();
        let part = |first: usize| {
            let mut part = Array::zeros((tokens, width));
            let rows = part.values_mut().chunks_exact_mut(width.max(1));
            let all = embeddings.values().chunks_exact(embeddings.width().max(1));
            rows.zip(all)
                .for_each(|(row, all)| row.copy_from_slice(&all[first..first + width]));
            part
        };
        let starts = (0..embeddings.width()).step_by(2 * width.max(1));
        Self {
            layers: starts
                .map(|first| [part(first), part(first + width)])
                .collect(),
            tokens,
        }
    }
}

impl Change for Past {
    fn bytes(&self) -> u64 {
        self.layers.iter().flatten().map(Array::bytes).sum()
    }

    fn virtual_tokens(&self) -> usize {
        self.tokens
    }

    fn past(&self, layer: usize) -> Option<[&Array; 2]> {
        let [keys, values] = self.layers.get(layer)?;
        Some([keys, values])
    }
}
