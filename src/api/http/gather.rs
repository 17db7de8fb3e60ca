//! Events of a request's answers, as one stream or as a whole.

use futures::stream::{self, BoxStream, SelectAll, StreamExt};

use crate::domain::{CallPiece, Event, FinishReason, Reason, TokenInfo, Usage};
use crate::gateway::Events;

/// The events of all prompts as they come, each with its prompt's index. Every prompt ends in `Done` or `Failed`.
pub(super) fn merged(each: Vec<Events>) -> SelectAll<BoxStream<'static, (usize, Event)>> {
    stream::select_all(each.into_iter().enumerate().map(|(prompt, events)| {
        stream::unfold(Some(events), move |events| async move {
            let mut events = events?;
            let event = events.recv().await.unwrap_or_else(|| {
                Event::Failed(Reason::Internal(
                    "the answer ended before it was complete".into(),
                ))
            });
            let over = matches!(event, Event::Done { .. } | Event::Failed(_));
            Some(((prompt, event), (!over).then_some(events)))
        })
        .boxed()
    }))
}

/// A call in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Called {
    pub id: String,
    pub name: String,
    /// The text of an object.
    pub arguments: String,
}

/// One answer, complete.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub text: String,
    pub calls: Vec<Called>,
    pub tokens: Vec<TokenInfo>,
    pub finish: Option<FinishReason>,
}

impl Choice {
    /// The calls of an answer come one after the other.
    fn hear(&mut self, piece: CallPiece) {
        match piece {
            CallPiece::Begin { id, name } => self.calls.push(Called {
                id,
                name,
                arguments: String::new(),
            }),
            CallPiece::Arguments(text) => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(&text);
                }
            }
        }
    }
}

/// All answers to one prompt.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// The prompt's own tokens, where their log-probabilities were asked for.
    pub prompt: Vec<TokenInfo>,
    pub choices: Vec<Choice>,
}

#[derive(Debug)]
pub(super) struct Whole {
    pub prompts: Vec<Answered>,
    pub usage: Usage,
}

/// Waits for every answer of every prompt; the first failure ends them all.
pub(super) async fn all(each: Vec<Events>, n: u32) -> Result<Whole, Reason> {
    let fresh = || Answered {
        prompt: Vec::new(),
        choices: (0..n).map(|_| Choice::default()).collect(),
    };
    let mut whole = Whole {
        prompts: each.iter().map(|_| fresh()).collect(),
        usage: Usage::default(),
    };
    let mut events = merged(each);
    while let Some((prompt, event)) = events.next().await {
        let Some(answered) = whole.prompts.get_mut(prompt) else {
            continue;
        };
        match event {
            Event::Prompt { tokens } => answered.prompt = tokens,
            Event::Delta {
                choice,
                text,
                tokens,
            } => {
                if let Some(choice) = answered.choices.get_mut(choice as usize) {
                    choice.text.push_str(&text);
                    choice.tokens.extend(tokens);
                }
            }
            Event::Call { choice, piece, .. } => {
                if let Some(choice) = answered.choices.get_mut(choice as usize) {
                    choice.hear(piece);
                }
            }
            Event::Finish { choice, reason } => {
                if let Some(choice) = answered.choices.get_mut(choice as usize) {
                    choice.finish = Some(reason);
                }
            }
            // No answer has one.
            Event::Embedding { .. } => {}
            Event::Done { usage } => add(&mut whole.usage, usage),
            Event::Failed(reason) => return Err(reason),
        }
    }
    Ok(whole)
}

pub(super) fn add(sum: &mut Usage, more: Usage) {
    sum.prompt += more.prompt;
    sum.cached += more.cached;
    sum.generated += more.generated;
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn delta(choice: u32, text: &str) -> Event {
        Event::Delta {
            choice,
            text: text.into(),
            tokens: Vec::new(),
        }
    }

    fn feed(events: Vec<Event>) -> Events {
        let (out, events_in) = mpsc::channel(events.len().max(1));
        for event in events {
            out.try_send(event).unwrap();
        }
        events_in.into()
    }

    #[tokio::test]
    async fn answers_are_put_together_by_prompt_and_choice() {
        let usage = Usage {
            prompt: 3,
            cached: 1,
            generated: 2,
        };
        let done = || Event::Done { usage };
        let finish = |choice| Event::Finish {
            choice,
            reason: FinishReason::Stop,
        };
        let one = feed(vec![
            delta(0, "a"),
            delta(1, "x"),
            delta(0, "b"),
            finish(1),
            finish(0),
            done(),
        ]);
        let two = feed(vec![delta(0, "c"), finish(0), finish(1), done()]);
        let whole = all(vec![one, two], 2).await.unwrap();
        let texts: Vec<Vec<&str>> = whole
            .prompts
            .iter()
            .map(|p| p.choices.iter().map(|c| c.text.as_str()).collect())
            .collect();
        assert_eq!(texts, [vec!["ab", "x"], vec!["c", ""]]);
        assert_eq!(
            whole.usage,
            Usage {
                prompt: 6,
                cached: 2,
                generated: 4
            }
        );
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_failure() {
        assert!(matches!(
            all(vec![feed(vec![delta(0, "a")])], 1).await,
            Err(Reason::Internal(_))
        ));
        let failed = feed(vec![delta(0, "a"), Event::Failed(Reason::Draining)]);
        assert!(matches!(all(vec![failed], 1).await, Err(Reason::Draining)));
    }
}
