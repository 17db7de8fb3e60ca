//! One answer as a list of blocks: text, and calls, in the order in which they come. What a stream tells step by step
//! and what a whole answer holds are made from the same list.

#[cfg(test)]
pub(super) mod tests;

use futures::StreamExt;

use super::gather::{self, Called, add};
use crate::domain::{CallPiece, Event, FinishReason, Reason, TokenInfo, Usage};
use crate::gateway::Events;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Text {
        text: String,
        /// Where they are told.
        tokens: Vec<TokenInfo>,
    },
    Call(Called),
}

/// What happens to the last block.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    BeginText,
    BeginCall {
        id: String,
        name: String,
    },
    Text {
        text: String,
        tokens: Vec<TokenInfo>,
    },
    Arguments(String),
    End,
}

#[derive(Debug, Default)]
pub(super) struct Blocks {
    pub blocks: Vec<Block>,
    pub finish: Option<FinishReason>,
    pub usage: Usage,
    /// Tokens of text are told.
    tells: bool,
    /// The last block may go on.
    open: bool,
    /// Tokens whose text is held back.
    held: Vec<TokenInfo>,
}

impl Blocks {
    pub fn new(tells: bool) -> Self {
        Self {
            tells,
            ..Self::default()
        }
    }

    /// Of a request with one prompt and one answer.
    pub async fn gather(mut self, each: Vec<Events>) -> Result<Self, Reason> {
        let mut events = gather::merged(each);
        while let Some((_, event)) = events.next().await {
            if let Event::Failed(reason) = event {
                return Err(reason);
            }
            self.hear(event);
        }
        Ok(self)
    }

    /// The number of the last block.
    pub fn last(&self) -> usize {
        self.blocks.len().saturating_sub(1)
    }

    /// Takes an event; each step is told with the number of its block and the block as it is then.
    pub fn each(&mut self, event: Event, mut tell: impl FnMut(usize, &Step, &Block)) {
        for step in steps(self, event) {
            self.take(&step);
            if let Some(block) = self.blocks.last() {
                tell(self.last(), &step, block);
            }
        }
    }

    pub fn hear(&mut self, event: Event) {
        self.each(event, |_, _, _| {});
    }

    fn take(&mut self, step: &Step) {
        match (step, self.blocks.last_mut()) {
            (Step::BeginText, _) => {
                self.open = true;
                self.blocks.push(Block::Text {
                    text: String::new(),
                    tokens: Vec::new(),
                });
            }
            (Step::BeginCall { id, name }, _) => {
                self.open = true;
                self.blocks.push(Block::Call(Called {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                }));
            }
            (
                Step::Text { text, tokens },
                Some(Block::Text {
                    text: all,
                    tokens: told,
                }),
            ) => {
                all.push_str(text);
                told.extend_from_slice(tokens);
            }
            (Step::Arguments(text), Some(Block::Call(call))) => call.arguments.push_str(text),
            (Step::End, _) => self.open = false,
            (Step::Text { .. } | Step::Arguments(_), _) => {}
        }
    }
}

/// What an event means for the blocks so far.
fn steps(blocks: &mut Blocks, event: Event) -> Vec<Step> {
    let in_text = blocks.open && matches!(blocks.blocks.last(), Some(Block::Text { .. }));
    let in_call = blocks.open && !in_text;
    let mut steps = Vec::new();
    match event {
        Event::Delta { text, tokens, .. } => {
            if blocks.tells {
                blocks.held.extend(tokens);
            }
            if text.is_empty() {
                return steps;
            }
            if in_call {
                steps.push(Step::End);
            }
            if !in_text {
                steps.push(Step::BeginText);
            }
            let tokens = std::mem::take(&mut blocks.held);
            steps.push(Step::Text { text, tokens });
        }
        Event::Call { piece, .. } => match piece {
            CallPiece::Begin { id, name } => {
                // Tokens that made the call are no text's.
                blocks.held.clear();
                if blocks.open {
                    steps.push(Step::End);
                }
                steps.push(Step::BeginCall { id, name });
            }
            CallPiece::Arguments(text) => steps.push(Step::Arguments(text)),
        },
        Event::Finish { reason, .. } => {
            blocks.finish = Some(reason);
            // An answer that is nothing is one empty text.
            if blocks.blocks.is_empty() {
                steps.push(Step::BeginText);
            }
            if blocks.open || blocks.blocks.is_empty() {
                steps.push(Step::End);
            }
        }
        Event::Done { usage } => add(&mut blocks.usage, usage),
        Event::Prompt { .. } | Event::Embedding { .. } | Event::Failed(_) => {}
    }
    steps
}
