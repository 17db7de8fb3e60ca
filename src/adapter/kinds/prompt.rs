//! Prompt-tuning (Lester et al., 2021, arXiv:2104.08691) as PEFT stores it: learned embeddings of virtual tokens before every
//! prompt. From the first layer on they are tokens like any other.

use std::sync::Arc;

use crate::adapter::catalogue::{AdapterKind, Folder, Parts};
use crate::adapter::peft::{PromptResume, parse_prompt};
use crate::adapter::points::virtual_rows;
use crate::adapter::{AdapterFault, Change, Fit, Rows};
use crate::device::{Array, Result, bail};

pub struct Prompt;

impl AdapterKind for Prompt {
    fn name(&self) -> &'static str {
        "prompt"
    }

    fn peft_type(&self) -> Option<&'static str> {
        Some("PROMPT_TUNING")
    }

    fn read(&self, folder: &Folder<'_>, fit: &Fit<'_>) -> std::result::Result<Parts, AdapterFault> {
        let base = fit.weights.shape();
        let (embeddings, text) = parse_prompt(&folder.config, &folder.weights, base)?;
        Ok(Parts {
            change: Some(Arc::new(Embeddings(embeddings.clone()))),
            resume: Some(Arc::new(PromptResume { embeddings, text })),
            ..Parts::default()
        })
    }
}

/// [tokens, hidden]
#[derive(Debug)]
struct Embeddings(Array);

impl Change for Embeddings {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn virtual_tokens(&self) -> usize {
        self.0.rows()
    }

    fn embedded(&self, tokens: &[u32], x: Rows<'_>) -> Result<Option<Array>> {
        let (rows, numbers) = virtual_rows(tokens);
        if rows.is_empty() {
            return Ok(None);
        }
        let mut x = x.array();
        let width = self.0.width();
        if x.width() != width {
            bail!("{:?} among embeddings of {}", self.0, x.width());
        }
        for (row, number) in rows.into_iter().zip(numbers) {
            let Some(own) = self.0.values().get(number * width..(number + 1) * width) else {
                bail!("virtual token {number} of {}", self.0.rows())
            };
            x.values_mut()[row * width..(row + 1) * width].copy_from_slice(own);
        }
        Ok(Some(x))
    }
}
