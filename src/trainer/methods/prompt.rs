//! Prompt-tuning: embeddings of virtual tokens before every text.

use std::sync::Arc;

use super::{Fitting, Masks, Method, Trainable, check_virtual_tokens, not_resumed};
use crate::adapter::peft::{Files, PROMPT_EMBEDDINGS, PromptResume, prompt_files};
use crate::adapter::{Adapt, Adapter, BaseShape, BaseTensor, BaseWeights, virtual_rows};
use crate::device::{Array, Result, bail};
use crate::domain::{self, PromptInit, Reason, Recipe, Wishes};
use crate::kernels::op::{Run, Value};
use crate::kernels::replace::Replace;
use crate::kernels::tape::Parameter;
use crate::trainer::account::{Footprint, Outermost};
use crate::trainer::rng::{self, Purpose};

pub struct Kind;

impl super::Kind for Kind {
    fn method(&self) -> domain::Method {
        domain::Method::Prompt
    }

    fn shape(
        &self,
        parent: &Adapter,
        _: &Wishes,
        _: Fitting<'_>,
    ) -> std::result::Result<Wishes, Reason> {
        let PromptResume { embeddings, text } = resume_of(parent)?;
        Ok(Wishes {
            method: Some(domain::Method::Prompt),
            virtual_tokens: Some(embeddings.rows()),
            prompt_init: Some(match text {
                Some(_) => PromptInit::Text,
                None => PromptInit::Random,
            }),
            prompt_text: text.clone(),
            ..Wishes::default()
        })
    }

    fn settle(
        &self,
        recipe: &Recipe,
        parent: Option<Arc<Adapter>>,
        base: Fitting<'_>,
    ) -> std::result::Result<Box<dyn Method>, Reason> {
        let shape = base.weights.shape();
        let tokens = recipe.virtual_tokens;
        check_virtual_tokens(tokens, shape)?;
        let start = match (parent, &recipe.prompt_text) {
            (Some(parent), _) => Start::Parent(resume_of(&parent)?.embeddings.clone()),
            (None, Some(text)) => Start::Tokens(ids(text, tokens, base)?),
            (None, None) => Start::Random { seed: recipe.seed },
        };
        Ok(Box::new(Prompt {
            tokens,
            start,
            text: recipe.prompt_text.clone(),
            base: shape,
        }))
    }
}

fn resume_of(parent: &Adapter) -> std::result::Result<&PromptResume, Reason> {
    parent.resume().ok_or_else(|| not_resumed(parent))
}

/// As PEFT: the text's tokens with those the tokenizer adds to a text, over and over, up to so many.
fn ids(text: &str, tokens: usize, base: Fitting<'_>) -> std::result::Result<Vec<u32>, Reason> {
    let refused = |why: String| Reason::field("prompt_text", why);
    let Some(tokenizer) = base.tokenizer else {
        return Err(refused(
            "needs a tokenizer, which is not at hand".to_owned(),
        ));
    };
    let ids = tokenizer
        .encode(text, true)
        .map_err(|fault| refused(fault.to_string()))?;
    match ids.is_empty() {
        true => Err(refused("has no token".to_owned())),
        false => Ok(ids.into_iter().cycle().take(tokens).collect()),
    }
}

struct Prompt {
    tokens: usize,
    start: Start,
    text: Option<String>,
    base: BaseShape,
}

enum Start {
    Parent(Array),
    /// The embeddings of these.
    Tokens(Vec<u32>),
    Random {
        seed: u64,
    },
}

impl Method for Prompt {
    fn count(&self) -> u64 {
        (self.tokens * self.base.hidden) as u64
    }

    fn rank(&self) -> usize {
        0
    }

    fn sizes(&self) -> (u64, u64) {
        (4 * self.count(), 4 * self.count())
    }

    fn footprints(&self) -> Vec<Footprint> {
        vec![Footprint {
            embedding: Outermost::Rows,
            virtual_tokens: self.tokens,
            ..Footprint::default()
        }]
    }

    fn start(&self, weights: &dyn BaseWeights) -> Result<Box<dyn Trainable>> {
        let dims = (self.tokens, self.base.hidden);
        let embeddings = match &self.start {
            Start::Parent(embeddings) => embeddings.clone(),
            Start::Tokens(ids) => embeddings_of(weights, ids)?,
            Start::Random { seed } => {
                // As torch begins an embedding.
                let mut words = rng::stream(*seed, Purpose::Init, &[0]);
                let values = (0..dims.0 * dims.1).map(|_| rng::normal(&mut words));
                Array::new(values.collect(), dims)?
            }
        };
        if embeddings.dims() != dims {
            bail!("{embeddings:?} for {} tokens of {}", dims.0, dims.1);
        }
        Ok(Box::new(Trained {
            embeddings: Parameter::new(embeddings),
            text: self.text.clone(),
            tokens: self.tokens,
            base: self.base,
        }))
    }
}

fn embeddings_of(weights: &dyn BaseWeights, ids: &[u32]) -> Result<Array> {
    let mut tensors = weights.tensors().into_iter();
    match tensors.find(|(path, _)| path == "model.embed_tokens.weight") {
        Some((_, BaseTensor::Matrix(embedding))) => embedding.gather(ids),
        _ => bail!("the base's embedding is not at hand"),
    }
}

struct Trained {
    /// [tokens, hidden]
    embeddings: Parameter,
    text: Option<String>,
    tokens: usize,
    base: BaseShape,
}

impl Trainable for Trained {
    fn parameters(&self) -> Vec<(String, &Parameter)> {
        vec![(PROMPT_EMBEDDINGS.to_owned(), &self.embeddings)]
    }

    fn learning(&self, _: Option<Masks>) -> Box<dyn Adapt + '_> {
        Box::new(Learning(self))
    }

    fn files(&self, base_name: &str) -> Result<Files> {
        let prompt = PromptResume {
            embeddings: self.embeddings.array(),
            text: self.text.clone(),
        };
        prompt_files(base_name, self.base, &prompt)
    }
}

struct Learning<'a>(&'a Trained);

impl Adapt for Learning<'_> {
    fn virtual_tokens(&self) -> usize {
        self.0.tokens
    }

    fn embedded(&self, run: Run<'_, '_>, tokens: &[u32], x: Value) -> Result<Value> {
        let (rows, from) = virtual_rows(tokens);
        if rows.is_empty() {
            return Ok(x);
        }
        let op = Replace {
            rows: rows.into(),
            from: from.into(),
            first: 0,
        };
        run.op(op, &[&x, &run.parameter(&self.0.embeddings)])
    }
}
