//! `POST /tokenize`, `POST /detokenize`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::{AdapterField, Call};
use super::chat::{MESSAGES, MessageAsk, conversation};
use super::dispatch::Outcome;
use super::respond::json_response;
use super::sampling::CHOICE;
use super::shape::{FLAG, Field, Kind, Neutral, Shape, TEXT, TOKEN_ID};
use super::unbuilt;
use crate::domain::{Input, Reason};
use crate::gateway::Dialogue;

const ANYTHING: Kind = Kind::Map {
    of: &Kind::Any,
    max: 256,
};

pub(super) const TOKENIZE: Shape = Shape {
    name: "TokenizeRequest",
    about: "Text or a conversation to turn into token ids.",
    fields: &[
        CHOICE,
        &[
            Field::new("prompt", TEXT, "Raw text."),
            Field::new(
                "messages",
                MESSAGES,
                "A conversation, rendered as for an answer.",
            ),
            Field::new("add_special_tokens", FLAG, "For raw text; default true."),
            Field::unbuilt(
                "return_token_strs",
                "is not available; use /detokenize",
                &[Neutral::Flag(false)],
            ),
            Field::new(
                "add_generation_prompt",
                FLAG,
                "For a conversation: end with what begins an answer; default true.",
            ),
            Field::new(
                "tools",
                Kind::List {
                    of: &ANYTHING,
                    min: 0,
                    max: 4096,
                },
                "For a conversation: functions that the chat template describes. An empty list is none.",
            )
            .neutral(&[Neutral::Empty]),
            Field::new(
                "chat_template_kwargs",
                ANYTHING,
                "For a conversation: variables of the chat template, such as `enable_thinking`.",
            )
            .neutral(&[Neutral::Empty]),
        ],
        unbuilt::TEMPLATE,
    ],
};

pub(super) const DETOKENIZE: Shape = Shape {
    name: "DetokenizeRequest",
    about: "Token ids to turn into text.",
    fields: &[
        CHOICE,
        &[Field::new(
            "tokens",
            Kind::List {
                of: &TOKEN_ID,
                min: 0,
                max: 1 << 20,
            },
            "The ids.",
        )
        .required()],
    ],
};

#[derive(Debug, Deserialize)]
struct TokenizeAsk {
    model: Option<String>,
    adapter: Option<AdapterField>,
    prompt: Option<String>,
    messages: Option<Vec<MessageAsk>>,
    add_special_tokens: Option<bool>,
    add_generation_prompt: Option<bool>,
    tools: Option<Vec<Value>>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

/// What there is to tokenize.
enum Asked {
    Text(String),
    Dialogue(Dialogue),
}

#[derive(Debug, Deserialize)]
struct DetokenizeAsk {
    model: Option<String>,
    adapter: Option<AdapterField>,
    tokens: Vec<u32>,
}

impl TokenizeAsk {
    fn asked(self) -> Result<Asked, Reason> {
        match (self.prompt, self.messages) {
            (Some(_), Some(_)) => Err(Reason::field(
                "messages",
                "cannot be combined with `prompt`",
            )),
            (None, None) => Err(Reason::field("prompt", "is required, or `messages`")),
            (Some(text), None) => {
                let given = [
                    (
                        "add_generation_prompt",
                        self.add_generation_prompt == Some(false),
                    ),
                    ("tools", self.tools.is_some_and(|tools| !tools.is_empty())),
                    (
                        "chat_template_kwargs",
                        self.chat_template_kwargs.is_some_and(|v| !v.is_empty()),
                    ),
                ];
                match given.into_iter().find(|(_, given)| *given) {
                    Some((field, _)) => Err(Reason::field(field, "is for `messages`")),
                    None => Ok(Asked::Text(text)),
                }
            }
            (None, Some(_)) if self.add_special_tokens == Some(true) => Err(Reason::field(
                "add_special_tokens",
                "is for `prompt`; a chat template writes its own",
            )),
            (None, Some(messages)) => {
                let variables = self.chat_template_kwargs.unwrap_or_default();
                let own = ["messages", "tools", "add_generation_prompt"];
                if let Some(name) = own.into_iter().find(|name| variables.contains_key(*name)) {
                    return Err(Reason::field(
                        format!("chat_template_kwargs.{name}"),
                        "is a field of its own",
                    ));
                }
                Ok(Asked::Dialogue(Dialogue {
                    messages: conversation(messages)?,
                    tools: self.tools.unwrap_or_default(),
                    variables,
                    add_generation_prompt: self.add_generation_prompt.unwrap_or(true),
                }))
            }
        }
    }
}

pub(super) async fn tokenize(call: Call) -> Outcome {
    let (request, mut ask) = call.read::<TokenizeAsk>(&TOKENIZE).await?;
    let claims = request.claims(ask.model.take(), ask.adapter.take())?;
    let special = ask.add_special_tokens.unwrap_or(true);
    let caller = request.caller();
    let tokens = match ask.asked()? {
        Asked::Text(text) => {
            let input = Input::Text(text);
            caller.tokenize(&claims, input, special).await?
        }
        Asked::Dialogue(dialogue) => caller.tokenize_dialogue(&claims, dialogue).await?,
    };
    Ok(json_response(
        200,
        &json!({"tokens": tokens, "count": tokens.len()}),
    ))
}

pub(super) async fn detokenize(call: Call) -> Outcome {
    let (request, ask) = call.read::<DetokenizeAsk>(&DETOKENIZE).await?;
    // All share one vocabulary; a name that does not exist is refused all the same.
    request
        .caller()
        .check_claims(&request.claims(ask.model, ask.adapter)?)
        .await?;
    let prompt = request.caller().detokenize(ask.tokens).await?;
    Ok(json_response(200, &json!({ "prompt": prompt })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&TOKENIZE, |body| {
            TOKENIZE.take::<TokenizeAsk>(body).map(drop)
        });
        conforms(&DETOKENIZE, |body| {
            DETOKENIZE.take::<DetokenizeAsk>(body).map(drop)
        });
    }

    #[test]
    fn what_a_template_is_told_goes_with_messages_only() {
        let asked = |body: Value| TOKENIZE.take::<TokenizeAsk>(body)?.asked();
        let dialogue = |body: Value| match asked(body) {
            Ok(Asked::Dialogue(dialogue)) => dialogue,
            Ok(Asked::Text(_)) => panic!("a text"),
            Err(reason) => panic!("{reason}"),
        };
        let messages =
            json!([{"role": "user", "name": "Ada", "content": [{"type": "text", "text": "a"}]}]);
        let plain = dialogue(json!({"messages": messages}));
        assert!(
            plain.add_generation_prompt && plain.tools.is_empty() && plain.variables.is_empty()
        );
        let told: Vec<Value> = { plain.messages.iter() }
            .map(|message| Value::Object(message.told()))
            .collect();
        assert_eq!(
            told,
            [json!({"role": "user", "content": "a", "name": "Ada"})]
        );
        let full = dialogue(json!({
            "messages": messages, "add_generation_prompt": false, "tools": [{"type": "function"}],
            "chat_template_kwargs": {"enable_thinking": false},
        }));
        assert!(!full.add_generation_prompt);
        assert_eq!(full.tools, [json!({"type": "function"})]);
        assert_eq!(full.variables["enable_thinking"], false);
        for nothing in [
            json!({"prompt": "a", "tools": [], "chat_template_kwargs": {}, "add_generation_prompt": true}),
            json!({"prompt": "a", "tools": null, "chat_template_kwargs": null, "add_generation_prompt": null}),
        ] {
            assert!(matches!(asked(nothing), Ok(Asked::Text(_))));
        }
        for (body, field) in [
            (json!({"prompt": "a", "tools": [{}]}), "tools"),
            (
                json!({"prompt": "a", "add_generation_prompt": false}),
                "add_generation_prompt",
            ),
            (
                json!({"prompt": "a", "chat_template_kwargs": {"x": 1}}),
                "chat_template_kwargs",
            ),
            (
                json!({"messages": messages, "chat_template_kwargs": {"tools": []}}),
                "chat_template_kwargs.tools",
            ),
            (json!({"messages": messages, "tools": ["a"]}), "tools[0]"),
            (json!({"messages": messages, "tools": {"a": 1}}), "tools"),
            (
                json!({"messages": messages, "chat_template_kwargs": [1]}),
                "chat_template_kwargs",
            ),
        ] {
            match asked(body.clone()) {
                Err(Reason::BadField { field: found, .. }) => assert_eq!(found, field, "{body}"),
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("{body} was taken"),
            }
        }
    }
}
