//! Blocks, and the statements that would bring in other templates.

use super::super::ast::*;
use super::super::fault::Outcome;
use super::super::lexer::Token;
use super::Parser;

impl Parser {
    pub(super) fn block(&mut self) -> Outcome<Kind> {
        let name = self.name()?;
        let scoped = self.skip_name("scoped");
        let required = self.skip_name("required");
        let body = self.whole("endblock")?;
        self.skip_name(&name);
        if self.blocks.iter().any(|(block, _)| block.name == name) {
            return Err(self.fail(format!("block '{name}' defined twice")));
        }
        let blank = |statement: &Statement| match &statement.kind {
            Kind::Text(text) => text.chars().all(super::super::text::is_space),
            _ => false,
        };
        if required && !body.iter().all(blank) {
            return Err(self.fail("Required blocks can only contain comments or whitespace"));
        }
        let block = Block {
            name: name.clone(),
            loads: Loads::new(),
            body,
            slots: 0,
            own: Vec::new(),
        };
        self.blocks.push((block, scoped));
        Ok(Kind::Block {
            name,
            required,
            locals: scoped.then(Vec::new),
        })
    }

    pub(super) fn loading(&mut self, kind: &str) -> Outcome<Loading> {
        let template = self.expression()?;
        let mut names = Vec::new();
        match kind {
            "include" => {
                if self.is_name("ignore") {
                    self.skip();
                    self.expect_word("missing")?;
                }
                self.loading_context();
            }
            "import" => {
                self.expect_word("as")?;
                names.push(self.assignable_name()?);
                self.loading_context();
            }
            "from" => {
                self.expect_word("import")?;
                loop {
                    if self.loading_context() {
                        break;
                    }
                    let name = self.assignable_name()?;
                    if name.starts_with('_') {
                        return Err(
                            self.fail("names starting with an underline can not be imported")
                        );
                    }
                    names.push(match self.skip_name("as") {
                        true => self.assignable_name()?,
                        false => name,
                    });
                    if self.loading_context() || !self.skip_sign(",") {
                        break;
                    }
                }
            }
            _ => {}
        }
        Ok(Loading { names, template })
    }

    pub(super) fn loading_context(&mut self) -> bool {
        let word = self.is_name("with") || self.is_name("without");
        let found = word && matches!(self.peek_second(), Token::Name(n) if n == "context");
        self.at += if found { 2 } else { 0 };
        found
    }
}
