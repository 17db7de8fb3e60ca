//! What a job's held-out rows say at its end, with some of them answered before and after: for whoever asks whether it
//! was worth it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answers::answers;
use super::data::{Example, Examples};
use super::evaluate::Score;
use super::plan::Plan;
use super::run::Finished;
use crate::adapter::{Adapter, Fit};
use crate::domain::{AnsweredRow, EventData, HeldOut, Summary};
use crate::model::Base;
use crate::store::NewEvent;

/// Rows that are answered.
const EXAMPLES: usize = 3;
/// Rows among which those are, whose prompts may be too long.
const LOOKED_AT: usize = 24;
/// Tokens of an answer, and of a prompt that is answered.
const ANSWER: usize = 64;
const PROMPT: usize = 512;
/// Characters that are kept of a text.
const SHOWN: usize = 400;
/// On a slow machine answers end after this, of the base and of what was trained.
const LONGEST: Duration = Duration::from_secs(10);

/// The event; nothing where there are no held-out rows. Answering stops when `go_on` says no.
pub fn summarize(
    base: &Base,
    fit: &Fit<'_>,
    plan: &Plan,
    finished: &Finished,
    go_on: &dyn Fn() -> bool,
) -> Option<NewEvent> {
    if plan.held_out.is_empty() {
        return None;
    }
    let progress = &finished.progress;
    let examples = examples(base, fit, plan, finished, go_on).unwrap_or_else(|why| {
        // A summary without them is better than a job that fails at its end.
        tracing::warn!(why, "held-out rows are not answered for the summary");
        Vec::new()
    });
    let summary = Summary {
        held_out_rows: plan.held_out.len() as u64,
        best_step: progress.best.map(|(step, _)| step),
        before: progress.parent.or(progress.base).map(told),
        after: progress.held_out.map(told),
        examples,
        withheld: None,
    };
    let loss = |held: &Option<HeldOut>| held.and_then(|held| held.loss);
    let message = match (loss(&summary.before), loss(&summary.after)) {
        (Some(before), Some(after)) => {
            format!("held-out loss {before:.4} before training, {after:.4} after")
        }
        _ => "held-out rows after training".to_owned(),
    };
    Some(NewEvent::about(message, EventData::Summary(summary)))
}

/// Notes that the result is kept and not served.
pub fn withhold(event: &mut NewEvent, why: &str) {
    if let EventData::Summary(summary) = &mut event.data {
        summary.withheld = Some(why.to_owned());
    }
}

fn told(score: Score) -> HeldOut {
    let finite = |number: f64| Some(number).filter(|number| number.is_finite());
    HeldOut {
        loss: finite(score.loss),
        accuracy: finite(score.accuracy),
    }
}

fn examples(
    base: &Base,
    fit: &Fit<'_>,
    plan: &Plan,
    finished: &Finished,
    go_on: &dyn Fn() -> bool,
) -> Result<Vec<AnsweredRow>, String> {
    let served = finished
        .trainable
        .served(fit)
        .map_err(|fault| fault.to_string())?;
    let after = served.map_err(|fault| fault.to_string())?.adapter;
    let before = plan.parent.as_ref().map(|parent| &parent.adapter);
    let virtual_tokens = |adapter: &Arc<Adapter>| adapter.virtual_tokens();
    let taken = before.map_or(0, virtual_tokens).max(virtual_tokens(&after));
    let most = base
        .model
        .context()
        .saturating_sub(taken + ANSWER)
        .min(PROMPT);
    let rows = 0..plan.held_out.len().min(LOOKED_AT);
    let rows = rows.map(|at| plan.held_out.get(at));
    let rows = rows.collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(|fault| fault.to_string())?;
    let asked = rows.iter().filter_map(|row| asked(row));
    let asked: Vec<_> = { asked }
        .filter(|(prompt, _)| prompt.len() <= most)
        .take(EXAMPLES)
        .collect();
    let prompts: Vec<&[u32]> = asked.iter().map(|(prompt, _)| *prompt).collect();
    let answer = |adapter| {
        let until = Instant::now() + LONGEST;
        let go_on = || go_on() && Instant::now() < until;
        answers(base, &prompts, adapter, ANSWER, &go_on).map_err(|fault| fault.to_string())
    };
    let (before, after) = (answer(before)?, answer(Some(&after))?);
    let text = |tokens: &[u32]| {
        let text = base.tokenizer.decode(tokens, true);
        text.map(|text| cut(&text))
            .map_err(|fault| fault.to_string())
    };
    let rows = asked.iter().zip(before.iter().zip(&after));
    rows.map(|((prompt, expected), (before, after))| {
        Ok(AnsweredRow {
            prompt: text(prompt)?,
            expected: text(expected)?,
            before: text(before)?,
            after: text(after)?,
        })
    })
    .collect()
}

/// A row's last answer, the better one where there are two, and all that comes before it.
fn asked(row: &Example) -> Option<(&[u32], &[u32])> {
    let better = row.preferred.unwrap_or(row.sequences.len());
    let sequence = row.sequences.get(..better)?.last()?;
    let span = sequence.spans.last()?;
    Some((
        &sequence.tokens[..span.start],
        &sequence.tokens[span.clone()],
    ))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::data::Sequence;

    #[test]
    fn of_two_answers_the_better_one_is_expected() {
        let sequence = |answer| Sequence {
            tokens: vec![1, 2, answer],
            spans: vec![2..3],
        };
        let mut row = Example {
            line: 1,
            sequences: vec![sequence(7), sequence(8)],
            preferred: Some(1),
        };
        assert_eq!(asked(&row), Some((&[1, 2][..], &[7][..])));
        row.preferred = None;
        assert_eq!(asked(&row).unwrap().1, [8]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("Grüße"), "Grüße");
        let long = cut(&"ü".repeat(SHOWN + 7));
        assert_eq!(long.chars().count(), SHOWN + 1);
        assert!(long.ends_with('…'));
    }
}
