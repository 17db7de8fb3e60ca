//! One answer's way through its grammar.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::StopReason;
use llguidance::toktrie::SimpleVob;
use llguidance::{CancellationHandle, TokenParser};

use crate::domain::Reason;

/// Where an answer is in its grammar.
#[derive(Clone)]
pub struct Guide {
    parser: TokenParser,
    /// What the request called the constraint.
    field: Arc<str>,
}

/// Ends the work of one guide from another thread; the guide is of no use afterwards.
pub struct Stop(CancellationHandle);

impl Stop {
    pub fn stop(&self) {
        self.0.cancel();
    }
}

/// The tokens that may come next.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask(SimpleVob);

impl Mask {
    /// A bit an id, the lowest of a word first; ids beyond the end are not allowed.
    pub fn words(&self) -> &[u32] {
        self.0.as_slice()
    }

    pub fn allows(&self, id: u32) -> bool {
        (id as usize) < self.0.len() && self.0.is_allowed(id)
    }
}

impl Guide {
    pub(super) fn new(parser: TokenParser, field: Arc<str>) -> Self {
        Self { parser, field }
    }

    /// What ends the work of this guide, though not of its copies.
    pub fn stopper(&mut self) -> Stop {
        Stop(self.parser.enable_cancellation())
    }

    /// The tokens that may come next; the ends of an answer are among them where it is complete.
    ///
    /// # Errors
    /// `GrammarTooComplex` where finding them takes too long, `GrammarStuck` where there is none. The guide is of no use
    /// afterwards.
    pub fn mask(&mut self) -> Result<Mask, Reason> {
        self.within(TokenParser::compute_mask).map(Mask)
    }

    /// Goes on by a token that is no end. True where nothing may follow: the answer is complete.
    ///
    /// # Errors
    /// As [`Self::mask`], and where the token was not allowed.
    pub fn accept(&mut self, id: u32) -> Result<bool, Reason> {
        self.within(|parser| {
            parser.consume_token(id)?;
            parser.check_stop()
        })
    }

    /// How many of these tokens the grammar allows one after the other.
    pub fn allowed(&mut self, ids: &[u32]) -> usize {
        let known = self.parser.token_env.tok_trie().vocab_size();
        let known = ids.iter().take_while(|id| (**id as usize) < known).count();
        // A fault shows again where the next mask is asked for.
        self.within(|parser| parser.validate_tokens_raw(&ids[..known]))
            .unwrap_or(0)
    }

    /// Why nothing can be chosen although the grammar allows something.
    pub fn stuck(&self, why: &str) -> Reason {
        Reason::GrammarStuck {
            field: self.field.to_string(),
            why: why.to_owned(),
        }
    }

    /// A panic of the library is the fault of this answer alone.
    fn within<T, E: std::fmt::Display>(
        &mut self,
        work: impl FnOnce(&mut TokenParser) -> Result<T, E>,
    ) -> Result<T, Reason> {
        let parser = &mut self.parser;
        let done = catch_unwind(AssertUnwindSafe(|| {
            work(parser).map_err(|error| error.to_string())
        }));
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(why)) => Err(self.refuse(&why)),
            Err(_) => Err(Reason::Internal(format!(
                "{}: the grammar's library failed",
                self.field
            ))),
        }
    }

    fn refuse(&self, why: &str) -> Reason {
        // A token that is not allowed ends the parser with the same word as a search that is too large.
        if why.starts_with("Parser Error") {
            return self.stuck("a token came that is not allowed");
        }
        match self.parser.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex | StopReason::Cancelled => {
                Reason::GrammarTooComplex {
                    field: self.field.to_string(),
                    why: format!(
                        "what may follow in this answer takes too long to find ({})",
                        super::compile::plain(why)
                    ),
                }
            }
            StopReason::NoExtensionBias => self.stuck("no token of the model fits"),
            _ => self.stuck(&super::compile::plain(why)),
        }
    }
}
