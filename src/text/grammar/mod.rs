//! grammar: from the form an answer must have to the tokens that may come next. It compiles schemas, expressions and
//! grammars over a tokenizer's exact bytes, keeps what it compiled, and follows one answer at a time. It refuses what is
//! too large before it takes long; it runs nothing by itself and knows no request.
//!
//! `Constraint → check → compile (once) → a Guide an answer: mask, accept, mask, …`

mod cache;
mod compile;
mod effort;
mod exact;
mod guide;
mod limits;
mod locate;
mod schema;
#[cfg(test)]
pub mod tests;
mod tokens;
mod union;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use llguidance::ParserFactory;

use self::cache::{Cache, Digest};
pub use self::compile::written;
use self::compile::{Compiled, Flaw};
pub use self::effort::Effort;
pub use self::guide::{Guide, Mask, Stop};
pub use self::schema::MAPS;
use crate::domain::{Constraint, Reason};
use crate::text::Tokenizer;

/// What compiling reports to metrics. Called from threads that compile.
pub trait Observe: Send + Sync {
    /// A constraint was compiled, or refused, after so long.
    fn compiled(&self, _seconds: f64) {}
    /// A constraint was looked up among those compiled, and was there or not.
    fn looked_up(&self, _found: bool) {}
}

/// Measures nothing.
pub struct Unobserved;

impl Observe for Unobserved {}

/// Everything constraints of one model are made from.
pub struct Grammars {
    tokenizer: Tokenizer,
    /// Ids from here on have no logit.
    rows: usize,
    /// Made for the first constraint: models nobody constrains pay nothing.
    factory: OnceLock<Result<ParserFactory, String>>,
    compiled: Mutex<Cache<Arc<Compiled>>>,
    observe: Arc<dyn Observe>,
}

impl Grammars {
    pub fn new(tokenizer: Tokenizer, rows: usize, observe: Arc<dyn Observe>) -> Self {
        Self {
            tokenizer,
            rows,
            factory: OnceLock::new(),
            compiled: Mutex::new(Cache::default()),
            observe,
        }
    }

    /// Makes what all constraints share, once; a large vocabulary takes a moment.
    ///
    /// # Errors
    /// `Internal`: the vocabulary cannot be read as bytes.
    pub fn prepare(&self) -> Result<(), Reason> {
        self.factory().map(drop)
    }

    fn factory(&self) -> Result<&ParserFactory, Reason> {
        let factory = self
            .factory
            .get_or_init(|| tokens::factory(&self.tokenizer, self.rows));
        factory
            .as_ref()
            .map_err(|why| Reason::Internal(format!("the vocabulary: {why}")))
    }

    /// One guide for each of `answers`, all at the beginning. Works for a while: not for a thread that others wait for.
    /// `owner`: what was compiled for one is not found by another, who could tell by the clock what others ask. `effort`:
    /// told of the threads that compile.
    ///
    /// # Errors
    /// `BadField` or `GrammarTooComplex`, with the field and the place in it.
    pub fn guides(
        &self,
        constraint: &Constraint,
        owner: u64,
        answers: usize,
        effort: &Effort,
    ) -> Result<Vec<Guide>, Reason> {
        let _working = effort.join();
        let factory = self.factory()?;
        let digest = cache::digest(&constraint.rule, owner);
        let found = self.cache().get(&digest);
        self.observe.looked_up(found.is_some());
        let compiled = match found {
            Some(compiled) => compiled,
            None => self.compile(factory, constraint, digest, effort)?,
        };
        let field: Arc<str> = constraint.field.as_str().into();
        let guide = |_| Guide::new(compiled.fresh(), field.clone());
        Ok((0..answers).map(guide).collect())
    }

    fn compile(
        &self,
        factory: &ParserFactory,
        constraint: &Constraint,
        digest: Digest,
        effort: &Effort,
    ) -> Result<Arc<Compiled>, Reason> {
        let started = Instant::now();
        let compiled = compile::compile(factory, &constraint.rule, effort);
        self.observe.compiled(started.elapsed().as_secs_f64());
        let compiled = Arc::new(compiled.map_err(|flaw| refusal(&constraint.field, flaw))?);
        self.cache().put(digest, compiled.clone());
        Ok(compiled)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache<Arc<Compiled>>> {
        // Nothing is left half done by a thread that ended while it held the lock.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A schema that is a part of a grammar, as the compiler takes it; [`written`] goes with it.
///
/// # Errors
/// `BadField` or `GrammarTooComplex`, with the field and the place in it.
pub fn followed(field: &str, schema: &serde_json::Value) -> Result<serde_json::Value, Reason> {
    schema::prepare(schema).map_err(|flaw| refusal(field, flaw))
}

fn refusal(field: &str, flaw: Flaw) -> Reason {
    let field = match (flaw.path.as_str(), flaw.path.starts_with('[')) {
        ("", _) => field.to_owned(),
        (path, true) => format!("{field}{path}"),
        (path, false) => format!("{field}.{path}"),
    };
    match flaw.too_complex {
        true => Reason::GrammarTooComplex {
            field,
            why: flaw.why,
        },
        false => Reason::field(field, flaw.why),
    }
}
