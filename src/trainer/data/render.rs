//! A record as the model sees it: token ids, and which of them the loss covers.

use std::ops::Range;

use super::answer::{Located, locate};
use super::record::{Body, is_trained};
use super::remarks::Remarks;
use super::rows::Row;
use crate::domain::{BadRow, Message, Objective, Role};
use crate::text::{ChatTemplate, Encoded, TextError, Tokenizer};

/// One row, ready to be learned from.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Of the file it came from.
    pub line: usize,
    /// One, except where a template renders a turn differently once another follows: then one a trained turn.
    pub sequences: Vec<Sequence>,
    /// Of two answers that are compared, the sequences of the better one, which come first; `None`: there is one answer.
    pub preferred: Option<usize>,
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
    /// Tokens of one sequence at most.
    pub max_seq: usize,
    pub objective: Objective,
}

impl Renderer<'_> {
    /// All rows, and what their authors may not expect of them; or why the unusable ones are.
    pub fn examples(&self, rows: &[Row]) -> Result<(Vec<Example>, Remarks), Vec<BadRow>> {
        let mut examples = Vec::with_capacity(rows.len());
        let mut bad = Vec::new();
        let mut remarks = Remarks::default();
        for row in rows {
            match self.example(row, &mut remarks) {
                Ok(example) => examples.push(example),
                Err(row) => bad.push(row),
            }
        }
        if bad.is_empty() {
            Ok((examples, remarks))
        } else {
            Err(bad)
        }
    }

    /// One row, or why it is unusable.
    pub fn example(&self, row: &Row, remarks: &mut Remarks) -> Result<Example, BadRow> {
        let line = row.line;
        let body = &row.record.body;
        let of_kind = match (self.objective, body.objective()) {
            (Objective::Sft, Objective::Dpo) => {
                Err("has two answers to compare: train it with objective `dpo`".to_owned())
            }
            (Objective::Dpo, Objective::Sft) => Err(
                "has one answer; objective `dpo` compares two: `chosen` and `rejected`, or `preferred_output` and `non_preferred_output`".to_owned(),
            ),
            _ => Ok(()),
        };
        let tools = &row.record.tools;
        let template = self.template.with_tools(tools);
        let told = Renderer {
            template: &template,
            ..*self
        };
        let of_kind =
            of_kind.and_then(|()| match tools.is_empty() || template.tool_parts().tools {
                true => Ok(()),
                false => Err(
                    "has `tools`, and the model's chat template does not tell it of functions"
                        .to_owned(),
                ),
            });
        let rendered = of_kind.and_then(|()| match body {
            Body::Preference(both) => {
                let [better, other] = &**both;
                let mut sequences = told.answered(line, better, remarks)?;
                let preferred = sequences.len();
                sequences.extend(told.answered(line, other, remarks)?);
                Ok((sequences, Some(preferred)))
            }
            body => Ok((told.answered(line, body, remarks)?, None)),
        });
        let (sequences, preferred) = rendered.map_err(|why| BadRow { line, why })?;
        let longest = sequences
            .iter()
            .map(|sequence| sequence.tokens.len())
            .max()
            .unwrap_or(0);
        if longest > self.max_seq {
            let why = format!("has {longest} tokens; max_seq is {}", self.max_seq);
            return Err(BadRow { line, why });
        }
        Ok(Example {
            line,
            sequences,
            preferred,
        })
    }

    /// A body with one answer.
    fn answered(
        &self,
        line: usize,
        body: &Body,
        remarks: &mut Remarks,
    ) -> Result<Vec<Sequence>, String> {
        match body {
            Body::Raw { prompt, completion } => Ok(vec![self.raw(prompt, completion)?]),
            Body::Chat(turns) => self.conversation(line, turns, remarks),
            Body::Preference(_) => Err("compares answers that are compared themselves".into()),
        }
    }

    /// Raw text: the loss covers the completion and the end token.
    fn raw(&self, prompt: &str, completion: &str) -> Result<Sequence, String> {
        let asked = self.encode(prompt, true)?;
        let text = format!("{prompt}{completion}");
        let whole = self.encode(&text, true)?;
        let mut tokens = self.continued(&asked, prompt, &text, whole)?;
        if !tokens.last().is_some_and(|last| self.ends(*last)) {
            tokens.extend(self.tokenizer.eos().first());
        }
        let span = asked.len()..tokens.len();
        sequence(tokens, vec![span])
    }

    /// One sequence if every trained turn's rendering is the beginning of the whole conversation's, else one a turn.
    fn conversation(
        &self,
        line: usize,
        turns: &[Message],
        remarks: &mut Remarks,
    ) -> Result<Vec<Sequence>, String> {
        let trained: Vec<usize> = (0..turns.len())
            .filter(|&at| is_trained(&turns[at]))
            .collect();
        if trained.first() == Some(&0) {
            return Err(
                "its first turn is an answer to nothing: a turn must come before it".into(),
            );
        }
        let Some(last) = trained.last() else {
            return Err("has no turn to train on".into());
        };
        let mut alone: Vec<Sequence> = Vec::with_capacity(trained.len());
        let mut encoded = Encoded::default();
        let mut faithful = true;
        self.writes_calls(turns)?;
        for at in &trained {
            let located = locate(self.template, turns, *at)?;
            faithful &= holds_answer(&located, &turns[*at].content);
            if at == last {
                told_of_turns(&located, &turns[..*at], line, remarks);
            }
            let part = self.turn(&located, &mut encoded)?;
            if !faithful && self.only_ends(&part) {
                return Err("the chat template leaves the whole answer out: there is nothing to learn from it".into());
            }
            alone.push(part);
        }
        if !faithful {
            remarks.answer_changed(line);
        }
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

    /// Calls, and their results, that the template would leave out without a word.
    fn writes_calls(&self, turns: &[Message]) -> Result<(), String> {
        let calls = turns.iter().any(|turn| !turn.tool_calls.is_empty());
        match calls && !self.template.tool_parts().calls {
            true => {
                Err("has `tool_calls`, and the model's chat template does not write them".into())
            }
            false => Ok(()),
        }
    }

    /// The conversation up to and with an answer; the loss covers it and the end-of-turn token.
    /// `encoded`: what was encoded of the conversation before, and is encoded of it now.
    fn turn(&self, located: &Located, encoded: &mut Encoded) -> Result<Sequence, String> {
        let Located {
            text,
            answers,
            marked,
        } = located;
        let mut tokens = Vec::new();
        let mut read = 0;
        let mut spans: Vec<Range<usize>> = Vec::with_capacity(answers.len());
        let ends = answers.last().map_or(0, |last| last.end);
        let closed = match marked {
            true => self.closed(text, answers),
            false => ends,
        };
        for answer in answers {
            let end = if answer.end == ends {
                closed
            } else {
                answer.end
            };
            let mut bounds = [0; 2];
            for (bound, at) in bounds.iter_mut().zip([answer.start, end]) {
                let whole = self.encode_after(encoded, &text[..at])?;
                tokens = match read {
                    0 => whole,
                    _ => self.continued(&tokens, &text[..read], &text[..at], whole)?,
                };
                read = at;
                *bound = tokens.len();
            }
            spans.push(bounds[0]..bounds[1]);
        }
        if let Some(span) = spans.last_mut() {
            // The turn's own end is the last token that stops generation: what a template writes behind it is no answer.
            let end = tokens[span.start..].iter().rposition(|&id| self.ends(id));
            match end {
                Some(end) => tokens.truncate(span.start + end + 1),
                // Where the template ends the turn later than it marks the answer, it ends it otherwise.
                None if *marked && self.ending(&text[read..]).is_some() => {}
                None => tokens.extend(self.tokenizer.eos().first()),
            }
            span.end = tokens.len();
        }
        sequence(tokens, spans)
    }

    /// Where the last marked answer ends, with the end token that the template writes behind its mark.
    fn closed(&self, text: &str, answers: &[Range<usize>]) -> usize {
        let Some(last) = answers.last() else { return 0 };
        let behind = &text[last.end..];
        match self.ending(behind) {
            _ if self.ending(&text[last.clone()]).is_some() => last.end,
            Some(end) if behind[..end.start].trim().is_empty() => last.end + end.end,
            _ => last.end,
        }
    }

    /// The first token that stops generation in a text.
    fn ending(&self, text: &str) -> Option<Range<usize>> {
        self.tokenizer
            .eos()
            .iter()
            .filter_map(|id| {
                let token = String::from_utf8(self.tokenizer.token_bytes(*id)).ok()?;
                let at = text.find(&token).filter(|_| !token.is_empty())?;
                Some(at..at + token.len())
            })
            .min_by_key(|range| range.start)
    }

    /// Whether nothing but what ends a turn is trained on.
    fn only_ends(&self, sequence: &Sequence) -> bool {
        let trained = sequence
            .spans
            .iter()
            .flat_map(|span| &sequence.tokens[span.clone()]);
        trained
            .filter(|id| !self.ends(**id))
            .all(|id| self.tokenizer.token_bytes(*id).trim_ascii().is_empty())
    }

    /// The tokens of `whole`, which must continue `asked`, the tokens of `asked_text`. `tokens`: those of `whole` by itself.
    ///
    /// A tokenizer may merge characters across the border. Serving never sees such a token, since the prompt is tokenized
    /// by itself; the answer is then tokenized by itself too, provided that both ways spell the same text.
    fn continued(
        &self,
        asked: &[u32],
        asked_text: &str,
        whole: &str,
        tokens: Vec<u32>,
    ) -> Result<Vec<u32>, String> {
        if tokens.starts_with(asked) {
            return Ok(tokens);
        }
        let answer = whole.strip_prefix(asked_text).unwrap_or_default();
        let apart = [asked, &self.encode(answer, false)?].concat();
        let spelled = |ids: &[u32]| self.tokenizer.decode(ids, false).map_err(told);
        if spelled(&apart)? != spelled(&tokens)? {
            return Err("the tokenizer does not keep prompt and answer apart: the answer's tokens cannot be found".into());
        }
        Ok(apart)
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, String> {
        self.bound(text)?;
        self.tokenizer.encode(text, special).map_err(told)
    }

    fn encode_after(&self, encoded: &mut Encoded, text: &str) -> Result<Vec<u32>, String> {
        self.bound(text)?;
        let before = std::mem::take(encoded);
        *encoded = self.tokenizer.encode_after(before, text).map_err(told)?;
        Ok(encoded.ids().to_vec())
    }

    /// Refuses a text that is far too long, before all of it is encoded.
    fn bound(&self, text: &str) -> Result<(), String> {
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
        Ok(())
    }

    fn ends(&self, id: u32) -> bool {
        self.tokenizer.eos().contains(&id)
    }
}

/// The first token of all is never predicted, so it is never trained.
fn sequence(tokens: Vec<u32>, spans: Vec<Range<usize>>) -> Result<Sequence, String> {
    let spans: Vec<_> = spans
        .into_iter()
        .map(|span| span.start.max(1)..span.end)
        .filter(|span| !span.is_empty())
        .collect();
    if spans.is_empty() {
        return Err("has no token that follows another: nothing can be learned from it".into());
    }
    Ok(Sequence { tokens, spans })
}

/// Whether a rendering's answer has the text of the row's, but for blanks.
fn holds_answer(located: &Located, content: &str) -> bool {
    let rendered: String = located
        .answers
        .iter()
        .map(|range| &located.text[range.clone()])
        .collect();
    holds(&rendered, content)
}

/// Remarks on what the answer follows. Thoughts are commonly taken out of earlier answers, so those are left aside.
fn told_of_turns(located: &Located, before: &[Message], line: usize, remarks: &mut Remarks) {
    let asked = &located.text[..located.answers.first().map_or(0, |range| range.start)];
    let lacking = |role: Role| {
        before
            .iter()
            .any(|turn| turn.role == role && !holds(asked, &turn.content))
    };
    for role in [Role::System, Role::Developer, Role::User, Role::Tool] {
        if lacking(role) {
            remarks.turn_changed(line, role);
        }
    }
}

fn holds(text: &str, part: &str) -> bool {
    let without_blanks = |text: &str| text.split_whitespace().collect::<String>();
    text.contains(part.trim()) || without_blanks(text).contains(&without_blanks(part))
}

fn told(fault: TextError) -> String {
    fault.to_string()
}

#[cfg(test)]
mod tests;
