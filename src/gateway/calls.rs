//! Calls of functions: whether the model can be told of them, and finding them in what it answers.

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use super::Gateway;
use crate::domain::{
    Ask, CallPiece, Constraint, Event, FinishReason, Message, Reason, Role, Rule, Tool, Toolset,
};
use crate::text::{CallParser, ChatTemplate, Leaves, Part, Syntax, call_rule};

/// Refuses what the chat template would leave out without a word.
pub(super) fn writable(
    template: &ChatTemplate,
    messages: &[Message],
    tools: &[Tool],
) -> Result<(), Reason> {
    let speaks = |message: &Message| !message.tool_calls.is_empty() || message.role == Role::Tool;
    if tools.is_empty() && !messages.iter().any(speaks) {
        return Ok(());
    }
    let writes = template.tool_parts();
    if !tools.is_empty() && !writes.tools {
        let why = "the model's chat template does not tell it of functions";
        return Err(Reason::field("tools", why));
    }
    for (at, message) in messages.iter().enumerate() {
        if !message.tool_calls.is_empty() && !writes.calls {
            let why = "the model's chat template does not write calls of functions";
            return Err(Reason::field(format!("messages[{at}].tool_calls"), why));
        }
        if message.role == Role::Tool && !writes.results {
            let why = "the model's chat template does not write results of functions";
            return Err(Reason::field(format!("messages[{at}].role"), why));
        }
    }
    Ok(())
}

impl Gateway {
    /// How the model writes calls.
    fn call_syntax(&self) -> Syntax {
        *self.inner.call_syntax.get_or_init(|| {
            let configured = self.inner.config.tool_parser;
            let template = &self.parts().base.template;
            configured.unwrap_or_else(|| Syntax::of_template(template.call_source()))
        })
    }

    /// The form of an answer: what the request asks for, and what calls need that must be made, or made right, or that
    /// may come in place of what it asks for.
    ///
    /// # Errors
    /// As of a schema: that of a function cannot be followed.
    pub(super) fn form(
        &self,
        tools: &Toolset,
        asked: Option<Arc<Constraint>>,
    ) -> Result<Option<Arc<Constraint>>, Reason> {
        let token = |marker: &str| self.special(marker);
        let form = asked.as_ref().map(|asked| &asked.rule);
        let Some(rule) = call_rule(tools, form, self.call_syntax(), &token)? else {
            return Ok(asked);
        };
        let field = match tools.must_call() {
            true => "tool_choice",
            false => "tools",
        };
        Ok(Some(Arc::new(Constraint::new(field, rule))))
    }

    /// The special tokens that mark calls.
    pub(super) fn call_markers(&self) -> Vec<u32> {
        let markers = self.call_syntax().markers().iter();
        markers.filter_map(|marker| self.special(marker)).collect()
    }

    /// The id of a text that is a special token.
    fn special(&self, text: &str) -> Option<u32> {
        let tokenizer = &self.parts().base.tokenizer;
        tokenizer.id(text).filter(|id| tokenizer.is_special(*id))
    }

    /// What reads the answers; `None` where nothing can be called.
    pub(super) fn call_reader(&self, ask: &Ask) -> Option<Reader> {
        let form = ask.constraint.as_ref().map(|asked| &asked.rule);
        let offered = ask.tools.offered();
        (!offered.is_empty()).then(|| Reader::new(self.call_syntax(), &ask.tools, form, ask.n))
    }
}

/// Turns the text of answers into text and calls. Tokens stay with the text, also those that spell a call.
pub(super) struct Reader {
    parsers: Vec<CallParser>,
    ready: VecDeque<Event>,
}

impl Reader {
    fn new(syntax: Syntax, tools: &Toolset, form: Option<&Rule>, n: u32) -> Self {
        let (offered, parallel): (Arc<[Tool]>, _) = (tools.offered().into(), tools.parallel());
        let leaves = Leaves::of(tools, form, syntax);
        let parser = |_| CallParser::new(syntax, offered.clone(), parallel, leaves);
        Self {
            parsers: (0..n).map(parser).collect(),
            ready: VecDeque::new(),
        }
    }

    pub fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    pub fn read(&mut self, event: Event) {
        match event {
            Event::Delta {
                choice,
                text,
                tokens,
            } => {
                let Some(parser) = self.parsers.get_mut(choice as usize) else {
                    return;
                };
                let before = parser.calls();
                let (text, calls) = apart(choice, before, parser.push(&text));
                if !text.is_empty() || !tokens.is_empty() {
                    self.ready.push_back(Event::Delta {
                        choice,
                        text,
                        tokens,
                    });
                }
                self.ready.extend(calls);
            }
            Event::Finish { choice, reason } => {
                let Some(parser) = self.parsers.get_mut(choice as usize) else {
                    return;
                };
                let before = parser.calls();
                let (text, calls) = apart(choice, before, parser.finish());
                if !text.is_empty() {
                    let tokens = Vec::new();
                    self.ready.push_back(Event::Delta {
                        choice,
                        text,
                        tokens,
                    });
                }
                self.ready.extend(calls);
                let reason = match reason {
                    FinishReason::Stop | FinishReason::StopString(_) if parser.calls() > 0 => {
                        FinishReason::ToolCalls
                    }
                    reason => reason,
                };
                self.ready.push_back(Event::Finish { choice, reason });
            }
            other => self.ready.push_back(other),
        }
    }
}

/// All text of the parts, and the events of their calls; `before`: calls that the answer had already.
fn apart(choice: u32, before: usize, parts: Vec<Part>) -> (String, Vec<Event>) {
    let (mut said, mut events) = (String::new(), Vec::new());
    let mut begun = u32::try_from(before).unwrap_or(u32::MAX);
    let begin = |name| {
        let id = format!("call_{}", Uuid::new_v4().simple());
        CallPiece::Begin { id, name }
    };
    for part in parts {
        let pieces = match part {
            Part::Text(text) => {
                said.push_str(&text);
                continue;
            }
            Part::Call { name, arguments } => {
                vec![begin(name), CallPiece::Arguments(arguments)]
            }
            Part::Begin(name) => vec![begin(name)],
            Part::Arguments(text) => vec![CallPiece::Arguments(text)],
        };
        for piece in pieces {
            begun = begun.saturating_add(matches!(piece, CallPiece::Begin { .. }).into());
            events.push(Event::Call {
                choice,
                index: begun.saturating_sub(1),
                piece,
            });
        }
    }
    (said, events)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{TokenInfo, ToolCall, ToolChoice, Usage};

    fn tools() -> Vec<serde_json::Value> {
        vec![json!({"type": "function", "function": {"name": "f"}})]
    }

    fn reader(n: u32) -> Reader {
        let tools = Toolset::check(tools(), ToolChoice::Auto, true).unwrap();
        Reader::new("hermes".parse().unwrap(), &tools, None, n)
    }

    #[test]
    fn arguments_of_a_call_that_must_come_are_told_as_they_come() {
        let tools = Toolset::check(tools(), ToolChoice::Required, true).unwrap();
        let mut reader = Reader::new("hermes".parse().unwrap(), &tools, None, 1);
        let mut told = Vec::new();
        for text in [
            "<tool_call>\n{\"name\": \"f\", \"argu",
            "ments\": {\"a\"",
            ": \"}\"",
            "}}\n</tool_call>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {",
            "}}\n</tool_call>",
        ] {
            reader.read(delta(0, text, None));
            let events = drain(&mut reader).into_iter();
            told.push(
                events
                    .map(|event| match event {
                        Event::Call {
                            index,
                            piece: CallPiece::Begin { name, .. },
                            ..
                        } => format!("{index} {name}"),
                        Event::Call {
                            index,
                            piece: CallPiece::Arguments(text),
                            ..
                        } => format!("{index} {text}"),
                        other => panic!("{other:?}"),
                    })
                    .collect::<Vec<_>>(),
            );
        }
        let expected: [&[&str]; 5] = [
            &[],
            &["0 f", "0 {\"a\""],
            &["0 : \"}\""],
            &["0 }", "1 f", "1 {"],
            &["1 }"],
        ];
        assert_eq!(told, expected);
        reader.read(Event::Finish {
            choice: 0,
            reason: FinishReason::Stop,
        });
        let end = Event::Finish {
            choice: 0,
            reason: FinishReason::ToolCalls,
        };
        assert_eq!(drain(&mut reader), [end]);
    }

    fn delta(choice: u32, text: &str, token: Option<u32>) -> Event {
        let told = |id| TokenInfo {
            id,
            text: String::new(),
            bytes: Vec::new(),
            logprob: None,
            top: Vec::new(),
        };
        Event::Delta {
            choice,
            text: text.into(),
            tokens: token.map(told).into_iter().collect(),
        }
    }

    fn drain(reader: &mut Reader) -> Vec<Event> {
        std::iter::from_fn(|| reader.next()).collect()
    }

    #[test]
    fn an_answer_becomes_text_and_calls_and_says_so_at_its_end() {
        let mut reader = reader(2);
        reader.read(delta(0, "Hm. <tool_call>", Some(1)));
        assert_eq!(drain(&mut reader), [delta(0, "Hm.", Some(1))]);
        reader.read(delta(1, "plain", None));
        assert_eq!(drain(&mut reader), [delta(1, "plain", None)]);
        reader.read(delta(
            0,
            "{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>",
            Some(2),
        ));
        let events = drain(&mut reader);
        assert_eq!(
            events[0],
            delta(0, "", Some(2)),
            "tokens are told whatever they spell"
        );
        let Event::Call {
            choice: 0,
            index: 0,
            piece: CallPiece::Begin { id, name },
        } = &events[1]
        else {
            panic!("{events:?}")
        };
        assert!(id.starts_with("call_") && id.len() > 20 && name == "f");
        let arguments = CallPiece::Arguments("{\"a\": 1}".into());
        assert_eq!(
            events[2],
            Event::Call {
                choice: 0,
                index: 0,
                piece: arguments
            }
        );
        reader.read(delta(0, "<tool_call>{\"name\": \"f\"}", None));
        assert_eq!(drain(&mut reader), []);
        for choice in [0, 1] {
            reader.read(Event::Finish {
                choice,
                reason: FinishReason::Stop,
            });
        }
        reader.read(Event::Done {
            usage: Usage::default(),
        });
        let events = drain(&mut reader);
        assert!(
            matches!(events[0], Event::Call { index: 1, .. }),
            "{events:?}"
        );
        assert_eq!(
            events[2],
            Event::Finish {
                choice: 0,
                reason: FinishReason::ToolCalls
            }
        );
        assert_eq!(
            events[3],
            Event::Finish {
                choice: 1,
                reason: FinishReason::Stop
            }
        );
        assert!(matches!(events[4], Event::Done { .. }));
    }

    #[test]
    fn an_answer_cut_short_says_so_and_keeps_what_was_begun() {
        let mut reader = reader(1);
        reader.read(delta(0, "<tool_call>{\"name\": ", None));
        reader.read(Event::Finish {
            choice: 0,
            reason: FinishReason::Length,
        });
        let kept = delta(0, "<tool_call>{\"name\": ", None);
        assert_eq!(
            drain(&mut reader),
            [
                kept,
                Event::Finish {
                    choice: 0,
                    reason: FinishReason::Length
                }
            ]
        );
    }

    fn field(outcome: Result<(), Reason>) -> String {
        match outcome {
            Err(Reason::BadField { field, .. }) => field,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_the_template_would_leave_out_is_refused_by_name() {
        let deaf = ChatTemplate::new(
            "{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}",
            None,
            None,
        )
        .unwrap();
        let offered = Toolset::check(tools(), ToolChoice::Auto, true).unwrap();
        let call = ToolCall::read(&json!({"function": {"name": "f"}})).unwrap();
        let asked = Message::new(Role::User, "q");
        let called = Message {
            tool_calls: vec![call],
            ..Message::new(Role::Assistant, "")
        };
        let result = Message::new(Role::Tool, "r");
        assert_eq!(
            field(writable(
                &deaf,
                std::slice::from_ref(&asked),
                offered.offered()
            )),
            "tools"
        );
        assert_eq!(
            field(writable(&deaf, &[asked.clone(), called], &[])),
            "messages[1].tool_calls"
        );
        assert_eq!(
            field(writable(&deaf, &[asked.clone(), result], &[])),
            "messages[1].role"
        );
        assert_eq!(writable(&deaf, &[asked], &[]), Ok(()));
    }
}
