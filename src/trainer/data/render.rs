//! A record as the model sees it: token ids, and which of them the loss covers.

use std::ops::Range;

use super::record::{Record, is_trained};
use super::rows::Row;
use crate::domain::{BadRow, Message};
use crate::text::{ChatTemplate, TextError, Tokenizer};

/// One row, ready to be learned from.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Of the file it came from.
    pub line: usize,
    /// One, except where a template renders a turn differently once another follows: then one a trained turn.
    pub sequences: Vec<Sequence>,
}

/// Tokens that attend to each other, up to the last one that is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    pub tokens: Vec<u32>,
    /// Token positions the loss covers: in order, apart, none empty, none at 0.
    pub spans: Vec<Range<usize>>,
}

impl Example {
    pub fn tokens(&self) -> usize {
        self.sequences
            .iter()
            .map(|sequence| sequence.tokens.len())
            .sum()
    }

    pub fn trained(&self) -> usize {
        self.sequences
            .iter()
            .flat_map(|sequence| &sequence.spans)
            .map(ExactSizeIterator::len)
            .sum()
    }
}

/// Renders rows the way requests are rendered when the model serves.
pub struct Renderer<'a> {
    pub tokenizer: &'a Tokenizer,
    pub template: &'a ChatTemplate,
    /// Tokens of one row at most.
    pub max_seq: usize,
}

impl Renderer<'_> {
    /// All rows, or why the unusable ones are.
    pub fn examples(&self, rows: &[Row]) -> Result<Vec<Example>, Vec<BadRow>> {
        let mut examples = Vec::with_capacity(rows.len());
        let mut bad = Vec::new();
        for row in rows {
            match self.example(row) {
                Ok(example) => examples.push(example),
                Err(why) => bad.push(BadRow {
                    line: row.line,
                    why,
                }),
            }
        }
        if bad.is_empty() {
            Ok(examples)
        } else {
            Err(bad)
        }
    }

    fn example(&self, row: &Row) -> Result<Example, String> {
        let sequences = match &row.record {
            Record::Completion { prompt, completion } => vec![self.completion(prompt, completion)?],
            Record::Messages(turns) => self.conversation(turns)?,
            Record::Instruction {
                instruction,
                input,
                output,
            } => self.conversation(&Record::conversation(instruction, input.as_deref(), output))?,
        };
        let longest = sequences
            .iter()
            .map(|sequence| sequence.tokens.len())
            .max()
            .unwrap_or(0);
        if longest > self.max_seq {
            return Err(format!("has {longest} tokens; max_seq is {}", self.max_seq));
        }
        Ok(Example {
            line: row.line,
            sequences,
        })
    }

    /// Raw text: the loss covers the completion and the end token.
    fn completion(&self, prompt: &str, completion: &str) -> Result<Sequence, String> {
        let asked = self.encode(prompt, true)?;
        let mut tokens = self.continued(&asked, prompt, &format!("{prompt}{completion}"), true)?;
        if !tokens.last().is_some_and(|last| self.ends(*last)) {
            tokens.extend(self.tokenizer.eos().first());
        }
        sequence(tokens, asked.len())
    }

    /// One sequence if every trained turn's rendering is the beginning of the whole conversation's, else one a turn.
    fn conversation(&self, turns: &[Message]) -> Result<Vec<Sequence>, String> {
        let trained: Vec<usize> = (0..turns.len())
            .filter(|&at| is_trained(&turns[at]))
            .collect();
        if trained.first() == Some(&0) {
            return Err("`messages[0]` is an answer to nothing: a turn must come before it".into());
        }
        let alone = trained
            .iter()
            .map(|&at| self.turn(turns, at))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(last) = alone.last() else {
            return Err("has no turn to train on".into());
        };
        let joined = alone
            .iter()
            .all(|part| last.tokens.starts_with(&part.tokens));
        if !joined {
            return Ok(alone);
        }
        let spans = alone
            .iter()
            .flat_map(|part| part.spans.iter().cloned())
            .collect();
        Ok(vec![Sequence {
            tokens: last.tokens.clone(),
            spans,
        }])
    }

    /// The conversation up to and with turn `at`; the loss covers that turn's answer and the end-of-turn token.
    fn turn(&self, turns: &[Message], at: usize) -> Result<Sequence, String> {
        let asked_text = self.template.render(&turns[..at], true).map_err(told)?;
        let whole_text = self.template.render(&turns[..=at], false).map_err(told)?;
        let asked = self.encode(&asked_text, false)?;
        let mut tokens = self.continued(&asked, &asked_text, &whole_text, false)?;
        // The turn's own end is the last token that stops generation: what a template writes behind it is not an answer.
        match tokens
            .iter()
            .rposition(|&id| self.ends(id))
            .filter(|&end| end >= asked.len())
        {
            Some(end) => tokens.truncate(end + 1),
            None => tokens.extend(self.tokenizer.eos().first()),
        }
        sequence(tokens, asked.len())
    }

    /// The tokens of `whole`, which must continue `asked`, the tokens of `asked_text`.
    ///
    /// A tokenizer may merge characters across the border. Serving never sees such a token, since the prompt is tokenized
    /// by itself; the answer is then tokenized by itself too, provided that both ways spell the same text.
    fn continued(
        &self,
        asked: &[u32],
        asked_text: &str,
        whole: &str,
        special: bool,
    ) -> Result<Vec<u32>, String> {
        let Some(answer) = whole.strip_prefix(asked_text) else {
            return Err(
                "the chat template does not continue its own prompt with the answer: \
                        the answer's tokens cannot be found"
                    .into(),
            );
        };
        let tokens = self.encode(whole, special)?;
        if tokens.starts_with(asked) {
            return Ok(tokens);
        }
        let apart = [asked, &self.encode(answer, false)?].concat();
        let spelled = |ids: &[u32]| self.tokenizer.decode(ids, false).map_err(told);
        if spelled(&apart)? != spelled(&tokens)? {
            return Err("the tokenizer does not keep prompt and answer apart: the answer's tokens cannot be found".into());
        }
        Ok(apart)
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, String> {
        if self
            .tokenizer
            .surely_exceeds(text, self.max_seq)
            .map_err(told)?
        {
            let (bytes, most) = (text.len(), self.max_seq);
            return Err(format!(
                "has {bytes} bytes of text, far more than the {most} tokens of max_seq"
            ));
        }
        self.tokenizer.encode(text, special).map_err(told)
    }

    fn ends(&self, id: u32) -> bool {
        self.tokenizer.eos().contains(&id)
    }
}

/// The first token of all is never predicted, so it is never trained.
fn sequence(tokens: Vec<u32>, asked: usize) -> Result<Sequence, String> {
    let span = asked.max(1)..tokens.len();
    if span.is_empty() {
        return Err("has no token that follows another: nothing can be learned from it".into());
    }
    Ok(Sequence {
        tokens,
        spans: vec![span],
    })
}

fn told(fault: TextError) -> String {
    fault.to_string()
}

#[cfg(test)]
mod tests;
