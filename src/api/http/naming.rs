//! Fields by the names that a request has for them. What is checked behind a door names fields as chat completions
//! do; a door of another form says which of its own was meant.

use crate::api::fault::Fault;
use crate::domain::Reason;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// The field of the conversation.
    pub conversation: &'static str,
    /// Where each turn of it was said.
    pub turns: Vec<String>,
    /// The field that says how long an answer may be.
    pub length: &'static str,
    /// The field of a function's arguments.
    pub schema: &'static str,
}

impl Names {
    /// The fault with the request's own field at fault.
    pub fn fault(&self, reason: Reason) -> Fault {
        match &reason {
            Reason::PromptTooLong { .. } | Reason::TextTooLong { .. } => {
                Fault::from(reason).about(self.conversation)
            }
            Reason::AnswerTooLong { .. } => Fault::from(reason).about(self.length),
            _ => Fault::from(self.reason(reason)),
        }
    }

    pub fn reason(&self, mut reason: Reason) -> Reason {
        if let Reason::BadField { field, .. }
        | Reason::GrammarTooComplex { field, .. }
        | Reason::GrammarStuck { field, .. } = &mut reason
        {
            *field = self.field(field);
        }
        reason
    }

    fn field(&self, path: &str) -> String {
        let (first, rest) = match path.find(['.', '[']) {
            Some(at) => path.split_at(at),
            None => (path, ""),
        };
        match first {
            "messages" => self.turn(rest),
            "tools" => self.tool(rest),
            "tool_choice" => format!("tool_choice{}", rest.replacen(".function", "", 1)),
            "max_tokens" | "max_completion_tokens" => self.length.to_owned(),
            _ => path.to_owned(),
        }
    }

    /// `[2].content`, with what the third turn was made of.
    fn turn(&self, rest: &str) -> String {
        let number = rest
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next());
        let place = number.and_then(|number| self.turns.get(number.parse::<usize>().ok()?));
        place.map_or_else(|| self.conversation.to_owned(), Clone::clone)
    }

    /// `[2].function.parameters.properties`; functions are not wrapped in other forms.
    fn tool(&self, rest: &str) -> String {
        let plain = rest.replacen(".function", "", 1);
        match plain.split_once(".parameters") {
            Some((tool, rest)) => format!("tools{tool}.{}{rest}", self.schema),
            None => format!("tools{plain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_that_the_request_has_for_them() {
        let names = Names {
            conversation: "input",
            turns: vec!["instructions".into(), "input[3]".into()],
            length: "max_output_tokens",
            schema: "input_schema",
        };
        for (path, named) in [
            ("messages", "input"),
            ("messages[0].role", "instructions"),
            ("messages[1].tool_calls[0].function.name", "input[3]"),
            ("messages[7]", "input"),
            ("tools", "tools"),
            ("tools[2]", "tools[2]"),
            ("tools[2].function", "tools[2]"),
            ("tools[2].function.name", "tools[2].name"),
            (
                "tools[2].function.parameters.properties.function.parameters",
                "tools[2].input_schema.properties.function.parameters",
            ),
            ("tool_choice.function.name", "tool_choice.name"),
            ("tool_choice", "tool_choice"),
            ("max_tokens", "max_output_tokens"),
            ("min_tokens", "min_tokens"),
            (
                "text.format.schema.properties",
                "text.format.schema.properties",
            ),
        ] {
            let fault = names.fault(Reason::field(path, "is wrong"));
            assert_eq!(fault.param.as_deref(), Some(named));
            assert!(fault.message().contains(named), "{}", fault.message());
        }
    }
}
