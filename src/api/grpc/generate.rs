//! From the engine's events to `GenerateEvent`s.

use std::collections::HashMap;

use serde::de::IgnoredAny;

use crate::domain::{CallPiece, Event, Reason, TokenInfo, Usage};
use crate::pb;
use crate::pb::generate_event::Event as Told;

/// Turns the events of one call into messages; the last `Finish` waits for the usage it carries.
pub(super) struct Telling {
    generation: String,
    id: String,
    finished: Option<pb::Finish>,
    /// Calls that have begun, until their arguments come; by answer and index.
    begun: HashMap<(u32, u32), pb::ToolCall>,
}

impl Telling {
    /// `generation`: 64 hex digits, or `none`; `id`: of the answers together.
    pub fn new(generation: String, id: String) -> Self {
        Self {
            generation,
            id,
            finished: None,
            begun: HashMap::new(),
        }
    }

    /// The messages an event makes, or why the call fails.
    pub fn on(&mut self, event: Event) -> Result<Vec<pb::GenerateEvent>, Reason> {
        let told = match event {
            Event::Prompt { tokens } => {
                let tokens = tokens
                    .into_iter()
                    .map(|info| token(info, 0, None))
                    .collect();
                vec![Told::Prompt(pb::Prompt { tokens })]
            }
            Event::Delta {
                choice,
                text,
                tokens,
            } => delta(choice, text, tokens),
            Event::Call {
                choice,
                index,
                piece: CallPiece::Begin { id, name },
            } => {
                let call = pb::ToolCall {
                    id,
                    name,
                    arguments: String::new(),
                };
                self.begun.insert((choice, index), call);
                Vec::new()
            }
            Event::Call {
                choice,
                index,
                piece: CallPiece::Arguments(arguments),
            } => {
                let place = (choice, index);
                if let Some(call) = self.begun.get_mut(&place) {
                    call.arguments += &arguments;
                }
                // An object is whole once, at its end: a call that is cut short is not told.
                let whole = |call: &&pb::ToolCall| {
                    let text = &call.arguments;
                    text.ends_with('}') && serde_json::from_str::<IgnoredAny>(text).is_ok()
                };
                match self.begun.get(&place).filter(whole) {
                    None => Vec::new(),
                    Some(_) => vec![Told::Called(pb::Called {
                        call: self.begun.remove(&place),
                        index,
                        choice,
                    })],
                }
            }
            Event::Finish { choice, reason } => {
                let finish = pb::Finish {
                    reason: reason.as_str().to_owned(),
                    usage: None,
                    adapter_generation: self.generation.clone(),
                    choice,
                    id: self.id.clone(),
                };
                self.finished
                    .replace(finish)
                    .map(Told::Finish)
                    .into_iter()
                    .collect()
            }
            // No answer has one.
            Event::Embedding { .. } => Vec::new(),
            Event::Done { usage } => {
                let last = self.finished.take();
                last.map(|finish| {
                    Told::Finish(pb::Finish {
                        usage: Some(count(usage)),
                        ..finish
                    })
                })
                .into_iter()
                .collect()
            }
            Event::Failed(reason) => return Err(reason),
        };
        Ok(told
            .into_iter()
            .map(|event| pb::GenerateEvent { event: Some(event) })
            .collect())
    }
}

/// Final text goes with the last of the tokens that made it; released text without a token goes alone.
fn delta(choice: u32, text: String, mut tokens: Vec<TokenInfo>) -> Vec<Told> {
    let Some(last) = tokens.pop() else {
        return vec![Told::Token(pb::Token {
            text,
            choice,
            ..pb::Token::default()
        })];
    };
    let mut told: Vec<Told> = tokens
        .into_iter()
        .map(|info| Told::Token(token(info, choice, Some(String::new()))))
        .collect();
    told.push(Told::Token(token(last, choice, Some(text))));
    told
}

fn token(info: TokenInfo, choice: u32, text: Option<String>) -> pb::Token {
    let top = info.top.into_iter().map(|top| pb::TopToken {
        id: top.id,
        text: top.text,
        logprob: top.logprob,
    });
    pb::Token {
        text: text.unwrap_or(info.text),
        id: Some(info.id),
        logprob: info.logprob,
        choice,
        top: top.collect(),
    }
}

fn count(usage: Usage) -> pb::Usage {
    let number = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
    pb::Usage {
        prompt_tokens: number(usage.prompt),
        completion_tokens: number(usage.generated),
        cached_tokens: number(usage.cached),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FinishReason;

    fn info(id: u32) -> TokenInfo {
        TokenInfo {
            id,
            text: "?".into(),
            bytes: Vec::new(),
            logprob: None,
            top: Vec::new(),
        }
    }

    fn tokens_of(events: Vec<pb::GenerateEvent>) -> Vec<(Option<u32>, String)> {
        let token = |event: pb::GenerateEvent| match event.event {
            Some(Told::Token(token)) => (token.id, token.text),
            other => panic!("{other:?}"),
        };
        events.into_iter().map(token).collect()
    }

    #[test]
    fn texts_of_tokens_add_up_to_the_answer() {
        let mut telling = Telling::new("none".into(), "1".into());
        let event = Event::Delta {
            choice: 0,
            text: "hé".into(),
            tokens: vec![info(1), info(2)],
        };
        assert_eq!(
            tokens_of(telling.on(event).unwrap()),
            [(Some(1), String::new()), (Some(2), "hé".into())]
        );
        let released = Event::Delta {
            choice: 0,
            text: "!".into(),
            tokens: Vec::new(),
        };
        assert_eq!(
            tokens_of(telling.on(released).unwrap()),
            [(None, "!".into())]
        );
    }

    #[test]
    fn a_call_is_told_when_it_is_whole() {
        let mut telling = Telling::new("none".into(), "1".into());
        let mut on = |piece| {
            let event = Event::Call {
                choice: 1,
                index: 0,
                piece,
            };
            telling.on(event).unwrap()
        };
        let begin = CallPiece::Begin {
            id: "call_1".into(),
            name: "f".into(),
        };
        assert!(on(begin).is_empty());
        for part in ["{\"a\": {", "}"] {
            assert!(on(CallPiece::Arguments(part.into())).is_empty());
        }
        let told = on(CallPiece::Arguments("}".into()));
        let Some(Told::Called(called)) = &told[0].event else {
            panic!("{told:?}")
        };
        let call = called.call.as_ref().unwrap();
        assert_eq!((called.choice, called.index), (1, 0));
        assert_eq!(
            (&*call.id, &*call.name, &*call.arguments),
            ("call_1", "f", "{\"a\": {}}")
        );
    }

    #[test]
    fn only_the_last_finish_carries_the_usage() {
        let mut telling = Telling::new("none".into(), "1".into());
        let finish = |choice| Event::Finish {
            choice,
            reason: FinishReason::Stop,
        };
        assert!(telling.on(finish(0)).unwrap().is_empty());
        let first = telling.on(finish(1)).unwrap();
        let last = telling
            .on(Event::Done {
                usage: Usage {
                    prompt: 3,
                    cached: 1,
                    generated: 2,
                },
            })
            .unwrap();
        let usages: Vec<bool> = [first, last]
            .concat()
            .into_iter()
            .map(|event| {
                matches!(
                    event.event,
                    Some(Told::Finish(pb::Finish { usage: Some(_), .. }))
                )
            })
            .collect();
        assert_eq!(usages, [false, true]);
    }
}
